import math

import numpy as np
import pytest

from lmpipe.evaluation.bootstrap import Resampling, block_tokens_for, interval_of, resampled_totals
from lmpipe.evaluation.metrics import metrics_of


def columns(units, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(50, 500, units).astype(float)
    tokens = np.ceil(sizes / 3)
    return {"bytes": sizes, "tokens": tokens, "nats": sizes * rng.gamma(9, 0.15, units), "correct": np.floor(tokens * 0.4)}


def test_interval_agrees_with_a_plain_loop_over_resamples():
    table = columns(60)
    (bits, *_) = metrics_of(table, Resampling(resamples=4000, seed=3), corpus="c", split="test")
    rng = np.random.default_rng(11)  # another stream: agreement is statistical, not by construction
    values = []
    for _ in range(4000):
        drawn = rng.choice(60, 60)
        values.append(table["nats"][drawn].sum() / table["bytes"][drawn].sum() / math.log(2))
    low, high = np.quantile(values, [0.025, 0.975])
    width = high - low
    assert bits.interval.low == pytest.approx(low, abs=0.06 * width)
    assert bits.interval.high == pytest.approx(high, abs=0.06 * width)
    assert bits.value == pytest.approx(table["nats"].sum() / table["bytes"].sum() / math.log(2))


def test_interval_covers_the_true_ratio_about_as_often_as_it_says():
    truth = 9 * 0.15 / math.log(2)
    hits = 0
    for seed in range(200):
        (bits, *_) = metrics_of(columns(80, seed), Resampling(resamples=200, seed=seed), corpus="c", split="test")
        hits += bits.interval.low <= truth <= bits.interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_chunks_do_not_change_the_draws(monkeypatch):
    table = np.stack(list(columns(30).values()), axis=1)
    whole = resampled_totals(table, Resampling(resamples=200, seed=5))
    monkeypatch.setattr("lmpipe.evaluation.bootstrap.CHUNK_ELEMENTS", 64)
    np.testing.assert_array_equal(whole, resampled_totals(table, Resampling(resamples=200, seed=5)))


def test_equal_seeds_give_equal_intervals_and_other_seeds_do_not():
    first, again, other = (
        metrics_of(columns(30), Resampling(seed=seed), corpus="c", split="test")[0].interval for seed in (1, 1, 2)
    )
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)


def test_perplexity_interval_is_the_transformed_one():
    table = columns(40)
    bits, perplexity, accuracy = metrics_of(table, Resampling(seed=2), corpus="c", split="validation")
    assert [m.name for m in (bits, perplexity, accuracy)] == [
        "c.validation.bits_per_byte",
        "c.validation.perplexity",
        "c.validation.next_token_accuracy",
    ]
    assert perplexity.value == pytest.approx(math.exp(table["nats"].sum() / table["tokens"].sum()))
    assert perplexity.interval.low < perplexity.value < perplexity.interval.high
    assert accuracy.direction == "higher"
    assert accuracy.count == table["tokens"].sum()


def test_few_documents_are_cut_into_blocks():
    assert block_tokens_for(np.full(20, 1000)) == 0
    assert block_tokens_for(np.array([50_000, 50_000])) == 1000
    assert block_tokens_for(np.array([300])) == 128


def test_one_unit_has_no_interval():
    assert interval_of(np.ones(10), 1, Resampling()) is None
