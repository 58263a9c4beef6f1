"""Which documents are trained on, how often, in which order."""

import json
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json
from lmpipe.base.randomness import unit_interval
from lmpipe.data.documents import Document, PartWriter, group_key, parts_of, read_documents, tables_of
from lmpipe.data.mixing.balancing import balance
from lmpipe.data.mixing.config import BalanceConfig, CurriculumConfig, TowardConfig
from lmpipe.data.mixing.importance import Features, select_toward
from lmpipe.data.mixing.ordering import arrange
from lmpipe.data.splitting.config import SplitConfig
from lmpipe.data.splitting.dividing import split
from lmpipe.data.tasks import load_ledger

SIDES = ("train", "validation", "test")


@pytest.fixture
def write(tmp_path):
    """Writes documents given as (text, meta)."""
    count = 0

    def run(items, part_bytes=2000):
        nonlocal count
        count += 1
        with PartWriter(tmp_path / f"written-{count}", part_bytes=part_bytes) as writer:
            for number, (text, meta) in enumerate(items):
                writer.add(Document(f"f:{number}:{number:012x}", text, "f", "CC0-1.0", "en", json.dumps(meta)))
        return tmp_path / f"written-{count}"

    return run


@pytest.fixture
def divided(write, folders):
    """A split of documents."""

    def run(items):
        output, options = folders()
        split(write(items), output, config=SplitConfig(train=0.8, validation=0.1, test=0.1), seed=1, **options)
        return output

    return run


def labelled(sizes):
    return [(f"{label} text {n} " * 5, {"label": label}) for label, size in sizes.items() for n in range(size)]


def labels(folder, side="train"):
    return Counter(json.loads(d.meta).get("label") for d in read_documents(folder / side))


@pytest.mark.parametrize("method", ["oversample", "undersample"])
def test_classes_become_equal_and_held_out_text_stays(divided, folders, method):
    before = divided(labelled({"often": 200, "seldom": 60, "rare": 30}))
    output, options = folders()
    ledger = balance(before, output, config=BalanceConfig(column="label", method=method), seed=1, **options)
    old, new = labels(before), labels(output)
    assert set(new.values()) == {(max if method == "oversample" else min)(old.values())}
    for side in ("validation", "test"):
        assert digests_of_folder(output / side) == digests_of_folder(before / side)
    ids = [d.id for d in read_documents(output / "train")]
    assert len(set(ids)) == len(ids)
    original = {group_key(d.id) for d in read_documents(before / "train")}
    assert {group_key(identity) for identity in ids} == (
        original if method == "oversample" else original & set(map(group_key, ids))
    )
    assert ledger.rows_in == 290 == ledger.rows_kept + ledger.dropped.total()
    assert ledger.added.total() == max(0, len(ids) - sum(old.values()))
    assert ledger.rows_kept + ledger.added.total() == sum(
        one["documents"] for one in read_json(output / "splits.json").values()
    )
    listed = [row for table in tables_of(output / "dropped.parquet") for row in table.to_pylist()]
    assert {row["id"] for row in listed} == {d.id for d in read_documents(before / "train")} - set(ids)
    assert all(row["value"] >= row["threshold"] for row in listed)
    facts, sizes = read_json(output / "balance.json"), read_json(output / "splits.json")
    assert {name: c["before"] for name, c in facts["classes"].items()} == old
    assert {name: c["after"] for name, c in facts["classes"].items()} == new
    assert sizes["train"]["documents"] == new.total()
    assert sizes["test"] == read_json(before / "splits.json")["test"]
    composition = read_json(output / "composition.json")
    assert composition["languages"]["en"] == new.total() + sizes["validation"]["documents"] + sizes["test"]["documents"]
    assert load_ledger(output).to_json() == ledger.to_json()


def test_nothing_is_repeated_without_end_and_the_unlabelled_stay(divided, folders):
    before = divided([*labelled({"often": 300, "rare": 10}), *(("no label here " * 3, {}) for _ in range(50))])
    output, options = folders()
    balance(before, output, config=BalanceConfig(column="label", max_repeats=3), seed=1, **options)
    old, new = labels(before), labels(output)
    assert new == {"often": old["often"], "rare": 3 * old["rare"], None: old[None]}
    assert read_json(output / "balance.json")["without_class"] == old[None]


def test_more_text_of_a_class_changes_no_other_choice(divided, folders):
    chosen = []
    for often in (100, 150):
        before = divided([*labelled({"rare": 40}), *labelled({"often": often})])
        output, options = folders()
        balance(before, output, config=BalanceConfig(column="label", method="undersample"), seed=1, **options)
        chosen.append({d.id for d in read_documents(output / "train") if "rare" in d.text})
    assert chosen[0] == chosen[1]


def test_a_column_that_nobody_has_is_named(divided, folders):
    output, options = folders()
    with pytest.raises(SourceError, match="'mood' has 0 values among the training documents"):
        balance(divided(labelled({"a": 20})), output, config=BalanceConfig(column="mood"), seed=1, **options)


def words(number):
    return [(" ".join(["word"] * random.Random(n).randint(1, 60)), {"hard": n * 7919 % 101}) for n in range(number)]


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"by": "characters"}, lambda d: len(d.text)),
        ({"by": "words", "descending": True}, lambda d: -len(d.text.split())),
        ({"by": "hard"}, lambda d: json.loads(d.meta)["hard"]),
    ],
)
def test_training_text_is_ordered_over_all_parts(divided, folders, config, key):
    before = divided(words(300))
    results = []
    for part_bytes in (3000, 1 << 25):
        output, options = folders()
        ledger = arrange(before, output, config=CurriculumConfig(**config), seed=1, part_bytes=part_bytes, **options)
        documents = list(read_documents(output / "train"))
        assert [key(d) for d in documents] == sorted(map(key, read_documents(before / "train")))
        assert ledger.rows_kept == 300
        results.append(documents)
        sizes = read_json(before / "splits.json")["train"]
        assert read_json(output / "splits.json")["train"] == sizes
        shares = [sum(len(x) for t in tables_of(p) for x in t["text"].to_pylist()) for p in parts_of(output / "train")]
        assert max(shares) <= min(part_bytes, sizes["bytes"]) + max(len(d.text) for d in documents)
        assert len(shares) == (1 if part_bytes > 3000 else -(-sizes["bytes"] // 3000))
    assert results[0] == results[1]
    assert read_json(output / "arrangement.json")["runs"] == 10


def test_equal_documents_stand_in_no_particular_order(divided, folders):
    output, options = folders()
    arrange(divided([(f"text {n:04}", {}) for n in range(200)]), output, config=CurriculumConfig(), seed=1, **options)
    numbers = [int(d.text.split()[1]) for d in read_documents(output / "train")]
    assert abs(np.corrcoef(np.arange(len(numbers)), numbers)[0, 1]) < 0.25


def test_documents_without_a_number_are_named(divided, folders):
    output, options = folders()
    with pytest.raises(SourceError, match="training documents have no number in 'hard': f:"):
        arrange(divided([("a text", {"hard": "very"})] * 20), output, config=CurriculumConfig(by="hard"), seed=1, **options)


def mixture_of_topics(number, share, seed):
    draw = random.Random(seed)
    topics = {
        True: ["ship", "sea", "captain", "whale", "harbour", "sail", "mast"],
        False: ["loop", "array", "pointer", "compile", "stack", "byte"],
    }
    common = ["the", "a", "of", "and", "to"]
    for _ in range(number):
        at_sea = draw.random() < share
        yield " ".join(draw.choices(topics[at_sea] + common, k=40)), {"sea": at_sea}


def test_documents_like_the_target_are_chosen(write, folders):
    documents, target = write(mixture_of_topics(400, 0.3, 1), 4000), write(mixture_of_topics(100, 1.0, 2))
    output, options = folders()
    ledger = select_toward(documents, target, output, config=TowardConfig(corpus="sea", count=100), seed=1, **options)
    chosen = list(read_documents(output))
    assert len(chosen) == ledger.rows_kept == 100
    assert sum(json.loads(d.meta)["sea"] for d in chosen) >= 98
    order = [d.id for d in read_documents(documents)]
    assert [d.id for d in chosen] == sorted((d.id for d in chosen), key=order.index)
    facts = read_json(output / "importance.json")
    assert facts["divergence_after"] < 0.3 * facts["divergence_before"]
    dropped = [row for table in tables_of(output / "dropped.parquet") for row in table.to_pylist()]
    assert len(dropped) == 300 == ledger.dropped["select_toward"]
    assert all(row["value"] < row["threshold"] for row in dropped)


def test_weights_are_those_of_the_paper_computed_plainly(write, folders):
    """Log importance weights and the choice, spelled out with dictionaries and no arrays, on the same features."""
    documents, target = write(mixture_of_topics(60, 0.5, 3)), write(mixture_of_topics(30, 0.9, 4))
    output, options = folders()
    select_toward(documents, target, output, config=TowardConfig(corpus="t", fraction=0.5, buckets=64), seed=9, **options)
    features = Features(64)

    def frequencies(folder):
        counts = Counter(int(f) for d in read_documents(folder) for f in features.of(d.text))
        return {bucket: counts[bucket] / counts.total() for bucket in range(64)}

    p, q = frequencies(target), frequencies(documents)

    def key(document):
        weight = sum(np.log(p[int(f)] + 1e-8) - np.log(q[int(f)] + 1e-8) for f in features.of(document.text))
        return weight - np.log(-np.log(unit_interval(9, "select_toward", document.id)))

    best = sorted(read_documents(documents), key=key)[-30:]
    assert {d.id for d in read_documents(output)} == {d.id for d in best}


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=60), st.integers(2, 1000))
def test_features_are_words_and_pairs_whatever_was_seen_before(text, buckets):
    fresh, used = Features(buckets), Features(buckets)
    used.of("other words that were seen before")
    assert fresh.of(text).tolist() == used.of(text).tolist()
    assert all(0 <= bucket < buckets for bucket in fresh.of(text))
    assert fresh.of(text.upper().lower()).tolist() == fresh.of(text.upper()).tolist()


def test_more_than_there_is_cannot_be_chosen(write, folders):
    output, options = folders()
    with pytest.raises(SourceError, match="asks for 50 documents, and the corpus has 20"):
        select_toward(write(words(20)), write(words(5)), output, config=TowardConfig(corpus="t", count=50), seed=1, **options)
    with pytest.raises(ValidationError):
        TowardConfig(corpus="t", count=5, fraction=0.5)
    with pytest.raises(ValidationError):
        TowardConfig(corpus="t")
