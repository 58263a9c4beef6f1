"""What cannot be read is kept where one can look at it, up to a bound; what changes meanwhile is no corpus."""

import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmpipe.base.errors import SourceError
from lmpipe.base.progress import Silent
from lmpipe.data.config import CorpusConfig
from lmpipe.data.readers.sources import pinned, resolve_all
from lmpipe.data.reading import read

JSONL = {"kind": "jsonl", "paths": ["*.jsonl"]}


def plan(folder, *sources, **options):
    corpus = CorpusConfig.model_validate({"read": list(sources), **options})
    files = resolve_all(corpus.read, [folder])
    config = pinned(corpus.read, files, corpus.max_failed_fraction, corpus.max_quarantine_bytes)
    return config, [file for group in files for file in group]


def execute(folder, config, files, **options):
    output = folder / "output"
    output.mkdir()
    read(config, files, output, scratch=folder / "scratch", progress=Silent(), workers=1, **options)
    return output


def test_every_reader_keeps_the_bytes_of_what_failed(tmp_path, read_corpus):
    (tmp_path / "a.txt").write_bytes(b"good\n" * 30 + b"bad \xff\n" + b"good\n" * 30)
    (tmp_path / "b.txt").write_bytes("wide".encode("utf-16-le") * 10)
    (tmp_path / "c.csv").write_bytes(b'text,b\nfine,1\n"two\nlines",1,2\nbad \xff,1\n')
    (tmp_path / "d.jsonl").write_bytes(b'{"text": "fine"}\n{"text": 1}\n{"text": "\\ud800"}\n')
    pq.write_table(pa.table({"text": pa.array([b"fine", b"bad \xff"], pa.binary()).view(pa.string())}), tmp_path / "e.parquet")
    found = read_corpus(
        {"kind": "text", "paths": ["*.txt"], "max_document_chars": 100},
        {"kind": "csv", "paths": ["*.csv"]},
        JSONL,
        {"kind": "parquet", "paths": ["*.parquet"]},
    )
    kept = {(row["file"], row["record"]): row["bytes"] for row in found.quarantine}
    assert all(row["whole"] for row in found.quarantine)
    assert kept[("a.txt", "0~1")] == b"good\n" * 10 + b"bad \xff\n" + b"good\n" * 8
    assert kept[("b.txt", "0")] == "wide".encode("utf-16-le") * 10
    assert kept[("c.csv", "1")] == b'"two\nlines",1,2\n'
    assert kept[("c.csv", "2")] == b"bad \xff,1\n"
    assert kept[("d.jsonl", "1")] == b'{"text":1}'
    assert kept[("d.jsonl", "2")] == b"\xed\xa0\x80"
    assert kept[("e.parquet", "1")] == b"bad \xff"
    assert len(kept) == found.ledger.failed.total()


def test_the_quarantine_is_bounded_and_the_list_says_what_is_in_it(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"".join(b"[%s]\n" % (b"x" * 1000) for _ in range(50)) + b'{"text": "fine"}\n')
    output = execute(tmp_path, *plan(tmp_path, JSONL, max_failed_fraction=1.0, max_quarantine_bytes=10_000))
    assert pq.read_metadata(output / "quarantine.parquet").num_rows == 9
    failures = [json.loads(line) for line in (output / "failures.jsonl").read_text().splitlines()]
    assert [failure["quarantined"] for failure in failures] == [True] * 9 + [False] * 41


def test_too_many_failures_leave_the_list_and_the_bytes_behind(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "fine"}\n' * 500 + b"{\n")
    with pytest.raises(SourceError, match="1 of 501 documents could not be processed") as error:
        execute(tmp_path, *plan(tmp_path, JSONL))
    listed, kept = tmp_path / "scratch" / "failures.jsonl", tmp_path / "scratch" / "quarantine.parquet"
    assert str(listed) in error.value.fix
    assert str(kept) in error.value.fix
    assert json.loads(listed.read_text())["record"] == "500"
    assert pq.read_table(kept).column("bytes").to_pylist() == [b"{\n"]


@pytest.mark.parametrize("how", ["grown", "same size", "gone"])
def test_a_file_that_changes_after_the_plan(tmp_path, how):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "fine"}\n' * 10)
    config, files = plan(tmp_path, JSONL)
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(b'{"text": "FINE"}\n' * (11 if how == "grown" else 10))
        os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match=r"changed while the run went on|is not there any more"):
        execute(tmp_path, config, files)


def test_json_that_says_two_things_or_nests_without_end(tmp_path, read_corpus):
    lines = [
        b'{"text": "a", "meta": {"x": 1, "x": 2}}',
        b'{"text": "fine"}',
        b'{"a":' * 100_000,
        b'{"text": "' + b"[" * 1000 + b'"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    found = read_corpus(JSONL)
    assert found.texts == ["fine", "[" * 1000]
    assert [failure["error"] for failure in found.failures] == ["a JSON object has one key twice", "invalid JSON"]


GIGABYTE = """
import sys
from pathlib import Path
from lmpipe.base.errors import SourceError
from lmpipe.base.progress import Silent
from lmpipe.data.config import CorpusConfig
from lmpipe.data.reading import read
from lmpipe.data.readers.sources import pinned, resolve_all
folder = Path(sys.argv[1])
corpus = CorpusConfig.model_validate({"read": [{"kind": sys.argv[2], "paths": ["a.*"]}], "max_failed_fraction": 1.0})
files = resolve_all(corpus.read, [folder])
(folder / "output").mkdir()
ledger = read(pinned(corpus.read, files, 1.0), files[0], folder / "output", scratch=folder / "s", progress=Silent(), workers=1)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))  # of this program alone
print(dict(ledger.failed), ledger.rows_kept, peak)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "head", "tail"),
    [("jsonl", b'{"text": "fine"}\n', b'\n{"text": "also fine"}\n'), ("csv", b"text\nfine\n", b"\nalso fine\n")],
)
def test_a_line_of_a_gigabyte_in_half_of_that(tmp_path, kind, head, tail):
    with (tmp_path / f"a.{kind}").open("wb") as file:
        file.write(head)
        for _ in range(1000):
            file.write(b"x" * 1_000_000)
        file.write(tail)
    done = subprocess.run(
        [sys.executable, "-c", GIGABYTE, str(tmp_path), kind], capture_output=True, text=True, check=True, timeout=250
    )
    said, kilobytes = done.stdout.rsplit(" ", 1)
    assert said == "{'record longer than max_record_bytes': 1} 2"
    assert int(kilobytes) < 512_000
