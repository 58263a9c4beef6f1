"""Documents with answers as shards and rows: what is stored, what is refused, what a row may hold."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.errors import SourceError
from lmpipe.base.progress import Silent
from lmpipe.data.holding import LabelsConfig, PairsConfig, ScoresConfig, TagsConfig
from lmpipe.tokens.examples import ExampleShards, tokenize_examples
from lmpipe.tokens.packing import PackedLoader, row_tokens_of


@pytest.fixture
def tokenized(tmp_path, tokenizer_folder):
    """Examples of one or several sides, each (text, answer), tokenised; `None` answers are left out of the metadata."""

    def make(holds, train, validation=None, test=None, name="tokens"):
        sides = {"train": train, "validation": train if validation is None else validation, "test": test or []}
        for side, rows in sides.items():
            folder = tmp_path / name / "documents" / side
            folder.mkdir(parents=True)
            if rows:
                metas = [json.dumps({} if answer is None else {holds.column: answer}) for _, answer in rows]
                columns = {"id": [f"{side}{n}" for n in range(len(rows))], "text": [text for text, _ in rows], "meta": metas}
                pq.write_table(pa.table(columns), folder / "part-00000.parquet")
        output = tmp_path / name / "out"
        output.mkdir()
        tokenize_examples(tmp_path / name / "documents", tokenizer_folder, output, holds=holds, progress=Silent(), threads=1)
        return output

    return make


def test_labels_are_numbered_by_name_and_spelled_as_the_recipe_says(tokenized, tokenizer):
    holds = LabelsConfig(names={"1": "positive", "0": "negative"})
    shards = ExampleShards(tokenized(holds, [("def f", 1), ("class A", 0), ("x = 1", "1")]) / "train")
    assert shards.names == ("negative", "positive")
    assert shards.answers.tolist() == [1, 0, 1]
    ids = [tokenizer.end_of_text_id, *tokenizer.encode("def f"), tokenizer.end_of_text_id]
    assert shards.inputs.document(0).tolist() == ids


def test_whole_numbers_are_ordered_as_numbers(tokenized):
    shards = ExampleShards(tokenized(LabelsConfig(), [(f"t{n}", n) for n in (10, 2, 1)]) / "train")
    assert shards.names == ("1", "2", "10")


def test_several_labels_are_a_row_of_zeros_and_ones(tokenized):
    holds = LabelsConfig(several=True)
    shards = ExampleShards(tokenized(holds, [("a", "x, y"), ("b", ["y"]), ("c", "")]) / "train")
    assert shards.names == ("x", "y")
    assert shards.answers.tolist() == [[1, 1], [0, 1], [0, 0]]


def test_what_belongs_to_no_class_is_not_learned_but_kept_for_measuring(tokenized):
    holds = LabelsConfig(none_of_them="oos")
    rows = [("a", "x"), ("b", "y"), ("c", "oos")]
    folder = tokenized(holds, rows)
    assert ExampleShards(folder / "train").answers.tolist() == [0, 1]
    assert ExampleShards(folder / "validation").answers.tolist() == [0, 1, -1]


def test_scores_are_numbers(tokenized):
    shards = ExampleShards(tokenized(ScoresConfig(), [("a", 2.5), ("b", "-1")]) / "train")
    assert shards.answers.tolist() == [2.5, -1.0]


def test_a_tag_stands_at_the_first_token_of_its_word(tokenized, tokenizer):
    shards = ExampleShards(tokenized(TagsConfig(), [("naïve def", ["ADJ", "NOUN"]), ("x", "X")]) / "train")
    first, second = tokenizer.encode("naïve"), tokenizer.encode(" def")
    assert shards.names == ("ADJ", "NOUN", "X")
    assert shards.inputs.document(0).tolist()[1:-1] == first + second
    assert shards.targets.document(0).tolist() == [0, 1, *[0] * (len(first) - 1), 2, *[0] * (len(second) - 1), 0]


def test_of_several_targets_the_first_is_learned(tokenized, tokenizer):
    holds = PairsConfig(column="summary", prefix="short: ")
    shards = ExampleShards(tokenized(holds, [("def f", ["one", "two"]), ("class", "three")]) / "train")
    assert shards.inputs.document(0).tolist() == [*tokenizer.encode("short: def f"), tokenizer.end_of_text_id]
    assert shards.targets.document(0).tolist() == [*tokenizer.encode("one"), tokenizer.end_of_text_id]


@pytest.mark.parametrize(
    ("holds", "train", "test", "said"),
    [
        (LabelsConfig(), [("a", "x"), ("b", None)], [], "document train1 .train. has no answer"),
        (LabelsConfig(), [("a", "x"), ("b", "x")], [], "the training side has 1 class: x"),
        (LabelsConfig(), [("a", "x"), ("b", "y")], [("c", "z")], "the test side has class 'z', which the training side lacks"),
        (LabelsConfig(), [("a", "x"), ("b", {"no": 1})], [], "for its class"),
        (ScoresConfig(), [("a", 1), ("b", "good")], [], "the score of document train1 is 'good'"),
        (ScoresConfig(), [("a", 1), ("b", float("nan"))], [], "the score of document train1 is nan"),
        (TagsConfig(), [("a b", "X"), ("b", "Y")], [], "has 2 words and 1 tags"),
        (PairsConfig(), [("a", []), ("b", "y")], [], "has an empty list of targets"),
        (LabelsConfig(), [], [], "the training side has 0 classes: none"),
    ],
)
def test_what_cannot_be_learned_is_refused(tokenized, holds, train, test, said):
    with pytest.raises(SourceError, match=said):
        tokenized(holds, train, test=test, validation=[])


def shards_of(tokenized, lengths, name="tokens"):
    rows = [("def " * length, "even" if length % 2 == 0 else "odd") for length in lengths]
    return ExampleShards(tokenized(LabelsConfig(), [*rows, ("a", "even"), ("b", "odd")], name=name) / "train")


@pytest.mark.parametrize("seed", [None, 3])
def test_every_example_is_seen_once_an_epoch_whole_and_alone_in_its_segment(tokenized, seed):
    shards = shards_of(tokenized, [1, 30, 5, 7, 3, 60, 2, 2, 9, 11, 4] * 3)
    loader = PackedLoader(shards, row_tokens=64, batch_size=2, seed=seed)
    seen = []
    for position in range(loader.batches(1)):
        batch = loader.batch(position)
        assert batch.inputs_BT.shape == (2, 64)
        for row in range(2):
            for place, example in enumerate(batch.examples_BK[row]):
                if example < 0:
                    continue
                inside = batch.segments_BT[row] == place
                assert batch.inputs_BT[row][inside].tolist() == shards.inputs.document(example).tolist()
                assert np.flatnonzero(inside)[0] == batch.places_BK[row, place]
                assert batch.answers[row, place] == shards.answers[example]
                seen.append(int(example))
    first_epoch = seen[: len(shards)] if seed is None else seen
    assert set(range(len(shards))) <= set(first_epoch)
    if seed is None:
        assert first_epoch == sorted(first_epoch)


def test_any_batch_costs_and_gives_the_same_whenever_it_is_asked_for(tokenized):
    shards = shards_of(tokenized, range(1, 40))
    through, directly = (PackedLoader(shards, row_tokens=64, batch_size=3, seed=1) for _ in range(2))
    in_turn = [through.batch(position) for position in range(40)]
    late = directly.batch(39)
    assert np.array_equal(in_turn[39].inputs_BT, late.inputs_BT)
    assert through.epoch(39) == directly.epoch(39) > 2


def test_a_longer_example_is_cut_and_keeps_its_end(tokenized, tokenizer):
    shards = shards_of(tokenized, [100])
    loader = PackedLoader(shards, row_tokens=16, batch_size=1, seed=None)
    row = loader.batch(0).inputs_BT[0]
    assert loader.cut == 1
    assert row[0] == row[-1] == tokenizer.end_of_text_id
    assert row[1:-1].tolist() == shards.inputs.document(0)[1:15].tolist()


def test_rows_of_sentences_are_nearly_full(tokenized):
    generator = np.random.default_rng(1)
    shards = shards_of(tokenized, generator.integers(5, 50, 600).tolist())
    loader = PackedLoader(shards, row_tokens=128, batch_size=1, seed=1)
    tokens = int(shards.inputs.document_lengths().sum())
    assert tokens / (loader.batches(1) * 128) > 0.95


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5000), st.integers(16, 2048))
def test_a_row_holds_the_longest_or_the_whole_context(longest, context):
    tokens = row_tokens_of(longest, context)
    assert tokens <= context
    assert tokens >= min(longest, context)
