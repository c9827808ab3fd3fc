"""``--where``: an expression as ``DataFrame.query`` takes it, over what is known of models before they are opened.

pandas would evaluate far more than conditions (calls through ``@`` and attributes reach all of Python), so the
expression is parsed and only the node types below are given a meaning. What pandas leaves odd is made plain: a missing
value (absent, None, NaN) equals nothing but ``None`` and is neither smaller nor larger than anything; lists in a config
can be asked with ``'x' in column``.
"""

from __future__ import annotations

import ast
import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from ..errors import UsageProblem, listed, shown

Row = Mapping[str, Any]
Meaning = Callable[[Row], Any]

LONGEST = 10_000
_CHUNK = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`[^`]*`|[&|~]""")
_WORDS = {"&": " and ", "|": " or ", "~": " not "}

_ORDER: Mapping[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_TEXT_METHODS: Mapping[str, tuple[int, Callable[..., Any]]] = {
    "contains": (1, lambda text, pattern: re.search(pattern, text) is not None),
    "match": (1, lambda text, pattern: re.match(pattern, text) is not None),
    "fullmatch": (1, lambda text, pattern: re.fullmatch(pattern, text) is not None),
    "startswith": (1, str.startswith),
    "endswith": (1, str.endswith),
    "lower": (0, str.lower),
    "upper": (0, str.upper),
    "strip": (0, str.strip),
    "len": (0, len),
}
_METHODS: Mapping[str, int] = {"isin": 1, "isna": 0, "isnull": 0, "notna": 0, "notnull": 0, "between": 2}
ALLOWED = (
    "column names (`in backticks` where they are no names), texts, numbers, True, False, None, lists, and, or, not, &, "
    "|, ~, ==, !=, <, <=, >, >=, in, not in, + - * / // %, "
    f"column.{'|'.join(_METHODS)}(…) and column.str.{'|'.join(_TEXT_METHODS)}(…)"
)


class Condition:
    """A parsed expression.

    Args:
        text: the expression.
        columns: names that it may use.

    Raises:
        UsageProblem: it is no expression of the allowed kind, or names an unknown column.
    """

    def __init__(self, text: str, columns: Iterable[str]) -> None:
        self.text, self._columns, self._quoted = text, list(columns), dict[str, str]()
        if len(text) > LONGEST:
            raise UsageProblem(f"--where: longer than {LONGEST} characters")
        try:
            tree = ast.parse(self._as_python(text).strip(), mode="eval")
            self._meaning = self._compile(tree.body)
        except SyntaxError as problem:
            self._refuse(f"is no expression: {problem.msg}")
        except (RecursionError, MemoryError, ValueError) as problem:
            self._refuse(f"cannot be read: {problem}")

    def holds(self, row: Row) -> bool:
        """Whether the model with these facts is meant.

        Raises:
            UsageProblem: a value is of a kind that the expression cannot use.
        """
        return self._truth(self._meaning(row), self.text)

    # parsing ----------------------------------------------------------------------------------------------------------

    def _as_python(self, text: str) -> str:
        """``&``, ``|``, ``~`` bind as ``and``, ``or``, ``not``, as pandas has it; names in backticks become plain."""

        def replaced(match: re.Match[str]) -> str:
            chunk = match[0]
            if chunk[0] == "`":
                name = f"quoted_column_{len(self._quoted)}"
                self._quoted[name] = chunk[1:-1]
                return name
            return _WORDS.get(chunk, chunk)

        return _CHUNK.sub(replaced, text)

    def _compile(self, node: ast.expr) -> Meaning:
        if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, (str, int, float))):
            return lambda row: node.value
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            parts = [self._compile(part) for part in node.elts]
            return lambda row: [part(row) for part in parts]
        if isinstance(node, (ast.Name, ast.Attribute)):
            return self._column(node)
        if isinstance(node, ast.BoolOp):
            sides = [(self._compile(side), ast.unparse(side)) for side in node.values]
            every = all if isinstance(node.op, ast.And) else any
            return lambda row: every(self._truth(side(row), text) for side, text in sides)
        if isinstance(node, ast.UnaryOp):
            return self._unary(node)
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            left, right, compute = self._compile(node.left), self._compile(node.right), _ARITHMETIC[type(node.op)]
            return lambda row: self._computed(compute, left(row), right(row), node)
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        self._refuse(f"{shown(ast.unparse(node), 60)!r} is not allowed; allowed are {ALLOWED}")

    def _column(self, node: ast.Name | ast.Attribute) -> Meaning:
        name = ast.unparse(node)  # dotted for values inside groups of a config
        name = self._quoted.get(name, name)
        if name not in self._columns:
            near = difflib.get_close_matches(name, self._columns, 3)
            hint = f"did you mean {listed(near)}?" if near else f"known: {listed(sorted(self._columns), most=60)}"
            self._refuse(f"no column {shown(name)!r}; {hint}")
        return lambda row: row.get(name)

    def _unary(self, node: ast.UnaryOp) -> Meaning:
        inner, text = self._compile(node.operand), ast.unparse(node.operand)
        if isinstance(node.op, ast.Not):
            return lambda row: not self._truth(inner(row), text)
        if isinstance(node.op, ast.USub):
            return lambda row: self._computed(operator.sub, 0, inner(row), node)
        return lambda row: self._computed(operator.add, 0, inner(row), node)

    def _comparison(self, node: ast.Compare) -> Meaning:
        sides = [self._compile(side) for side in (node.left, *node.comparators)]

        def meaning(row: Row) -> bool:
            values = [side(row) for side in sides]
            return all(
                self._compared(kind, one, other, node)
                for kind, one, other in zip(node.ops, values, values[1:], strict=False)
            )

        return meaning

    def _call(self, node: ast.Call) -> Meaning:
        method = node.func
        if not isinstance(method, ast.Attribute) or node.keywords:
            self._refuse(f"{shown(ast.unparse(node), 60)!r} is not allowed; allowed are {ALLOWED}")
        arguments = [self._compile(argument) for argument in node.args]
        of_text = isinstance(method.value, ast.Attribute) and method.value.attr == "str"
        known = {name: count for name, (count, _) in _TEXT_METHODS.items()} if of_text else _METHODS
        if known.get(method.attr) != len(arguments):
            self._refuse(f"{shown(ast.unparse(node), 60)!r} is not allowed; allowed are {ALLOWED}")
        if of_text:
            assert isinstance(method.value, ast.Attribute)  # noqa: S101 - for the type checker
            value = self._compile(method.value.value)
            return lambda row: self._of_text(method.attr, value(row), [a(row) for a in arguments], node)
        value = self._compile(method.value)
        return lambda row: self._of_column(method.attr, value(row), [a(row) for a in arguments], node)

    # meaning ----------------------------------------------------------------------------------------------------------

    def _truth(self, value: Any, text: str) -> bool:
        if _missing(value):
            return False
        if not isinstance(value, bool):
            self._refuse(f"{shown(text, 60)!r} is {shown(value, 40)!r}, neither true nor false; compare it")
        return value

    def _compared(self, kind: ast.cmpop, one: Any, other: Any, node: ast.AST) -> bool:
        if isinstance(kind, (ast.In, ast.NotIn)):
            return self._within(one, other, node) is isinstance(kind, ast.In)
        if isinstance(kind, (ast.Eq, ast.NotEq, ast.Is, ast.IsNot)):
            return _equal(one, other) is isinstance(kind, (ast.Eq, ast.Is))
        if _missing(one) or _missing(other):
            return False
        try:
            return bool(_ORDER[type(kind)](one, other))
        except TypeError:
            self._refuse(f"{shown(ast.unparse(node), 60)!r}: {_kind(one)} and {_kind(other)} have no order")

    def _within(self, one: Any, other: Any, node: ast.AST) -> bool:
        if _missing(other):
            return False
        if isinstance(other, str) and isinstance(one, str):
            return one in other
        if not isinstance(other, (list, tuple)):
            self._refuse(f"{shown(ast.unparse(node), 60)!r}: nothing is in {_kind(other)}")
        wanted = one if isinstance(one, (list, tuple)) else [one]
        return any(_equal(value, element) for value in wanted for element in other)

    def _of_column(self, method: str, value: Any, arguments: Sequence[Any], node: ast.AST) -> bool:
        if method == "isin":
            return self._within(value, arguments[0], node)
        if method == "between":
            low, high = arguments
            return self._compared(ast.LtE(), low, value, node) and self._compared(ast.LtE(), value, high, node)
        return _missing(value) is method.startswith("is")

    def _of_text(self, method: str, value: Any, arguments: Sequence[Any], node: ast.AST) -> Any:
        if _missing(value):
            return None
        if not isinstance(value, str) or not all(isinstance(argument, str) for argument in arguments):
            self._refuse(f"{shown(ast.unparse(node), 60)!r}: .str needs text, found {_kind(value)}")
        try:
            return _TEXT_METHODS[method][1](value, *arguments)
        except re.error as problem:
            self._refuse(f"{shown(ast.unparse(node), 60)!r}: is no regular expression: {problem}")

    def _computed(self, compute: Callable[[Any, Any], Any], one: Any, other: Any, node: ast.AST) -> Any:
        if _missing(one) or _missing(other):
            return None
        if not all(isinstance(value, (int, float)) for value in (one, other)):
            self._refuse(f"{shown(ast.unparse(node), 60)!r}: cannot calculate with {_kind(one)} and {_kind(other)}")
        try:
            return compute(one, other)
        except (ZeroDivisionError, OverflowError):
            return None

    def _refuse(self, finding: str) -> NoReturn:
        raise UsageProblem(f"--where {shown(self.text, 80)!r}: {finding}") from None


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _equal(one: Any, other: Any) -> bool:
    """As pandas has it: a scalar equals a list that it is in."""
    if _missing(one) or _missing(other):
        return _missing(one) and _missing(other)
    if isinstance(one, (list, tuple)) != isinstance(other, (list, tuple)):
        scalar, several = (other, one) if isinstance(one, (list, tuple)) else (one, other)
        return any(_equal(scalar, element) for element in several)
    if isinstance(one, (list, tuple)):
        return list(one) == list(other)
    return bool(one == other)


def _kind(value: Any) -> str:
    names = {
        str: "text",
        bool: "a truth value",
        list: "a list",
        tuple: "a list",
        dict: "a group",
        type(None): "nothing",
    }
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)
