import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.errors import DamagedError, ModelError, TrainingError
from lmpipe.models.linear.config import LinearConfig
from lmpipe.models.linear.features import learn_vocabulary, terms_of
from lmpipe.models.linear.model import load_linear, log_softmax, save_linear
from lmpipe.models.linear.training import _Loss, minimise, train_linear

TEXTS = [
    "my card has not arrived",
    "the card still has not come",
    "where is my new card?",
    "what is the exchange rate",
    "which exchange rate do you use?",
    "is the rate good today",
    "close my account",
    "please delete the account",
    "I want to close everything!",
]
LABELS = ["card"] * 3 + ["rate"] * 3 + ["close"] * 3


@pytest.fixture(scope="module")
def classifier():
    return train_linear(TEXTS, LABELS, LinearConfig())


def test_it_learns_what_it_is_shown(classifier):
    assert classifier.labels == ("card", "close", "rate")
    assert classifier.predict(TEXTS) == LABELS
    assert classifier.predict(["my card is not here", "tell me the rate"]) == ["card", "rate"]


def test_weights_of_features_follow_the_formula():
    vocabulary = learn_vocabulary(["a b", "a a", ""], LinearConfig(word_ngrams=1))
    rows = vocabulary.rows(["a a b unknown", ""])
    idf = {"a": math.log(4 / 3) + 1, "b": math.log(4 / 2) + 1}
    row = np.array([2 * idf["a"], idf["b"]])
    assert vocabulary.terms == ("a", "b")
    np.testing.assert_allclose(rows.values_Z, row / np.sqrt((row**2).sum()), rtol=1e-12)
    assert rows.borders.tolist() == [0, 2, 2]


@settings(max_examples=30, deadline=None)
@given(st.text(alphabet="ab ?'É", max_size=12), st.integers(1, 3), st.sampled_from([0, 4]))
def test_terms_are_all_runs(text, n, characters):
    found = terms_of(text, LinearConfig(word_ngrams=n, character_ngrams=characters))
    words = list(terms_of(text, LinearConfig(word_ngrams=1)).elements())
    assert sum(found[word] for word in set(words)) == len(words)
    runs = sum(max(0, len(words) - size + 1) for size in range(1, n + 1))
    inside = sum(max(0, len(word) + 2 - size + 1) for word in words for size in ((3, 4) if characters else ()))
    assert sum(found.values()) == runs + inside
    assert isinstance(found, Counter)


def dense(rows, columns):
    matrix = np.zeros((len(rows), columns))
    matrix[rows.row_Z, rows.columns_Z] = rows.values_Z
    return matrix


@pytest.mark.parametrize("balanced", [False, True])
def test_the_loss_is_the_regularised_cross_entropy_and_the_gradient_its_slope(balanced):
    config = LinearConfig(cost=3.0, balanced=balanced)
    texts, labels = [*TEXTS[:7], ""], np.array([0, 0, 0, 1, 1, 1, 2, 2])
    vocabulary = learn_vocabulary(texts, config)
    rows = vocabulary.rows(texts)
    loss = _Loss(rows, labels, 3, len(vocabulary.terms), config)
    weights = np.random.default_rng(1).normal(size=(3, len(vocabulary.terms) + 1))
    matrix = dense(rows, len(vocabulary.terms))

    def plainly(flat):
        table = flat.reshape(3, -1).T
        scores = matrix @ table[:-1] + table[-1]
        probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        share = np.array([1 / (3 * (labels == label).sum()) for label in labels]) if balanced else np.full(8, 1 / 8)
        return -(share * np.log(probabilities[np.arange(8), labels])).sum() + (table[:-1] ** 2).sum() / (2 * 3.0 * 8)

    value, gradient = loss(weights.ravel())
    assert value == pytest.approx(plainly(weights.ravel()), rel=1e-12)
    for place in range(0, weights.size, 7):
        step = np.zeros(weights.size)
        step[place] = 1e-6
        slope = (plainly(weights.ravel() + step) - plainly(weights.ravel() - step)) / 2e-6
        assert gradient[place] == pytest.approx(slope, abs=1e-7)


def test_the_search_ends_where_the_gradient_vanishes_wherever_it_began():
    random = np.random.default_rng(2)
    root = random.normal(size=(6, 6))
    hessian, target = root @ root.T + np.eye(6), random.normal(size=6)

    def quadratic(place):
        return float((place - target) @ hessian @ (place - target)) / 2, hessian @ (place - target)

    for start in (np.zeros(6), random.normal(size=6) * 100):
        np.testing.assert_allclose(minimise(quadratic, start, 500, 1e-10), target, atol=1e-8)


def test_equal_to_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    text = pytest.importorskip("sklearn.feature_extraction.text")
    ours = train_linear(TEXTS, LABELS, LinearConfig(cost=5, tolerance=1e-8, iterations=2000))
    features = text.TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]")
    theirs = linear_model.LogisticRegression(C=5, tol=1e-8, max_iter=5000).fit(features.fit_transform(TEXTS), LABELS)
    probes = [*TEXTS, "a card for the account", "nothing known"]
    np.testing.assert_allclose(ours.probabilities(probes), theirs.predict_proba(features.transform(probes)), atol=1e-4)


def test_probabilities_are_a_distribution_also_for_what_was_never_seen(classifier):
    probabilities = classifier.probabilities(["", "zzz", TEXTS[0] * 50])
    assert probabilities.shape == (3, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert classifier.probabilities([]).shape == (0, 3)


def test_large_scores_do_not_overflow():
    np.testing.assert_allclose(np.exp(log_softmax(np.array([[1e4, 0.0], [-1e4, -1e4]]))), [[1, 0], [0.5, 0.5]])


def test_the_words_that_decide_are_named(classifier):
    words = [word for word, _ in classifier.reasons("what is the exchange rate of my card", "rate")]
    assert words[0] in ("rate", "exchange", "exchange rate")
    assert "card" not in words
    with pytest.raises(ModelError, match="label 'nope'"):
        classifier.reasons("x", "nope")


def test_saved_and_loaded_it_is_the_same_and_equal_models_are_equal_bytes(classifier, tmp_path):
    save_linear(classifier, tmp_path / "a")
    save_linear(train_linear(TEXTS, LABELS, LinearConfig()), tmp_path / "b")
    assert [path.read_bytes() for path in sorted((tmp_path / "a").iterdir())] == [
        path.read_bytes() for path in sorted((tmp_path / "b").iterdir())
    ]
    loaded = load_linear(tmp_path / "a")
    np.testing.assert_array_equal(loaded.probabilities(TEXTS), classifier.probabilities(TEXTS))


def test_rare_features_and_too_many_are_left_out():
    assert learn_vocabulary(TEXTS, LinearConfig(word_ngrams=1, min_texts=3)).terms == ("card", "is", "my", "rate", "the")
    assert learn_vocabulary(TEXTS, LinearConfig(word_ngrams=1, max_features=1)).terms == ("the",)


def test_balanced_labels_weigh_the_same():
    texts = [*["pay the bill now"] * 20, "pay the bill now please"]
    labels = ["often"] * 20 + ["rare"]
    rare = [train_linear(texts, labels, LinearConfig(balanced=flag)).probabilities(["pay the bill"])[0, 1] for flag in (0, 1)]
    assert rare[1] > 2 * rare[0]


@pytest.mark.parametrize(
    ("texts", "labels", "says"),
    [
        (["a"], ["x", "y"], "1 texts and 2 labels"),
        (["a", "b"], ["x", "x"], "1 different"),
        (["", " "], ["x", "y"], "no training"),
    ],
)
def test_what_cannot_be_learned_is_said(texts, labels, says):
    with pytest.raises(TrainingError, match=says):
        train_linear(texts, labels, LinearConfig())


def test_a_bad_folder_is_one_message(classifier, tmp_path):
    with pytest.raises(ModelError, match="no linear classifier"):
        load_linear(tmp_path)
    save_linear(classifier, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(DamagedError, match="cannot be used"):
        load_linear(tmp_path / "cut")
    save_linear(classifier, tmp_path / "other")
    (tmp_path / "other" / "terms.json").write_text('["a"]')
    with pytest.raises(DamagedError, match="different lengths"):
        load_linear(tmp_path / "other")
