"""``trojai-seam demo``: make a small round, evaluate it with SEAM and with what SEAM should be compared to."""

from __future__ import annotations

from pathlib import Path

from .batch.progress import choose_progress
from .batch.runner import Options, evaluate
from .errors import RunDirectoryProblem
from .synthesis import SYNTHESIZERS
from .tables import render, render_summary, summary_frame

ROUND = "cyber-pdf-dec2022"
COMPARED = ("default", "authors-trojai", "finetune", "no-op")


def run_demo(out: Path, models: int, seed: int, quiet: bool) -> int:
    """Synthesise, evaluate with four presets, print. Running it again continues what is unfinished.

    Returns:
        The exit code: 0, or 1 if a model failed.

    Raises:
        TrojaiSeamError: ``out`` cannot be used.
    """
    dataset = out / f"dataset-{models}-models-seed-{seed}"
    if not dataset.exists():
        print(f"making {models} models, every second one trojaned, in {dataset} ...", flush=True)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise RunDirectoryProblem(f"{out}: cannot be made: {problem.strerror}") from None
        SYNTHESIZERS.get(ROUND)(dataset, models, seed)
    failed = False
    summaries = []
    for preset in COMPARED:
        run_dir = out / f"run-{models}-models-seed-{seed}-{preset}"
        progress = choose_progress(quiet)
        progress.note(f"preset {preset}")
        options = Options(round=ROUND, preset=preset, seed=seed, device="cpu")
        results = evaluate(dataset, run_dir, options, progress)
        failed = failed or bool((results["status"] == "failed").any())
        if preset == COMPARED[0]:
            print(f"\nSEAM, preset {preset}: every rate on examples that unlearning did not see\n")
            print(render(results), f"\nwritten to {run_dir / 'results.csv'}", sep="\n")
        summaries.append(f"preset {preset}\n{render_summary(summary_frame(results))}")
    print("\nAgainst the authors' settings, plain fine-tuning and doing nothing:\n", "\n\n".join(summaries), sep="\n")
    return int(failed)
