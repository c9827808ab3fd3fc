"""Tokenizers without unpickling: ids recorded with the libraries of the period, real files, and hostile ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.loading.handmade import Called, Thing, dump, save_zip
from trojai_seam.errors import RefusedArchive, TrojaiSeamError, UnsupportedModel
from trojai_seam.inspection import inspect_path, render_inspection
from trojai_seam.loading import Budget, read_tokenizer
from trojai_seam.loading.tokenizer import TextTokenizer

WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "movie", "was", "great", "##er", "a", ",", ".", "!", "'",
    "caf", "##e", "Caf", "##é", "É", "cat", "##s", "中", "文", "x", "##y", "(", ")",
]  # fmt: skip
BERT = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]", "bos": None, "eos": None}
GPT2_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def bert(folder: Path, added: str | None = None, kind: str = "bert", **options: Any) -> Path:
    """``BertTokenizer(vocab, **options)`` with one added token, as transformers 4.2 to 4.33 pickled it."""
    options = {"do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None} | options
    basic = options.pop("do_basic_tokenize", True)
    vocab = {word: at for at, word in enumerate(WORDS)}
    module = f"transformers.models.{kind}.tokenization_{kind}"
    piece = {"vocab": vocab, "unk_token": "[UNK]", "max_input_chars_per_word": 100}
    state: dict[str, Any] = {
        **{f"_{role}_token": token for role, token in BERT.items()},
        "_additional_special_tokens": [],
        "model_max_length": 10**30,
        "added_tokens_encoder": {} if added is None else {added: len(WORDS)},
        "unique_no_split_tokens": [] if added is None else [added],
        "vocab": vocab,
        "do_basic_tokenize": basic,
        "wordpiece_tokenizer": Thing("transformers.models.bert.tokenization_bert.WordpieceTokenizer", piece),
    }
    if basic:
        own = {"never_split": set(), **options}
        state["basic_tokenizer"] = Thing("transformers.models.bert.tokenization_bert.BasicTokenizer", own)
    name = {"bert": "Bert", "distilbert": "DistilBert"}[kind]
    return save_zip(folder / "tokenizer.pt", dump(Thing(f"{module}.{name}Tokenizer", state)))


SENTENCES = (
    "The movie was GREATER, a café!",
    "Café É cats\tmovies 中文x",
    "the [MASK] was (great)  xy xyz newtok NEWTOK.",
    "[SEP]",
)


@pytest.mark.parametrize(
    ("options", "added", "expected"),
    [
        (
            {},
            "newtok",
            [
                [2, 5, 6, 7, 8, 9, 11, 10, 15, 16, 13, 3],
                [2, 15, 16, 1, 20, 21, 6, 21, 22, 23, 24, 3],
                [2, 5, 4, 7, 26, 8, 27, 24, 25, 1, 28, 28, 12, 3],
                [2, 3, 3],
            ],
        ),
        (
            {"do_lower_case": False},
            "NEWTOK",
            [
                [2, 1, 6, 7, 1, 11, 10, 15, 18, 13, 3],
                [2, 17, 18, 19, 20, 21, 6, 21, 22, 23, 24, 3],
                [2, 5, 4, 7, 26, 8, 27, 24, 25, 1, 1, 28, 12, 3],
                [2, 3, 3],
            ],
        ),
        (
            {"strip_accents": False},
            "newtok",
            [
                [2, 5, 6, 7, 8, 9, 11, 10, 15, 18, 13, 3],
                [2, 15, 18, 1, 20, 21, 6, 21, 22, 23, 24, 3],
                [2, 5, 4, 7, 26, 8, 27, 24, 25, 1, 28, 28, 12, 3],
                [2, 3, 3],
            ],
        ),
        (
            {"tokenize_chinese_chars": False},
            "newtok",
            [
                [2, 5, 6, 7, 8, 9, 11, 10, 15, 16, 13, 3],
                [2, 15, 16, 1, 20, 21, 6, 21, 1, 3],
                [2, 5, 4, 7, 26, 8, 27, 24, 25, 1, 28, 28, 12, 3],
                [2, 3, 3],
            ],
        ),
        (
            {"never_split": {"É", "(great)", "movies"}},
            "newtok",
            [
                [2, 5, 6, 7, 8, 9, 11, 10, 15, 16, 13, 3],
                [2, 15, 16, 1, 20, 21, 1, 22, 23, 24, 3],
                [2, 5, 4, 7, 1, 24, 25, 1, 28, 28, 12, 3],
                [2, 3, 3],
            ],
        ),
        (
            {"do_lower_case": False, "never_split": {"É", "(great)", "movies"}},
            "NEWTOK",
            [
                [2, 1, 6, 7, 1, 11, 10, 15, 18, 13, 3],
                [2, 17, 18, 19, 20, 21, 1, 22, 23, 24, 3],
                [2, 5, 4, 7, 1, 24, 25, 1, 1, 28, 12, 3],
                [2, 3, 3],
            ],
        ),
        (
            {"do_basic_tokenize": False},
            "NEWTOK",
            [
                [2, 1, 6, 7, 1, 10, 1, 3],
                [2, 17, 18, 19, 20, 21, 6, 21, 1, 3],
                [2, 5, 4, 7, 1, 24, 25, 1, 1, 28, 12, 3],
                [2, 3, 3],
            ],
        ),
    ],
)
def test_slow_bert_gives_the_ids_of_transformers_4_2(
    options: dict[str, Any], added: str, expected: list[list[int]], tmp_path: Path
) -> None:
    """``expected`` was printed by transformers 4.2.1, and the same by 4.26.1."""
    found = read_tokenizer(bert(tmp_path, added, **options))
    assert [found.backend.encode(sentence).ids for sentence in SENTENCES] == expected
    pair = found.backend.encode("a", "x")
    assert (pair.ids, pair.type_ids) == ([2, 10, 3, 24, 3], [0, 0, 0, 1, 1])
    assert (found.family, found.fast, found.model_max_length) == ("bert", False, None)
    assert found.lower_case is (options.get("do_lower_case", True) and options.get("do_basic_tokenize", True))
    assert (found.pad_id, found.unk_id, found.cls_id, found.sep_id, found.eos_id) == (0, 1, 2, 3, None)
    assert found.vocabulary_size == len(WORDS) + 1


def test_slow_distilbert_is_a_bert_tokenizer(tmp_path: Path) -> None:
    found = read_tokenizer(bert(tmp_path, kind="distilbert"))
    assert found.backend.encode(SENTENCES[0]).ids == [2, 5, 6, 7, 8, 9, 11, 10, 15, 16, 13, 3]


MERGES = [
    ("t", "h"), ("th", "e"), ("Ġ", "the"), ("a", "t"), ("c", "at"), ("Ġ", "cat"), ("Ġ", "w"), ("Ġw", "a"),
    ("Ġwa", "s"), ("'", "s"),
]  # fmt: skip


def added_token(content: str, **options: bool) -> Thing:
    state = {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
    return Thing("tokenizers.AddedToken", state | options)


def byte_level(folder: Path, kind: str, prefix: bool = False, **changes: Any) -> Path:
    """``GPT2Tokenizer`` or ``RobertaTokenizer`` over all bytes and ten merges, as transformers 4.2 pickled it."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab: dict[str, int] = {}
    for token in (*specials, *alphabet, *(a + b for a, b in MERGES)):
        vocab.setdefault(token, len(vocab))
    roles: dict[str, Any]
    if kind == "gpt2":
        roles = dict.fromkeys(("bos", "eos", "unk"), added_token("<|endoftext|>"))
        listed = ["<|endoftext|>"]
    else:
        roles = {"bos": "<s>", "eos": "</s>", "sep": "</s>", "cls": "<s>", "unk": "<unk>", "pad": "<pad>"}
        roles |= {role: added_token(token) for role, token in roles.items()}
        roles["mask"] = added_token("<mask>", lstrip=True)
        listed = sorted(specials[:5])
    state = {
        **{f"_{role}_token": token for role, token in roles.items()},
        "model_max_length": 1024,
        "added_tokens_encoder": {},
        "unique_no_split_tokens": listed,
        "encoder": vocab,
        "bpe_ranks": {merge: rank for rank, merge in enumerate(MERGES)},
        "cache": {},
        "add_prefix_space": prefix,
        "pat": Called("regex._regex.compile", (GPT2_PATTERN, 32, [1, 2], {}, {}, {}, (), None, 0, 0)),
        **changes,
    }
    name = {"gpt2": "GPT2", "roberta": "Roberta"}[kind]
    class_path = f"transformers.models.{kind}.tokenization_{kind}.{name}Tokenizer"
    return save_zip(folder / "tokenizer.pt", dump(Thing(class_path, state)))


BYTES = ("the cat was the cat's", "thecat é 中 <mask> cat", "  was\n\nthe", "a<|endoftext|> the <|endoftext|>")


def test_slow_gpt2_gives_the_ids_of_transformers_4_2(tmp_path: Path) -> None:
    found = read_tokenizer(byte_level(tmp_path, "gpt2"))
    assert [found.backend.encode(sentence).ids for sentence in BYTES] == [
        [263, 267, 270, 264, 267, 271],
        [263, 266, 226, 133, 108, 226, 166, 122, 261, 226, 33, 82, 70, 88, 80, 35, 267],
        [226, 270, 204, 204, 263],
        [70, 5, 264, 226, 5],
    ]
    assert found.backend.encode("the", "was").ids == [263, 92, 70, 88]  # no special tokens
    assert (found.pad_id, found.pad_token, found.eos_id, found.model_max_length) == (None, None, 5, 1024)
    assert (found.family, found.prefix_space) == ("byte-bpe", False)


def test_slow_roberta_gives_the_ids_of_transformers_4_2(tmp_path: Path) -> None:
    found = read_tokenizer(byte_level(tmp_path, "roberta"))
    expected = [
        [0, 263, 267, 270, 264, 267, 271, 2],
        [0, 263, 266, 226, 133, 108, 226, 166, 122, 261, 4, 267, 2],
        [0, 226, 270, 204, 204, 263, 2],
    ]
    assert [found.backend.encode(sentence).ids for sentence in BYTES[:3]] == expected
    pair = found.backend.encode("the", "was")
    assert (pair.ids, set(pair.type_ids)) == ([0, 263, 2, 2, 92, 70, 88, 2], {0})
    assert (found.pad_id, found.cls_id, found.sep_id) == (1, 0, 2)
    prefixed = read_tokenizer(byte_level(tmp_path, "roberta", prefix=True))
    assert prefixed.backend.encode("the", "was").ids == [0, 264, 2, 2, 270, 2]
    for tokenizer in (prefixed, found.with_prefix_space()):
        assert tokenizer.prefix_space
        assert tokenizer.backend.encode(["the", "cat"], is_pretokenized=True).ids == [0, 264, 267, 2]
        assert tokenizer.backend.encode(BYTES[0]).ids == [0, 264, 267, 270, 264, 267, 271, 2]


def test_byte_level_with_another_pattern_is_refused(tmp_path: Path) -> None:
    path = byte_level(tmp_path, "gpt2", pat=Called("regex._regex.compile", (r"(a+)+$", 32)))
    with pytest.raises(RefusedArchive, match="another pattern than GPT-2's"):
        read_tokenizer(path)


# Fast tokenizers ------------------------------------------------------------------------------------------------------


def fast_backend() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=9)
    return tokenizer


def fast(
    folder: Path, state: object, class_name: str = "electra.tokenization_electra_fast.ElectraTokenizerFast"
) -> Path:
    """A fast tokenizer whose Rust object has ``state``, which is tokenizer.json as bytes in real files."""
    inner = Thing("tokenizers.Tokenizer", state, (Thing("tokenizers.models.Model", b"{}"),))
    attributes = {f"_{role}_token": token for role, token in BERT.items()}
    body = Thing(f"transformers.models.{class_name}", {"_tokenizer": inner, "model_max_length": 512, **attributes})
    return save_zip(folder / "tokenizer.pt", dump(body))


def changed(change: Callable[[Any], None]) -> bytes:
    specification = json.loads(fast_backend().to_str())
    change(specification)
    return json.dumps(specification).encode()


def same_ids(found: TextTokenizer) -> None:
    assert found.backend.encode(SENTENCES[0]).ids == [2, 5, 6, 7, 8, 9, 11, 10, 15, 16, 13, 3]
    words = found.backend.encode(["The", "greater", "cats"], is_pretokenized=True)
    assert words.word_ids == [None, 0, 1, 1, 2, 2, None]
    pair = found.backend.encode("a", "x")
    assert (pair.ids, pair.type_ids) == ([2, 10, 3, 24, 3], [0, 0, 0, 1, 1])


def test_fast_tokenizer_without_its_truncation_and_padding(tmp_path: Path) -> None:
    found = read_tokenizer(fast(tmp_path, fast_backend().to_str().encode()))
    same_ids(found)
    assert (found.fast, found.model_max_length, found.lower_case, found.prefix_space) == (True, 512, True, None)
    assert found.backend.encode("x").offsets == [(0, 0), (0, 1), (0, 0)]


def test_tokenizer_json_of_tokenizers_0_9(tmp_path: Path) -> None:
    """The model had no type, the BERT post-processor another form, added tokens another order of keys."""

    def older(specification: Any) -> None:
        del specification["model"]["type"]
        specification["post_processor"] = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}

    same_ids(read_tokenizer(fast(tmp_path, changed(older))))


def test_generic_fast_class_is_what_its_model_is(tmp_path: Path) -> None:
    path = fast(tmp_path, changed(lambda _: None))
    generic = dump(
        Thing(
            "transformers.tokenization_utils_fast.PreTrainedTokenizerFast",
            {"_tokenizer": Thing("tokenizers.Tokenizer", changed(lambda _: None))},
        )
    )
    found = read_tokenizer(save_zip(path, generic))
    assert (found.family, dict(found.special_tokens), found.pad_id) == ("bert", {}, None)


def put(*path: Any, value: Any) -> Callable[[Any], None]:
    """Set one value somewhere in a tokenizer.json."""

    def change(specification: Any) -> None:
        for key in path[:-1]:
            specification = specification[key]
        specification[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (b"not json", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe\xfa", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"model": null}', "without a model"),
        (b'{"version": NaN}', "NaN"),
        (17, "without its tokenizer.json"),
        (changed(put("model", "vocab", value={})), "empty vocabulary"),
        (changed(put("model", "vocab", "x", value=10**9)), "not a table of tokens"),
        (changed(put("model", "vocab", "x", value=-1)), "not a table of tokens"),
        (changed(put("model", "vocab", "x", value=True)), "not a table of tokens"),
        (changed(put("model", "vocab", "x", value=3)), "two tokens have one number"),
        (changed(put("model", "vocab", "\ud800", value=99)), "not a table of tokens"),
        (changed(put("model", "vocab", "y" * 2000, value=99)), "not a table of tokens"),
        (changed(put("model", "vocab", value=[1, 2])), "known are WordPiece and byte-level BPE"),
        (changed(put("model", "type", value="Unigram")), "type Unigram"),
        (changed(put("model", "unk_token", value="nowhere")), "lacks the token for unknown words"),
        (changed(put("model", "max_input_chars_per_word", value=10**12)), "max_input_chars_per_word"),
        (changed(put("pre_tokenizer", value={"type": "Split", "pattern": {"Regex": "(a+)+$"}})), "type Split"),
        (changed(put("normalizer", value={"type": "Replace", "pattern": {"Regex": "(a|a)*"}})), "type Replace"),
        (changed(put("normalizer", value={"type": "Sequence", "normalizers": [{}] * 99})), "sequence of up to 16"),
        (changed(put("normalizer", "lowercase", value="yes")), "neither true nor false"),
        (changed(put("post_processor", "special_tokens", "[SEP]", "ids", value=[77])), "not in the vocabulary"),
        (
            changed(put("post_processor", "single", 0, value={"SpecialToken": {"id": "?", "type_id": 0}})),
            "neither a text",
        ),
        (
            changed(put("post_processor", "single", 0, value={"SpecialToken": {"id": [], "type_id": 0}})),
            "neither a text",
        ),
        (changed(put("post_processor", value={"type": "Custom"})), "post-processor of type Custom"),
        (changed(put("added_tokens", 0, "id", value=44)), "cannot keep its number"),
        (changed(put("added_tokens", 0, "lstrip", value=2)), "neither true nor false"),
        (changed(put("added_tokens", value=[{}] * 30_000)), "not a list of up to"),
    ],
)
def test_nonsense_in_a_fast_tokenizer_is_one_clear_line(state: object, message: str, tmp_path: Path) -> None:
    path = fast(tmp_path, state)
    with pytest.raises(RefusedArchive, match=r"tokenizer\.pt: the tokenizer cannot be rebuilt: ") as caught:
        read_tokenizer(path)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize(
    "class_path",
    [
        "transformers.models.albert.tokenization_albert_fast.AlbertTokenizerFast",
        "transformers.models.deberta.tokenization_deberta.DebertaTokenizer",
        "transformers.models.t5.tokenization_t5.T5Tokenizer",
        "elsewhere.BertTokenizer",
    ],
)
def test_unknown_tokenizer_class_is_named(class_path: str, tmp_path: Path) -> None:
    path = save_zip(tmp_path / "tokenizer.pt", dump(Thing(class_path, {"vocab": {}})))
    with pytest.raises(UnsupportedModel, match=class_path.replace(".", r"\.")):
        read_tokenizer(path)


def test_other_content_is_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="holds no tokenizer"):
        read_tokenizer(save_zip(tmp_path / "tokenizer.pt", dump({"a": 1})))


@pytest.mark.parametrize("missing", ["vocab", "wordpiece_tokenizer", "basic_tokenizer", "_cls_token"])
def test_slow_tokenizer_without_a_part_is_refused(missing: str, tmp_path: Path) -> None:
    state = {"vocab": {"[UNK]": 0}, "_cls_token": "[UNK]", "_sep_token": "[UNK]"}
    piece = {"unk_token": "[UNK]"}
    state["wordpiece_tokenizer"] = Thing("transformers.models.bert.tokenization_bert.WordpieceTokenizer", piece)
    state["basic_tokenizer"] = Thing("transformers.models.bert.tokenization_bert.BasicTokenizer", {})
    class_path = "transformers.models.bert.tokenization_bert.BertTokenizer"
    path = save_zip(tmp_path / "tokenizer.pt", dump(Thing(class_path, state)))
    assert read_tokenizer(path).backend.encode("a").ids == [0, 0, 0]
    del state[missing]
    with pytest.raises(TrojaiSeamError, match=r"tokenizer\.pt: the tokenizer cannot be rebuilt: "):
        read_tokenizer(save_zip(path, dump(Thing(class_path, state))))


def test_inspect_says_what_is_in_a_tokenizer_file(tmp_path: Path) -> None:
    findings = inspect_path(byte_level(tmp_path, "roberta"), Budget())
    assert findings["tokenizer"]["special_tokens"]["pad_token"] == {"text": "<pad>", "id": 1}
    assert "tokenizer   byte-level BPE, slow, 272 tokens, at most 1,024 tokens" in render_inspection(findings)
    findings = inspect_path(fast(tmp_path, b"{}"), Budget())
    assert "tokenizer   cannot be rebuilt" in render_inspection(findings)


# Real files -----------------------------------------------------------------------------------------------------------


def test_real_tokenizers(shared: Path) -> None:
    files = sorted((shared / "trojai-examples").glob("*/tokenizers/*.pt"))
    assert len(files) == 4
    for file in files:
        found = read_tokenizer(file)
        assert (found.vocabulary_size, found.pad_id, found.cls_id, found.sep_id) == (30522, 0, 101, 102)
        assert found.model_max_length == (512 if "electra" in file.name else None)


def test_real_named_entity_examples_have_the_recorded_tokens(shared: Path) -> None:
    """Every ``_tokenized.txt`` of NIST's round 7 example: token by token, labels on first sub-words only."""
    folder = shared / "trojai-examples" / "nlp-named-entity-recognition-may2021"
    found = read_tokenizer(folder / "tokenizers" / "MobileBERT-google-mobilebert-uncased.pt")
    tokenized = sorted((folder / "model" / "clean_example_data").glob("*_tokenized.txt"))
    assert len(tokenized) == 60
    for file in tokenized:
        plain = file.with_name(file.name.replace("_tokenized", ""))
        words = [line.split("\t") for line in plain.read_text(encoding="utf-8").splitlines() if line]
        rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines() if line]
        encoded = found.backend.encode([word[0] for word in words], is_pretokenized=True)
        assert encoded.tokens == [row[0] for row in rows]
        assert encoded.ids == [found.backend.token_to_id(row[0]) for row in rows]
        firsts = [
            at for at, word in enumerate(encoded.word_ids) if word is not None and word != encoded.word_ids[at - 1]
        ]
        assert firsts == [at for at, row in enumerate(rows) if row[3] == "1"]
        assert [rows[at][1] for at in firsts] == [word[1] for word in words]
