"""Every command line that the documentation shows is one that the program takes, and README's blocks run."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.made_rounds import trained_round
from trojai_seam.cli import commands, main
from trojai_seam.container.arguments import parse_detection, parse_mitigation
from trojai_seam.container.entry import DETECTION, MITIGATION
from trojai_seam.container.metaparameters import names_of
from trojai_seam.unlearning import preset_names, resolve

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks" / "presets.md"])
FENCED = re.compile(r"^( *)```\w*\n(.*?)^\1```$", re.S | re.M)
INDENTED = re.compile(r"^    (?:exec )?trojai-seam .*$", re.M)
SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.S)
OURS = re.compile(r"(?:^|[\s/])trojai-seam(?::\w+|\.sif)? +(?=[a-z-])")
PLACEHOLDERS = {"$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT": "1/2", "N": "1", "N,M": "0,1"}


def command_lines(text: str) -> Iterator[tuple[bool, list[str]]]:
    """Whether it is whole (in a block of its own), and the words after the program's name."""
    outside = FENCED.sub("", text)
    whole = [line for _, block in FENCED.findall(text) for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
    for line in [*whole, *INDENTED.findall(outside)]:
        yield from ((True, words) for words in words_of(line))
    for _, span in SPAN.findall(outside):
        yield from ((False, words) for words in words_of(" ".join(span.split())))


def words_of(line: str) -> Iterator[list[str]]:
    found = OURS.search(line)
    if found is None or line.lstrip().startswith(
        ("#", "docker build", "docker save", "apptainer build", "cp ", "pip ")
    ):
        return
    rest = line[found.end() :]
    if nested := OURS.search(" " + rest):  # apptainer exec … trojai-seam.sif trojai-seam evaluate …
        rest = rest[nested.end() - 1 :]
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(rest.replace("…", ""), comments=True)]
    if ")" not in words[0]:
        yield words


def parsed(words: list[str], whole: bool) -> str:
    """The command's name, if the program takes the words.

    Raises:
        SystemExit: it does not.
    """
    words = [
        word.strip("[]").split("|")[0] if re.fullmatch(r"\[?[\w-]+(\|[\w-]+)+\]?", word) else word for word in words
    ]
    name = words[0]
    if name in MITIGATION:
        assert parse_mitigation(words[1:], (), test=name == "test")[1] == []
    elif name in DETECTION or name.startswith("-"):
        rest = words if name.startswith("-") else words[1:]
        assert parse_detection(rest, (), configure=name == "configure")[1] == []
    else:
        parser = commands()[name]
        if not whole:  # in a sentence, what goes without saying may be left out
            for action in parser._actions:
                action.required = False
        given = parser.parse_args(words[1:])
        preset = getattr(given, "preset", None)
        if preset is None or not preset.endswith(".json"):
            assert preset is None or preset == "NAME" or {*preset.split(",")} <= {*preset_names()}
            for option in (one.split("=")[0] for one in getattr(given, "set", []) if "KEY" not in one):
                assert any(resolve(one).has(option) for one in (preset.split(",") if preset else preset_names())), (
                    option
                )
    return name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_of_the_page_parses(page):
    for whole, words in command_lines(page.read_text("utf-8")):
        try:
            parsed(words, whole)
        except (SystemExit, KeyError, AssertionError) as problem:
            pytest.fail(f"{page.name}: trojai-seam {shlex.join(words)}: {problem!r}")


def test_the_command_lines_are_seen():
    every = [(whole, words) for page in PAGES for whole, words in command_lines(page.read_text("utf-8"))]
    named = {parsed(words, whole) for whole, words in every}
    assert len(every) >= 60
    assert {*commands()} - named <= {"evaluate-model", "completion"}
    assert {"infer", "configure", "mitigate", "test"} <= named
    with pytest.raises(SystemExit):
        parsed(["evaluate", "DATASET", "--out", "RUN", "--wrokers", "8"], True)
    with pytest.raises(AssertionError):
        parsed(["infer", "--model_filepaht", "model.pt"], True)
    assert list(words_of("docker run --rm trojai-seam:cpu evaluate /d --out /r  # said")) == [
        ["evaluate", "/d", "--out", "/r"]
    ]


def test_every_option_that_a_page_mentions_is_known():
    ours = {option for parser in commands().values() for option in parser._option_string_actions}
    parsers = (
        lambda words: parse_detection(words, names_of("detection"), True),
        lambda words: parse_mitigation(words, names_of("mitigation"), True),
    )
    for page in PAGES:
        if page.name in ("CHANGELOG.md", "performance.md", "presets.md"):  # also of the past, and of benchmarks
            continue
        outside = FENCED.sub("", page.read_text("utf-8"))
        for option, value in re.findall(r"`(--[a-z][a-z_-]+)((?: [^`]*)?)`", outside):
            known = option in ours or any(option not in parse([option, "1"])[1] for parse in parsers)
            assert known, f"{page.name}: {option}{value}"


def test_readme_can_be_typed_in(tmp_path, monkeypatch, capsys):
    """Its commands on NIST's data and its Python; the demo, set-up and tests have tests of their own or are CI's."""
    page = (ROOT / "README.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained_round(), "path/to/cyber-pdf-dec2022")
    shutil.copytree(trained_round() / "models" / "id-00000001", "path/to/id-00000002")
    shutil.copy(trained_round() / "scale_params.npy", "path/to")
    block = page[page.index("## On NIST's data") :].split("```sh\n")[1].split("```")[0]
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert [words[1] for words in lines] == [
        "evaluate",
        "evaluate",
        "inspect",
        "unlearn",
        "tables",
        "rounds",
        "presets",
    ]
    for words in lines:
        quick = ["--set", "max_epochs=2", "--device", "cpu"] if words[1] in ("evaluate", "unlearn") else []
        assert main([*words[1:], *quick]) == 0, words
    assert "4 from before" in capsys.readouterr().err
    assert Path("mitigated.pt").is_file()
    for name in ("id-00000002", "cyber-pdf-dec2022", "scale_params.npy"):
        shutil.move(f"path/to/{name}", name)
    shutil.rmtree("runs")
    code = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(code) == 1
    assert code[0] in (ROOT / "docs" / "python.md").read_text("utf-8")
    names: dict[str, object] = {}
    exec(compile(code[0], "README.md", "exec"), names)  # noqa: S102 - our own page
    assert len(names["table"]) == 4
    assert names["outcome"].phases


def test_every_block_of_readme_is_run_or_parsed():
    """A block of a new kind needs a test."""
    page = (ROOT / "README.md").read_text("utf-8")
    kinds = {"setup", "demo", "printed", "test", "data", "docker", "python"}
    found = set()
    for _, block in FENCED.findall(page):
        first = block.split()[0:2]
        found.add(
            {
                "python3": "setup",
                ".venv/bin/python": "test",
                "docker": "docker",
                "import": "python",
                "making": "printed",
                "model": "printed",
            }.get(first[0])
            or {"demo": "demo", "evaluate": "data"}[first[1]]
        )
    assert found == kinds
