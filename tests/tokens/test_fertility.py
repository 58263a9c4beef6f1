"""Tokens by source and by language, as the bench of tokenizers counts them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmpipe.base.files import read_json
from lmpipe.base.progress import Silent
from lmpipe.tokens.comparing import compare_tokenizers
from lmpipe.tokens.tokenize import tokenize
from lmpipe.tokens.tokenizer import load_tokenizer

ROWS = [
    ("one little sentence of words", "books", "en"),
    ("def f(x): return x", "code", ""),
    ("noch ein Satz, größer als der erste", "books", "de"),
    ("zwei", "web", "de"),
    ("", "empty", "en"),
]


def write(folder: Path, columns: dict[str, list[str]]) -> None:
    for side in ("train", "validation", "test"):
        (folder / side).mkdir(parents=True)
        pq.write_table(pa.table(columns), folder / side / "part-00000.parquet")


def test_groups_are_counted_as_the_bench_counts_them(tokenizer_folder: Path, tmp_path: Path) -> None:
    texts, sources, languages = map(list, zip(*ROWS, strict=True))
    write(tmp_path / "splits", {"id": texts, "text": texts, "source": sources, "language": languages})
    (tmp_path / "out").mkdir()
    tokenize(tmp_path / "splits", None, tokenizer_folder, tmp_path / "out", progress=Silent(), threads=1)
    found = read_json(tmp_path / "out" / "groups.json")
    assert [(row["by"], row["group"]) for row in found] == [
        ("source", "books"),
        ("source", "code"),
        ("source", "web"),
        ("source", "empty"),
        ("language", "de"),
        ("language", "en"),
    ]
    for kind, groups in (("source", sources), ("language", languages)):
        bench = compare_tokenizers({"it": load_tokenizer(tokenizer_folder)}, zip(groups, texts, strict=True))
        expected = {row["group"]: row for row in bench}
        for row in (row for row in found if row["by"] == kind):
            told = expected[row["group"]]
            assert {key: row[key] for key in ("documents", "bytes", "tokens")} == {
                key: told[key] for key in ("documents", "bytes", "tokens")
            }
            if row["words"]:
                assert row["tokens"] / row["words"] == pytest.approx(told["fertility"])


def test_documents_without_such_columns_have_no_groups(tokenizer_folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "splits", {"id": ["a"], "text": ["some text"]})
    (tmp_path / "out").mkdir()
    tokenize(tmp_path / "splits", None, tokenizer_folder, tmp_path / "out", progress=Silent(), threads=1)
    assert read_json(tmp_path / "out" / "groups.json") == []
