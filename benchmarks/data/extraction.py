"""Extraction: how well the main text of pages is found, and how fast an archive of them becomes Parquet.

    python benchmarks/data/extraction.py FOLDER        # FOLDER holds evaldata.json and pages.zip (trafilatura's own 990 pages)
    python benchmarks/data/extraction.py FOLDER --only quality
    python benchmarks/data/extraction.py FOLDER --only speed --engine resiliparse --rounds 5

Quality: trafilatura's own measure. Of the annotated passages of each page, those wanted and found, wanted and missed, unwanted
and found give precision, recall and F1. The peer is the extractor called directly on the bytes of each page.

Speed: one `.warc.gz` with all pages, a member for each, in; Parquet (zstd) out. The peer is the loop that one writes by hand:
FastWARC's iterator, resiliparse's encoding detection, the same extractor with the same options, one Parquet file at the end.
Alternating pairs in one run; a process of its own for each; seconds are those of the loop alone, imports excluded. One thread
each, then two workers.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

OPTIONS = {"include_comments": False, "include_tables": True, "with_metadata": True}
QUALITY_BAR, SPEED_BAR = 0.002, 1.2


def pages_of(folder: Path) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Annotated pages: name -> (bytes, {file, with, without})."""
    entries = json.loads((folder / "evaldata.json").read_text(encoding="utf-8"))
    with zipfile.ZipFile(folder / "pages.zip") as archive:
        members = {Path(name).name: name for name in archive.namelist()}
        known = {url.strip(): entry for url, entry in entries.items() if entry["file"] in members}  # nine end in a space
        return {url: (archive.read(members[entry["file"]]), entry) for url, entry in known.items()}


def f1(texts: dict[str, str], pages: dict[str, tuple[bytes, dict[str, Any]]]) -> dict[str, float]:
    """Trafilatura's measure over all passages."""
    found = missed = wrong = 0
    for url, (_, entry) in pages.items():
        text = texts.get(url, "")
        hits = sum(passage in text for passage in entry["with"])
        found, missed = found + hits, missed + len(entry["with"]) - hits
        wrong += sum(passage in text for passage in entry["without"])
    precision, recall = found / (found + wrong), found / (found + missed)
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)}


def direct(engine: str, data: bytes, url: str | None) -> str:
    """The extractor alone."""
    if engine == "trafilatura":
        import trafilatura

        return trafilatura.extract(data, url=url, include_comments=False, include_tables=True) or ""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import detect_encoding
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse_from_bytes(data, detect_encoding(data, from_html_meta=True))
    return extract_plain_text(tree, main_content=True, preserve_formatting=True, alt_texts=False, comments=False)


def record_of(url: str, page: bytes) -> bytes:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + page
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"
    head += f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(answer)}\r\n\r\n"
    return head.encode() + answer + b"\r\n\r\n"


def ours(engine: str, archive: Path, output: Path, workers: int, part_bytes: int = 32 << 20) -> dict[str, str]:
    """Read the archive as the pipeline does; texts by address."""
    from lmpipe.base.progress import Silent
    from lmpipe.data.config import CorpusConfig
    from lmpipe.data.documents import read_documents
    from lmpipe.data.extraction.html import extractor
    from lmpipe.data.readers.sources import pinned, resolve_all
    from lmpipe.data.reading import read

    source = {"kind": "warc", "paths": [str(archive)], "extract": {"engine": engine}}
    corpus = CorpusConfig.model_validate({"read": [source], "max_failed_fraction": 1.0})
    files = resolve_all(corpus.read, [])
    shutil.rmtree(output, ignore_errors=True)
    (output / "documents").mkdir(parents=True)
    extractor(corpus.read[0].extract)("<p>x</p>", None)  # imports, as for the peer
    began = time.perf_counter()
    config = pinned(corpus.read, files, 1.0)
    options = {"scratch": output / "scratch", "progress": Silent(), "workers": workers, "part_bytes": part_bytes}
    ledger = read(config, files[0], output / "documents", **options)
    print(json.dumps({"seconds": time.perf_counter() - began, "pages": ledger.rows_in, "kept": ledger.rows_kept}))
    return {json.loads(d.meta)["url"]: d.text for d in read_documents(output / "documents")}


def by_hand(engine: str, archive: Path, output: Path) -> None:
    """The loop that one writes without us, with the fastest parts there are."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import trafilatura
    from fastwarc.warc import ArchiveIterator, WarcRecordType
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding
    from resiliparse.parse.html import HTMLTree

    trafilatura.bare_extraction("<p>x</p>")
    began = time.perf_counter()
    rows, count = [], 0
    with archive.open("rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response):
            count += 1
            html = record.reader.read()
            text = bytes_to_str(html, detect_encoding(html, from_html_meta=True))
            url = record.headers["WARC-Target-URI"]
            if engine == "trafilatura":
                found = trafilatura.bare_extraction(text, url=url, **OPTIONS)
                if found is not None:
                    rows.append({"url": url, "text": found.text, "title": found.title, "date": found.date})
            else:
                tree = HTMLTree.parse(text)
                options = {"main_content": True, "preserve_formatting": True, "alt_texts": False, "comments": False}
                found = extract_plain_text(tree, **options)
                rows.append({"url": url, "text": found, "title": tree.title, "date": None})
    pq.write_table(pa.Table.from_pylist(rows), output, compression="zstd")
    print(json.dumps({"seconds": time.perf_counter() - began, "pages": count, "kept": len(rows)}))


def measure(arguments: list[str], threads: int) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, check=True, env=environment, timeout=1200
    )
    return json.loads(done.stdout.splitlines()[0])


def speed(engine: str, archive: Path, work: Path, rounds: int) -> None:
    contenders = {
        "by hand": ["--run", "hand", "--engine", engine],
        "lmpipe, 1 worker": ["--run", "ours", "--engine", engine, "--workers", "1"],
        "lmpipe, 2 workers": ["--run", "ours", "--engine", engine, "--workers", "2"],
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        order = list(contenders.items()) if number % 2 == 0 else list(contenders.items())[::-1]
        for name, arguments in order:
            told = measure([str(archive), *arguments, "--work", str(work)], 1)
            rates[name].append(told["pages"] / told["seconds"])
    print(f"\n{engine}: pages per second, {rounds} rounds")
    for name, values in rates.items():
        ratios = [value / peer for value, peer in zip(values, rates["by hand"], strict=True)]
        print(
            f"| {name} | {statistics.median(values):.1f} | {min(values):.1f} to {max(values):.1f} | "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    print(f"bar: {SPEED_BAR} with one worker")


def quality(pages: dict[str, tuple[bytes, dict[str, Any]]], archive: Path, work: Path) -> None:
    print(f"\nquality: {len(pages)} pages; bar: F1 within {QUALITY_BAR}")
    for engine in ("trafilatura", "resiliparse"):
        mine = f1(ours(engine, archive, work / engine, workers=2), pages)
        peer = f1({url: direct(engine, data, url) for url, (data, _) in pages.items()}, pages)
        for name, values in (("lmpipe", mine), (f"{engine} alone", peer)):
            print(f"| {engine} | {name} | " + " | ".join(f"{values[key]:.4f}" for key in ("precision", "recall", "f1")) + " |")
        print(f"difference of F1: {mine['f1'] - peer['f1']:+.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=("quality", "speed"))
    parser.add_argument("--engine", choices=("trafilatura", "resiliparse"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pages", type=int, help="only the first so many pages")
    parser.add_argument("--run", choices=("ours", "hand"), help="one contender, in this process")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    if options.run == "ours":
        ours(options.engine, options.folder, options.work / "ours", options.workers)
        return
    if options.run == "hand":
        by_hand(options.engine, options.folder, options.work / "by-hand.parquet")
        return
    versions = {name: metadata.version(name) for name in ("trafilatura", "resiliparse", "fastwarc", "pyarrow")}
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {versions}")
    with tempfile.TemporaryDirectory() as temporary:
        work, pages = Path(temporary), dict(list(pages_of(options.folder).items())[: options.pages])
        archive = work / "pages.warc.gz"
        archive.write_bytes(b"".join(gzip.compress(record_of(url, data), 6) for url, (data, _) in pages.items()))
        megabytes = sum(len(data) for data, _ in pages.values()) / 1e6
        print(f"{len(pages)} pages, {megabytes:.0f} MB, packed {archive.stat().st_size / 1e6:.0f} MB")
        if options.only != "speed":
            quality(pages, archive, work)
        if options.only != "quality":
            for engine in [options.engine] if options.engine else ["resiliparse", "trafilatura"]:
                speed(engine, archive, work, options.rounds)


if __name__ == "__main__":
    main()
