"""What people really have: each ends in a booked failure or in one clear message."""

import bz2
import csv
import gzip
import json
import lzma
import os
import resource
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from tests.permissions import permissions_hold

from lmpipe.base.errors import SourceError
from lmpipe.base.progress import Silent
from lmpipe.data.readers.config import ReadConfig, TextSource
from lmpipe.data.readers.sources import SourceFile
from lmpipe.data.reading import read

TEXT = {"kind": "text", "paths": ["*.txt"]}
JSONL = {"kind": "jsonl", "paths": ["*.jsonl"]}
CSV = {"kind": "csv", "paths": ["*.csv"]}
PARQUET = {"kind": "parquet", "paths": ["*.parquet"]}


def zstd_with_checksum(data):
    """As the `zstd` command writes it; without a checksum a flipped bit need not be noticed."""
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def test_an_empty_corpus(tmp_path, read_corpus):
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "b.txt").write_text(" \n\n")
    with pytest.raises(SourceError, match="the corpus is empty: no document in 2 files") as error:
        read_corpus(TEXT)
    assert error.value.where == "2 empty"
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(SourceError, match="the corpus is empty"):
        read_corpus(JSONL)


def test_invalid_utf8_is_booked_with_its_place_and_never_its_text(tmp_path, read_corpus):
    (tmp_path / "a.txt").write_bytes(b"secret words\nmore \xff words\n")
    (tmp_path / "b.txt").write_text("fine")
    found = read_corpus(TEXT)
    assert found.texts == ["fine"]
    assert found.failures == [{"file": "a.txt", "record": "0", "error": "invalid utf-8", "offset": 18}]
    assert "secret" not in (found.output / "failures.jsonl").read_text()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("limit", [100, 100_000])
def test_the_offset_of_invalid_utf8_counts_from_the_beginning_of_the_file(tmp_path, read_corpus, limit, mark):
    data = mark + b"line\n" * 60 + b"ab\xc3\x28\n" + b"line\n" * 60
    (tmp_path / "a.txt").write_bytes(data)
    (tmp_path / "other.txt").write_text("fine")
    (failure,) = read_corpus({**TEXT, "max_document_chars": limit}).failures
    assert failure["offset"] == data.index(b"\xc3")


def test_invalid_utf8_can_be_replaced(tmp_path, read_corpus):
    (tmp_path / "a.txt").write_bytes(b"more \xff words\n")
    assert read_corpus({**TEXT, "errors": "replace"}).texts == ["more \ufffd words\n"]


def test_too_many_failures_stop_the_run_and_name_the_first(tmp_path, read_corpus):
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_bytes(b"\xff" if number < 2 else b"fine")
    assert len(read_corpus(TEXT, max_failed_fraction=0.1).texts) == 18
    with pytest.raises(SourceError, match="2 of 20 documents could not be processed: 2 x invalid utf-8") as error:
        read_corpus(TEXT, max_failed_fraction=0.05)
    assert "00.txt record 0: invalid utf-8 at byte 0; 01.txt" in error.value.where
    assert error.value.expected == "at most 5.00% failures"


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd_with_checksum)],
)
@pytest.mark.parametrize("how", ["truncated", "damaged", "not one at all"])
def test_truncated_and_damaged_compression(tmp_path, read_corpus, suffix, pack, how):
    whole = bytes(pack(os.urandom(300_000).hex().encode() + b"\n"))
    middle = len(whole) // 2
    data = {"truncated": whole[:-40], "damaged": whole[:middle] + bytes(64) + whole[middle + 64 :], "not one at all": b"text\n"}
    (tmp_path / f"a.txt{suffix}").write_bytes(data[how])
    with pytest.raises(SourceError, match=f"'a.txt{suffix}' cannot be read to its end") as error:
        read_corpus({"kind": "text", "paths": ["*.txt.*"]})
    assert str(tmp_path) in error.value.where
    assert "exclude" in error.value.fix


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd_with_checksum)]
)
def test_parquet_that_is_compressed_once_more(tmp_path, read_corpus, suffix, pack):
    pq.write_table(pa.table({"text": ["first", "second", "third"]}), tmp_path / "plain", row_group_size=2)
    whole = pack((tmp_path / "plain").read_bytes())
    (tmp_path / f"a.parquet{suffix}").write_bytes(whole)
    assert read_corpus({"kind": "parquet", "paths": [f"a.parquet{suffix}"]}).texts == ["first", "second", "third"]
    (tmp_path / f"a.parquet{suffix}").write_bytes(whole[:-20])
    with pytest.raises(SourceError, match="cannot be read to its end"):
        read_corpus({"kind": "parquet", "paths": [f"a.parquet{suffix}"]})


def test_parquet_that_unfolds_without_end_does_not_fill_the_disk(tmp_path, read_corpus):
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress(bytes(300_000_000), compresslevel=1))
    with pytest.raises(SourceError, match="it unfolds more than 100 times"):
        read_corpus({"kind": "parquet", "paths": ["*.gz"]})


def test_a_decompression_bomb_takes_no_memory(tmp_path, read_corpus):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(bytes(100_000_000)))
    (tmp_path / "b.txt.zst").write_bytes(bytes(pa.Codec("zstd").compress(bytes(100_000_000))))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SourceError, match="the corpus is empty"):
        read_corpus({"kind": "text", "paths": ["*.gz", "*.zst"], "max_record_bytes": 100_000})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


def test_nul_bytes_a_few_are_kept_for_the_repair_many_fail(tmp_path, read_corpus):
    (tmp_path / "few.txt").write_bytes(b"some words of a text with an accident" * 5 + b"\0")
    (tmp_path / "utf16.txt").write_bytes("UTF-16 read as UTF-8".encode("utf-16-le"))
    found = read_corpus(TEXT)
    assert len(found.texts) == 1
    assert found.failures == [{"file": "utf16.txt", "record": "0", "error": "binary: more than 1 in 100 characters is NUL"}]


@pytest.mark.parametrize("document", ["file", "paragraph", "line"])
def test_a_line_above_the_bound_fails_alone(tmp_path, read_corpus, document):
    (tmp_path / "a.txt").write_bytes(b"before\n" + b"x" * 5000 + b"\nafter\n")
    found = read_corpus({**TEXT, "document": document, "max_record_bytes": 1000})
    assert [text.strip() for text in found.texts] == ["before", "after"]
    assert [(f["error"], f["offset"]) for f in found.failures] == [("record longer than max_record_bytes", 7)]
    assert len({document.id for document in found.documents}) == 2


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
def test_a_long_line_across_many_blocks(tmp_path, read_corpus, ending):
    (tmp_path / "a.jsonl").write_bytes(
        b'{"text": "' + b"x" * 3_500_000 + b'"}' + (ending or b"\n") + b'{"text": "after"}' + ending
    )
    found = read_corpus({**JSONL, "max_record_bytes": 1000})
    assert found.texts == ["after"]
    assert found.failures == [{"file": "a.jsonl", "record": "0", "error": "record longer than max_record_bytes", "offset": 0}]


def test_one_line_of_200_mb_in_bounded_memory(tmp_path):
    """In a process of its own with an address space in which the line would not fit twice."""
    path = tmp_path / "a.txt"
    with path.open("wb") as file:  # a hole: read as zeros, takes no disk
        file.truncate(200_000_000)
    code = f"""
from pathlib import Path
from lmpipe.base.errors import SourceError
from lmpipe.base.progress import Silent
from lmpipe.data.readers.config import ReadConfig, TextSource
from lmpipe.data.reading import read
from lmpipe.data.readers.sources import SourceFile
output, scratch = Path({str(tmp_path)!r}) / "output", Path({str(tmp_path)!r}) / "scratch"
output.mkdir()
def peak():  # of this program alone: ru_maxrss begins with that of the process which started it
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
before = peak()
try:
    files = [SourceFile("a.txt", {str(path)!r}, 200_000_000, "")]
    read(ReadConfig(sources=(TextSource(paths=("a.txt",)),)), files, output, scratch=scratch, progress=Silent(), workers=1)
except SourceError as error:
    print(error.what)
    print(error.fix)
    print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    what, fix, kilobytes = done.stdout.splitlines()
    assert "`max_record_bytes` of a source, 16,000,000 here, may be raised" in fix
    assert what == "1 of 1 documents could not be processed: 1 x record longer than max_record_bytes"
    assert int(kilobytes) < 80_000


def test_what_a_json_line_may_be_instead_of_a_document(tmp_path, read_corpus):
    lines = [
        b'{"text": "fine"}',
        b'{"text": "cut off',
        b'["a", "list"]',
        b'{"body": "another name"}',
        b'{"text": null}',
        b'{"text": 7}',
        b'{"text": "bad \xff byte"}',
        b'{"text": "half a pair \\ud800"}',
        b"[" * 100_000,
        b'{"text": "the last one has no line end"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    found = read_corpus(JSONL)
    assert found.texts == ["fine", "the last one has no line end"]
    assert [failure["error"] for failure in found.failures] == [
        "invalid JSON",
        "not a JSON object",
        "no text",
        "no text",
        "text is not a string",
        "invalid utf-8",
        "lone surrogate",
        "invalid JSON",
    ]
    assert found.failures[5]["offset"] == b"\n".join(lines).index(b"\xff")
    assert read_corpus({**JSONL, "errors": "replace"}).texts[1:3] == ["bad \ufffd byte", "half a pair \ufffd"]


def test_csv_that_does_not_keep_its_columns(tmp_path, read_corpus):
    (tmp_path / "a.csv").write_bytes(
        b'text,lang\nfine,en\ntoo,many,columns\nfew\n\nbad \xff byte,en\n"unclosed,en\n' + b"x" * 3000
    )
    found = read_corpus({**CSV, "max_record_bytes": 1000})
    assert found.texts == ["fine"]
    errors = [failure["error"] for failure in found.failures]
    assert errors[:3] == [
        "row has another number of columns than the header",
        "row has another number of columns than the header",
        "invalid utf-8",
    ]
    assert errors[3:] == ["record longer than max_record_bytes"]


@pytest.mark.parametrize("long", [b"x" * 5000, b'"' + b"x" * 5000 + b'"', b"\xc3\xa9" * 600])
def test_a_long_record_fails_in_every_format(tmp_path, read_corpus, long):
    (tmp_path / "a.csv").write_bytes(b"text\nfine\n" + long + b"\nalso fine\n")
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "fine"}\n{"text": "' + long.strip(b'"') + b'"}\n{"text": "also fine"}\n')
    texts = ["fine", long.decode(), "also fine"]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    for source in (CSV, JSONL, PARQUET):
        found = read_corpus({**source, "max_record_bytes": 1000})
        assert found.texts == ["fine", "also fine"]
        assert [(f["record"], f["error"]) for f in found.failures] == [("1", "record longer than max_record_bytes")]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "shift_jis", "utf-8"])
def test_csv_in_other_encodings(tmp_path, read_corpus, encoding):
    texts = ["日本, 表示", "ソ"] if encoding == "shift_jis" else ["café, naïf", 'two\nlines and "quotes"']
    with (tmp_path / "a.csv").open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])
    assert read_corpus({**CSV, "encoding": encoding}).texts == texts


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "shift_jis", "utf-8"])
def test_json_lines_in_other_encodings(tmp_path, read_corpus, encoding):
    texts = ["日本", "ソ"] if encoding == "shift_jis" else ["café", "naïf"]
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    (tmp_path / "a.jsonl").write_bytes(lines.encode(encoding))
    assert read_corpus({**JSONL, "encoding": encoding}).texts == texts


def test_json_lines_that_are_not_in_their_encoding(tmp_path, read_corpus):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "fine"}\n{"text": "\x90"}\n')
    (failure,) = read_corpus({**JSONL, "encoding": "cp1252"}).failures
    assert failure == {"file": "a.jsonl", "record": "1", "error": "invalid cp1252", "offset": 27}
    (tmp_path / "a.jsonl").write_bytes('{"text": "fine"}\n'.encode("utf-16") + b"\x00\xd8\x00")
    with pytest.raises(SourceError, match="bytes that are no utf-16"):
        read_corpus({**JSONL, "encoding": "utf-16"})


def test_csv_that_is_not_in_its_encoding(tmp_path, read_corpus):
    (tmp_path / "a.csv").write_bytes(b"text\nfine\n\x90\n")
    (failure,) = read_corpus({**CSV, "encoding": "cp1252"}).failures
    assert failure == {"file": "a.csv", "record": "1", "error": "invalid cp1252", "offset": 10}
    (tmp_path / "a.csv").write_bytes("text\nfine\n".encode("utf-16") + b"\x00\xd8\x00")
    with pytest.raises(SourceError, match="bytes that are no utf-16"):
        read_corpus({**CSV, "encoding": "utf-16"})


def test_csv_quote_that_never_closes_takes_no_memory(tmp_path, read_corpus):
    (tmp_path / "a.csv").write_bytes(b'text\nfine\n"open' + b"line of text\n" * 20_000)
    found = read_corpus({**CSV, "max_record_bytes": 10_000})
    assert found.texts[0] == "fine"
    assert found.failures[0]["error"] == "row is not valid CSV"


@pytest.mark.parametrize("data", [b"", b"\n\n", b",,\n"])
def test_csv_without_a_header(tmp_path, read_corpus, data):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(SourceError, match=r"'a.csv' has no header line"):
        read_corpus(CSV)


def test_a_column_that_is_not_there(tmp_path, read_corpus):
    (tmp_path / "a.csv").write_text("body,lang\nx,en\n")
    with pytest.raises(SourceError, match=r"'a.csv' has no column 'text'") as error:
        read_corpus(CSV)
    assert error.value.expected == "one of its columns: body, lang"
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"'a.parquet' has no column 'text'"):
        read_corpus(PARQUET)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize(("asked", "there"), [("text", "Txt"), ("color", "colour")])
def test_a_column_that_is_spelled_almost_so_is_named(tmp_path, read_corpus, kind, asked, there):
    others = {"text": "body text"} if asked != "text" else {}
    row = {**others, there: "red", "length": "3"}
    match kind:
        case "csv":
            (tmp_path / "a.csv").write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
        case "parquet":
            pq.write_table(pa.table({name: [value] for name, value in row.items()}), tmp_path / "a.parquet")
        case "jsonl":
            (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(SourceError, match=rf"'a.{kind}' has no column '{asked}' \(did you mean '{there}'\?\)") as error:
        read_corpus({"kind": kind, "paths": [f"a.{kind}"], "meta_columns": ["color"] if asked == "color" else []})
    assert there in error.value.expected
    assert "correct text_column" in error.value.fix


def test_a_key_that_few_json_lines_have_is_no_error(tmp_path, read_corpus):
    rows = [{"text": f"line {number}", "titles": "x"} for number in range(3)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"text": "last", "title": "rare"}]))
    assert len(read_corpus({**JSONL, "meta_columns": ["title", "subtitle"]}).texts) == 4


@pytest.mark.parametrize("how", ["truncated", "not one at all", "empty", "damaged"])
def test_parquet_that_is_none(tmp_path, read_corpus, how):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [os.urandom(50).hex() for _ in range(2000)]}), path)
    whole = path.read_bytes()
    data = {
        "truncated": whole[:-100],
        "not one at all": b"text " * 100,
        "empty": b"",
        "damaged": whole[:1000] + bytes(5000) + whole[6000:],
    }
    path.write_bytes(data[how])
    with pytest.raises(SourceError, match=r"'a.parquet' cannot be read to its end"):
        read_corpus(PARQUET)


def test_parquet_with_strings_that_are_not_utf8(tmp_path, read_corpus):
    column = pa.array([b"fine", b"bad \xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    found = read_corpus(PARQUET)
    assert found.texts == ["fine"]
    assert found.failures == [{"file": "a.parquet", "record": "1", "error": "invalid utf-8"}]


def test_wide_encodings_with_invalid_bytes(tmp_path, read_corpus):
    (tmp_path / "a.txt").write_bytes("fine".encode("utf-16") + b"\x00\xd8a\x00")
    (tmp_path / "b.txt").write_bytes("also fine".encode("utf-16"))
    found = read_corpus({**TEXT, "encoding": "utf-16"})
    assert found.texts == ["also fine"]
    assert [failure["error"] for failure in found.failures] == ["invalid utf-16"]


def test_a_file_that_vanished(tmp_path):
    (tmp_path / "output").mkdir()
    config = ReadConfig(sources=(TextSource(paths=("b.txt",)),))
    file = SourceFile("b.txt", str(tmp_path / "b.txt"), 1, "")
    with pytest.raises(SourceError, match=r"'b.txt' is not there any more"):
        read(config, [file], tmp_path / "output", scratch=tmp_path / "scratch", progress=Silent(), workers=1)


def test_a_file_that_may_not_be_read(tmp_path, read_corpus):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "a.txt").chmod(0)
    with permissions_hold(), pytest.raises(SourceError, match=r"no permission to read 'a.txt'"):
        read_corpus(TEXT)


def test_a_data_set_that_cannot_be_reached_says_what_to_do(monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    code = (
        "from lmpipe.data.readers.config import HubSource\nfrom lmpipe.data.readers.sources import resolve\n"
        "from lmpipe.base.errors import SourceError\n"
        "try:\n    resolve(HubSource(name='someone/something'), [])\n"
        "except SourceError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "the data set 'someone/something' cannot be read" in done.stdout
    assert "put the files into a folder" in done.stdout


def test_ids_given_by_the_file_may_hold_anything(tmp_path, read_corpus):
    rows = [{"text": "a", "id": 'x:y~1/"\n'}, {"text": "b", "id": 7}, {"text": "c", "id": ["a"]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = read_corpus({**JSONL, "id_column": "id"})
    assert found.texts == ["a", "b", "c"]
    assert len({document.id for document in found.documents}) == 3
