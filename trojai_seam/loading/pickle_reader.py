"""Reads a pickle's instructions into inert nodes with an explicit stack. Nothing is imported, nothing is called.

What is understood is a closed set: the instructions that protocols 2 to 4 need for objects, without the ones (``INST``,
``OBJ``, ``EXT*``, text persistent ids, out-of-band buffers) that no PyTorch writer emits. That, and not who cuts an
argument out of the bytes, is what makes reading safe. ``pickletools.genops`` would cut them too, with three calls and a
copy for each of the 28,000 instructions of a ResNet-50; its table still says which instructions there are, and a test
compares the arguments with what it reads.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Any, Final, NamedTuple, NoReturn

from ..errors import RefusedArchive, shown
from .budget import Budget
from .calls import BUILDABLE_CALLS, call, instance
from .model_file import ModelFile
from .names import canonical, objection
from .nodes import Call, DictNode, Global, Inert, Instance, Objection, SetNode, StorageRef
from .rebuild import is_count, storage_kind
from .stack import NodeStack
from .window import Window

_CONSTANTS: Final[dict[str, Inert]] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES: Final = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_INT_BITS: Final = 8 * 255
_MOST_OBJECTIONS: Final = 20
_CODES: Final = {opcode.name: ord(opcode.code) for opcode in pickletools.opcodes}
_NAMES: Final = {code: name for name, code in _CODES.items()}
#: Instructions with an argument of fixed size.
_FIXED: Final = {
    "PROTO": "<B", "FRAME": "<Q", "BININT": "<i", "BININT1": "<B", "BININT2": "<H", "BINFLOAT": ">d",
    "BINPUT": "<B", "LONG_BINPUT": "<I", "BINGET": "<B", "LONG_BINGET": "<I",
}  # fmt: skip
#: Instructions with an argument behind its size: how the size is written.
_COUNTED: Final = {
    "LONG1": "<B", "LONG4": "<i", "SHORT_BINUNICODE": "<B", "BINUNICODE": "<I", "BINUNICODE8": "<Q",
    "SHORT_BINBYTES": "<B", "BINBYTES": "<I", "BINBYTES8": "<Q", "SHORT_BINSTRING": "<B", "BINSTRING": "<i",
}  # fmt: skip


class _Instruction(NamedTuple):
    """One instruction of the closed set.

    Attributes:
        act: what it does, with its argument if it has one.
        size: bytes of the number behind its code, 0 if there is none.
        unpack: reads that number.
        counted: whether the number is the size of the argument, which follows; else it is the argument.
    """

    name: str
    act: Callable[..., object]
    size: int
    unpack: Callable[[bytes, int], tuple[Any, ...]]
    counted: bool


class PickleReader:
    """Reads the pickles of one file; counts against one budget and collects the names and storages that they mention.

    Attributes:
        describing: keep calls that are not known as inert nodes, instead of refusing the file at the first of them.
        objections: why the file would have been refused, in the order of the file; empty unless ``describing``.
        globals: every ``module.name`` met so far.
        storages: every storage met so far, by its key in the file.
    """

    def __init__(self, file: ModelFile, budget: Budget, describing: bool = False) -> None:
        self.path, self.budget = file.path, budget
        self.describing = describing
        self.objections: dict[str, None] = {}
        self.globals: set[str] = set()
        self.storages: dict[str, StorageRef] = {}
        self._file = file
        self._opcodes = budget.opcodes
        self._persistent = False
        self._stack = stack = NodeStack(budget)
        actions: dict[str, Callable[..., object]] = {
            "STOP": lambda: None, "PROTO": lambda _: None, "FRAME": lambda _: None,
            "MARK": stack.mark, "POP": stack.drop, "POP_MARK": stack.drop_marked, "DUP": stack.duplicate,
            "EMPTY_LIST": lambda: stack.push([]), "LIST": lambda: stack.push(stack.marked()),
            "EMPTY_DICT": lambda: stack.push(DictNode()), "DICT": stack.dict_from_mark,
            "EMPTY_SET": lambda: stack.push(SetNode()), "FROZENSET": lambda: stack.push(SetNode(stack.marked())),
            "TUPLE": lambda: stack.push(tuple(stack.marked())),
            "APPEND": stack.append, "APPENDS": stack.appends, "ADDITEMS": stack.add_items,
            "SETITEM": stack.set_item, "SETITEMS": stack.set_items,
            "STACK_GLOBAL": self._stack_global, "REDUCE": self._reduce, "BUILD": self._build,
            "NEWOBJ": self._new, "NEWOBJ_EX": self._new_ex, "BINPERSID": self._load_persistent,
            **{name: partial(stack.push_known, value) for name, value in _CONSTANTS.items()},
            **{name: partial(self._tuple, count) for name, count in _TUPLES.items()},
            **dict.fromkeys(("BININT", "BININT1", "BININT2", "BINFLOAT"), stack.push_known),
            **dict.fromkeys(("LONG1", "LONG4"), self._long),
            **dict.fromkeys(("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), self._unicode),
            **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"), stack.push_text),
            **dict.fromkeys(("SHORT_BINSTRING", "BINSTRING"), self._old_string),
            "MEMOIZE": stack.memoise_next, **dict.fromkeys(("BINPUT", "LONG_BINPUT"), stack.memoise),
            **dict.fromkeys(("BINGET", "LONG_BINGET"), stack.recall),
            "GLOBAL": self._push_global,
        }  # fmt: skip
        self._instructions: list[_Instruction | None] = [None] * 256
        for name, act in actions.items():
            number = Struct(_FIXED.get(name) or _COUNTED.get(name) or "<")
            entry = _Instruction(name, act, number.size, number.unpack_from, name in _COUNTED)
            self._instructions[_CODES[name]] = entry

    def read(self, start: int, stop: int, where: str, persistent: bool = False) -> tuple[Inert, int]:
        """Read the one pickle that begins at byte ``start`` and must end before ``stop``.

        ``where`` names it in messages; ``persistent`` allows persistent ids (storages and module classes).

        Returns:
            The root node, and the offset just behind the pickle.

        Raises:
            RefusedArchive: anything that is not a plain, complete, affordable description of data.
        """
        self._persistent = persistent
        window = Window(self._file, start, stop, self.budget)
        instructions = self._instructions
        data, have = b"", 0  # as much of the pickle as was read
        at = following = 0  # this instruction and the next
        name = "start"
        try:
            while name != "STOP":
                at = following
                if at >= have:
                    data = window.reach(at + 1)
                    have = len(data)
                instruction = instructions[data[at]]
                # Before its argument is decoded: some old text instructions decode in costly or noisy ways.
                if instruction is None:
                    name = _NAMES.get(data[at], f"unknown instruction {data[at]:#04x}")
                    raise Objection(f"uses the pickle instruction {name}, which PyTorch does not write")
                name, act, size, unpack, counted = instruction
                self._opcodes -= 1
                if self._opcodes < 0:
                    raise Objection(f"more instructions than the budget, opcodes={self.budget.opcodes}")
                following = at + 1 + size
                if following > have:
                    data = window.reach(following)
                    have = len(data)
                if counted:
                    (length,) = unpack(data, at + 1)
                    argument = window.text(following, length)
                    following += length
                    act(argument)
                elif size:
                    act(unpack(data, at + 1)[0])
                elif name == "GLOBAL":
                    module, attribute = window.line(following), b""
                    following += len(module)
                    attribute = window.line(following)
                    following += len(attribute)
                    act(module[:-1].decode("ascii"), attribute[:-1].decode("ascii"))
                else:
                    act()
            return self._stack.finish(), start + following
        except Objection as problem:
            self._refuse(str(problem), where, name, at)
        except EOFError as problem:
            self._refuse(f"damaged pickle: {problem}", where, "end of the data", at)
        except (ValueError, ArithmeticError, LookupError, RecursionError) as problem:
            self._refuse(f"damaged pickle: {shown(problem, 120)}", where, name, at)
        except MemoryError:
            self._refuse("not enough memory to read it", where, name, at)
        finally:
            self._stack.clear()

    def _object(self, problem: str) -> None:
        """To a call that nobody here knows, but that can be kept as it stands.

        Raises:
            Objection: unless the file is only described.
        """
        if not self.describing:
            raise Objection(problem)
        if len(self.objections) < _MOST_OBJECTIONS:
            self.objections[problem] = None

    def _refuse(self, problem: str, where: str, opcode: str, offset: int) -> NoReturn:
        raise RefusedArchive(self.path, problem, f"{where}, byte {offset}, {opcode}") from None

    def _long(self, raw: bytes) -> None:
        value = int.from_bytes(raw, "little", signed=True)
        if value.bit_length() > _INT_BITS:
            raise Objection("an integer of absurd size")
        self._stack.push_known(value)

    def _unicode(self, raw: bytes) -> None:
        self._stack.push_text(raw.decode("utf-8", "surrogatepass"))

    def _old_string(self, raw: bytes) -> None:
        self._stack.push_text(raw.decode("latin-1"))

    def _tuple(self, count: int) -> None:
        self._stack.push(tuple(self._stack.pop_many(count)))

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
        try:
            result = call(func, args, self._stack.spend, self._stack.spend_text)
        except Objection as problem:
            self._object(str(problem))
            result = Call(func, args)
        if isinstance(result, Global):
            self.globals.add(result.path)
        self._stack.push(result)

    def _new(self) -> None:
        cls, args = self._stack.pop_many(2)
        if not isinstance(args, tuple):
            raise Objection("makes an instance with arguments that are not a tuple")
        self._stack.push(self._instance(cls, args))

    def _new_ex(self) -> None:
        cls, args, keywords = self._stack.pop_many(3)
        if not isinstance(args, tuple) or not isinstance(keywords, DictNode):
            raise Objection("makes an instance with arguments that are not a tuple and a dict")
        self._stack.spend(len(args))
        self._stack.push(self._instance(cls, (*args, keywords) if keywords.pairs else args))

    def _instance(self, cls: Inert, args: tuple[Inert, ...]) -> Inert:
        try:
            return instance(cls, args)
        except Objection as problem:
            if not isinstance(cls, Global):
                raise
            self._object(str(problem))
            return Call(cls, args)

    def _build(self) -> None:
        state, target = self._stack.pop(), self._stack.top()
        twice = "sets the attributes of one object twice"
        if isinstance(target, DictNode) and target.kind == "OrderedDict" and isinstance(state, DictNode):
            if target.attributes is not None:
                raise Objection(twice)
            target.attributes = state
        elif isinstance(target, Instance) or (
            isinstance(target, Call)
            and (self.describing or canonical(target.func.module, target.func.name) in BUILDABLE_CALLS)
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
            try:
                kind = storage_kind(pid[1])
            except Objection as problem:
                self._object(str(problem))
                self._stack.push(Call(Global("torch", "storage"), ()))
            else:
                self._stack.push(self._storage(pid, *kind))
        else:
            raise Objection("a persistent id of an unknown kind")

    def _storage(self, pid: tuple[Inert, ...], dtype: str, untyped: bool) -> StorageRef:
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
