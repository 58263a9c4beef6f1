import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.errors import TrainingError
from lmpipe.tokens.loader import Loader, evaluation_batches, evaluation_windows, permuted, segments_of
from lmpipe.tokens.shards import ShardWriter, TokenShards

END = 0
DOCUMENTS = st.lists(st.lists(st.integers(1, 99), max_size=20), min_size=1, max_size=10)


def write(folder, documents, shard_tokens=64):
    with ShardWriter(folder, vocab_size=1 << 16, end_of_text_id=END, shard_tokens=shard_tokens) as writer:
        for ids in documents:
            writer.append(ids, 1)
    return TokenShards(folder)


@pytest.fixture
def numbered(tmp_path):
    """One stream whose tokens are their places, but for the ends of documents: 20 documents of 50 tokens."""
    return write(tmp_path / "shards", [range(50 * n + 1, 50 * n + 50) for n in range(20)])


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 3000), st.integers(0, 1 << 60), st.data())
def test_the_order_is_a_permutation(size, seed, data):
    keys = tuple(seed + i for i in range(6))
    everywhere = permuted(np.arange(size), size, keys)
    assert sorted(everywhere.tolist()) == list(range(size))
    one = data.draw(st.integers(0, size - 1))
    assert permuted(np.array([one]), size, keys)[0] == everywhere[one]


def test_the_order_looks_random():
    size = 10_000
    order = permuted(np.arange(size), size, (11, 22, 33, 44, 55, 66))
    assert abs(np.corrcoef(np.arange(size), order)[0, 1]) < 0.05  # 5 standard deviations
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05
    neighbours = np.mean(np.abs(np.diff(order)) == 1)
    assert neighbours < 0.002  # 2 in 10,000 are expected


def test_an_epoch_sees_every_window_once_and_the_next_in_another_order(numbered):
    loader = Loader(numbered, context_length=10, batch_size=4, seed=1)
    windows = loader.windows_per_epoch
    assert windows == 99  # one fewer than fit
    starts = list(itertools.chain.from_iterable(loader.window_starts(p) for p in range(2 * windows)))
    epochs = [starts[e * windows : (e + 1) * windows] for e in range(8)]
    for epoch in epochs:
        assert len({start % 10 for start in epoch}) == 1  # one offset
        assert [s // 10 for s in sorted(epoch)] == list(range(99))
        assert min(epoch) >= 0
        assert max(epoch) + 11 <= numbered.tokens
    assert len({tuple(s // 10 for s in epoch) for epoch in epochs}) == 8
    assert len({epoch[0] % 10 for epoch in epochs}) > 1  # windows are cut elsewhere


def test_a_batch_is_what_the_stream_holds(numbered):
    loader = Loader(numbered, context_length=10, batch_size=4, seed=3)
    inputs, targets, segments = loader.batch(5)
    assert inputs.shape == targets.shape == segments.shape == (4, 10)
    assert inputs.dtype == targets.dtype == np.int64
    for row, start in enumerate(loader.window_starts(5)):
        stream = numbered.slice(start, start + 11)
        assert inputs[row].tolist() == stream[:-1].tolist()
        assert targets[row].tolist() == stream[1:].tolist()
    assert inputs.flags.c_contiguous
    assert targets.flags.c_contiguous


def test_any_batch_can_be_had_first(numbered):
    going = Loader(numbered, context_length=10, batch_size=4, seed=1)
    batches = [going.batch(position) for position in range(60)]
    for position in (59, 0, 24, 25):  # an epoch ends within batch 24
        fresh = Loader(numbered, context_length=10, batch_size=4, seed=1).batch(position)
        assert all(np.array_equal(a, b) for a, b in zip(fresh, batches[position], strict=True))


def test_batches_of_another_seed_differ(numbered):
    one, two = (Loader(numbered, context_length=10, batch_size=4, seed=s).window_starts(0) for s in (1, 2))
    assert one != two


def test_the_split_of_a_stream_into_batches_does_not_change_it(numbered):
    big = Loader(numbered, context_length=10, batch_size=8, seed=1)
    small = Loader(numbered, context_length=10, batch_size=2, seed=1)
    assert big.window_starts(3) == [start for p in range(12, 16) for start in small.window_starts(p)]


def test_how_far_it_is(numbered):
    loader = Loader(numbered, context_length=10, batch_size=4, seed=1)
    assert loader.tokens_per_batch == 40
    assert loader.batches_per_epoch == pytest.approx(99 / 4)
    assert loader.epoch(0) == 0
    assert loader.epoch(99) == 4


@pytest.mark.parametrize(
    ("tokens", "batch_size", "fits"),
    [(11, 1, True), (10, 1, False), (50, 4, True), (49, 4, False), (0, 1, False), (30, 2, True)],
)
def test_a_split_smaller_than_a_batch_is_refused_with_the_numbers(tmp_path, tokens, batch_size, fits):
    shards = write(tmp_path, [[1] * (tokens - 1)] if tokens else [])
    if fits:
        assert Loader(shards, context_length=10, batch_size=batch_size, seed=1).batch(0).inputs_BT.shape == (batch_size, 10)
        return
    with pytest.raises(TrainingError) as error:
        Loader(shards, context_length=10, batch_size=batch_size, seed=1)
    assert f"{tokens} tokens" in str(error.value)
    expected = 11 if batch_size == 1 else (batch_size + 1) * 10
    assert f"at least {expected} tokens" in str(error.value)


def test_segments_begin_where_end_of_text_is_an_input():
    assert segments_of(np.array([[5, 0, 6, 0, 0], [0, 1, 2, 3, 4]]), 0).tolist() == [[0, 1, 1, 2, 3], [1, 1, 1, 1, 1]]


def test_a_batch_takes_less_than_a_millisecond(tmp_path):
    rng = np.random.default_rng(0)
    shards = write(tmp_path, [rng.integers(1, 4096, 3000) for _ in range(200)], shard_tokens=1 << 18)
    loader = Loader(shards, context_length=256, batch_size=32, seed=1)
    loader.batch(0)
    seconds = []
    for position in range(200):
        before = time.perf_counter()
        loader.batch(position * 17)
        seconds.append(time.perf_counter() - before)
    assert np.median(seconds) < 1e-3  # 0.2 ms on two cores of a shared machine


# ------------------------------------------------------------------------------------------------------------- evaluation


@settings(deadline=None, max_examples=150)
@given(DOCUMENTS, st.integers(1, 12), st.data())
def test_every_token_is_scored_once_after_what_stands_before_it(documents, context_length, data):
    stride = data.draw(st.integers(1, context_length))
    with tempfile.TemporaryDirectory() as name:
        shards = write(Path(name), documents)
        scored = {index: [] for index in range(len(documents))}
        for window in evaluation_windows(shards, context_length, stride=stride):
            assert 0 < len(window.inputs) == len(window.targets) <= context_length
            assert window.inputs[1:].tolist() == window.targets[:-1].tolist()
            before = scored[window.document]
            whole = [END, *documents[window.document], END]
            start = len(before) - window.score_from
            assert window.inputs.tolist() == whole[start : start + len(window.inputs)]
            # Beyond the first window, at least context_length - stride tokens of context stand before what is scored.
            assert start == 0 or window.score_from >= context_length - stride
            before += window.targets[window.score_from :].tolist()
        assert scored == {index: [*ids, END] for index, ids in enumerate(documents)}


@settings(deadline=None, max_examples=100)
@given(DOCUMENTS, st.integers(2, 12), st.integers(1, 4))
def test_packed_rows_hold_the_same_windows(documents, context_length, batch_size):
    with tempfile.TemporaryDirectory() as name:
        shards = write(Path(name), documents)
        windows = list(evaluation_windows(shards, context_length))
        scored = {index: [] for index in range(len(documents))}
        found = []
        for batch in evaluation_batches(shards, context_length=context_length, batch_size=batch_size):
            assert batch.inputs_BT.shape[0] <= batch_size
            assert {array.shape for array in batch} == {batch.inputs_BT.shape}
            for inputs, targets, segments, numbers in zip(*batch, strict=True):
                for segment in range(segments.max() + 1):
                    inside = segments == segment
                    if (numbers[inside] >= 0).any():
                        found.append(inputs[inside].tolist())
                for number, target in zip(numbers, targets, strict=True):
                    if number >= 0:
                        scored[number].append(int(target))
        assert found == [window.inputs.tolist() for window in windows]
        assert scored == {index: [*ids, END] for index, ids in enumerate(documents)}


@pytest.mark.parametrize("stride", [0, -1, 11])
def test_a_stride_that_would_skip_tokens_is_refused(numbered, stride):
    with pytest.raises(ValueError, match="stride"):
        list(evaluation_windows(numbered, 10, stride=stride))


def test_no_documents_no_batches(tmp_path):
    assert list(evaluation_batches(write(tmp_path, []), context_length=4, batch_size=2)) == []
