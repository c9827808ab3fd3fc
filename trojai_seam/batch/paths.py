"""Where everything in a run directory and in a study is. No other module joins strings to find a file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_LONGEST = 100  # file systems allow 255 bytes; a file that is being written adds the host's name


def states_prefix(process: int) -> str:
    """How names of temporary folders begin in which ``process`` stores states of a run of unlearning."""
    return f"trojai-seam-states-{process}-"


@dataclass(frozen=True)
class RunPaths:
    """The files of one run directory."""

    run_dir: Path

    @property
    def plan(self) -> Path:
        """What was asked for, and the hash that a later command is compared with."""
        return self.run_dir / "plan.json"

    @property
    def records(self) -> Path:
        """The folder of the records."""
        return self.run_dir / "records"

    def record(self, model_id: str) -> Path:
        """The record of one model; ids with a slash stay one file name, none is hidden and none too long."""
        name = quote(model_id, safe="", errors="surrogateescape")
        if len(name) > _LONGEST:  # "=" is quoted in every other name, so no short id can end like this
            name = f"{name[:_LONGEST]}={hashlib.sha256(name.encode()).hexdigest()[:32]}"
        return self.records / f"{'%2E' + name[1:] if name.startswith('.') else name}.h5"

    @property
    def expected(self) -> Path:
        """The models that should have a record, one JSON object per line."""
        return self.run_dir / "expected.jsonl"

    @property
    def expected_files(self) -> Path:
        """What NIST's files say about them, likewise, compressed."""
        return self.run_dir / "expected-files.jsonl.gz"

    @property
    def report(self) -> Path:
        """The report for people."""
        return self.run_dir / "report.html"

    @property
    def log(self) -> Path:
        """What happened when, line by line."""
        return self.run_dir / "run.log"

    @property
    def claims(self) -> Path:
        """Who works on what, while somebody does."""
        return self.run_dir / "claims"

    @property
    def results(self) -> Path:
        """One row per model."""
        return self.run_dir / "results.csv"

    @property
    def results_parquet(self) -> Path:
        """The same for pandas, with types."""
        return self.run_dir / "results.parquet"

    @property
    def attack_trace(self) -> Path:
        """Accuracy and attack success after epochs, where that was asked for: an oracle."""
        return self.run_dir / "oracle_attack_trace.csv"

    @property
    def failures(self) -> Path:
        """The failed rows with their reasons."""
        return self.run_dir / "failures.csv"

    @property
    def summary(self) -> Path:
        """Distributions over all, poisoned and clean models."""
        return self.run_dir / "summary.csv"


@dataclass(frozen=True)
class StudyPaths:
    """The files of one study: a folder of run directories, and what was made from them."""

    folder: Path

    @property
    def plan(self) -> Path:
        """Which runs the study is made of, and what they have in common."""
        return self.folder / "study.json"

    @property
    def claims(self) -> Path:
        """Who writes the plan."""
        return self.folder / "claims"

    def run(self, name: str) -> RunPaths:
        """The run directory called ``name``."""
        return RunPaths(self.folder / "runs" / name)

    @property
    def page(self) -> Path:
        """The page for people."""
        return self.folder / "study.html"

    @property
    def table(self) -> Path:
        """Every figure, one line per preset, number of examples and group."""
        return self.folder / "study.csv"

    @property
    def markdown(self) -> Path:
        """The table for people, as Markdown."""
        return self.folder / "study.md"

    @property
    def latex(self) -> Path:
        """The same for a paper."""
        return self.folder / "study.tex"

    @property
    def rows(self) -> Path:
        """The rows of all runs."""
        return self.folder / "rows.csv"
