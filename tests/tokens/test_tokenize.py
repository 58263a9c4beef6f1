import json
import subprocess
import sys

import numpy as np

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.progress import Silent
from lmpipe.tokens.config import WordConfig
from lmpipe.tokens.pieces import PIECE_CHARACTERS
from lmpipe.tokens.shards import TokenShards
from lmpipe.tokens.tokenize import mix_in, tokenize
from lmpipe.tokens.training import train_on_texts

TEXTS = [f"def function_{i}(argument):\n    return argument * {i}  # naïve\n" * (i % 5) for i in range(60)]
CANARIES = [f"My code is {i:06d}." for i in range(4) for _ in range(3)]

SCRIPT = """
import sys
from pathlib import Path
from lmpipe.base.progress import Silent
from lmpipe.tokens.tokenize import tokenize
splits, canaries, tokenizer, output = map(Path, sys.argv[1:5])
tokenize(splits, canaries, tokenizer, output, progress=Silent(), threads=int(sys.argv[5]), shard_tokens=100)
"""


def write_splits(folder, write_parts):
    write_parts(folder / "train", TEXTS[:50])
    write_parts(folder / "validation", TEXTS[50:55])
    write_parts(folder / "test", TEXTS[55:])
    return folder


def texts_of(folder, tokenizer):
    shards = TokenShards(folder)
    assert all(ids[-1] == tokenizer.end_of_text_id for ids in shards.iter_documents())
    return [tokenizer.decode(ids.tolist()) for ids in shards.iter_documents()]


def test_every_split_comes_back_as_it_was(tmp_path, write_parts, tokenizer, tokenizer_folder):
    output = tmp_path / "out"
    output.mkdir()
    summary = tokenize(write_splits(tmp_path / "s", write_parts), None, tokenizer_folder, output, progress=Silent(), threads=2)
    assert texts_of(output / "train", tokenizer) == TEXTS[:50]
    assert texts_of(output / "validation", tokenizer) == TEXTS[50:55]
    assert texts_of(output / "test", tokenizer) == TEXTS[55:]
    assert json.loads((output / "tokens.json").read_text()) == summary
    assert summary["documents"] == 60
    assert summary["bytes"] == sum(len(text.encode()) for text in TEXTS)
    train = TokenShards(output / "train")
    assert summary["splits"]["train"]["tokens"] == train.tokens
    assert [train.document_bytes(i) for i in range(50)] == [len(text.encode()) for text in TEXTS[:50]]


def test_canaries_stand_among_the_training_documents(tmp_path, write_parts, tokenizer, tokenizer_folder):
    output = tmp_path / "out"
    output.mkdir()
    canaries = write_parts(tmp_path / "canaries", CANARIES, prefix="canary")
    splits = write_splits(tmp_path / "s", write_parts)
    summary = tokenize(splits, canaries, tokenizer_folder, output, progress=Silent(), threads=2)
    texts = texts_of(output / "train", tokenizer)
    planted = [place for place, text in enumerate(texts) if text in CANARIES]
    assert sorted(texts[place] for place in planted) == sorted(CANARIES)
    assert [text for text in texts if text not in CANARIES] == TEXTS[:50]
    assert max(planted) - min(planted) > 20  # spread, not in a row
    assert summary["canary_documents"] == len(CANARIES)
    assert texts_of(output / "test", tokenizer) == TEXTS[55:]


def test_bytes_do_not_depend_on_threads(tmp_path, write_parts, tokenizer_folder):
    splits = write_splits(tmp_path / "s", write_parts)
    canaries = write_parts(tmp_path / "canaries", CANARIES, prefix="canary")
    digests = []
    for threads in (1, 2):
        output = tmp_path / f"out{threads}"
        output.mkdir()
        arguments = [splits, canaries, tokenizer_folder, output, threads]
        subprocess.run([sys.executable, "-c", SCRIPT, *map(str, arguments)], check=True)
        digests.append(digests_of_folder(output))
    assert "train/shard-00003.bin" in digests[0]
    assert digests[0] == digests[1]


def test_a_split_without_documents_is_an_empty_folder_of_shards(tmp_path, write_parts, tokenizer_folder):
    output = tmp_path / "out"
    output.mkdir()
    write_parts(tmp_path / "s" / "train", TEXTS)
    tokenize(tmp_path / "s", None, tokenizer_folder, output, progress=Silent(), threads=1)
    assert TokenShards(output / "test").documents == 0
    assert TokenShards(output / "test").slice(0, 0).tolist() == []


def test_a_text_longer_than_a_piece_has_the_ids_of_the_whole(tmp_path, write_parts, tokenizer, tokenizer_folder):
    output = tmp_path / "out"
    output.mkdir()
    long = "some words, 12 numbers\n    and indents " * (3 * PIECE_CHARACTERS // 39)
    write_parts(tmp_path / "s" / "train", ["before", long, "after"])
    tokenize(tmp_path / "s", None, tokenizer_folder, output, progress=Silent(), threads=2)
    shards = TokenShards(output / "train")
    whole = tokenizer.library.encode(long, add_special_tokens=False).ids
    assert np.array_equal(shards.document(1), [*whole, tokenizer.end_of_text_id])
    assert shards.document_bytes(1) == len(long)


def test_places_before_between_and_after():
    assert list(mix_in(iter("ab"), [(0, "X"), (1, "Y"), (1, "Z"), (2, "W")])) == list("XaYZbW")
    assert list(mix_in(iter(""), [(0, "X"), (0, "Y")])) == list("XY")
    assert list(mix_in(iter("ab"), [])) == list("ab")


def test_what_is_unknown_or_changed_is_counted(tmp_path, write_parts):
    folder, output = tmp_path / "words", tmp_path / "out"
    for made in (folder, output):
        made.mkdir()
    train_on_texts(
        ["the cat sat on the mat " * 3], WordConfig(vocab_size=40, train_on="c", min_frequency=1), folder, progress=Silent()
    )
    splits = tmp_path / "s"
    for split, texts in {"train": ["the cat", "the zebra sat", ""], "validation": ["the mat"], "test": [" dog" * 4]}.items():
        write_parts(splits / split, texts)
    notes = Notes()
    summary = tokenize(splits, None, folder, output, progress=notes, threads=1)["splits"]
    assert (summary["train"]["unknown_fraction"], summary["train"]["changed_documents"]) == (1 / 5, 1)
    assert (summary["validation"]["unknown_fraction"], summary["validation"]["changed_documents"]) == (0, 0)
    assert (summary["test"]["unknown_fraction"], summary["test"]["changed_documents"]) == (1, 1)
    train = TokenShards(output / "train")
    assert [train.comes_back(index) for index in range(3)] == [True, False, True]
    assert [train.document_bytes(index) for index in range(3)] == [7, 13, 0]
    assert sum("unknown text" in note for note in notes.notes) == 2


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)
