"""Near duplicates: what is marked is alike, what is alike is marked, whatever the parts and the workers."""

import random
import re
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lmpipe.base.files import read_json
from lmpipe.base.progress import Silent
from lmpipe.data.dedup.config import ExactConfig, MinhashConfig
from lmpipe.data.dedup.exact import mark_duplicates
from lmpipe.data.dedup.minhash import mark_near_duplicates, near_pairs
from lmpipe.data.dedup.shingles import shingles_of, word_spans, words_of
from lmpipe.data.documents import Document, PartWriter, read_documents, read_tables
from lmpipe.data.filters.config import LengthConfig, SelectConfig
from lmpipe.data.filters.scores import LengthScores, MeasureConfig
from lmpipe.data.measuring import measure
from lmpipe.data.selection import select

WORDS = [f"w{number}" for number in range(300)]


def reference_words(text):
    """What a word is, said a second time, slowly."""
    return re.findall(r"(?:[a-z0-9_]|[^\x00-\xbf\u2000-\u203f\u3000-\u303f])+", text.lower())


def reference_sets(texts, length):
    sets = []
    for words in map(reference_words, texts):
        count = max(1, len(words) - length + 1) if words else 0
        sets.append({tuple(words[place : place + length]) for place in range(count)})
    return sets


def reference_pairs(texts, length, threshold):
    """Every pair whose Jaccard similarity reaches the threshold, by comparing all with all."""
    sets = reference_sets(texts, length)
    similarity = {}
    for (i, one), (j, other) in combinations(enumerate(sets), 2):
        if one and other and (alike := len(one & other) / len(one | other)) >= threshold:
            similarity[i, j] = alike
    return similarity


def clusters_of(pairs, count):
    parent = list(range(count))

    def root(place):
        return place if parent[place] == place else root(parent[place])

    for i, j in pairs:
        one, other = root(i), root(j)
        parent[max(one, other)] = min(one, other)
    return [root(place) for place in range(count)]


def corpus(seed, originals=40, copies=80):
    """Texts of which many are copies of earlier ones with 0 to 30% of the words changed."""
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(2, 120))) for _ in range(originals)]
    for _ in range(copies):
        words, share = rng.choice(texts).split(), rng.choice([0, 0.01, 0.02, 0.05, 0.1, 0.3])
        texts.append(" ".join(rng.choice(WORDS) if rng.random() < share else word for word in words))
    rng.shuffle(texts)
    return texts


def write(folder, texts, part_bytes=1 << 25):
    with PartWriter(folder, part_bytes=part_bytes) as writer:
        for number, text in enumerate(texts):
            writer.add(Document(str(number), text, "s", "l", "e", "{}"))
    return folder


def marked(folder, texts, config, part_bytes=1 << 25, workers=1, **options):
    (folder / "out").mkdir(parents=True)
    documents = write(folder / "in", texts, part_bytes)
    mark_near_duplicates(
        documents, folder / "out", config=config, scratch=folder / "s", progress=Silent(), workers=workers, **options
    )
    return [row for table in read_tables(folder / "out") for row in table.to_pylist()]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a loaded machine draws slowly
@given(st.lists(st.text("aB_9 .é“\u00a0\n中、😀", max_size=30), max_size=8), st.integers(1, 4))
def test_words_and_shingles_are_those_of_a_regular_expression(texts, length):
    words = words_of(pa.array(texts, pa.large_string()))
    shingles, first = shingles_of(words, length)
    word_of, shingle_of = {}, {}
    for number, text in enumerate(texts):
        expected = reference_words(text)
        found = words.hash_W[words.first_D[number] : words.first_D[number + 1]].tolist()
        assert len(found) == len(expected)
        assert all(word_of.setdefault(word, value) == value for word, value in zip(expected, found, strict=True))
        assert [text[start:end].lower() for start, end in word_spans(text)] == expected
        runs = [tuple(expected[i : i + length]) for i in range(max(1, len(expected) - length + 1))] if expected else []
        found = shingles[first[number] : first[number + 1]].tolist()
        assert len(found) == len(runs)
        assert all(shingle_of.setdefault(run, value) == value for run, value in zip(runs, found, strict=True))
    assert len(set(word_of.values())) == len(word_of)
    assert len(set(shingle_of.values())) == len(shingle_of)


def test_long_words_are_told_apart_to_their_last_letter():
    texts = ["x" * n for n in (1, 7, 8, 9, 63, 64, 65, 200)] + ["x" * 64 + "y", "x" * 199 + "y"]
    assert len(set(words_of(pa.array(texts, pa.large_string())).hash_W.tolist())) == len(texts)


def test_characters_are_code_points_with_one_for_any_gap():
    words = words_of(pa.array(["漢字、か  な", "漢字 かな", "漢字かな"], pa.large_string()), "characters")
    one, two, three = (words.hash_W[words.first_D[i] : words.first_D[i + 1]].tolist() for i in range(3))
    assert (len(one), len(two), len(three)) == (6, 5, 4)
    assert one[:4] == two[:4]
    assert two[:2] + two[3:] == three


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.sampled_from([1, 3, 5]), st.sampled_from([0.3, 0.5, 0.8, 1.0]), st.integers(60, 4000))
def test_marks_are_those_of_comparing_all_with_all(tmp_path_factory, seed, length, threshold, part_bytes):
    folder = tmp_path_factory.mktemp("near")
    texts = [*corpus(seed, 12, 18), "", "...", "short", "Short!"]
    config = MinhashConfig(ngram=length, threshold=threshold, recall=0.999999)
    rows = marked(folder, texts, config, part_bytes)
    truth = reference_pairs(texts, length, threshold)
    expected = clusters_of(truth, len(texts))
    found = [int(row["duplicate_of"] or row["id"]) for row in rows]
    assert found == expected
    alike = {}
    for pair, value in truth.items():
        for place in pair:
            alike.setdefault(place, set()).add(value)
    for number, row in enumerate(rows):
        assert (row["similarity"] is None) == (row["duplicate_of"] is None) == (row["threshold"] is None)
        if row["duplicate_of"]:
            assert row["similarity"] >= threshold == row["threshold"]
            assert any(np.isclose(row["similarity"], value) for value in alike[number])


@pytest.mark.parametrize("workers", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_parts_and_workers_show_in_no_survivor(tmp_path, workers):
    texts = corpus(3)
    config = MinhashConfig(threshold=0.6)
    whole = marked(tmp_path / "whole", texts, config)
    assert marked(tmp_path / "cut", texts, config, part_bytes=2000, workers=workers) == whole
    assert read_json(tmp_path / "cut" / "out" / "clusters.json") == read_json(tmp_path / "whole" / "out" / "clusters.json")


def test_many_copies_of_one_page_hang_together(tmp_path):
    page = corpus(1)[0]
    texts = [f"{page} number{number}" for number in range(300)]
    rows = marked(tmp_path, texts, MinhashConfig(threshold=0.5, ngram=1), part_bytes=3000)
    assert [row["duplicate_of"] for row in rows] == [None] + ["0"] * 299
    assert read_json(tmp_path / "out" / "clusters.json") == {
        "clusters": 1,
        "duplicates": 299,
        "sizes": {"300": 1},
        "largest": [{"survivor": "0", "size": 300, "duplicates": [str(number) for number in range(1, 21)]}],
    }


def test_a_fixed_corpus_comes_first_and_stays(tmp_path, write_documents, folders):
    text = corpus(5)[0]
    fixed = write(tmp_path / "fixed", [text, text + " more", "other"])
    for mark, config in ((mark_near_duplicates, MinhashConfig(threshold=0.5)), (mark_duplicates, ExactConfig())):
        output, options = folders()
        documents = write(tmp_path / config.kind, ["mine", text, "mine"])
        ledger = mark(documents, output, config=config, against={"fixed": fixed}, **options)
        found = [row["duplicate_of"] for table in read_tables(output) for row in table.to_pylist()]
        assert found == [None, "fixed/0", "0"]
        assert ledger.rows_in == 3


def test_what_an_earlier_step_marked_is_left_out(tmp_path, folders):
    text = corpus(5)[0]
    documents = write(tmp_path / "in", [text, text, text + " more"])
    exact, options = folders()
    mark_duplicates(documents, exact, config=ExactConfig(), **options)
    output, options = folders()
    ledger = mark_near_duplicates(documents, output, config=MinhashConfig(threshold=0.5), earlier=[exact], **options)
    assert [row["duplicate_of"] for table in read_tables(output) for row in table.to_pylist()] == [None, None, "0"]
    assert ledger.dropped == {"near duplicate": 1, "duplicate by an earlier step": 1}


def test_pairs_between_two_folders(tmp_path):
    texts = [text for text in corpus(9) if len(text.split()) > 20]  # no key that more than nine documents share
    one, other = write(tmp_path / "one", texts[:60], 900), write(tmp_path / "other", texts[60:], 900)
    config = MinhashConfig(threshold=0.5, recall=0.999999)
    options = {"config": config, "scratch": tmp_path / "s", "progress": Silent(), "workers": 1}
    found = {(int(pair.one), int(pair.other) + 60): pair.similarity for pair in near_pairs(one, other, **options)}
    expected = {(i, j): value for (i, j), value in reference_pairs(texts, 5, 0.5).items() if i < 60 <= j}
    assert found == pytest.approx(expected)
    assert len(found) > 5


@pytest.mark.parametrize(("threshold", "recall"), [(0.8, 0.995), (0.5, 0.9), (0.95, 0.999), (0.1, 0.99), (1.0, 0.99)])
def test_bands_and_rows_keep_the_recall(threshold, recall):
    bands, rows = MinhashConfig(threshold=threshold, recall=recall).banding()
    assert 1 - (1 - threshold**rows) ** bands >= recall
    assert bands * rows <= 128 or rows == 1


def test_bands_and_rows_are_taken_as_written_and_together():
    assert MinhashConfig(bands=14, rows=8).banding() == (14, 8)
    with pytest.raises(ValidationError, match="bands and rows go together"):
        MinhashConfig(bands=14)


def test_pairs_at_the_threshold_are_found_as_often_as_the_formula_says(tmp_path):
    """400 pairs at similarity 0.5 with one band of two rows: one in four, within four standard errors."""
    rng = random.Random(2)
    texts = []
    for number in range(400):
        words = [f"p{number}x{word}" for word in range(90)]
        rng.shuffle(words)
        texts += [" ".join(words[:60]), " ".join(words[30:])]  # 30 of 90 words in common: one in three
    rows = marked(tmp_path, texts, MinhashConfig(ngram=1, threshold=1 / 3, bands=1, rows=2))
    found = sum(row["duplicate_of"] is not None for row in rows)
    expected = 400 / 9
    assert abs(found - expected) < 4 * (expected * 8 / 9) ** 0.5


@pytest.mark.parametrize("part_bytes", [1 << 25, 300])
def test_the_next_near_duplicate_takes_the_place_of_one_that_a_bound_drops(tmp_path, write_documents, folders, part_bytes):
    text = corpus(5)[0]
    assert len(text.split()) > 20
    short, good, better = text, text + " and more", text + " and much more"
    documents = write_documents([short, good, better, "short", good, "another text that is long enough"], part_bytes)
    exact, options = folders()
    mark_duplicates(documents, exact, config=ExactConfig(), **options)
    near, options = folders()
    mark_near_duplicates(documents, near, config=MinhashConfig(threshold=0.5), earlier=[exact], **options)
    measures, options = folders()
    measure(documents, measures, config=MeasureConfig(scores=(LengthScores(),)), **options)
    output, options = folders()
    config = SelectConfig(filters=(LengthConfig(min_characters=len(short) + 1),))
    marks = {"exact": exact, "minhash": near}
    select(documents, [measures], marks, output, config=config, **options)
    kept = [document.text for document in read_documents(output)]
    assert kept[0] == good
    assert better not in kept
    assert kept.count(good) == 1
    reasons = {row["id"].split(":")[0]: row["rule"] for row in pq.read_table(output / "dropped.parquet").to_pylist()}
    assert {name: reasons[name] for name in ("file-0", "file-2", "file-3", "file-4")} == {
        "file-0": "length.min_characters",
        "file-2": "dedup.minhash",
        "file-3": "length.min_characters",
        "file-4": "dedup.exact",
    }
