"""Mixtures and runs: any batch at once, shares exact, every window of every corpus in its turn."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lmpipe.base.errors import ModelError, TrainingError
from lmpipe.base.progress import Silent
from lmpipe.tokens.config import MixtureConfig
from lmpipe.tokens.loader import Loader
from lmpipe.tokens.mixture import BLOCK, MixtureLoader, mix, rows_of_block, training_loader
from lmpipe.tokens.shards import ShardWriter, open_shards

SIZES = {"books": 4000, "web": 900, "chat": 60}


def write_tokens(folder, first, tokens, runs=1, vocab_size=30_000):
    """A tokenize stage's folder whose training tokens count up from `first`."""
    for split, size in (("train", tokens), ("validation", 30), ("test", 20)):
        options = {"vocab_size": vocab_size, "end_of_text_id": 0, "shard_tokens": 700, "runs": runs if split == "train" else 1}
        with ShardWriter(folder / split, **options) as writer:
            for start in range(first, first + size, 100):
                writer.append(np.arange(start, min(start + 99, first + size - 1)), 5)
    return folder


@pytest.fixture
def mixed(tmp_path):
    """Mixes the three corpora; gives the folder."""
    tokens = {
        name: write_tokens(tmp_path / name, 1 + 10_000 * number, size) for number, (name, size) in enumerate(SIZES.items())
    }

    def run(**config):
        output = tmp_path / f"mix-{len(list(tmp_path.iterdir()))}"
        output.mkdir()
        mix(tokens, output, config=MixtureConfig(**config), progress=Silent())
        return output

    return run


def corpus_of(batch):
    return [row[row > 0][0] // 10_000 for row in batch.inputs_BT]


def test_shares_are_kept_in_every_block(mixed):
    shards = open_shards(mixed(mixture={"books": 7, "web": 2, "chat": 1}) / "train")
    loader = training_loader(shards, context_length=10, batch_size=32, seed=1)
    assert isinstance(loader, MixtureLoader)
    counts = Counter(itertools.chain.from_iterable(corpus_of(loader.batch(n)) for n in range(BLOCK // 32)))
    assert [counts[n] for n in range(3)] == loader.counts.tolist() == rows_of_block([0.7, 0.2, 0.1])
    first = Counter(itertools.chain.from_iterable(corpus_of(loader.batch(n)) for n in range(16)))
    assert all(abs(first[n] / 512 - share) < 0.08 for n, share in enumerate((0.7, 0.2, 0.1)))


def test_a_small_corpus_is_gone_through_evenly_and_its_epochs_are_told(mixed):
    shards = open_shards(mixed(mixture={"books": 0.9, "chat": 0.1}) / "train")
    loader = MixtureLoader(shards, context_length=10, batch_size=64, seed=1)
    positions = 2 * BLOCK // 64
    starts = list(itertools.chain.from_iterable(loader.window_starts(n) for n in range(positions)))
    chat = [start - SIZES["books"] for start in starts if start >= SIZES["books"]]
    windows = loader._loaders[1].windows_per_epoch
    times = Counter(start // 10 for start in chat)
    assert len(times) == windows == 5
    assert max(times.values()) - min(times.values()) <= 1
    told = loader.epochs_by_corpus(positions)
    assert told["chat"] == len(chat) / windows > 100
    assert told["books"] == pytest.approx(len(starts) * 0.9 / loader._loaders[0].windows_per_epoch, rel=0.01)
    assert loader.epochs_by_corpus(0) == {"books": 0, "chat": 0}


def test_any_batch_can_be_had_first_and_no_window_reaches_into_another_corpus(mixed):
    folder = mixed(mixture={"books": 1, "web": 1, "chat": 1}) / "train"
    going = MixtureLoader(open_shards(folder), context_length=10, batch_size=24, seed=3)
    batches = [going.batch(n) for n in range(400)]
    for n in (399, 0, 170, 171):  # a block ends within batch 170
        fresh = MixtureLoader(open_shards(folder), context_length=10, batch_size=24, seed=3).batch(n)
        assert all(np.array_equal(a, b) for a, b in zip(fresh, batches[n], strict=True))
    for batch in batches:
        for inputs, targets in zip(batch.inputs_BT, batch.targets_BT, strict=True):
            assert len({token // 10_000 for token in [*inputs, targets[-1]] if token}) == 1


def test_held_out_text_is_that_of_all_and_its_header_says_nothing_of_shares(mixed):
    folder = mixed(mixture=["web", "books"], temperature=2)
    test = open_shards(folder / "test")
    assert (test.tokens, test.corpora) == (40, [])
    assert [int(d[0]) // 10_000 for d in test.iter_documents()] == [1, 0]
    facts = json.loads((folder / "mixture.json").read_text())
    assert facts["shares"]["web"] == pytest.approx(900**0.5 / (900**0.5 + 4000**0.5))


def test_corpora_of_different_vocabularies_do_not_mix(tmp_path):
    tokens = {name: write_tokens(tmp_path / name, 1, 50, vocab_size=size) for name, size in (("a", 300), ("b", 301))}
    with pytest.raises(ModelError, match="different tokenizers"):
        mix(tokens, tmp_path, config=MixtureConfig(mixture=("a", "b")), progress=Silent())


def test_a_corpus_without_one_window_is_refused(mixed):
    with pytest.raises(TrainingError, match="60 tokens"):
        MixtureLoader(open_shards(mixed(mixture=["books", "chat"]) / "train"), context_length=64, batch_size=4, seed=1)


@pytest.mark.parametrize(
    "config",
    [
        {"mixture": ["a"]},
        {"mixture": ["a", "a"]},
        {"mixture": {"a": 1, "b": 0}},
        {"mixture": {"a": 1, "b": 1}, "temperature": 2},
    ],
)
def test_what_is_no_mixture(config):
    with pytest.raises(ValidationError):
        MixtureConfig(**config)


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=40))
def test_every_row_of_a_block_is_dealt(weights):
    shares = [weight / sum(weights) for weight in weights]
    counts = rows_of_block(shares)
    assert sum(counts) == BLOCK
    assert min(counts) >= 1
    assert all(count - share * BLOCK < 1.01 or count == 1 for count, share in zip(counts, shares, strict=True))


@settings(deadline=None, max_examples=60)
@given(st.integers(30, 400), st.integers(1, 12), st.integers(0, 5))
def test_runs_keep_to_their_stretch_and_each_window_to_its_turn(tmp_path_factory, tokens, runs, seed):
    folder = write_tokens(tmp_path_factory.mktemp("runs"), 1, tokens, runs)
    loader = Loader(open_shards(folder / "train"), context_length=5, batch_size=1, seed=seed)
    assert loader.runs == runs
    windows = loader.windows_per_epoch
    for epoch in (0, 1):
        starts = [loader.window_starts(n)[0] // 5 for n in range(epoch * windows, (epoch + 1) * windows)]
        assert sorted(starts) == list(range(windows))
        borders = [run * windows // runs for run in range(runs + 1)]
        for low, high in itertools.pairwise(borders):
            assert sorted(starts[low:high]) == list(range(low, high))


def test_a_mixture_goes_through_each_corpus_in_its_own_runs(tmp_path):
    tokens = {"a": write_tokens(tmp_path / "a", 1, 2000, runs=4), "b": write_tokens(tmp_path / "b", 10_001, 2000)}
    mix(tokens, tmp_path, config=MixtureConfig(mixture={"a": 1, "b": 1}), progress=Silent())
    loader = training_loader(open_shards(tmp_path / "train"), context_length=10, batch_size=8, seed=1)
    starts = [start for n in range(45) for start in loader.window_starts(n)]
    a, b = ([s for s in starts if (s >= 2000) == late] for late in (False, True))
    assert np.corrcoef(np.arange(len(a)), a)[0, 1] > 0.9 > 0.3 > abs(np.corrcoef(np.arange(len(b)), b)[0, 1])
