"""The documentation: links lead somewhere, the pages build, and the code in them runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.made_rounds import trained_round
from trojai_seam import open_subject
from trojai_seam.cli import commands, main
from trojai_seam.command_reference import reference_page
from trojai_seam.unlearning import UnlearnConfig, resolve, run
from trojai_seam.unlearning.phase_kinds import PHASES

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks" / "presets.md"])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.+)$", page.read_text("utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(without_code(page.read_text("utf-8"))):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link} leaves the repository"
        if page.parent == ROOT / "docs":
            assert target.is_relative_to(ROOT / "docs"), f"{page.name}: {link} leaves docs/ and breaks the built pages"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_the_link_check_sees_links():
    found = [link for page in PAGES for link in LINK.findall(without_code(page.read_text("utf-8")))]
    assert len(PAGES) >= 8
    assert len(found) >= 15
    assert LINK.findall("[a](b.md#c) ![d](e.png) `[f](g)`")[:2] == ["b.md#c", "e.png"]


def test_the_pages_build_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="needs mkdocs, of the extra dev")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    built = (tmp_path / "site" / "results" / "index.html").read_text("utf-8")
    assert "<code>acc_after</code>" in built
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', built)  # nothing is fetched from elsewhere


def test_the_method_of_the_page_unlearns(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "adding-a-method.md").read_text("utf-8")
    code = re.search(r"^```python\n(.*?)^```", page, flags=re.S | re.M)
    preset = re.search(r"^```json\n(.*?)^```", page, flags=re.S | re.M)
    assert code
    assert preset
    (tmp_path / "pruning_of_the_page.py").write_text(code[1])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(PHASES._entries, "prune", "pruning_of_the_page:KIND")
    document = json.loads(preset[1])
    (tmp_path / "twice.json").write_text(preset[1])
    phases = [{"kind": "prune", "share": 0.3}, *document["settings"]["phases"]]
    config = UnlearnConfig(batch_size=8, phases=phases).with_options({"max_epochs": "2"})
    subject = open_subject(trained_round() / "models" / "id-00000001")
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    outcome = run(subject.model, subject.task, subject.clean, config, 0)
    assert [phase.phase for phase in outcome.phases] == ["prune", "forget", "deeper", "recover"]
    assert outcome.phase("prune").figures["zeroed"] > 0
    assert outcome.phase("recover").epochs == 2
    assert resolve(str(tmp_path / "twice.json")).phase("deeper").max_epochs == 5
    assert all(torch.equal(value, before[name]) for name, value in subject.model.state_dict().items())
    assert not torch.equal(next(outcome.model.parameters()), next(subject.model.parameters()))


def test_the_commands_of_the_pages_are_known(capsys):
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    commands = set(re.findall(r"(?:^|`)trojai-seam ([a-z][a-z-]+)", text, flags=re.M))
    assert {"evaluate", "tables", "compare", "report"} <= commands
    with pytest.raises(SystemExit):
        main(["--help"])
    known = set(re.findall(r"^    ([a-z-]+)\b", capsys.readouterr().out, flags=re.M))
    assert commands <= known


def test_the_page_of_the_command_line_is_what_the_program_says():
    page = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    assert page == reference_page(commands()), "run python -m trojai_seam.command_reference > docs/command-line.md"


def test_the_tutorial_can_be_typed_in(tmp_path, monkeypatch, capsys):
    """Every command and the Python of the page in its order; the four models are made once for all tests."""
    import shlex
    import shutil

    page = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines() if line]
    assert lines[0] == "trojai-seam synthesize r12 --models 4 --out pdf"
    shutil.copytree(trained_round(), "pdf")
    for line in lines[1:]:
        program, *words = shlex.split(line)
        assert program == "trojai-seam"
        quick = ["--device", "cpu", "--set", "max_epochs=3"] if "--out" in words and words[0] == "evaluate" else []
        quick = quick[:2] if "no-op" in words else quick
        assert main([*words, *quick]) == 0, line
    printed = capsys.readouterr().out
    assert "(few)" in printed
    assert r"\begin{tabular}" in printed
    exec(compile(re.findall(r"```python\n(.*?)```", page, re.S)[0], "tutorial.md", "exec"), {})  # noqa: S102 - our own
    made = {path.name for path in tmp_path.rglob("*")}
    assert {"acc-asr.pdf", "study.html", "report.html", "fidelity-distribution.svg", "run.log"} <= made


def test_the_page_of_own_models_can_be_typed_in(tmp_path, monkeypatch, capsys):
    """Every command and the Python of the page, on a small network with made-up images."""
    import shlex

    from tests import made_own_models

    page = (ROOT / "docs" / "own-models.md").read_text("utf-8")
    made_own_models.write_all(tmp_path)
    made_own_models.write_folders(tmp_path / "cifar10-test", *made_own_models.pictures(8, 6))
    (tmp_path / "their_networks.py").write_text(page.split("```python\n# their_networks.py\n")[1].split("```")[0])
    (tmp_path / "round.json").write_text(
        next(j for j in re.findall(r"```json\n(.*?)```", page, re.S) if '"models"' in j)
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    commands = [
        shlex.split(line) for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()
    ]
    assert len(commands) == 5
    for program, *arguments in commands:
        assert program == "trojai-seam"
        if "backdoorbench" in " ".join(arguments):
            continue  # tests/rounds/test_backdoorbench.py runs these two on a record
        quick = (
            ["--set", "recover.max_epochs=1", "--device", "cpu"] if "no-op" not in arguments else ["--device", "cpu"]
        )
        assert main([*arguments, *quick]) == 0, arguments
    assert "doubts" not in capsys.readouterr().err
    code = page.split("```python\n")[-1].split("```")[0]
    exec(compile(code, "own-models.md", "exec"), {})  # noqa: S102 - our own page
