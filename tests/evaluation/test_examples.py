"""Per-example results: equal results are equal bytes, and every number can be made from them again."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from lmpipe.base.errors import ModelError, SourceError
from lmpipe.base.files import read_json
from lmpipe.base.measures import Metric
from lmpipe.evaluation.catalogue import statistic_names
from lmpipe.evaluation.classification import classified
from lmpipe.evaluation.code.passing import sampled
from lmpipe.evaluation.examples import EXAMPLES, ExampleLayout, ExampleWriter, read_examples, test_set_digest
from lmpipe.evaluation.generation import Generation, generated
from lmpipe.evaluation.intervals import wilson
from lmpipe.evaluation.measuring import check_recomputed, evaluate_examples, measure, measure_classes, measure_slices
from lmpipe.evaluation.multilabel import labelled
from lmpipe.evaluation.regression import regressed
from lmpipe.evaluation.retrieval import retrieved
from lmpipe.evaluation.tagging import tagged

test_set_digest.__test__ = False
CLASSES = ("bad", "good", "so so")


def guesses(count: int = 200, skill: float = 2.0, seed: int = 0):
    """Labels and probabilities of a made-up classifier."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 3, count)
    logits = np.random.default_rng(seed).normal(size=(count, 3))
    logits[np.arange(count), labels] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return labels, probabilities


def write_classification(folder, *, count=200, batch=64, skill=2.0, seed=0, order=None):
    folder.mkdir(parents=True, exist_ok=True)
    labels, probabilities = guesses(count, skill, seed)
    layout = ExampleLayout(
        kind="classification", subject="reviews.test", classes=CLASSES, slices=("source",), resamples=200, seed=5
    )
    rows = np.arange(count) if order is None else order
    with ExampleWriter(folder, layout) as examples:
        for start in range(0, count, batch):
            part = rows[start : start + batch]
            examples.add(
                [f"review-{i:04}" for i in part],
                classified(CLASSES, [CLASSES[labels[i]] for i in part], probabilities_NC=probabilities[part]),
                texts=["x" * (10 + i) for i in part],
                slices={"source": ["forum" if i % 10 else "shop" for i in part]},
            )
    return folder


def test_batching_does_not_change_a_byte(tmp_path):
    for batch in (100, 7, 5000):
        write_classification(tmp_path / str(batch), count=5000, batch=batch)
    files = [(tmp_path / str(batch) / EXAMPLES).read_bytes() for batch in (100, 7, 5000)]
    assert files[0] == files[1] == files[2]
    assert pq.ParquetFile(tmp_path / "7" / EXAMPLES).num_row_groups == 2


def test_every_number_can_be_made_again_from_the_file(tmp_path):
    metrics = evaluate_examples(write_classification(tmp_path))
    recorded = [Metric.model_validate(value) for value in read_json(tmp_path / "metrics.json")]
    assert recorded == metrics == measure(tmp_path)
    check_recomputed(tmp_path, recorded)
    wrong = recorded[0].model_copy(update={"value": recorded[0].value + 1e-3})
    with pytest.raises(SourceError, match=r"reviews\.test\.accuracy"):
        check_recomputed(tmp_path, [wrong, *recorded[1:]])


def test_every_statistic_is_there_with_an_interval(tmp_path):
    metrics = {metric.name: metric for metric in evaluate_examples(write_classification(tmp_path))}
    assert list(metrics) == [f"reviews.test.{name}" for name in statistic_names("classification")]
    for name, metric in metrics.items():
        assert metric.interval.low <= metric.interval.high, name
        assert "seed 5" in metric.interval.method or name.endswith("accuracy")
        assert (metric.count, metric.count_unit) == (200, "examples")
        if not name.endswith("ece") and not name.endswith("ece_equal_mass"):  # noise moves both away from zero
            assert metric.interval.low <= metric.value <= metric.interval.high, name
    accuracy = metrics["reviews.test.accuracy"]
    assert accuracy.interval == wilson(round(accuracy.value * 200), 200)


def test_the_interval_is_a_plain_bootstrap_over_examples(tmp_path):
    write_classification(tmp_path)
    metric = next(m for m in measure(tmp_path) if m.name.endswith("log_loss"))
    labels, probabilities = guesses()
    nats = -np.log(probabilities[np.arange(200), labels])
    rng = np.random.default_rng(99)
    means = [nats[rng.integers(0, 200, 200)].mean() for _ in range(4000)]
    low, high = np.quantile(means, [0.025, 0.975])
    assert metric.value == pytest.approx(nats.mean())
    assert metric.interval.low == pytest.approx(low, abs=0.2 * (high - low))
    assert metric.interval.high == pytest.approx(high, abs=0.2 * (high - low))


def test_slices_have_counts_intervals_and_a_mark_where_small(tmp_path):
    folder = write_classification(tmp_path)
    slices = {(one.by, one.value): one for one in measure_slices(folder)}
    shop, forum = slices["source", "shop"], slices["source", "forum"]
    assert (shop.count, shop.small, forum.count, forum.small) == (20, True, 180, False)
    accuracy = {one.value: one.metrics[0] for one in (shop, forum)}
    labels, probabilities = guesses()
    right = probabilities.argmax(1) == labels
    assert accuracy["shop"].value == pytest.approx(right[::10].mean())
    width = {name: metric.interval.high - metric.interval.low for name, metric in accuracy.items()}
    assert width["shop"] > width["forum"]
    lengths = [one for (by, _), one in slices.items() if by == "length"]
    assert [one.count for one in lengths] == [50] * 4
    assert lengths[0].value == "10 to 59 characters"


def test_classes_have_numbers_of_their_own(tmp_path):
    folder = write_classification(tmp_path)
    labels, probabilities = guesses()
    predicted = probabilities.argmax(1)
    for position, one in enumerate(measure_classes(folder)):
        assert (one.by, one.value, one.count) == ("class", CLASSES[position], (labels == position).sum())
        recall = next(metric for metric in one.metrics if ".recall." in metric.name)
        assert recall.value == pytest.approx((predicted[labels == position] == position).mean())
        assert recall.interval.low < recall.value < recall.interval.high
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (labels, predicted), 1)
    evaluate_examples(folder)
    assert read_json(folder / "confusion.json")["counts"] == confusion.tolist()
    assert sum(bar["count"] for bar in read_json(folder / "reliability.json")) == 200


def add_batches(folder, *batches):
    with ExampleWriter(folder, ExampleLayout(kind="regression", subject="r.test")) as examples:
        for ids in batches:
            examples.add(ids, regressed([1.0] * len(ids), [1.0] * len(ids)))


def test_an_example_that_comes_twice_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(SourceError, match="'a'"):
        add_batches(tmp_path, ["a", "b"], ["c", "a"])
    assert list(tmp_path.iterdir()) == []


def test_no_example_and_a_missing_slice_are_refused(tmp_path):
    layout = ExampleLayout(kind="regression", subject="r.test", slices=("language",))
    with pytest.raises(SourceError, match="no example"), ExampleWriter(tmp_path, layout):
        pass
    with pytest.raises(SourceError, match="every slice"), ExampleWriter(tmp_path, layout) as examples:
        examples.add(["a"], regressed([1], [1]))
    with pytest.raises(SourceError, match=EXAMPLES):
        measure(tmp_path)


def test_probabilities_must_be_probabilities():
    with pytest.raises(SourceError, match="add up"):
        classified(("a", "b"), ["a"], probabilities_NC=[[0.2, 0.2]])
    with pytest.raises(SourceError, match="between"):
        classified(("a", "b"), ["a"], probabilities_NC=[[1.2, -0.2]])
    with pytest.raises(SourceError, match="one of them"):
        classified(("a", "b"), ["a"])


def test_decisions_alone_give_what_needs_no_probabilities(tmp_path):
    with ExampleWriter(
        tmp_path, ExampleLayout(kind="classification", subject="s", classes=("a", "b"), resamples=100)
    ) as examples:
        examples.add(["1", "2", "3"], classified(("a", "b"), ["a", "b", "b"], predictions=["a", "a", "b"]))
    names = [metric.name for metric in measure(tmp_path)]
    assert "s.macro_f1" in names
    assert "s.auroc" not in names


def test_one_class_alone_leaves_out_what_it_does_not_define(tmp_path):
    with ExampleWriter(
        tmp_path, ExampleLayout(kind="classification", subject="s", classes=("a", "b"), resamples=100)
    ) as examples:
        examples.add(["1", "2"], classified(("a", "b"), ["a", "a"], probabilities_NC=[[0.9, 0.1], [0.8, 0.2]]))
    values = {metric.name: metric.value for metric in measure(tmp_path)}
    assert values["s.accuracy"] == 1.0
    assert "s.auroc" not in values
    assert values["s.mcc"] == 0.0


@pytest.mark.parametrize(
    ("kind", "columns", "at"),
    [
        (
            "multilabel",
            labelled(("a", "b"), [["a"], [], ["b", "a"]], probabilities_NL=[[0.9, 0.2], [0.6, 0.1], [0.3, 0.7]]),
            (),
        ),
        ("regression", regressed([1, 2, 4], [1.5, 2, 3]), ()),
        ("tagging", tagged([["B-X", "O"], ["O"], ["B-Y"]], [["B-X", "O"], ["O"], ["B-X"]]), ()),
        ("retrieval", retrieved([[0, 1], [1, 0], [0, 0]], [[1], [1, 1], [1]]), (1, 2)),
        ("code", sampled([5, 5, 5], [0, 2, 5]), (1, 3)),
    ],
)
def test_every_kind_gives_every_number_of_its_catalogue(tmp_path, kind, columns, at):
    layout = ExampleLayout(kind=kind, subject="s", classes=("a", "b") if kind == "multilabel" else (), at=at, resamples=100)
    with ExampleWriter(tmp_path, layout) as examples:
        examples.add(["1", "2", "3"], columns)
    metrics = evaluate_examples(tmp_path)
    assert [metric.name for metric in metrics] == [f"s.{name}" for name in statistic_names(kind, at)]
    assert all(metric.interval is not None and metric.count == 3 for metric in metrics)
    check_recomputed(tmp_path, metrics)


def test_code_counts_give_the_unbiased_estimate(tmp_path):
    with ExampleWriter(tmp_path, ExampleLayout(kind="code", subject="h", at=(1,), resamples=100)) as examples:
        examples.add(["1", "2"], sampled([10, 10], [1, 5]))
    (metric,) = measure(tmp_path)
    assert (metric.name, metric.value, metric.count_unit) == ("h.pass_at_1", pytest.approx(0.3), "problems")


PREDICTIONS = ["Ada met 12 people in Paris.", "the cat sat", "the cat the cat the cat the cat sat", ""]
REFERENCES = [["Ada met 10 people."], ["The cat sat!", "a dog"], ["the cat sat"], ["nothing"]]
SOURCES = ["Ada Lovelace met 10 people.", "the cat sat on the mat", "the cat", "silence"]


def write_texts(folder, *, split=4):
    layout = ExampleLayout(kind="generation", subject="sum.test", resamples=100, seed=3)
    with ExampleWriter(folder, layout) as examples:
        for start in range(0, 4, split):
            part = slice(start, start + split)
            columns = generated(PREDICTIONS[part], references=REFERENCES[part], sources=SOURCES[part])
            examples.add([str(i) for i in range(4)][part], columns, texts=SOURCES[part])
    return folder


def test_generated_texts(tmp_path):
    values = {metric.name.removeprefix("sum.test."): metric for metric in evaluate_examples(write_texts(tmp_path))}
    assert list(values) == [name for name in statistic_names("generation") if name != "mauve"]
    assert values["exact_match"].value == 0.25
    assert values["length"].value == pytest.approx((6 + 3 + 9 + 0) / 4)
    assert values["repetition"].value == pytest.approx(
        3 / 9
    )  # 3 + 6 + 0 four-grams; the third text repeats "the cat the cat" ...
    assert values["unsupported_facts"].value == pytest.approx(2 / 2)  # 12 and Paris; Ada opens the sentence
    assert values["novelty_1"].value == pytest.approx((3 + 0 + 1) / 18)  # 12, in, paris; sat
    assert values["distinct_1"].value == pytest.approx(9 / 18)
    assert values["distinct_1"].interval is None
    assert values["bleu"].interval is not None


def test_sums_can_be_made_again_from_the_texts(tmp_path):
    examples = read_examples(write_texts(tmp_path), texts=True)
    again = generated(
        examples.table["prediction"].to_pylist(),
        references=examples.table["references"].to_pylist(),
        sources=examples.table["source"].to_pylist(),
    )
    for name, values in again.items():
        assert examples.table[name].to_pylist() == list(values), name
    assert isinstance(read_examples(tmp_path).measured(), Generation)


WRONG_LISTS = {
    "fewer references": (lambda: generated(["a", "b"], references=[["a"]]), "1 references and 2 predictions", "references"),
    "more sources": (
        lambda: generated(["a"], references=[["a"]], sources=["s", "t"]),
        "2 sources and 1 predictions",
        "sources",
    ),
    "no reference": (lambda: generated(["a", "b"], references=[["a"], []]), "1 of 2 examples have no reference", "example 1"),
    "fewer labels": (lambda: classified(("x", "y"), ["x"], predictions=["x", "y"]), "1 labels and 2 predictions", "labels"),
    "more label lists": (lambda: labelled(("x",), [["x"], []], predictions=[["x"]]), "2 labels and 1 predictions", "labels"),
    "more numbers": (lambda: regressed([1.0, 2.0], [1.0]), "2 labels and 1 predictions", "labels"),
    "fewer sentences": (lambda: tagged([["X"], ["Y"]], [["X"]]), "2 labels and 1 predictions", "labels"),
    "another number of tags": (lambda: tagged([["X", "Y"]], [["X"]]), "sentence 0 of the batch has 2 tags and 1", "'X Y'"),
}


@pytest.mark.parametrize("case", WRONG_LISTS)
def test_lists_of_another_length_are_named(case):
    make, said, where = WRONG_LISTS[case]
    with pytest.raises(SourceError, match=said) as error:
        make()
    assert where in error.value.where
    assert error.value.expected
    assert error.value.fix


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_predicted_value_that_is_no_number_is_named(value):
    with pytest.raises(ModelError, match="1 of 3 predicted values are not finite") as error:
        regressed([1.0, 2.0, 3.0], [1.0, value, 3.0])
    assert error.value.where == "example 1 of the batch"
    assert "optimizer.lr" in error.value.fix


def test_texts_without_references_or_sources(tmp_path):
    with ExampleWriter(tmp_path, ExampleLayout(kind="generation", subject="s", resamples=100)) as examples:
        examples.add(["1", "2"], generated(["one two", "three"]))
    names = [metric.name for metric in measure(tmp_path)]
    assert names == ["s.length", "s.distinct_1", "s.distinct_2"]


def test_the_test_set_is_known_by_its_questions(tmp_path):
    shuffled = np.random.default_rng(1).permutation(200)
    same = [write_classification(tmp_path / "a", seed=0), write_classification(tmp_path / "b", seed=1, order=shuffled)]
    other = write_classification(tmp_path / "c", count=199)
    assert test_set_digest(same[0]) == test_set_digest(same[1]) != test_set_digest(other)
