"""Reads a pickle's instructions into inert nodes with an explicit stack. Nothing is imported, nothing is called.

The instructions come from :func:`pickletools.genops`, which only decodes them. What is understood is a closed set: the
instructions that protocols 2 to 4 need for objects, without the ones (``INST``, ``OBJ``, ``EXT*``, text persistent ids,
out-of-band buffers) that no PyTorch writer emits.
"""

from __future__ import annotations

import mmap
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final, NoReturn, cast

from ..errors import RefusedArchive, shown
from .budget import Budget
from .calls import BUILDABLE_CALLS, call, instance
from .names import canonical, objection
from .nodes import Call, DictNode, Global, Inert, Instance, Objection, SetNode, StorageRef
from .rebuild import is_count, storage_kind
from .stack import NodeStack
from .window import Window

_CONSTANTS: Final[dict[str, Inert]] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS: Final = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"})
_TEXTS: Final = frozenset(
    {
        "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINSTRING",
        "SHORT_BINSTRING",
    }
)  # fmt: skip
_TUPLES: Final = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS: Final = frozenset({"BINPUT", "LONG_BINPUT"})
_GETS: Final = frozenset({"BINGET", "LONG_BINGET"})
_INT_BITS: Final = 8 * 255
_NAMES: Final = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}


class PickleReader:
    """Reads the pickles of one file; counts against one budget and collects the names and storages that they mention.

    Attributes:
        globals: every ``module.name`` met so far.
        storages: every storage met so far, by its key in the file.
    """

    def __init__(self, path: Path, data: mmap.mmap, budget: Budget) -> None:
        self.path, self.budget = path, budget
        self.globals: set[str] = set()
        self.storages: dict[str, StorageRef] = {}
        self._data = data
        self._opcodes = budget.opcodes
        self._persistent = False
        self._stack = stack = NodeStack(budget)
        self._actions: dict[str, Callable[[], None]] = {
            "STOP": lambda: None, "PROTO": lambda: None, "FRAME": lambda: None, "MEMOIZE": stack.memoise,
            "MARK": stack.mark, "POP": stack.drop, "POP_MARK": stack.drop_marked, "DUP": stack.duplicate,
            "EMPTY_LIST": lambda: stack.push([]), "LIST": lambda: stack.push(stack.marked()),
            "EMPTY_DICT": lambda: stack.push(DictNode()), "DICT": stack.dict_from_mark,
            "EMPTY_SET": lambda: stack.push(SetNode()), "FROZENSET": lambda: stack.push(SetNode(stack.marked())),
            "TUPLE": lambda: stack.push(tuple(stack.marked())),
            "APPEND": stack.append, "APPENDS": stack.appends, "ADDITEMS": stack.add_items,
            "SETITEM": stack.set_item, "SETITEMS": stack.set_items,
            "STACK_GLOBAL": self._stack_global, "REDUCE": self._reduce, "BUILD": self._build,
            "NEWOBJ": self._new, "NEWOBJ_EX": self._new_ex, "BINPERSID": self._load_persistent,
        }  # fmt: skip
        self._known = {*self._actions, *_CONSTANTS, *_NUMBERS, *_TEXTS, *_TUPLES, *_PUTS, *_GETS, "GLOBAL"}

    def read(self, start: int, stop: int, where: str, persistent: bool = False) -> tuple[Inert, int]:
        """Read the one pickle that begins at byte ``start`` and must end before ``stop``.

        ``where`` names it in messages; ``persistent`` allows persistent ids (storages and module classes).

        Returns:
            The root node, and the offset just behind the pickle.

        Raises:
            RefusedArchive: anything that is not a plain, complete, affordable description of data.
        """
        self._persistent = persistent
        window = Window(self._data, start, stop, self.budget)
        decoded = pickletools.genops(cast(IO[bytes], window))
        at, name = start, "start"
        try:
            while name != "STOP":
                at = window.tell()
                code = window.peek()
                name = "end of the data" if code is None else _NAMES.get(code, f"unknown instruction {code:#04x}")
                # Asked before genops decodes the argument: some old text instructions decode in costly or noisy ways.
                if code is not None and name not in self._known:
                    raise Objection(f"uses the pickle instruction {name}, which PyTorch does not write")
                _, arg, _ = next(decoded)
                self._step(name, arg)
            return self._stack.finish(), at + 1
        except Objection as problem:
            self._refuse(str(problem), where, name, at - start)
        except (ValueError, ArithmeticError, LookupError, RecursionError) as problem:
            self._refuse(f"damaged pickle: {shown(problem, 120)}", where, name, at - start)
        except MemoryError:
            self._refuse("not enough memory to read it", where, name, at - start)
        finally:
            self._stack.clear()

    def _refuse(self, problem: str, where: str, opcode: str, offset: int) -> NoReturn:
        raise RefusedArchive(self.path, problem, f"{where}, byte {offset}, {opcode}") from None

    def _step(self, name: str, arg: object) -> None:
        self._opcodes -= 1
        if self._opcodes < 0:
            raise Objection(f"more instructions than the budget, opcodes={self.budget.opcodes}")
        stack = self._stack
        action = self._actions.get(name)
        if action is not None:
            action()
        elif name in _PUTS and isinstance(arg, int):
            stack.memoise(arg)
        elif name in _GETS and isinstance(arg, int):
            stack.recall(arg)
        elif name in _TEXTS and isinstance(arg, (str, bytes)):
            stack.push_text(arg)
        elif name in _CONSTANTS:
            stack.push_known(_CONSTANTS[name])
        elif name in _NUMBERS:
            if isinstance(arg, int) and arg.bit_length() > _INT_BITS:
                raise Objection("an integer of absurd size")
            stack.push_known(arg)
        elif name in _TUPLES:
            stack.push(tuple(stack.pop_many(_TUPLES[name])))
        elif isinstance(arg, str):  # GLOBAL
            module, _, attribute = arg.partition(" ")
            self._push_global(module, attribute)

    def _push_global(self, module: str, name: str) -> None:
        reason = objection(module, name)
        if reason is not None:
            raise Objection(reason)
        node = Global(module, name)
        self.globals.add(node.path)
        self._stack.push(node)

    def _stack_global(self) -> None:
        module, name = self._stack.pop_many(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise Objection("a global whose name is not text")
        self._push_global(module, name)

    def _reduce(self) -> None:
        func, args = self._stack.pop_many(2)
        if not isinstance(func, Global):
            raise Objection("calls something that is not a plain name; nothing was run")
        if not isinstance(args, tuple):
            raise Objection(f"calls {func.path} with arguments that are not a tuple; nothing was run")
        result = call(func, args, self._stack.spend, self._stack.spend_text)
        if isinstance(result, Global):
            self.globals.add(result.path)
        self._stack.push(result)

    def _new(self) -> None:
        cls, args = self._stack.pop_many(2)
        if not isinstance(args, tuple):
            raise Objection("makes an instance with arguments that are not a tuple")
        self._stack.push(instance(cls, args))

    def _new_ex(self) -> None:
        cls, args, keywords = self._stack.pop_many(3)
        if not isinstance(args, tuple) or not isinstance(keywords, DictNode):
            raise Objection("makes an instance with arguments that are not a tuple and a dict")
        self._stack.spend(len(args))
        self._stack.push(instance(cls, (*args, keywords) if keywords.pairs else args))

    def _build(self) -> None:
        state, target = self._stack.pop(), self._stack.top()
        twice = "sets the attributes of one object twice"
        if isinstance(target, DictNode) and target.kind == "OrderedDict" and isinstance(state, DictNode):
            if target.attributes is not None:
                raise Objection(twice)
            target.attributes = state
        elif isinstance(target, Instance) or (
            isinstance(target, Call) and canonical(target.func.module, target.func.name) in BUILDABLE_CALLS
        ):
            if target.built:
                raise Objection(twice)
            target.state, target.built = state, True
        else:
            what = target.path if isinstance(target, Global) else f"a {type(target).__name__}"
            raise Objection(f"sets attributes of {what}, which is not an object of the model; nothing was run")

    def _load_persistent(self) -> None:
        pid = self._stack.pop()
        if not self._persistent:
            raise Objection("a persistent id where none belongs")
        if not isinstance(pid, tuple) or not pid or not isinstance(pid[0], str):
            raise Objection("a persistent id that is not a tuple with a kind")
        if pid[0] == "module" and len(pid) == 4 and isinstance(pid[1], Global):
            self._stack.push(pid[1])
        elif pid[0] == "storage" and len(pid) in (5, 6):
            self._stack.push(self._storage(pid))
        else:
            raise Objection("a persistent id of an unknown kind")

    def _storage(self, pid: tuple[Inert, ...]) -> StorageRef:
        dtype, untyped = storage_kind(pid[1])
        key, location, numel = pid[2:5]
        if type(key) is int and abs(key) < 2**64:
            key = str(key)
        if not isinstance(key, str) or not isinstance(location, str) or len(key) > 256 or len(location) > 256:
            raise Objection("a storage whose key or location is not a short text")
        if not isinstance(numel, int) or not is_count(numel):
            raise Objection("a storage whose length is not a number from 0 to 2**62")
        if len(pid) == 6 and pid[5] is not None:
            raise Objection("a storage that is a view of another (written before PyTorch 0.4), which is not supported")
        known = self.storages.get(key)
        if known is None:
            known = self.storages[key] = StorageRef(key, dtype, numel, location, untyped)
        elif (known.dtype, known.untyped, known.numel) != (dtype, untyped, numel):
            raise Objection(f"storage {shown(key, 40)} is described in two ways")
        return known
