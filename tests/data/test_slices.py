"""A big file is read in slices: the documents, their ids and the failures are those of the whole file."""

import bz2
import csv
import gzip
import io
import json
import lzma
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmpipe.base.canonical import digests_of_folder

WHOLE, SLICED = 1 << 30, 200
PACK = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def outcome(found):
    return [(d.id, d.text, d.meta) for d in found.documents], found.failures, found.ledger.to_json()


def tasks_of(found):
    return len(list((found.output.parent / f"scratch-{found.output.name.removeprefix('read-')}" / "read").glob("0*")))


def compare(read_corpus, source, slices=3):
    whole, sliced = read_corpus(source, part_bytes=WHOLE), read_corpus(source, part_bytes=SLICED)
    assert outcome(sliced) == outcome(whole)
    assert tasks_of(whole) == 1
    assert tasks_of(sliced) >= slices
    return whole


@pytest.mark.parametrize("suffix", PACK)
def test_lines_and_json_lines(tmp_path, read_corpus, suffix):
    lines = [f"line {number} {random.Random(number).randbytes(number % 40).hex()}" for number in range(80)]
    (tmp_path / f"a.txt{suffix}").write_bytes(
        PACK[suffix](b"\xef\xbb\xbf" + "\r\n".join(lines).encode() + b"\nbad \xff\n\n\nend")
    )
    rows = ["", *(json.dumps({"text": line}) for line in lines), "  ", "{", '{"text": "a", "text": "b"}', '{"text": "last"}']
    (tmp_path / f"a.jsonl{suffix}").write_bytes(PACK[suffix](b"\xef\xbb\xbf" + "\n".join(rows).encode()))
    compare(read_corpus, {"kind": "text", "paths": [f"a.txt{suffix}"], "document": "line"})
    found = compare(read_corpus, {"kind": "jsonl", "paths": [f"a.jsonl{suffix}"]})
    assert [failure["record"] for failure in found.failures] == ["80", "81"]
    assert [(row["record"], row["bytes"]) for row in found.quarantine] == [
        ("80", b"{\n"),
        ("81", b'{"text": "a", "text": "b"}\n'),
    ]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_csv_with_quoted_line_ends(tmp_path, read_corpus, suffix):
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["text", "year"])
    for number in range(60):
        writer.writerow(
            [
                random.Random(number).randbytes(30).hex() + f'row {number}\nsays "{number}",\nand ends'
                if number % 3
                else f"row {number}",
                number,
            ]
        )
    writer.writerow(["too", "many", "columns"])
    (tmp_path / f"a.csv{suffix}").write_bytes(PACK[suffix]((buffer.getvalue() + "\r\n\r\nlast,1\r\n").encode()))
    found = compare(read_corpus, {"kind": "csv", "paths": [f"a.csv{suffix}"], "meta_columns": ["year"]})
    assert len(found.documents) == 61


def test_csv_whose_quotes_are_ambiguous_stays_whole(tmp_path, read_corpus):
    (tmp_path / "a.csv").write_text("text\n" + 'he said "no\n' * 100)
    compare(read_corpus, {"kind": "csv", "paths": ["a.csv"]}, slices=1)


BITS = st.sampled_from(["a", "é", ",", '"', '""', "\n", "\r\n", "\r", " ", "x,y\n", '"q\nq",z\n', "\ufeff", "long word " * 8])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(BITS, min_size=30, max_size=120),
    kind=st.sampled_from(["csv", "text", "jsonl"]),
    number=st.integers(0, 1 << 60),
)
def test_whatever_stands_in_a_file(tmp_path, read_corpus, parts, kind, number):
    name = f"{number}-{abs(hash(tuple(parts)))}.{kind}"
    header = {"csv": "text,b\nfirst,row\n", "text": "first\n", "jsonl": '{"text": "first"}\n'}[kind]
    (tmp_path / name).write_bytes((header + "".join(parts)).encode())
    source = {"kind": kind, "paths": [name], **({"document": "line"} if kind == "text" else {})}
    compare(read_corpus, source, slices=1)


def test_parquet_by_row_group(tmp_path, read_corpus):
    table = pa.table({"text": [f"row {number} " * 20 for number in range(300)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=30, compression="none", use_dictionary=False)
    compare(read_corpus, {"kind": "parquet", "paths": ["a.parquet"]}, slices=10)


def mixed_corpus(folder):
    words = random.Random(1).choices([f"word{n}" for n in range(300)], k=6000)
    lines = [" ".join(words[n : n + 6]) for n in range(0, 6000, 6)]
    (folder / "a.jsonl").write_text("\n".join(json.dumps({"text": line}) for line in lines))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(json.dumps({"text": line}) for line in lines).encode()))
    (folder / "c.csv").write_text("text\n" + "\n".join(f'"{line}"' for line in lines))
    (folder / "d.txt").write_text("\n".join(lines))
    pq.write_table(pa.table({"text": lines}), folder / "e.parquet", row_group_size=100)
    return [
        {"kind": "jsonl", "paths": ["a.jsonl", "b.jsonl.gz"]},
        {"kind": "csv", "paths": ["c.csv"]},
        {"kind": "text", "paths": ["d.txt"], "document": "line"},
        {"kind": "parquet", "paths": ["e.parquet"]},
    ]


@pytest.mark.parametrize("workers", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_the_number_of_workers_shows_in_no_byte_of_a_sliced_corpus(tmp_path, read_corpus, workers):
    sources = mixed_corpus(tmp_path)
    one, many = (read_corpus(*sources, workers=n, part_bytes=8_000) for n in (1, workers))
    assert digests_of_folder(one.output) == digests_of_folder(many.output)
    assert tasks_of(many) > 15
    assert len((one.output / "sources.jsonl").read_text().splitlines()) == 5
