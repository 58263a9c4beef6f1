"""A page or paper that ends or hangs the process that reads it. A stand-in for the parser, found in its place on the path of
every worker, plays the defect of native code; everything else is as in a run."""

import json

import pytest

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import SourceError
from lmpipe.data.engines.choice import Engine, use_engine
from lmpipe.data.lookup import traces

TRAFILATURA = """
import os, signal, types
__version__ = "2"
def bare_extraction(html, url=None, **options):
    treat(html)
    return types.SimpleNamespace(text=html, comments=None, title=None, date=None, sitename=None)
def treat(text):
    if "KILL" in text:
        os._exit(7)
    if "ONCE" in text and not os.path.exists(os.environ["LMPIPE_TEST_MARK"]):
        open(os.environ["LMPIPE_TEST_MARK"], "w").close()
        os._exit(7)
    while "HANG" in text:
        signal.pause()
"""
PDFIUM = """
import trafilatura
class PdfiumError(Exception): pass
class PdfDocument:
    def __init__(self, data):
        self.text = data.decode()
        trafilatura.treat(self.text)
    def __len__(self): return 1
    def __getitem__(self, number): return self
    def get_textpage(self): return self
    def get_text_bounded(self): return self.text
    def get_metadata_dict(self, skip_empty): return {}
    def close(self): pass
"""


@pytest.fixture(autouse=True)
def parsers(tmp_path, monkeypatch):
    folder = tmp_path / "parsers"
    (folder / "trafilatura").mkdir(parents=True)
    (folder / "trafilatura" / "__init__.py").write_text(TRAFILATURA)
    (folder / "trafilatura" / "meta.py").write_text("def reset_caches(): pass\n")
    (folder / "pypdfium2.py").write_text(PDFIUM)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("LMPIPE_TEST_MARK", str(tmp_path / "died-once"))


@pytest.fixture
def short_limit():
    use_engine(Engine(document_seconds=3.0))
    yield
    use_engine(Engine())


def papers(folder, texts):
    for number, text in enumerate(texts):
        (folder / f"{number}.pdf").write_text(text)


def archive(path, texts):
    with path.open("wb") as file:
        for text in texts:
            head = f"WARC/1.0\r\nWARC-Type: resource\r\nContent-Type: text/html\r\nContent-Length: {len(text)}\r\n\r\n"
            file.write(head.encode() + text.encode() + b"\r\n\r\n")


PDF = {"kind": "pdf", "paths": ["*.pdf"]}
WARC = {"kind": "warc", "paths": ["*.warc"]}


def test_a_paper_that_kills_its_reader_is_booked_and_its_bytes_are_kept(tmp_path, read_corpus):
    texts = ["one fine paper", "KILL this", "two fine papers", "three", "four", "five"]
    papers(tmp_path, texts)
    found = read_corpus(PDF, workers=2, part_bytes=10)
    assert found.texts == [text for text in texts if "KILL" not in text]
    assert found.failures == [{"file": "1.pdf", "record": "0", "error": "killed its worker"}]
    assert found.quarantine == [
        {"file": "1.pdf", "record": "0", "error": "killed its worker", "offset": None, "bytes": b"KILL this", "whole": True}
    ]
    assert (found.ledger.rows_in, found.ledger.rows_kept) == (6, 5)
    (trace,) = traces(found.output, "1.pdf:0")
    assert (trace.state, trace.values["error"]) == ("failed", "killed its worker")


def test_a_page_of_an_archive_that_never_ends(tmp_path, read_corpus, short_limit):
    pages = [f"<p>{word} number {n}</p>" for n, word in enumerate(["page", "HANG", "page", "page", "page", "page"])]
    archive(tmp_path / "a.warc", pages)
    found = read_corpus(WARC, workers=2, part_bytes=600)
    assert len(found.texts) == 5
    ((name, error, offset),) = [(line["record"], line["error"], line["offset"]) for line in found.failures]
    assert (error, name) == ("kept its worker busy beyond the time limit", str(offset))
    assert [row["bytes"] for row in found.quarantine] == [pages[1].encode()]


def test_a_reader_killed_from_outside_costs_no_record(tmp_path, read_corpus):
    papers(tmp_path, ["ONCE only", "fine", "good", "well"])
    found = read_corpus(PDF, workers=2, part_bytes=3)
    assert (len(found.texts), found.failures) == (4, [])


def test_too_many_failures_still_stop_the_run_with_the_list(tmp_path, read_corpus):
    papers(tmp_path, ["KILL this", "fine", "good", "well"])
    with pytest.raises(SourceError, match="1 of 4 documents could not be processed") as error:
        read_corpus(PDF, workers=2, part_bytes=3, max_failed_fraction=0.001)
    listed = json.loads((tmp_path / "scratch-1" / "failures.jsonl").read_text())
    assert listed["file"] == "0.pdf"
    assert "failures.jsonl" in error.value.fix


@pytest.mark.slow  # a new process for every loss
def test_which_workers_read_shows_in_no_byte(tmp_path, read_corpus):
    archive(tmp_path / "a.warc", [f"<p>{'KILL' if n in (3, 4, 20) else 'page'} {n}</p>" for n in range(40)])
    papers(tmp_path, ["fine", "KILL", "good"])
    digests = [digests_of_folder(read_corpus(WARC, PDF, workers=n, part_bytes=2000).output) for n in (2, 5)]
    assert digests[0] == digests[1]


@pytest.mark.slow
def test_a_file_of_which_every_page_kills_stops_the_run(tmp_path, read_corpus):
    archive(tmp_path / "a.warc", ["<p>KILL</p>"] * 80)
    with pytest.raises(SourceError, match="more than 10 records of one task end or hang their reader"):
        read_corpus(WARC, workers=2, part_bytes=8000)
