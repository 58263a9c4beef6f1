"""The `augment` stage: training text only, order-free, every document accounted for."""

import json
import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json
from lmpipe.base.progress import Silent
from lmpipe.data.augmentation.augmenting import augment
from lmpipe.data.augmentation.config import (
    CaseConfig,
    EdaConfig,
    KeyboardConfig,
    OcrConfig,
    PunctuationConfig,
    TemplatesConfig,
)
from lmpipe.data.documents import Document, PartWriter, group_key, read_documents
from lmpipe.data.splitting.config import SplitConfig
from lmpipe.data.splitting.dividing import split

SYNONYMS = {"cat": ("kitten", "tom"), "sees": ("spots",)}
EVERY_KIND = (
    EdaConfig(share=0.5, copies=2, operations=("replace", "insert", "swap", "delete"), synonyms="s.csv"),
    KeyboardConfig(share=0.4, rate=0.1),
    OcrConfig(share=0.4, rate=0.1),
    CaseConfig(share=0.3),
    PunctuationConfig(share=0.3),
    TemplatesConfig(share=0.3, templates=("{hail} {text} {meta.label}",), slots={"hail": ("Hi!", "Hello!")}),
)


def corpus(number):
    generator = random.Random(7)
    vocabulary = ["the", "cat", "sees", "a", "dog", "river", "under", "old", "trees,", "today."]
    texts = [" ".join(generator.choices(vocabulary, k=12)) for _ in range(number)]
    return [Document(f"f:{i}:{i:012x}", text, "f", "CC0-1.0", "en", f'{{"label":"l{i % 3}"}}') for i, text in enumerate(texts)]


@pytest.fixture
def write_splits(tmp_path):
    """Documents, divided as the split stage divides them."""

    def write(documents, name="split", part_bytes=2000):
        with PartWriter(tmp_path / f"{name}-in", part_bytes=part_bytes) as writer:
            for document in documents:
                writer.add(document)
        output = tmp_path / name
        output.mkdir()
        config = SplitConfig(train=0.8, validation=0.1, test=0.1)
        options = {"scratch": tmp_path / f"{name}-scratch", "progress": Silent(), "workers": 1}
        split(tmp_path / f"{name}-in", output, config=config, seed=1, **options)
        return output

    return write


@pytest.fixture
def grow(folders):
    """Runs the stage; gives its folder and ledger."""

    def run(splits, config=EVERY_KIND, workers=1, seed=3):
        output, options = folders(workers)
        ledger = augment(splits, output, config=config, seed=seed, synonyms=SYNONYMS, askers={}, **options)
        return output, ledger

    return run


def test_validation_and_test_stay_byte_for_byte(write_splits, grow):
    splits = write_splits(corpus(120))
    output, _ = grow(splits)
    for side in ("validation", "test"):
        assert digests_of_folder(output / side) == digests_of_folder(splits / side)
    ids = {document.id for side in ("validation", "test") for document in read_documents(splits / side)}
    made = [document for document in read_documents(output / "train") if "parent" in json.loads(document.meta)]
    assert made
    assert not ids & {json.loads(document.meta)["parent"] for document in made}


def test_originals_stay_and_copies_name_their_parent(write_splits, grow):
    splits = write_splits(corpus(120))
    output, _ = grow(splits)
    before = {document.id: document for document in read_documents(splits / "train")}
    after = list(read_documents(output / "train"))
    assert [document for document in after if document.id in before] == list(before.values())
    assert len({document.id for document in after}) == len(after)
    for document in after:
        if document.id not in before:
            meta = json.loads(document.meta)
            parent = before[meta["parent"]]
            assert document.text != parent.text
            assert document.id.startswith(f"{parent.id}+{meta['augmented_by']}.")
            assert group_key(document.id) == group_key(parent.id)
            assert (document.source, document.licence, document.language) == (parent.source, parent.licence, parent.language)
            assert meta["label"] == json.loads(parent.meta)["label"]


def test_everything_is_counted(write_splits, grow):
    splits = write_splits(corpus(120))
    output, ledger = grow(splits)
    facts = read_json(output / "augmentation.json")
    documents = list(read_documents(output / "train"))
    made = [json.loads(d.meta)["augmented_by"] for d in documents if "augmented_by" in json.loads(d.meta)]
    assert facts["documents"] == {"original": len(documents) - len(made), "augmented": len(made)}
    assert {kind: counts["documents"] for kind, counts in facts["kinds"].items()} == {
        part.kind: made.count(part.kind) for part in EVERY_KIND
    }
    sides = read_json(output / "splits.json")
    assert sides["train"]["documents"] == len(documents)
    assert sides["train"]["characters"] == sum(len(document.text) for document in documents)
    assert sides["train"]["bytes"] == sum(len(document.text.encode()) for document in documents)
    assert ledger.rows_in == ledger.rows_kept == 120
    assert not ledger.dropped
    assert ledger.added == Counter(made)
    assert ledger.characters_added == sum(counts["characters"] for counts in facts["kinds"].values())
    assert read_json(output / "composition.json")["licences"] == {"CC0-1.0": 120 + len(made)}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.randoms(use_true_random=False), part_bytes=st.sampled_from([300, 1500, 10_000]), extra=st.booleans())
def test_order_parts_and_neighbours_change_no_copy(tmp_path_factory, order, part_bytes, extra):
    """Shuffled documents in parts of any size, with others among them: each document's copies are the same."""
    base = tmp_path_factory.mktemp("order")

    def copies(documents, part_bytes, name):
        with PartWriter(base / name / "train", part_bytes=part_bytes) as writer:
            for document in documents:
                writer.add(document)
        for side in ("validation", "test"):
            (base / name / side).mkdir()
        (base / name / "splits.json").write_text('{"train": {"documents": 0, "characters": 0, "bytes": 0}}')
        (base / name / "composition.json").write_text('{"licences": {}, "languages": {}}')
        (base / f"{name}-out").mkdir()
        options = {"scratch": base / f"{name}-scratch", "progress": Silent(), "workers": 1}
        augment(base / name, base / f"{name}-out", config=EVERY_KIND, seed=3, synonyms=SYNONYMS, askers={}, **options)
        return {document.id: document for document in read_documents(base / f"{name}-out" / "train")}

    documents = corpus(40)
    straight = copies(documents, 2000, "straight")
    shuffled = documents[: 40 if extra else 25]
    order.shuffle(shuffled)
    found = copies(shuffled, part_bytes, "shuffled")
    kept = {document.id for document in shuffled}
    assert found == {name: d for name, d in straight.items() if json.loads(d.meta).get("parent", name) in kept}


@pytest.mark.parametrize("workers", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_the_number_of_workers_shows_in_no_byte(write_splits, grow, workers):
    splits = write_splits(corpus(200), part_bytes=1000)
    assert digests_of_folder(grow(splits)[0]) == digests_of_folder(grow(splits, workers=workers)[0])


def test_a_larger_share_keeps_the_documents_of_a_smaller_one(write_splits, grow):
    splits = write_splits(corpus(120))
    few, many = (
        {document.id for document in read_documents(grow(splits, (KeyboardConfig(share=share, rate=0.1),))[0] / "train")}
        for share in (0.2, 0.6)
    )
    assert few < many


def test_a_slot_that_no_document_fills_is_named_with_the_nearest_key(write_splits, grow):
    splits = write_splits(corpus(60))
    with pytest.raises(SourceError, match="could be filled") as raised:
        grow(splits, (TemplatesConfig(share=1.0, templates=("{meta.lable}",)),))
    assert "did you mean {meta.label}?" in str(raised.value)


def test_copies_that_change_nothing_are_not_made(write_splits, grow):
    digits = [Document(f"f:{i}:x", f"{i} 4711", "f", "CC0-1.0", "en", "{}") for i in range(40)]
    output, ledger = grow(write_splits(digits), (KeyboardConfig(share=1.0, copies=2),))
    not_made = read_json(output / "augmentation.json")["kinds"]["keyboard"]["not_made"]
    assert not_made == {"nothing was changed": 2 * read_json(output / "splits.json")["train"]["documents"]}
    assert ledger.rows_in == ledger.rows_kept == 40
    assert "added" not in ledger.to_json()
