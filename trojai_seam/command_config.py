"""Options of a command in a file: YAML, TOML or JSON with the same names as on the command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import UsageProblem, shown

_NOT_SHOWN = ("command", "command_name", "config", "show_config", "quiet", "verbose", "help")


def with_config(words: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """The words of a command line with those of its ``--config FILE`` in front, so that what was typed counts.

    Args:
        words: all of the command line; the first is the command.
        parser: of the command.

    Raises:
        UsageProblem: the file cannot be read, is no mapping, or has a name that is no option.
    """
    before = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    before.add_argument("--config", type=Path)
    path = before.parse_known_args(list(words[1:]))[0].config
    if path is None:
        return list(words)
    return [words[0], *_words(path, read_options(path), parser), *words[1:]]


def read_options(path: Path) -> Mapping[str, Any]:
    """What a file says, by option.

    Raises:
        UsageProblem: it cannot be read, or is no mapping of names.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as problem:
        raise UsageProblem(f"{path}: cannot be read as options: {problem}") from None
    try:
        document = _parsed(path.suffix.lower(), text)
    except (ValueError, RecursionError) as problem:
        raise UsageProblem(f"{path}: {shown(str(problem), 300)}") from None
    if not isinstance(document, Mapping) or not all(isinstance(name, str) for name in document):
        raise UsageProblem(f"{path}: expected options by name, such as preset: finetune")
    return document


def show_config(given: argparse.Namespace, parser: argparse.ArgumentParser) -> str:
    """The options that are not at their defaults as YAML, to be read again by ``--config``."""
    import yaml

    told: dict[str, Any] = {}
    for action in parser._actions:
        value = getattr(given, action.dest, None)
        if action.dest not in _NOT_SHOWN and value != action.default and value not in (None, []):
            told[_name(action)] = _plain(action, value)
    return str(yaml.safe_dump(told, sort_keys=False, allow_unicode=True)).rstrip("\n") if told else "{}"


def _parsed(suffix: str, text: str) -> Any:
    if suffix == ".toml":
        import tomllib

        return tomllib.loads(text)
    if suffix == ".json":
        return json.loads(text)
    if suffix not in (".yaml", ".yml"):
        raise ValueError("expected a file called .yaml, .yml, .toml or .json")
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise ValueError(f"is no YAML: {' '.join(str(problem).split())}") from None


def _words(path: Path, document: Mapping[str, Any], parser: argparse.ArgumentParser) -> Iterator[str]:
    from .registry import near_names

    actions = {_name(action): action for action in parser._actions if action.dest not in _NOT_SHOWN}
    for key, value in document.items():
        name = key.replace("_", "-")
        if name not in actions:
            raise UsageProblem(f"{path}: {near_names('option', key, actions)}")
        action = actions[name]
        if value is None or value is False:
            continue
        if not action.option_strings:
            yield from map(str, value if isinstance(value, list) else [value])  # a positional argument
        elif action.nargs == 0:
            if value is not True:
                raise UsageProblem(f"{path}: {key}: expected true or false, found {shown(value)!r}")
            yield f"--{name}"
        elif isinstance(action, argparse._AppendAction):
            for one in _several(value):
                yield from (f"--{name}", one)
        elif action.nargs == "+":
            yield from (f"--{name}", *map(str, value if isinstance(value, list) else [value]))
        else:
            yield from (f"--{name}", ",".join(map(str, value)) if isinstance(value, list) else str(value))


def _several(value: Any) -> list[str]:
    """``{a: 1}``, ``[a=1]`` and ``a=1`` alike."""
    if isinstance(value, Mapping):
        return [f"{name}={json.dumps(one) if not isinstance(one, str) else one}" for name, one in value.items()]
    return [str(one) for one in (value if isinstance(value, list) else [value])]


def _name(action: argparse.Action) -> str:
    long = [option for option in action.option_strings if option.startswith("--")]
    return long[0].removeprefix("--") if long else action.dest


def _plain(action: argparse.Action, value: Any) -> Any:
    if isinstance(action, argparse._AppendAction):
        return [str(one) for one in value]
    if isinstance(value, list) and (not action.option_strings or action.nargs == "+"):
        return [str(one) for one in value]
    if action.dest == "shard":
        return f"{value[0]}/{value[1]}"
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, Path) else value
