"""``--where``: an expression of ``DataFrame.query`` over what is known of models before they are opened.

The frame has plain columns of nullable types: lists and groups inside lists are texts (``filter polygon``), and what is
missing is chosen by ``.isna()`` only. Names with dots or blanks go in backticks. Python's own variables (``@``) are not
there.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import pandas as pd

from ..errors import UsageProblem, listed, shown

LONGEST = 10_000
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`[^`]*`""")


def holding(text: str, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """For each of ``rows`` whether the expression ``text`` holds.

    Raises:
        UsageProblem: it is no expression, names an unknown column, compares what has no order, or is no condition.
    """
    if len(text) > LONGEST:
        raise UsageProblem(f"--where: longer than {LONGEST} characters")
    if "@" in _QUOTED.sub("", text):
        _refuse(text, "@ is not allowed; there is nothing but the columns")
    frame = pd.DataFrame([{name: _plain(value) for name, value in row.items()} for row in rows]).convert_dtypes()
    try:
        chosen = frame.eval(text, engine="python")
    except pd.errors.UndefinedVariableError as problem:
        _refuse(text, _unknown(str(problem), [str(name) for name in frame.columns]))
    except Exception as problem:  # whatever pandas, Python's parser and its limits say of an expression
        _refuse(text, str(problem).split("\n")[0] or f"cannot be read ({type(problem).__name__})")
    if not isinstance(chosen, pd.Series) or not pd.api.types.is_bool_dtype(chosen.dtype):
        _refuse(text, "is neither true nor false; compare it")
    return chosen.fillna(False).astype(bool).tolist()


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple) and all(isinstance(one, str | int | float) for one in value):
        return " ".join(map(str, value))
    return json.dumps(value) if isinstance(value, list | tuple | Mapping) else value


def _unknown(message: str, columns: Sequence[str]) -> str:
    found = re.search(r"'(.*?)'", message)
    name = found[1].removeprefix("BACKTICK_QUOTED_STRING_") if found else ""
    inside = [column for column in columns if column.startswith(f"{name}.")]
    near = [f"`{column}`" for column in inside] or difflib.get_close_matches(name, columns, 3)
    hint = f"did you mean {listed(near)}?" if near else f"known: {listed(sorted(columns), most=60)}"
    return f"no column {shown(name)!r}; {hint}"


def _refuse(text: str, finding: str) -> NoReturn:
    raise UsageProblem(f"--where {shown(text, 80)!r}: {shown(finding, 900)}") from None
