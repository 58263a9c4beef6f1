"""The order of batches by length: every text once in each epoch, nearly no padding, any batch without those before it."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.tokens.bucketing import BucketedTexts, LengthBuckets, width_of
from lmpipe.tokens.shards import ShardWriter, open_shards


@given(length=st.integers(1, 5000))
def test_a_width_holds_its_length_and_little_more(length: int) -> None:
    assert 0 <= width_of(length) - length < max(8, length / 8 + 1)
    assert width_of(width_of(length)) == width_of(length)


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=120),
    batch_tokens=st.integers(1, 400),
    longest=st.integers(8, 64),
    seed=st.integers(0, 100),
)
def test_each_epoch_has_every_example_once(lengths: list[int], batch_tokens: int, longest: int, seed: int) -> None:
    order = LengthBuckets(np.array(lengths), longest=longest, batch_tokens=batch_tokens, seed=seed)
    count = order.batches_per_epoch
    for epoch in (0, 3):
        seen: list[int] = []
        for position in range(epoch * count, (epoch + 1) * count):
            members, width = order.at(position)
            assert 1 <= len(members) <= max(1, batch_tokens // width)
            assert all(min(lengths[member], longest) <= width <= longest for member in members)
            seen += members.tolist()
        assert sorted(seen) == list(range(len(lengths)))


def test_epochs_differ_and_a_batch_needs_none_before_it() -> None:
    lengths = np.random.default_rng(1).integers(3, 60, 5000)
    one, other = (LengthBuckets(lengths, longest=128, batch_tokens=1024, seed=7) for _ in range(2))
    count = one.batches_per_epoch
    first = [one.at(position) for position in range(count)]
    members, width = other.at(10**9 * count + 5)
    assert width >= lengths[members].max()
    assert all(np.array_equal(one.at(p)[0], other.at(p)[0]) for p in (3, 1, 2))
    assert any(not np.array_equal(a[0], one.at(count + n)[0]) for n, a in enumerate(first[:5]))
    padding = 1 - lengths.sum() / sum(len(members) * width for members, width in first)
    assert padding < 0.13
    widths = [width for _, width in first]
    assert widths != sorted(widths)


def test_conversations_stand_whole_in_rows_of_their_own(tmp_path: Path) -> None:
    documents = [[5, 9, 9, 0], [5, *range(20, 40), 0], [5, 8, 0], [5, *range(40, 90), 0]]
    with ShardWriter(tmp_path / "train", vocab_size=100, end_of_text_id=0) as writer:
        for document in documents:
            writer.append(document[:-1], len(document))
    loader = BucketedTexts(open_shards(tmp_path / "train"), row_tokens=32, batch_tokens=64, seed=1)
    assert loader.cut == 1
    found = {}
    for position in range(loader.batches(1)):
        batch = loader.batch(position)
        for inputs, targets, segments in zip(*batch, strict=True):
            there = segments == 0
            assert inputs[0] == 0
            assert (inputs[1:][there[1:]] == targets[:-1][there[1:]]).all()
            found[len(targets[there])] = targets[there].tolist()
    assert found == {4: documents[0], 22: documents[1], 3: documents[2], 32: documents[3][:32]}
