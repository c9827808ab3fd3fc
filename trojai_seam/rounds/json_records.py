"""Examples as JSON records (rounds 8 and 9, and the question answering of 2023), in whatever nesting they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ..errors import DatasetProblem, ExampleProblem, shown
from .model_directory import MOST_RECORD_BYTES, ModelDirectory, read_json

Document: TypeAlias = Any


class Record(NamedTuple):
    """One example as it was written, its file, and a name that is unique in the file's set."""

    name: str
    values: Mapping[str, Any]
    path: Path


def record_files(directory: ModelDirectory, patterns: Sequence[str]) -> list[Path]:
    """Files of the model directory that the first fitting pattern fits, sorted.

    A pattern may be a folder, which stands for the JSON examples in it (there may be configs too), and may be
    absolute: NIST's containers are given the folder of the examples by path.
    """
    for pattern in patterns:
        folder = directory.path / pattern
        if folder.is_dir():
            files = iter(list(folder.glob("*example*data*.json")) or list(folder.glob("*.json")))
        elif folder == Path(pattern):  # absolute
            files = folder.parent.glob(folder.name)
        else:
            files = directory.path.glob(pattern)
        found = sorted(path for path in files if path.is_file() and not path.name.startswith("."))
        if found:
            return found
    return []


def read_records(directory: ModelDirectory, layout: Mapping[str, Sequence[str]]) -> tuple[list[Record], list[Record]]:
    """Clean and poisoned records. A record's own ``poisoned`` outranks the name of the file that it is in.

    Two records of one ``id`` are two examples (NIST's own scripts keep the last one only).

    Raises:
        ExampleProblem: a file is unreadable, or holds something that is no record.
    """
    clean_files = record_files(directory, layout["clean"])
    poisoned_files = [path for path in record_files(directory, layout["poisoned"]) if path not in clean_files]
    sides: tuple[dict[str, Record], dict[str, Record]] = ({}, {})
    for path in (*clean_files, *poisoned_files):
        for values in records_in(path):
            flag = values.get("poisoned")
            poisoned = flag if isinstance(flag, bool) else path in poisoned_files or "poisoned" in path.name
            name = _name(values, sides[poisoned])
            sides[poisoned][name] = Record(name, values, path)
    return list(sides[False].values()), list(sides[True].values())


def records_in(path: Path) -> list[Mapping[str, Any]]:
    """All records of a file: a list, a list under ``data``, articles with paragraphs, columns, or one object by id.

    Raises:
        ExampleProblem: it is unreadable, or holds something that is no record.
    """
    try:
        return list(_flat(read_json(path, MOST_RECORD_BYTES), path))
    except DatasetProblem as problem:
        raise ExampleProblem(str(problem)) from None
    except RecursionError:
        raise ExampleProblem(f"{path}: JSON is nested too deeply") from None


def _flat(document: Document, path: Path) -> Iterator[Mapping[str, Any]]:
    if isinstance(document, list):
        for item in document:
            yield from _flat(item, path)
    elif isinstance(document, dict) and isinstance(document.get("paragraphs"), list):
        for paragraph in document["paragraphs"]:
            yield from _paragraph(paragraph, path)
    elif isinstance(document, dict) and isinstance(document.get("qas"), list):
        yield from _paragraph(document, path)
    elif isinstance(document, dict) and _is_table(document):
        yield from _columns(document, path)
    elif isinstance(document, dict) and isinstance(document.get("data"), (list, dict)):
        yield from _flat(document["data"], path)
    elif isinstance(document, dict) and _is_record(document):
        yield document
    elif isinstance(document, dict) and document and all(isinstance(value, dict) for value in document.values()):
        for key, value in document.items():
            yield from _flat({"id": key, **value}, path)
    elif document != {}:
        raise ExampleProblem(f"{path}: expected example records, found {shown(repr(document), 80)}")


def _is_record(document: Mapping[str, Any]) -> bool:
    keys = document.keys()
    return keys >= {"context", "question"} or "tokens" in keys or keys >= {"data", "label"}


def _is_table(document: Mapping[str, Any]) -> bool:
    """Columns instead of rows: then a question is a list of texts, and tokens are a list of lists."""
    if not _is_record(document):
        return False
    for key, kind in (("question", str), ("tokens", list), ("label", int)):
        column = document.get(key)
        if isinstance(column, list) and column and all(isinstance(item, kind) for item in column):
            return True
    return False


def _columns(table: Mapping[str, Any], path: Path) -> Iterator[Mapping[str, Any]]:
    columns = {key: column for key, column in table.items() if isinstance(column, list)}
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1:
        raise ExampleProblem(f"{path}: columns of examples have different lengths: {sorted(lengths)}")
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))


def _paragraph(paragraph: Document, path: Path) -> Iterator[Mapping[str, Any]]:
    questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
    if not isinstance(questions, list) or not all(isinstance(question, dict) for question in questions):
        raise ExampleProblem(f"{path}: expected a paragraph with its qas, found {shown(repr(paragraph), 80)}")
    for question in questions:
        yield {"context": paragraph.get("context"), **question}


def _name(values: Mapping[str, Any], taken: Mapping[str, Record]) -> str:
    stated = values.get("id")
    name = shown(str(stated), 200) if isinstance(stated, (str, int)) and stated != "" else f"record {len(taken)}"
    return name if name not in taken else f"{name} #{len(taken)}"
