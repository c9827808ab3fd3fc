from __future__ import annotations

import contextlib
import io
import os
import pickle
import pickletools
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.loading.handmade import (
    APPEND,
    APPENDS,
    BUILD,
    DICT,
    DUP,
    EMPTY_TUPLE,
    FALSE,
    LIST,
    MARK,
    NEWOBJ,
    NEWOBJ_EX,
    NONE,
    ORDERED,
    PERSID,
    POP,
    POP_MARK,
    REDUCE,
    SETITEM,
    SETITEMS,
    STACK_GLOBAL,
    TRUE,
    TUPLE,
    TUPLE1,
    TUPLE2,
    TUPLE3,
    call,
    entries,
    get,
    group,
    module,
    name,
    number,
    put,
    save_legacy,
    save_zip,
    storage,
    tensor,
    text,
    touching,
)  # fmt: skip
from trojai_seam.errors import RefusedArchive
from trojai_seam.loading import Budget, read_model, read_object
from trojai_seam.loading.nodes import DictNode, Global, Instance

STATE = DICT + entries(("w", tensor()))
GETATTR = name("builtins", "getattr")
STANDARD = "Python's standard library"
FROM_TYPE, V2 = name("torch._tensor", "_rebuild_from_type_v2"), name("torch._utils", "_rebuild_tensor_v2")
UNTYPED = storage(16, "UntypedStorage")
Save = Callable[..., Path]


def refusal(path: Path, budget: Budget | None = None) -> str:
    """The one-line message with which ``path`` is refused."""
    with pytest.raises(RefusedArchive) as caught:
        read_model(path, budget)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message.splitlines()) == 1
    assert caught.value.where
    return message


@pytest.fixture(params=[save_zip, save_legacy], ids=["zip", "legacy"])
def save(request: pytest.FixtureRequest) -> Save:
    """Both containers."""
    function: Save = request.param
    return function


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What a payload would create."""
    return tmp_path / "it-ran"


# Every one of these really runs its payload in Python's own unpickler: the first test below makes sure.
PAYLOADS: dict[str, Callable[[Path], bytes]] = {
    "called, then dropped": lambda m: touching(m) + POP + STATE,
    "called inside a group that is dropped": lambda m: MARK + touching(m) + POP_MARK + STATE,
    "as a value of the state dict": lambda m: DICT + entries(("x", touching(m)), ("w", tensor())),
    "as a key": lambda m: DICT + touching(m) + number(1) + SETITEM,
    "in the attributes of an OrderedDict": lambda m: ORDERED + DICT + entries(("_metadata", touching(m))) + BUILD,
    "in the state of a module": lambda m: module(name("argparse", "Namespace"), (("training", touching(m)),)),
    "in a storage id": lambda m: DICT + entries(("w", group(text("storage"), touching(m)) + PERSID)),
    "in backward hooks": lambda m: DICT + entries(("w", group(storage(), FALSE, touching(m)))),
    "through the memo": lambda m: name("os", "mkdir") + put(7) + POP + get(7) + text(str(m)) + TUPLE1 + REDUCE,
    "through STACK_GLOBAL": lambda m: call(text("os") + text("mkdir") + STACK_GLOBAL, text(str(m))),
    "through posix": lambda m: call(name("posix", "mkdir"), text(str(m))),
    "through an alias in another module": lambda m: call(name("pathlib", "os.mkdir"), text(str(m))),
    "by eval": lambda m: call(name("builtins", "eval"), text(f"__import__('os').mkdir({str(m)!r})")),
    "by the old exec": lambda m: call(name("__builtin__", "exec"), text(f"import os; os.mkdir({str(m)!r})")),
    "by getattr": lambda m: call(call(name("builtins", "getattr"), name("pathlib", "os"), text("mkdir")), text(str(m))),
    "by partial": lambda m: call(call(name("functools", "partial"), name("os", "mkdir"), text(str(m)))),
    "by map in a list": lambda m: call(
        name("builtins", "list"), call(name("builtins", "map"), name("os", "mkdir"), LIST + text(str(m)) + APPEND)
    ),
    "by defaultdict": lambda m: call(
        name("collections", "OrderedDict"),
        call(name("builtins", "map"), name("os", "mkdir"), LIST + text(str(m)) + APPEND),
    ),
    "by NEWOBJ": lambda m: name("subprocess", "Popen") + LIST + text("mkdir") + APPEND + text(str(m)) + APPEND + TUPLE1
    + NEWOBJ + POP + touching(m),
    "by INST": lambda m: MARK + text(str(m)) + b"ios\nmkdir\n",
    "by OBJ": lambda m: MARK + name("pathlib", "Path") + text(str(m)) + b"o" + POP + touching(m),
    "by pickle in pickle": lambda m: call(
        name("_pickle", "loads"),
        call(name("_codecs", "encode"), text((b"\x80\x02" + touching(m) + b".").decode("latin-1")), text("latin1")),
    ),
}  # fmt: skip


class Permissive(pickle.Unpickler):
    """Python's own unpickler, with persistent ids let through."""

    def persistent_load(self, pid: Any) -> Any:
        return pid


@pytest.mark.parametrize("case", PAYLOADS)
def test_payload_is_live(case: str, marker: Path) -> None:
    for protocol in (b"\x80\x02", b"\x80\x04"):  # 2 maps the names of Python 2, 4 walks dotted names
        with contextlib.suppress(Exception):  # what follows the payload may fail
            Permissive(io.BytesIO(protocol + PAYLOADS[case](marker) + b".")).load()
    assert marker.exists()


@pytest.mark.parametrize("case", PAYLOADS)
def test_payload_is_refused_and_not_run(case: str, marker: Path, tmp_path: Path, save: Save) -> None:
    refusal(save(tmp_path / "x.pt", PAYLOADS[case](marker)))
    assert not marker.exists()


@pytest.mark.parametrize("part", ["magic", "protocol", "system", "keys"])
def test_payload_in_the_other_pickles_of_a_legacy_file(part: str, marker: Path, tmp_path: Path) -> None:
    message = refusal(save_legacy(tmp_path / "x.pt", STATE, **{part: touching(marker)}))
    assert STANDARD in message
    assert not marker.exists()


def test_payload_behind_stop(marker: Path, tmp_path: Path) -> None:
    assert "follow the end of the pickle" in refusal(save_zip(tmp_path / "x.pt", STATE + b"." + touching(marker)))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (name("torch", "load"), "calls torch.load, which is not part of rebuilding tensors; nothing was run"),
        (name("torch.hub", "load"), "calls torch.hub.load"),
        (name("torch.storage", "_load_from_bytes"), "calls torch.storage._load_from_bytes"),
        (name("numpy", "load"), "calls numpy.load"),
        (name("numpy.testing._private.utils", "runstring"), "calls numpy.testing"),
        (name("torch.utils.collect_env", "run"), "calls torch.utils.collect_env.run"),
        (name("torch.utils._config_module", "load_config"), "calls torch.utils"),
        (name("torch.fx.graph_module", "reduce_graph_module"), "calls torch.fx"),
        (name("nets", "Net"), "calls nets.Net"),
        (name("torch.FloatStorage", "x"), "calls torch.FloatStorage.x"),
        (name("torch._utils", "_rebuild_qtensor"), "quantised"),
        (name("os", "system"), STANDARD),
        (name("nt", "system"), STANDARD),
        (name("commands", "getoutput"), STANDARD),
        (name("builtins", "type"), STANDARD),
        (name("webbrowser", "open"), STANDARD),
        (name("torch", "os.system"), STANDARD),
        (name("torch.serialization", "pickle.loads"), STANDARD),
        (text("x"), "not a plain name"),
        (NONE, "not a plain name"),
        (call(name("builtins", "getattr"), name("nets", "os"), text("system")), "getattr on something that is not"),
        (call(name("builtins", "getattr"), name("torchevil", "os"), text("system")), "getattr on something"),
        (call(name("builtins", "getattr"), module(), text("run")), "getattr on something that is not"),
        (call(name("builtins", "getattr"), name("torch", "nn"), text("__class__")), "internal"),
        (call(name("builtins", "getattr"), name("torch", "nn"), text("os.system")), "dotted|standard"),
        (call(name("builtins", "getattr"), name("torch", "nn"), text("a b")), "not an importable"),
        (
            call(GETATTR, call(GETATTR, name("torch", "x"), text("os")), text("y")),
            "calls torch.x.os.y",
        ),
    ],
)  # fmt: skip
def test_calls_that_are_not_rebuilding_tensors(function: bytes, words: str, tmp_path: Path, save: Save) -> None:
    with pytest.raises(RefusedArchive, match=words):
        read_model(save(tmp_path / "x.pt", call(function, text("x"))))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (name("os", "system"), STANDARD),  # not even called
        (name("builtins", "eval"), STANDARD),
        (name("__builtin__", "compile"), STANDARD),
        (name("torch", "a b"), "not an importable"),
        (name("torch..x", "y"), "not an importable"),
        (name("", "y"), "not an importable"),
        (name("torch", "é"), "damaged pickle"),
        (name("torch", "a\\x62"), "backslash"),
        (b"ctorch\\\n\n", "backslash"),
        (name("torch", "__init__"), "internal"),
        (name("nets.deep", "Net.__subclasses__"), "internal"),
        (name("a" * 300, "y"), "not an importable"),
        (number(1) + text("x") + STACK_GLOBAL, "whose name is not text"),
        (text("torch") + EMPTY_TUPLE + STACK_GLOBAL, "whose name is not text"),
        (name("torch", "Tensor") + DICT + entries(("x", TRUE)) + BUILD, "sets attributes of torch.Tensor"),
        (call(name("torch", "device"), text("cpu")) + DICT + BUILD, "sets attributes of"),
        (DICT + DICT + BUILD, "sets attributes of"),
        (LIST + DICT + BUILD, "sets attributes of a list"),
        (tensor() + DICT + BUILD, "sets attributes of a TensorRef"),
        (ORDERED + number(1) + BUILD, "sets attributes of"),
        (ORDERED + DICT + BUILD + DICT + BUILD, "twice"),
        (module() + DICT + BUILD, "twice"),
        (name("nets", "Net") + LIST + NEWOBJ, "not a tuple"),
        (text("Net") + EMPTY_TUPLE + NEWOBJ, "not a class"),
        (name("torch._utils", "_rebuild_parameter") + EMPTY_TUPLE + NEWOBJ, "not a class of a model"),
        (name("collections", "OrderedDict") + EMPTY_TUPLE + NEWOBJ, "not a class of a model"),
        (name("nets", "Net") + EMPTY_TUPLE + NONE + NEWOBJ_EX, "not a tuple and a dict"),
        (call(name("copyreg", "_reconstructor"), text("x"), NONE, NONE), "without a class"),
        (name("torch", "load") + LIST + REDUCE, "arguments that are not a tuple"),
        (call(name("collections", "OrderedDict"), number(3)), "not a list"),
        (call(name("builtins", "dict"), LIST, LIST), "wrong number"),
        (call(name("builtins", "list"), LIST, LIST), "not a list"),
        (call(name("torch._utils", "_rebuild_tensor"), storage()), "wrong number"),
        (call(name("torch._utils", "_rebuild_tensor_v3"), storage()), "wrong number"),
        (call(name("builtins", "bytearray"), number(2**40)), "Latin-1"),
        (call(FROM_TYPE, name("torch", "load"), name("torch", "Tensor"), EMPTY_TUPLE, NONE), "calls torch.load"),
        (call(FROM_TYPE, FROM_TYPE, name("torch", "Tensor"), EMPTY_TUPLE, NONE), "calls torch._tensor"),
        (call(FROM_TYPE, name("torch", "load"), name("torch", "Tensor")), "wrong arguments"),
        (call(FROM_TYPE, V2, name("torch", "Tensor"), EMPTY_TUPLE, NONE), "wrong number"),
        (call(FROM_TYPE, V2, name("nets", "Sub"), EMPTY_TUPLE, NONE), "of the class nets.Sub"),
        (call(name("collections", "OrderedDict"), LIST + number(3) + APPEND), "not pairs"),
        (call(name("builtins", "set"), name("torch", "x")), "not a list"),
        (call(name("_codecs", "encode"), text("rm"), text("hex")), "Latin-1"),
        (call(name("_codecs", "encode"), text("→"), text("latin1")), "Latin-1"),
        (call(name("builtins", "complex"), text("1j")), "two floats"),
        (NONE + PERSID, "not a tuple"),
        (EMPTY_TUPLE + PERSID, "not a tuple"),
        (group(number(3)) + PERSID, "not a tuple with a kind"),
        (group(text("module"), text("x"), NONE, NONE) + PERSID, "unknown kind"),
        (group(text("magic"), text("x")) + PERSID, "unknown kind"),
        (b"Pstorage\n", "instruction PERSID"),
        (b"\x82\x01", "instruction EXT1"),
        (b"\x97", "instruction NEXT_BUFFER"),
        (b"\x96" + struct.pack("<Q", 1) + b"x", "instruction BYTEARRAY8"),
        (b"I5\n", "instruction INT"),
        (b"g0\n", "instruction GET"),
        (b"\xff", "unknown"),
        (b"\x8b" + struct.pack("<I", 300) + b"\x7f" * 300, "absurd size"),
        (b"X\x02\x00\x00\x00\xed\xa0", "damaged pickle"),
        (b"X\x03\x00\x00\x00\xed\xa0\x80", "surrogate"),
        (b"X" + struct.pack("<I", 2**32 - 1), "declares a string of 4294967295 bytes"),
        (b"\x8d" + struct.pack("<Q", 2**63 - 1), "declares a string"),
        (b"\x8d" + struct.pack("<Q", 2**64 - 1), "damaged pickle|declares"),
        (b"X" + struct.pack("<I", 1000), "damaged pickle"),
        (b"ctorch", "line of text that does not end|damaged"),
        (b"\x8b" + struct.pack("<i", -5), "damaged pickle"),
        (b"", "empty stack"),
        (MARK, "empty stack"),
        (NONE + NONE, "leaves values behind"),
        (MARK + NONE, "leaves values behind"),
        (POP, "empty stack"), (DUP, "empty stack"), (POP_MARK, "without a mark"), (TUPLE, "without a mark"),
        (TUPLE1, "empty stack"), (NONE + TUPLE2, "empty stack"), (MARK + NONE + NONE + TUPLE3, "empty stack"),
        (APPENDS, "without a mark"), (LIST + APPENDS, "without a mark"), (MARK + APPENDS, "empty stack"),
        (SETITEM, "empty stack"), (DICT + MARK + NONE + SETITEMS, "without a value"), (REDUCE, "empty stack"),
        (MARK + NONE + b"d", "without a value"), (NEWOBJ, "empty stack"), (NEWOBJ_EX, "empty stack"),
        (BUILD, "empty stack"), (NONE + BUILD, "empty stack"), (PERSID, "empty stack"), (STACK_GLOBAL, "empty stack"),
        (put(1), "empty stack"), (b"\x94", "empty stack"), (MARK + put(1), "empty stack"), (get(5), "memo 5"),
        (b"\x90", "without a mark"), (MARK + b"\x90", "empty stack"), (LIST + MARK + b"\x90", "not a set"),
        (NONE + NONE + APPEND, "not a list"), (LIST + NONE + NONE + SETITEM, "not a dict"),
    ],
)  # fmt: skip
def test_misuse_of_instructions(body: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedArchive, match=words) as caught:
        read_model(save_zip(tmp_path / "x.pt", body))
    assert "data.pkl" in caught.value.where
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (tensor(offset=-1), "offset"),
        (tensor(offset=1), "reaches to element 4 of a storage of 4"),
        (tensor(offset=2**70), "offset"),
        (tensor(size=(5,)), "reaches to element 4"),
        (tensor(size=(-1,)), "size"),
        (tensor(stride=(-1,)), "stride"),
        (tensor(stride=(2,)), "reaches to element 6"),
        (tensor(size=(2**61,), stride=(2**61,)), "reaches"),
        (tensor(size=(2**61, 2**61), stride=(0, 0)), "overflows"),
        (tensor(size=(0, 2**61, 2**61), stride=(0, 0, 0)), "overflows"),
        (tensor(size=(2, 2)), "differ in length"),
        (tensor(size=(1,) * 33, stride=(1,) * 33), "32 dimensions"),
        (tensor(size=(2**20, 2**20), stride=(0, 0)), "budget"),
        (tensor(of=NONE), "without a storage"),
        (tensor(of=text("storage")), "without a storage"),
        (tensor(tail=FALSE), "wrong number"),
        (tensor(tail=FALSE + ORDERED + DICT + entries(("neg", TRUE))), "negative bit"),
        (tensor(tail=FALSE + ORDERED + name("torch", "float32"), func="_rebuild_tensor_v3"), "untyped"),
        (tensor(of=UNTYPED, tail=FALSE + ORDERED + name("torch", "qint8"), func="_rebuild_tensor_v3"), "unknown dtype"),
        (tensor(of=UNTYPED, tail=FALSE + ORDERED + name("nets", "int8"), func="_rebuild_tensor_v3"), "unknown dtype"),
        (call(name("torch._utils", "_rebuild_tensor"), storage(), number(0), LIST, LIST), "not a tuple"),
        (
            call(name("torch._utils", "_rebuild_tensor"), storage(), number(0), group(text("4")), group(number(1))),
            "something else than numbers",
        ),
        (call(name("torch._utils", "_rebuild_tensor"), storage(), number(0), group(TRUE), group(TRUE)), "else than"),
        (call(name("torch._utils", "_rebuild_parameter"), text("x"), TRUE, ORDERED), "not made from a tensor"),
        (storage(numel=-1), "length is not a number"),
        (storage(numel=2**62), "length is not a number"),
        (storage(numel=2**61), "need 9223372036854775808 bytes, not 16"),
        (storage(numel=3), "need 12 bytes, not 16"),
        (storage(key="1"), "record of storage 1 is missing"),
        (storage(key="../data.pkl"), "is missing"),
        (storage(key="k" * 300), "short text"),
        (storage(kind="QInt8Storage"), "quantised"),
        (storage(kind="Tensor"), "a storage of type torch.Tensor"),
        (storage(more=group(text("0"), number(0), number(4))), "view of another"),
        (storage() + POP + storage(kind="IntStorage"), "two ways"),
        (group(text("storage"), name("nets", "FloatStorage"), text("0"), text("cpu"), number(4)) + PERSID, "of type"),
        (group(text("storage"), NONE, text("0"), text("cpu"), number(4)) + PERSID, "without a class"),
        (group(text("storage"), name("torch", "FloatStorage"), NONE, text("cpu"), number(4)) + PERSID, "short text"),
        (group(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), TRUE) + PERSID, "length"),
    ],
)  # fmt: skip
def test_tensors_and_storages_that_do_not_add_up(value: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedArchive, match=words):
        read_model(save_zip(tmp_path / "x.pt", DICT + entries(("w", value))))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (module(parameters=DICT + entries(("w", number(3)))), "w is not a tensor"),
        (module(parameters=DICT + entries(("a.b", tensor()))), "name 'a.b'"),
        (module(parameters=DICT + entries(("", tensor()))), "name ''"),
        (module(buffers=DICT + entries(("w", tensor())), parameters=DICT + entries(("w", tensor()))), "there twice"),
        (module(modules=DICT + entries(("m", number(3)))), "child m is not a module"),
        (module(modules=DICT + entries(("m", name("nets", "Net") + EMPTY_TUPLE + NEWOBJ))), "child m is not a module"),
        (name("nets", "Net") + EMPTY_TUPLE + NEWOBJ + put(1) + DICT + entries(
            ("_parameters", DICT), ("_buffers", DICT), ("_modules", DICT + entries(("me", get(1))))) + BUILD,
         "a module that contains itself"),
    ],
)  # fmt: skip
def test_module_trees_that_are_none(body: bytes, words: str, tmp_path: Path, save: Save) -> None:
    storages = {} if save is save_zip or b"FloatStorage" in body else {"keys": LIST, "storages": b""}
    with pytest.raises(RefusedArchive, match=words):
        read_model(save(tmp_path / "x.pt", body, **storages))


def doubling(levels: int, seed: bytes, again: Callable[[int], bytes]) -> bytes:
    """A value that refers twice to a value that refers twice to ..."""
    return seed + put(0) + b"".join(again(level) + put(level + 1) for level in range(levels))


def test_billion_laughs_do_not_blow_up(tmp_path: Path) -> None:
    shared_tuple = doubling(200, text("ha") + TUPLE1, lambda level: DUP + TUPLE2)
    begun = time.perf_counter()
    model = read_model(save_zip(tmp_path / "tuple.pt", shared_tuple))
    assert model.kind == "other"
    as_key = DICT + shared_tuple + number(1) + SETITEM
    assert read_model(save_zip(tmp_path / "key.pt", as_key)).kind == "other"
    for where in (
        lambda v: call(name("nets", "Net"), v),
        lambda v: v + PERSID,
        lambda v: tensor(of=v),
        lambda v: v + NONE,
    ):
        refusal(save_zip(tmp_path / "used.pt", where(shared_tuple)))
    assert time.perf_counter() - begun < 5


def test_modules_that_share_children_are_counted_by_path(tmp_path: Path) -> None:
    body = doubling(40, module(), lambda n: POP + module(modules=DICT + entries(("a", get(n)), ("b", get(n)))))
    message = refusal(save_zip(tmp_path / "x.pt", body))
    assert "names=200000" in message
    few = doubling(3, module(), lambda n: POP + module(modules=DICT + entries(("a", get(n)), ("b", get(n)))))
    model = read_model(save_zip(tmp_path / "few.pt", few))
    assert len(model.modules) == 15
    assert list(model.modules)[:4] == ["", "a", "a.a", "a.a.a"]


def test_one_large_module_under_many_paths_is_counted(tmp_path: Path) -> None:
    inner = module(parameters=DICT + MARK + b"".join(text(f"p{i}") + tensor(offset=0) for i in range(300)) + SETITEMS)
    body = inner + put(0) + POP + module(modules=DICT + entries(*((f"m{i}", get(0)) for i in range(100))))
    assert "names=20000" in refusal(save_zip(tmp_path / "x.pt", body), Budget(names=20_000))
    assert len(read_model(save_zip(tmp_path / "x.pt", body)).tensors) == 30_000


def test_modules_that_share_one_large_state_are_counted(tmp_path: Path) -> None:
    nothing = DICT + MARK + b"".join(text(f"n{i}") + NONE for i in range(2000)) + SETITEMS
    state = DICT + entries(("_buffers", DICT), ("_modules", DICT), ("_parameters", nothing)) + put(0) + POP
    child = name("nets", "Net") + EMPTY_TUPLE + NEWOBJ + get(0) + BUILD
    path = save_zip(tmp_path / "x.pt", state + module(modules=DICT + entries(*((f"m{i}", child) for i in range(600)))))
    assert "more attributes of modules" in refusal(path)
    assert len(read_model(path, Budget(nodes=2_000_000)).modules) == 601


def test_modules_with_endless_names(tmp_path: Path) -> None:
    body = module()
    for _ in range(8):
        body = module(modules=DICT + entries(("n" * 250, body)))
    assert "nested deeper" in refusal(save_zip(tmp_path / "x.pt", body))


@pytest.mark.parametrize(
    "body",
    [
        LIST * 100_000 + APPEND * 99_999,
        EMPTY_TUPLE + TUPLE1 * 100_000,
        DICT * 2 + (text("k") + DICT) * 100_000 + SETITEM * 100_000 + NONE + NONE + SETITEM + POP,
        MARK * 100_000 + TUPLE * 100_000,
        # parents first: no container is deep at the time when it is filled
        b"".join(LIST + put(n) for n in range(1000))
        + b"".join(get(n) + get(n + 1) + APPEND + POP for n in range(999)) + POP * 999,
        module(more=(("x", EMPTY_TUPLE + TUPLE1 * 600),)),
        EMPTY_TUPLE + TUPLE1 * 600 + POP + NONE,
    ],
    ids=["lists", "tuples", "dicts", "marks", "parents first", "in a module", "dropped"],
)  # fmt: skip
def test_deep_nesting_is_refused(body: bytes, tmp_path: Path) -> None:
    assert "depth=500" in refusal(save_zip(tmp_path / "x.pt", body))


def test_nesting_within_the_budget_is_read(tmp_path: Path) -> None:
    root = read_object(save_zip(tmp_path / "x.pt", EMPTY_TUPLE + TUPLE1 * 499))
    depth = 1
    while isinstance(root, tuple) and root:
        root, depth = root[0], depth + 1
    assert depth == 500
    assert "depth=9" in refusal(tmp_path / "x.pt", Budget(depth=9))


def test_cycles_are_harmless_outside_the_module_tree(tmp_path: Path) -> None:
    loop = read_object(save_zip(tmp_path / "x.pt", LIST + put(0) + get(0) + APPEND))
    assert isinstance(loop, list)
    assert loop[0] is loop
    child = name("nets", "Net") + EMPTY_TUPLE + NEWOBJ + put(0) + DICT + entries(
        ("_parameters", DICT), ("_buffers", DICT), ("_modules", DICT), ("owner", LIST + get(0) + APPEND)
    ) + BUILD  # fmt: skip
    assert list(read_model(save_zip(tmp_path / "y.pt", child)).modules) == [""]


@pytest.mark.parametrize(
    ("body", "budget", "words"),
    [
        (NONE + (NONE + POP) * 100, Budget(opcodes=100), "opcodes=100"),
        (LIST + (LIST + APPEND) * 100, Budget(nodes=100), "nodes=100"),
        (LIST + (text("x" * 10) + APPEND) * 11, Budget(text_bytes=100), "text_bytes=100"),
        (text("x" * 101), Budget(string_bytes=100), "string_bytes=100"),
        (LIST + (text("x" * 10) + APPEND) * 100, Budget(pickle_bytes=500), "pickle_bytes=500"),
        # copies of one long list, and of one long text
        (LIST + MARK + NONE * 50 + APPENDS + put(0) + (call(name("builtins", "tuple"), get(0)) + POP) * 50,
         Budget(nodes=2000), "nodes=2000"),
        (text("x" * 50) + put(0) + (call(name("_codecs", "encode"), get(0), text("latin1")) + POP) * 50,
         Budget(text_bytes=2000), "text_bytes=2000"),
        (group(*[NONE] * 50) + put(0) + (name("n", "N") + get(0) + DICT + entries(("k", NONE)) + NEWOBJ_EX + POP) * 50,
         Budget(nodes=2000), "nodes=2000"),
    ],
)  # fmt: skip
def test_every_budget_is_kept(body: bytes, budget: Budget, words: str, tmp_path: Path) -> None:
    path = save_zip(tmp_path / "x.pt", body)
    assert words in refusal(path, budget)
    assert read_model(path).kind == "other"


def test_the_budget_of_instructions_covers_all_pickles_of_a_legacy_file(tmp_path: Path) -> None:
    path = save_legacy(tmp_path / "x.pt", STATE)
    longest = sum(1 for _ in pickletools.genops(b"\x80\x02" + STATE + b"."))
    assert f"opcodes={longest}" in refusal(path, Budget(opcodes=longest))
    assert read_model(path, Budget(opcodes=longest + 30)).kind == "state-dict"


def test_a_chain_of_getattr_cannot_grow(tmp_path: Path) -> None:
    body = name("torch", "a")
    for _ in range(200):
        body = call(name("builtins", "getattr"), body, text("bb"))
    assert "not an importable" in refusal(save_zip(tmp_path / "x.pt", body))


def test_a_declared_storage_of_exbibytes_allocates_nothing(tmp_path: Path) -> None:
    path = save_zip(tmp_path / "x.pt", DICT + entries(("w", tensor(of=storage(2**58), size=(2**58,)))))
    tracemalloc.start()
    try:
        refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_messages_are_one_printable_line_whatever_the_file_says(tmp_path: Path) -> None:
    nasty = "evil\x1b[2J\n\u202e" + "x" * 500
    for body in (
        DICT + entries(("w", tensor()), (nasty, NONE)), DICT + entries(("w", storage(key="\x1b\n"))),
        module(parameters=DICT + entries((nasty, NONE))),
    ):  # fmt: skip
        message = refusal_text(save_zip(tmp_path / "x.pt", body))
        assert message.isprintable()
        assert len(message) < 700


def refusal_text(path: Path) -> str:
    with pytest.raises(RefusedArchive) as caught:
        read_model(path)
    return str(caught.value).removeprefix(str(path))


def test_honest_handmade_files_are_read(tmp_path: Path, save: Save) -> None:
    model = read_model(save(tmp_path / "x.pt", STATE))
    assert (model.kind, list(model.tensors), model.shape("w")) == ("state-dict", ["w"], (4,))
    assert model.state_dict()["w"].tolist() == [0, 0, 0, 0]
    network = module(parameters=DICT + entries(("w", tensor())), more=(("p", number(3)),))
    model = read_model(save(tmp_path / "y.pt", network))
    assert (model.kind, model.class_path, list(model.tensors)) == ("module", "nets.Net", ["w"])
    assert model.root is not None
    assert model.root.get("p") == 3
    assert "nets.Net" in model.globals


def test_module_classes_of_legacy_persistent_ids(tmp_path: Path) -> None:
    cls = group(text("module"), name("nets", "Net"), text("nets.py"), text("class Net: ...")) + PERSID
    model = read_model(save_legacy(tmp_path / "x.pt", module(cls), keys=LIST, storages=b""))
    assert model.class_path == "nets.Net"


def test_memo_entries_can_be_overwritten(tmp_path: Path) -> None:
    body = LIST + text("a") + put(3) + APPEND + text("b") + put(3) + APPEND + get(3) + APPEND
    assert read_object(save_zip(tmp_path / "x.pt", body)) == ["a", "b", "b"]


def test_objects_of_old_and_new_style(tmp_path: Path) -> None:
    old = call(name("copy_reg", "_reconstructor"), name("nets", "Old"), name("__builtin__", "object"), NONE)
    new = name("nets", "New") + group(number(1)) + DICT + entries(("k", number(2))) + NEWOBJ_EX
    listlike = name("nets", "Items") + EMPTY_TUPLE + NEWOBJ + text("x") + APPEND
    dictlike = name("nets", "Table") + EMPTY_TUPLE + NEWOBJ + text("k") + text("v") + SETITEM
    root = read_object(save_zip(tmp_path / "x.pt", group(old, new, listlike, dictlike), proto=4))
    assert isinstance(root, tuple)
    assert all(isinstance(node, Instance) for node in root)
    assert [node.cls.path for node in root] == ["nets.Old", "nets.New", "nets.Items", "nets.Table"]
    assert root[1].args[0] == 1
    assert isinstance(root[1].args[1], DictNode)
    assert (root[2].items, root[3].items) == (["x"], [("k", "v")])


def test_names_of_torch_may_be_kept_uncalled(tmp_path: Path) -> None:
    node = read_object(save_zip(tmp_path / "x.pt", name("torch", "float32")))
    assert isinstance(node, Global)
    assert repr(node) == "<Global torch.float32>"


def test_a_pickle_longer_than_its_entry_cannot_read_on(tmp_path: Path) -> None:
    path = save_zip(tmp_path / "x.pt", b"X" + struct.pack("<I", 50) + b"short")
    assert "damaged pickle" in refusal(path)
    assert os.path.getsize(path) > 100
