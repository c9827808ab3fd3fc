"""Whatever bytes come, the outcome is a value or RefusedArchive, soon."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.loading import handmade as hand
from trojai_seam.errors import RefusedArchive
from trojai_seam.loading import Budget, describe, read_model

SMALL = Budget(opcodes=5_000, nodes=5_000, names=500, tensor_bytes=1 << 20)
SIMPLE = [
    hand.STOP, hand.REDUCE, hand.BUILD, hand.NEWOBJ, hand.NEWOBJ_EX, hand.PERSID, hand.MARK, hand.POP, hand.POP_MARK,
    hand.DUP, hand.NONE, hand.TRUE, hand.TUPLE, hand.EMPTY_TUPLE, hand.TUPLE1, hand.TUPLE2, hand.TUPLE3, hand.LIST,
    hand.DICT, hand.APPEND, hand.APPENDS, hand.SETITEM, hand.SETITEMS, hand.STACK_GLOBAL, b"\x94", b"\x8f", b"\x90",
    b"\x91", b"l", b"d", hand.ORDERED, hand.storage(), hand.tensor(), hand.module(),
]  # fmt: skip
GLOBALS = [
    ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter"), ("collections", "OrderedDict"),
    ("collections", "defaultdict"), ("builtins", "set"), ("builtins", "getattr"), ("_codecs", "encode"), ("torch", "x"),
    ("functools", "partial"), ("copyreg", "_reconstructor"), ("torch", "Size"), ("nets", "Net"),
    ("torch", "FloatStorage"),
    ("numpy.core.multiarray", "_reconstruct"), ("builtins", "list"), ("builtins", "bytearray"), ("os", "system"),
]  # fmt: skip
WORDS = [
    "_parameters",
    "_modules",
    "_buffers",
    "storage",
    "module",
    "0",
    "cpu",
    "latin1",
    "state_dict",
    "torch",
    "tanh",
]
INSTRUCTIONS = st.one_of(
    st.sampled_from(SIMPLE),
    st.sampled_from([hand.name(*pair) for pair in GLOBALS]),
    st.sampled_from([hand.text(word) for word in WORDS]),
    st.integers(-(2**80), 2**80).map(hand.number),
    st.integers(0, 4).map(hand.number),
    st.integers(0, 6).map(hand.put),
    st.integers(0, 6).map(hand.get),
    st.floats(width=64).map(lambda value: b"G" + struct.pack(">d", value)),
    st.text(max_size=5).map(hand.text),
    st.binary(min_size=1, max_size=3),
)
STREAMS = st.lists(INSTRUCTIONS, max_size=60).map(b"".join)
MANY = settings(max_examples=400, deadline=5000, suppress_health_check=[HealthCheck.too_slow])


def outcome(path: Path) -> str:
    try:
        model = read_model(path, SMALL)
        model.state_dict()
        describe(model)
    except RefusedArchive as problem:
        return "refused" if str(problem).isprintable() else "refused with an unsafe message"
    return model.kind


@MANY
@given(STREAMS, st.booleans())
def test_random_instructions(body: bytes, legacy: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save = hand.save_legacy if legacy else hand.save_zip
        assert outcome(save(Path(folder) / "x.pt", body)) in ("refused", "module", "state-dict", "other")


@MANY
@given(STREAMS)
def test_random_values_inside_a_module(body: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pt"
        network = hand.module(more=(("x", hand.MARK + body + hand.TUPLE),))
        assert outcome(hand.save_zip(path, network)) in ("refused", "module", "state-dict", "other")


@MANY
@given(st.binary(max_size=200), st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"PK\x05\x06"]))
def test_random_bytes(content: bytes, prefix: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pt"
        path.write_bytes(prefix + content)
        assert outcome(path) == "refused"
