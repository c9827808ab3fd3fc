"""The stack, marks and memo of a pickle, holding inert nodes and counting what they cost."""

from __future__ import annotations

from .budget import Budget
from .nodes import Call, DictNode, Inert, Instance, Objection, SetNode, deeper_than


class NodeStack:
    """The data half of the pickle machine: values and containers. Every misuse raises :class:`Objection`.

    What is spent of ``budget`` stays spent over several pickles; :meth:`clear` empties the rest between them.

    Attributes:
        push_known: put a constant on the stack, which costs nothing but its instruction.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._nodes, self._text = budget.nodes, budget.text_bytes
        self._values: list[Inert] = []
        self._groups: list[int] = []  # how many values there were when each open group began
        self._floor = 0  # the last of these
        self._memo: dict[int, Inert] = {}
        self._dropped: list[Inert] = []
        self.push_known = self._values.append

    def clear(self) -> None:
        """Forget all values, groups and memo entries."""
        self._values.clear()
        self._groups.clear()
        self._floor = 0
        self._memo.clear()
        self._dropped.clear()

    def finish(self) -> Inert:
        """The one value that a complete pickle leaves, after a check of how deep it and all dropped values nest."""
        root = self.pop()
        if self._values or self._groups:
            raise Objection("leaves values behind on its stack")
        if deeper_than((root, *self._dropped), self.budget.depth + 1):
            raise Objection(f"containers nested deeper than the budget, depth={self.budget.depth}")
        return root

    # Values

    def push(self, node: Inert) -> None:
        """Put a new node on the stack."""
        self._nodes -= 1
        if self._nodes < 0:
            self.spend(0)
        self._values.append(node)

    def push_text(self, text: str | bytes) -> None:
        """Put a string on the stack."""
        self.spend_text(len(text))
        if isinstance(text, str) and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise Objection("text with lone surrogates") from None
        self._values.append(text)

    def spend(self, nodes: int) -> None:
        """Charge ``nodes`` nodes or copied items."""
        self._nodes -= nodes
        if self._nodes < 0:
            raise Objection(f"more values than the budget, nodes={self.budget.nodes}")

    def spend_text(self, size: int) -> None:
        """Charge ``size`` bytes of text."""
        self._text -= size
        if self._text < 0:
            raise Objection(f"more text than the budget, text_bytes={self.budget.text_bytes}")

    def pop(self) -> Inert:
        """Take the top value of the innermost group."""
        if len(self._values) <= self._floor:
            raise Objection("takes a value from an empty stack")
        return self._values.pop()

    def pop_many(self, count: int) -> list[Inert]:
        """Take the top ``count`` values, lowest first."""
        start = len(self._values) - count
        if start < self._floor:
            raise Objection("takes a value from an empty stack")
        items = self._values[start:]
        del self._values[start:]
        return items

    def top(self) -> Inert:
        """The top value of the innermost group, left in place."""
        if len(self._values) <= self._floor:
            raise Objection("takes a value from an empty stack")
        return self._values[-1]

    def mark(self) -> None:
        """Open a group."""
        self._floor = len(self._values)
        self._groups.append(self._floor)
        if len(self._groups) > self.budget.depth:
            raise Objection(f"containers nested deeper than the budget, depth={self.budget.depth}")

    def marked(self) -> list[Inert]:
        """Close the innermost group and take its values."""
        if not self._groups:
            raise Objection("a closing instruction without a mark")
        start = self._groups.pop()
        self._floor = self._groups[-1] if self._groups else 0
        items = self._values[start:]
        del self._values[start:]
        return items

    def drop(self) -> None:
        """``POP``: discard the top value; where the innermost group is empty, close it."""
        if self._groups and len(self._values) == self._floor:
            self.marked()
        else:
            self._dropped.append(self.pop())

    def drop_marked(self) -> None:
        """``POP_MARK``: discard the innermost group."""
        self._dropped += self.marked()

    def duplicate(self) -> None:
        """``DUP``."""
        self.push(self.top())

    def memoise(self, index: int) -> None:
        """Remember the top value under a number."""
        if len(self._values) <= self._floor:
            raise Objection("takes a value from an empty stack")
        self._memo[index] = self._values[-1]

    def memoise_next(self) -> None:
        """Remember the top value under the next number, as ``MEMOIZE`` does."""
        self.memoise(len(self._memo))

    def recall(self, index: int) -> None:
        """Push what was remembered."""
        if index not in self._memo:
            raise Objection(f"refers to memo {index}, which is not set")
        self._values.append(self._memo[index])

    # Containers

    def append(self) -> None:
        """``APPEND``."""
        self._extend([self.pop()])

    def appends(self) -> None:
        """``APPENDS``."""
        self._extend(self.marked())

    def _extend(self, items: list[Inert]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, (Instance, Call)):
            target.items.extend(items)
        else:
            raise Objection("appends to something that is not a list")

    def add_items(self) -> None:
        """``ADDITEMS``."""
        items, target = self.marked(), self.top()
        if not isinstance(target, SetNode):
            raise Objection("adds to something that is not a set")
        target.items.extend(items)

    def set_item(self) -> None:
        """``SETITEM``."""
        self._assign(self.pop_many(2))

    def set_items(self) -> None:
        """``SETITEMS``."""
        self._assign(self.marked())

    def dict_from_mark(self) -> None:
        """``DICT``."""
        items = self.marked()
        self.push(DictNode())
        self._assign(items)

    def _assign(self, flat: list[Inert]) -> None:
        target = self.top()
        if len(flat) % 2:
            raise Objection("a dict entry without a value")
        self.spend(len(flat) // 2)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        if isinstance(target, DictNode):
            target.pairs.extend(pairs)
        elif isinstance(target, Instance):
            target.items.extend(pairs)
        else:
            raise Objection("sets an item of something that is not a dict")
