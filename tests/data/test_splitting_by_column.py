"""Splits that look at a column: groups, dates, strata."""

import json
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lmpipe.base.errors import SourceError
from lmpipe.data.documents import Document, PartWriter, read_documents
from lmpipe.data.ranks import count_up_to, float_of_key, keys_of_floats, keys_of_integers, nth
from lmpipe.data.splitting.config import SPLITS, SplitConfig
from lmpipe.data.splitting.dividing import split
from lmpipe.data.splitting.ranked import instant_of

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


@pytest.fixture
def divided(tmp_path, folders):
    """Splits documents given by their metadata; gives the metadata on each side, an `n` added that counts the documents."""
    count = 0

    def run(metas, seed=1, part_bytes=200, **config):
        nonlocal count
        count += 1
        documents = tmp_path / f"in-{count}"
        with PartWriter(documents, part_bytes=part_bytes) as writer:
            for number, meta in enumerate(metas):
                text = f"text number {number}"
                writer.add(Document(f"f:{number}:{number:012x}", text, "f", "CC0-1.0", "en", json.dumps({**meta, "n": number})))
        output, options = folders()
        split(documents, output, config=SplitConfig(**SHARES, **config), seed=seed, **options)
        return {side: [json.loads(d.meta) for d in read_documents(output / side)] for side in SPLITS}

    return run


def test_a_group_stands_on_one_side(divided):
    sides = divided([{"author": f"author {n % 30}"} for n in range(300)], by="group", column="author")
    authors = {side: {meta["author"] for meta in metas} for side, metas in sides.items()}
    assert sum(map(len, authors.values())) == len(set.union(*authors.values())) == 30
    assert sum(map(len, sides.values())) == 300


def test_by_time_the_future_is_tested_on(divided):
    days = np.random.default_rng(1).permutation(200).tolist()
    metas = [{"date": f"2020-{1 + day // 28:02}-{1 + day % 28:02}"} for day in days]
    sides = divided(metas, by="time", column="date")
    assert {side: len(found) for side, found in sides.items()} == {"train": 120, "validation": 40, "test": 40}
    dates = [[meta["date"] for meta in sides[side]] for side in SPLITS]
    assert all(max(early) < min(late) for early, late in pairwise(dates))


def test_documents_of_one_instant_stay_together(divided):
    sides = divided([{"year": 2000 + n % 7} for n in range(140)], by="time", column="year")
    years = [sorted({meta["year"] for meta in sides[side]}) for side in SPLITS]
    assert years == [[2000, 2001, 2002, 2003], [2004], [2005, 2006]]


def test_every_stratum_has_its_shares(divided):
    sizes = {"often": 500, "seldom": 50, "rare": 5}
    metas = [{"label": label} for label, size in sizes.items() for _ in range(size)]
    sides = divided(metas, by="stratum", column="label")
    for side, share in SHARES.items():
        counts = Counter(meta["label"] for meta in sides[side])
        assert all(abs(counts[label] - share * size) <= 1 for label, size in sizes.items())
        assert sum(counts.values()) == round(share * 555)
    other = divided(metas, by="stratum", column="label", seed=2)
    assert {meta["n"] for meta in sides["test"]} != {meta["n"] for meta in other["test"]}


def test_many_strata_of_one_document_still_give_the_right_total(divided):
    sides = divided([{"label": f"label {n}"} for n in range(100)], by="stratum", column="label")
    assert {side: len(found) for side, found in sides.items()} == {"train": 60, "validation": 20, "test": 20}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from("aaaaaabbbc"), min_size=10, max_size=80), st.integers(0, 3))
def test_strata_are_exact_whatever_their_sizes(tmp_path_factory, labels, seed):
    folder = tmp_path_factory.mktemp("strata")
    with PartWriter(folder / "in", part_bytes=100) as writer:
        for number, label in enumerate(labels):
            writer.add(Document(f"f:{number}:{number:012x}", "some text", "f", "l", "en", json.dumps({"label": label})))
    (folder / "out").mkdir()
    options = {"scratch": folder / "scratch", "workers": 1}
    from lmpipe.base.progress import Silent

    config = SplitConfig(**SHARES, by="stratum", column="label")
    split(folder / "in", folder / "out", config=config, seed=seed, progress=Silent(), **options)
    found = defaultdict(Counter)
    for side in SPLITS:
        found[side].update(json.loads(d.meta)["label"] for d in read_documents(folder / "out" / side))
    assert sum(found.values(), Counter()) == Counter(labels)
    for side, share in SHARES.items():
        assert abs(found[side].total() - share * len(labels)) <= 1
        assert all(abs(found[side][label] - share * size) <= 2 for label, size in Counter(labels).items())


def test_pieces_of_a_document_share_its_side(tmp_path, read_corpus, folders):
    rows = [{"text": f"{n} line\n" * 200, "label": "ab"[n % 2], "date": f"2020-01-{n + 1:02}"} for n in range(20)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    documents = read_corpus({"kind": "jsonl", "paths": ["a.jsonl"], "meta_columns": ["label", "date"]}).output
    with PartWriter(tmp_path / "pieces", part_bytes=300) as writer:
        for document in read_documents(documents):
            name, _, digest = document.id.rpartition(":")
            for piece in range(5):
                writer.add(document._replace(id=f"{name}~{piece}:{digest}"))
    for config in ({"by": "time", "column": "date"}, {"by": "stratum", "column": "label"}):
        output, options = folders()
        split(tmp_path / "pieces", output, config=SplitConfig(**SHARES, **config), seed=1, **options)
        names = [{d.id.split("~")[0] for d in read_documents(output / side)} for side in SPLITS]
        assert sum(map(len, names)) == len(set.union(*names)) == 20
        assert [len(found) for found in names] == [12, 4, 4]


@pytest.mark.parametrize(("by", "value"), [("group", "g"), ("time", "2020-01-01"), ("stratum", "s")])
def test_documents_without_a_value_are_refused_or_trained_on(divided, by, value):
    metas = [{"column": f"{value[:-1]}{1 + n % 4}"} if n % 10 else {"column": ""} for n in range(100)]
    with pytest.raises(SourceError, match="10 documents have no") as error:
        divided(metas, by=by, column="column")
    assert "f:0:000000000000, f:10:" in str(error.value)
    sides = divided(metas, by=by, column="column", without_value="train")
    assert [sum(not meta["column"] for meta in sides[side]) for side in SPLITS] == [10, 0, 0]


def test_what_is_no_date_is_named(divided):
    with pytest.raises(SourceError, match="3 documents have no readable date in 'date': f:0:0"):
        divided([{"date": "soon"}] * 3 + [{"date": "2020"}] * 9, by="time", column="date")


@pytest.mark.parametrize(
    "config",
    [{"by": "group"}, {"by": "document", "column": "author"}, {"without_value": "train"}, {"by": "time", "column": ""}],
)
def test_a_column_is_asked_for_where_it_is_read_and_only_there(config):
    with pytest.raises(ValidationError):
        SplitConfig(**config)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2001", 978307200),
        ("2001-02", 980985600),
        ("2001-02-03", 981158400),
        ("20010203", 981158400),
        ("2001-02-03T04:05:06Z", 981173106),
        ("2001-02-03T04:05:06+01:00", 981169506),
        ("981173106", 981173106),
        ("981173106.5", 981173106.5),
        ("-86400", -86400),
        ("2001-02-30", None),
        ("", None),
        ("yesterday", None),
    ],
)
def test_dates(text, seconds):
    assert instant_of(text) == (None if seconds is None else round(seconds * 1e6))


ARRAYS = st.lists(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5), max_size=20), min_size=1, max_size=5)


@given(ARRAYS, st.integers(0, 110))
def test_the_nth_of_several_sorted_arrays(lists, rank):
    arrays = [np.array(sorted(one), np.uint64) for one in lists]
    together = sorted(number for one in lists for number in one)
    assert nth(arrays, rank) == (together[rank] if rank < len(together) else 2**64 - 1)
    assert count_up_to(arrays, 3) == sum(number <= 3 for number in together)


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_keys_keep_the_order_of_numbers(floats, integers):
    keys = keys_of_floats(np.array(floats)).tolist()
    assert [floats[i] for i in sorted(range(len(keys)), key=keys.__getitem__)] == sorted(floats)
    assert [float_of_key(key) for key in keys] == floats
    whole = keys_of_integers(np.array(integers, np.int64)).tolist()
    assert [integers[i] for i in sorted(range(len(whole)), key=whole.__getitem__)] == sorted(integers)
