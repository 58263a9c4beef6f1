"""The tagger of names and addresses: learns what is marked, tags the same everywhere, and says how good it is."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json
from lmpipe.base.progress import Silent
from lmpipe.data.documents import read_documents
from lmpipe.data.pii.config import PiiConfig, TaggerConfig
from lmpipe.data.pii.masking import mask
from lmpipe.data.pii.tagger import NEVER, allowed_transitions, best_paths, load_tagger, spans_of, tokens_of
from lmpipe.data.pii.training import train_tagger

FIRST = ["Ada", "Alan", "Grace", "Emmy", "Niels", "Marie", "Lise", "Kurt", "Sofia", "Enrico", "Chien", "Maria"]
LAST = ["Lovelace", "Turing", "Hopper", "Noether", "Bohr", "Curie", "Meitner", "Gödel", "Germain", "Fermi", "Wu", "Mayer"]
STREETS = ["Main Street", "High Road", "Mill Lane", "Station Road", "Park Avenue", "Church Lane"]
FORMS = [
    "{p} lives at {a}.",
    "Please write to {p}.\nThe letter goes to {a} today.",
    "Yesterday {p} met nobody.",
    "It rained on {a}.",
]


def marked(number, seed):
    draw = random.Random(seed)
    for _ in range(number):
        person = f"{draw.choice(FIRST)} {draw.choice(LAST)}"
        address = f"{draw.randint(1, 400)} {draw.choice(STREETS)}"
        text, spans = draw.choice(FORMS), []
        for mark, value, label in (("{p}", person, "PERSON"), ("{a}", address, "STREET_ADDRESS")):
            if mark in text:
                start = text.index(mark)
                text = text.replace(mark, value)
                spans.append({"start": start, "end": start + len(value), "label": label})
        yield {"text": text, "spans": spans}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagger")
    (folder / "marked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in marked(200, 1)), encoding="utf-8")
    outputs = []
    for name in ("a", "b"):
        (folder / name).mkdir()
        config = TaggerConfig(train_on=("marked.jsonl",), epochs=4)
        files = [("marked.jsonl", str(folder / "marked.jsonl"))]
        kinds = ("person", "address")
        train_tagger(files, folder / name, config=config, kinds=kinds, seed=1, progress=Silent())
        outputs.append(folder / name)
    return outputs


def test_equal_texts_give_equal_bytes_and_held_out_figures(trained):
    assert digests_of_folder(trained[0]) == digests_of_folder(trained[1])
    facts = read_json(trained[0] / "tagger.json")
    assert facts["texts"] + facts["heldout"] == 200
    assert facts["heldout"] > 5
    assert all(score["f1"] >= 0.9 for score in facts["scores"].values())
    assert not any(name in (trained[0] / "tagger.json").read_text() for name in (*FIRST, *STREETS))


def test_names_that_were_not_seen_together_are_found_and_other_text_stays(trained):
    text = "Grace Noether lives at 77 Mill Lane. It costs 77 euros."
    found = load_tagger(trained[0]).find(["", text, "nothing here"])
    assert [(text[start:end], kind) for start, end, kind in found[1]] == [
        ("Grace Noether", "person"),
        ("77 Mill Lane", "address"),
    ]
    assert found[0] == found[2] == []


def test_one_text_is_tagged_alike_alone_and_among_others(trained):
    tagger = load_tagger(trained[0])
    texts = [row["text"] for row in marked(60, 3)] + ["word " * 700 + "Ada Wu", "\n\n\n", "Ada Curie " * 90]
    together = tagger.find(texts)
    assert together == [tagger.find([text])[0] for text in texts]
    assert together[-3][-1][2] == "person"


def test_masking_puts_names_beside_patterns(trained, write_documents, folders):
    output, options = folders()
    config = PiiConfig(entities=("email", "person"), names=TaggerConfig(train_on=("x",))).masking()
    text = "Please write to Ada Turing. Or to ada.turing@example.org."
    mask(write_documents([text, "It rained."]), output, config=config, names=trained[0], **options)
    assert next(read_documents(output)).text == "Please write to <PERSON>. Or to <EMAIL>."
    assert read_json(output / "pii.json")["counts"] == {"email": 1, "person": 1}


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_the_best_path_is_the_best_of_all_paths(count, longest, seed):
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, longest + 1, count)
    scores, transitions = draw.integers(-50, 50, (count, longest, 3)), draw.integers(-50, 50, (4, 3))
    for row, (length, path) in enumerate(zip(lengths, best_paths(scores, transitions, lengths.tolist()), strict=True)):
        ways = np.stack(np.meshgrid(*[np.arange(3)] * length, indexing="ij"), -1).reshape(-1, length)
        sums = scores[row, np.arange(length), ways].sum(1) + transitions[-1, ways[:, 0]]
        sums += transitions[ways[:, :-1], ways[:, 1:]].sum(1)
        own = scores[row, np.arange(length), path].sum() + transitions[-1, path[0]] + transitions[path[:-1], path[1:]].sum()
        assert own == sums.max()


def test_an_inside_follows_only_its_own_kind():
    transitions = np.where(allowed_transitions(("person", "address")), 0, NEVER)
    scores = np.zeros((1, 3, 5), np.int64)
    scores[0, :, 4] = 100  # I-address everywhere: it needs a beginning
    assert best_paths(scores, transitions, [3])[0].tolist() == [3, 4, 4]


@settings(deadline=None)
@given(st.lists(st.text(max_size=200), max_size=5))
def test_tokens_cover_their_texts_and_sequences_lie_in_one(texts):
    tokens = tokens_of(texts)
    assert all(texts[number][start:end] == word for (number, start, end), word in zip(tokens.spans, tokens.words, strict=True))
    assert sum(len("".join(text.replace("\n", "").split())) for text in texts) >= sum(len(w.strip()) for w in tokens.words)
    for start, end in zip(tokens.borders, tokens.borders[1:], strict=False):
        assert len({tokens.spans[row][0] for row in range(start, end)}) == 1
    assert list(spans_of(tokens, np.zeros(len(tokens.words), np.int64), ("person",))) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no json", "no marked text"),
        ('{"text": "secret"}', "no marked text"),
        ('{"text": "secret", "spans": [{"start": 0, "end": 99, "label": "PERSON"}]}', "no marked text"),
        ('{"text": "secret", "spans": [{"start": 0, "end": 3, "label": "CITY"}]}', "mark no person"),
    ],
)
def test_bad_marks_are_named_by_line_and_never_shown(tmp_path, line, message):
    (tmp_path / "bad.jsonl").write_text(line + "\n", encoding="utf-8")
    config = TaggerConfig(train_on=("bad.jsonl",))
    files = [("bad.jsonl", str(tmp_path / "bad.jsonl"))]
    with pytest.raises(SourceError, match=message) as raised:
        train_tagger(files, tmp_path, config=config, kinds=("person",), seed=1, progress=Silent())
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"entities": ["email", "person"]}, "no pattern finds"),
        ({"entities": ["email"], "names": {"kind": "tagger", "train_on": ["x"]}}, "names is dead"),
    ],
)
def test_names_have_a_finder_and_a_finder_has_names(fields, message):
    with pytest.raises(ValueError, match=message):
        PiiConfig.model_validate(fields)
