"""Two models on the same examples: tests of significance, their correction, and the verdict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from lmpipe.base.errors import RecipeError, SourceError
from lmpipe.base.files import write_json
from lmpipe.base.measures import Metric
from lmpipe.evaluation.bootstrap import Resampling
from lmpipe.evaluation.classification import Classification, classified
from lmpipe.evaluation.comparison import compare
from lmpipe.evaluation.examples import ExampleLayout, ExampleWriter
from lmpipe.evaluation.generation import generated
from lmpipe.evaluation.measuring import evaluate_examples
from lmpipe.evaluation.significance import approximate_randomization, holm, mcnemar

CLASSES = ("a", "b", "c")


def evaluated(folder, *, skill, seed, count=300, labels_seed=0, order=None, subject="reviews.test"):
    folder.mkdir()
    labels = np.random.default_rng(labels_seed).integers(0, 3, count)
    logits = np.random.default_rng(seed).normal(size=(count, 3))
    logits[np.arange(count), labels] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    layout = ExampleLayout(kind="classification", subject=subject, classes=CLASSES, resamples=100)
    rows = np.arange(count) if order is None else order
    with ExampleWriter(folder, layout) as examples:
        columns = classified(CLASSES, [CLASSES[labels[i]] for i in rows], probabilities_NC=probabilities[rows])
        examples.add([str(i) for i in rows], columns)
    evaluate_examples(folder)
    return folder


def test_a_better_model_is_called_better_from_either_side(tmp_path):
    weak = evaluated(tmp_path / "weak", skill=0.5, seed=1)
    strong = evaluated(tmp_path / "strong", skill=2.5, seed=2, order=np.random.default_rng(3).permutation(300))
    there = {row.name: row for row in compare(weak, strong)}
    back = {row.name: row for row in compare(strong, weak)}
    for name in ("accuracy", "macro_f1", "mcc", "auroc", "log_loss", "brier"):
        row, other = there[f"reviews.test.{name}"], back[f"reviews.test.{name}"]
        assert (row.verdict, other.verdict) == ("better", "worse"), name
        assert row.difference == pytest.approx(-other.difference)
        assert row.interval.low <= row.difference <= row.interval.high
        assert row.test.p <= row.test.adjusted_p <= 0.05
    assert there["reviews.test.accuracy"].test.method == "McNemar, exact"
    assert "randomization" in there["reviews.test.macro_f1"].test.method


def test_models_that_are_alike_show_no_difference(tmp_path):
    first = evaluated(tmp_path / "first", skill=1.5, seed=1)
    second = evaluated(tmp_path / "second", skill=1.5, seed=2)
    assert {row.verdict for row in compare(first, second)} == {"no difference"}
    same = compare(first, first)
    assert {row.difference for row in same} == {0.0}
    assert {row.test.adjusted_p for row in same} == {1.0}


def test_a_model_against_itself_is_rarely_called_different():
    """Under no difference, the corrected tests may be wrong in at most about one comparison of twenty."""
    wrong = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, 60)
        sides = [np.where(rng.random(60) < 0.7, labels, 1 - labels) for _ in range(2)]
        both = Classification(("a", "b"), np.tile(labels, 2), np.concatenate(sides))
        p = approximate_randomization(both.values, 60, shuffles=200, seed=seed)
        names = ("accuracy", "macro_f1", "mcc")
        wrong += min(holm([p[name] for name in names])) <= 0.05
    assert wrong <= 7


def test_different_test_sets_are_refused(tmp_path):
    first = evaluated(tmp_path / "first", skill=1, seed=1)
    for name, changes in (("fewer", {"count": 299}), ("labels", {"labels_seed": 1})):
        with pytest.raises(RecipeError, match="different texts"):
            compare(first, evaluated(tmp_path / name, skill=1, seed=1, **changes))


def test_an_evaluation_of_another_kind_is_refused(tmp_path):
    first = evaluated(tmp_path / "first", skill=1, seed=1)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(SourceError, match="one kind"):
        compare(first, tmp_path / "nothing")


def test_numbers_without_items_stand_side_by_side_and_say_nothing(tmp_path):
    for name, value in (("first", 0.2), ("second", 0.9)):
        (tmp_path / name).mkdir()
        metric = Metric(
            name="programs.x.pass_at_1", value=value, unit="fraction", direction="higher", count=9, count_unit="problems"
        )
        write_json(tmp_path / name / "metrics.json", [metric.model_dump(mode="json")])
    (found,) = compare(tmp_path / "first", tmp_path / "second")
    assert (found.difference, found.verdict, found.interval) == (pytest.approx(0.7), "no difference", None)
    assert "not paired" in found.note


def test_generated_texts_are_compared_by_corpus_scores(tmp_path):
    references = [[f"the number {i} comes after {i - 1}"] for i in range(40)]
    good = [texts[0] if i % 4 else "no idea" for i, texts in enumerate(references)]
    bad = [texts[0] if i % 4 == 1 else "no idea" for i, texts in enumerate(references)]
    for name, texts in (("good", good), ("bad", bad)):
        (tmp_path / name).mkdir()
        layout = ExampleLayout(kind="generation", subject="s.test", resamples=100)
        with ExampleWriter(tmp_path / name, layout) as examples:
            examples.add([str(i) for i in range(40)], generated(texts, references=references))
        evaluate_examples(tmp_path / name)
    rows = {row.name: row for row in compare(tmp_path / "bad", tmp_path / "good", resampling=Resampling(resamples=300))}
    for name in ("exact_match", "bleu", "chrf", "rougeL"):
        assert rows[f"s.test.{name}"].verdict == "better", name
    assert rows["s.test.length"].test is None
    assert rows["s.test.distinct_1"].interval is None
    assert rows["s.test.distinct_1"].verdict == "no difference"


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_a_binomial_test(pairs):
    first, second = [p for p, _ in pairs], [q for _, q in pairs]
    only_first, only_second = sum(p and not q for p, q in pairs), sum(q and not p for p, q in pairs)
    expected = binomtest(only_first, only_first + only_second).pvalue if only_first + only_second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected)


def test_mcnemar_of_a_large_test_set():
    first = np.arange(1_000_000) % 2 == 0
    second = np.arange(1_000_000) % 2 == 1
    second[:4000] = True
    assert mcnemar(first, second) == pytest.approx(binomtest(498_000, 998_000).pvalue, rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm(p_values):
    adjusted = holm(p_values)
    assert all(p <= corrected <= 1 for p, corrected in zip(p_values, adjusted, strict=True))
    assert min(adjusted) == pytest.approx(min(1.0, len(p_values) * min(p_values)))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(adjusted)[order]) >= 0)


def test_randomization_of_few_examples_is_the_exact_test():
    """With 8 examples there are 256 exchanges; the share of drawn ones comes near the share of all."""
    rng = np.random.default_rng(0)
    labels = np.zeros(8, dtype=np.int64)
    first, second = (rng.random(8) < 0.2).astype(np.int64), (rng.random(8) < 0.7).astype(np.int64)
    both = Classification(("a", "b"), np.tile(labels, 2), np.concatenate([first, second]))
    p = approximate_randomization(both.values, 8, shuffles=20_000, seed=1)["accuracy"]
    difference = (second == 0).astype(int) - (first == 0).astype(int)
    signs = np.array([[1 if mask >> i & 1 else -1 for i in range(8)] for mask in range(256)])
    exact = (np.abs(signs @ difference) >= abs(difference.sum())).mean()
    assert p == pytest.approx(exact, abs=0.015)
