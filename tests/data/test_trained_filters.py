"""Filters that learn: what they tell apart, that they tell how well, that the answer is the same every time."""

import json
import random

import numpy as np
import pyarrow.parquet as pq
import pytest

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import SourceError
from lmpipe.base.progress import Silent
from lmpipe.data.documents import Document, PartWriter, read_tables
from lmpipe.data.filters.classifier import Featuriser, area_under_curve
from lmpipe.data.filters.learning import Side, learn, score_documents
from lmpipe.data.filters.perplexity import measure_perplexity
from lmpipe.data.filters.trained_config import ClassifierConfig, IdentityConfig, LabelledConfig, PerplexityFilterConfig
from lmpipe.models.ngram.model import save
from lmpipe.models.ngram.text import ByteScorer, train_on_text

GOOD = ["river", "house", "reads", "quiet", "garden", "letter", "morning"]
BAD = ["click", "casino", "free", "winner", "cheap", "pills", "now"]
SMALL = ClassifierConfig(buckets=4096)


def made(words, number, seed):
    generator = random.Random(seed)
    return [" ".join(generator.choices([*words, "the", "a", "of"], k=30)) for _ in range(number)]


@pytest.fixture
def corpus(tmp_path):
    """Writes texts (or texts with metadata) as a corpus that is split."""

    def write(name, rows):
        for place, split in enumerate(("train", "validation", "test")):
            with PartWriter(tmp_path / name / split) as writer:
                for number, row in enumerate(rows):
                    text, meta = row if isinstance(row, tuple) else (row, {})
                    if (number % 5 >= 3) * (number % 5 - 2) == place:
                        writer.add(Document(f"{name}:{number}", text, "s", "CC0-1.0", "en", json.dumps(meta)))
        return tmp_path / name

    return write


def taught(output, sides, **options):
    output.mkdir()
    return learn(sides, output, config=SMALL, seed=1, progress=Silent(), **options)


def test_a_classifier_tells_good_from_bad_and_how_well(corpus, write_documents, folders, tmp_path):
    sides = [Side(corpus("good", made(GOOD, 100, 1)), True), Side(corpus("bad", made(BAD, 300, 2)), False)]
    facts = taught(tmp_path / "model", sides)
    assert facts["auc"] == 1.0
    assert facts["examples"] == {"positive": 60, "negative": 180}
    assert facts["held_out"] == {"positive": 40, "negative": 120}
    documents = write_documents([*made(GOOD, 5, 3), *made(BAD, 5, 4), ""], part_bytes=300)
    written = []
    for workers in (1, 2):
        output, options = folders(workers)
        score_documents(documents, tmp_path / "model", output, kind="quality", **options)
        written.append(digests_of_folder(output))
    assert written[0] == written[1]
    scores = [row["quality.score"] for table in read_tables(output) for row in table.to_pylist()]
    assert min(scores[:5]) > 0.5 > max(scores[5:10])
    taught(tmp_path / "again", sides)
    assert digests_of_folder(tmp_path / "model") == digests_of_folder(tmp_path / "again")


def test_what_cannot_be_told_apart_has_an_area_of_a_half(corpus, tmp_path):
    sides = [Side(corpus("one", made(GOOD, 200, 1)), True), Side(corpus("two", made(GOOD, 200, 2)), False)]
    facts = taught(tmp_path / "model", sides)
    assert facts["auc_low"] < 0.5 < facts["auc_high"] + 0.1
    assert facts["auc"] < 0.7


def test_labels_teach_and_false_alarms_are_told_by_group(corpus, tmp_path):
    rows = [(text, {"label": 1}) for text in made(BAD, 60, 1)] + [(text, {"label": 0}) for text in made(GOOD, 60, 2)]
    random.Random(3).shuffle(rows)
    about = [
        (f"{group} {text}", {"bad": "no", "who": group}) for group in ("winner", "letter") for text in made(GOOD[:2], 10, 5)
    ]
    about += [(text, {"bad": "yes", "who": "winner"}) for text in made(BAD, 5, 6)]
    config = IdentityConfig(on="about", label="bad", toxic=("yes",), group="who")
    labelled = Side(corpus("comments", rows), LabelledConfig(on="comments"))
    facts = taught(tmp_path / "model", [labelled], identity=[(corpus("about", about), config)])
    assert facts["auc"] == 1.0
    (told,) = facts["identity"]
    assert {group: rate["documents"] for group, rate in told["groups"].items()} == {"all": 20, "letter": 10, "winner": 10}
    assert told["groups"]["letter"]["above_0.5"] <= told["groups"]["winner"]["above_0.5"]
    again = taught(tmp_path / "again", [labelled], identity=[(labelled.folder, IdentityConfig(on="comments"))])
    assert again["identity"][0]["groups"]["all"]["documents"] == facts["held_out"]["negative"]  # those that taught are left out
    with pytest.raises(SourceError, match="no label 'toxic'"):
        taught(tmp_path / "other", [Side(labelled.folder, LabelledConfig(on="comments", label="toxic"))])
    with pytest.raises(SourceError, match="0 positive"):
        taught(tmp_path / "none", [Side(labelled.folder, LabelledConfig(on="comments", toxic=("9",)))])


def test_the_area_is_that_of_all_pairs():
    random_state = np.random.default_rng(1)
    scores, positive = random_state.integers(0, 8, 60) / 8, random_state.random(60) < 0.4
    ones, zeros = scores[positive][:, None], scores[~positive][None]
    area, low, high = area_under_curve(scores, positive)
    assert area == pytest.approx(float(((ones > zeros) + 0.5 * (ones == zeros)).mean()), abs=1e-6)
    assert low < area < high


def test_features_depend_on_the_text_alone():
    one, other = Featuriser(1024, 3), Featuriser(1024, 3)
    other.features(["something else first"])
    texts = ["One two three.", "", "one TWO three ."]
    found, again = one.features(texts), other.features(texts)
    assert found.buckets.tolist() == again.buckets.tolist()
    assert found.of(0).tolist() == found.of(2).tolist()
    assert len(found.of(1)) == 0
    assert len(Featuriser(1 << 20, 2).features(["a b c"]).of(0)) == 5


def test_perplexity_is_low_on_text_like_the_reference(write_documents, folders, tmp_path):
    (tmp_path / "model").mkdir()
    model = train_on_text(made(GOOD, 200, 1), order=5, max_bytes=100_000, progress=Silent())
    save(model, tmp_path / "model")
    texts = [*made(GOOD, 4, 2), *made(BAD, 4, 3), "é😀", "x"]
    documents = write_documents(texts, part_bytes=400)
    written = []
    for workers in (1, 2):
        output, options = folders(workers)
        measure_perplexity(documents, output, scorer=ByteScorer(tmp_path / "model"), **options)
        written.append(digests_of_folder(output))
    assert written[0] == written[1]
    rows = [row for part in sorted(output.glob("part-*")) for row in pq.read_table(part).to_pylist()]
    bits = [row["perplexity.bits_per_byte"] for row in rows]
    assert max(bits[:4]) < min(bits[4:])
    assert sorted(row["perplexity.quantile"] for row in rows) == pytest.approx([n / 10 for n in range(10)])
    assert bits[0] == pytest.approx(ByteScorer(tmp_path / "model")(texts[:1])[0], abs=1e-6)
    assert [rule.name for rule in PerplexityFilterConfig(reference="x", max_quantile=0.9).rules()] == [
        "perplexity.max_quantile"
    ]
