"""The page ``docs/command-line.md``, made from the options as they are declared."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

HEAD = """# Command line

Made from the program by `python -m trojai_seam.command_reference`. Exit codes: 0 all models done, 1 some failed (they
are rows), 2 bad usage or input, 130 interrupted.
"""


def reference_page(commands: dict[str, argparse.ArgumentParser]) -> str:
    """All commands with their arguments and options as Markdown."""
    return "\n".join([HEAD, *(line for name, parser in commands.items() for line in _command(name, parser))])


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield from (f"## trojai-seam {name}", "", _sentence(parser.description or ""), "")
    yield from ("| argument or option | meaning |", "|---|---|")
    for action in parser._actions:
        if action.dest != "help":
            yield f"| {_called(action)} | {_meaning(action)} |"
    yield ""


def _called(action: argparse.Action) -> str:
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    if not action.option_strings:
        return f"`{value}`".replace("|", "\\|")
    shown = f" {value}" if action.nargs != 0 else ""
    return ", ".join(f"`{option}{shown}`" for option in action.option_strings).replace("|", "\\|")


def _meaning(action: argparse.Action) -> str:
    text = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


if __name__ == "__main__":
    from .cli import commands

    print(reference_page(commands()), end="")
