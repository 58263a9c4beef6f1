"""Web pages from HTML files and archives: their text, their encodings, and everything that archives get wrong."""

import gzip
import lzma
import os
import zlib
from pathlib import Path

import brotli
import pyarrow as pa
import pytest
import trafilatura
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree
from warcio.archiveiterator import ArchiveIterator

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import SourceError
from lmpipe.data.extraction.encoding import decode_page

SAMPLES = Path(os.environ.get("LMPIPE_TEST_DATA", "")) / "warc_samples"
FAST = {"extract": {"engine": "resiliparse"}}
WARC = {"kind": "warc", "paths": ["*.warc*"], **FAST}


def page(text, head="", body=""):
    paragraph = f"<p>{text} and so on, with enough words that it counts as the main text of a page.</p>"
    return f"<!DOCTYPE html><html lang='de-AT'><head>{head}</head><body><article>{paragraph}</article>{body}</body></html>"


def record(block, kind="response", mime="application/http; msgtype=response", length=None, uri="https://example.org/a"):
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {uri}\r\nWARC-Date: 2024-01-02T03:04:05Z\r\n"
    head += f"Content-Type: {mime}\r\nContent-Length: {len(block) if length is None else length}\r\n\r\n"
    return head.encode() + block + b"\r\n\r\n"


def answer(body, status="200 OK", **fields):
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body.encode() if isinstance(body, str) else body)


def pages(number):
    return [record(answer(page(f"Page {n} {os.urandom(200).hex()}"), Content_Type="text/html")) for n in range(number)]


@pytest.mark.parametrize("options", [{}, {"fast": True}, {"favour": "precision"}, {"favour": "recall", "comments": True}])
def test_the_text_is_trafilaturas_own(tmp_path, read_corpus, options):
    html = page("The first paragraph", "<title>A title</title>", "<table><tr><td>cell</td><td>two</td></tr></table>")
    (tmp_path / "a.html").write_text(html)
    (document,) = read_corpus({"kind": "html", "paths": ["a.html"], "extract": options}).documents
    favour = {f"favor_{options['favour']}": True} if "favour" in options else {}
    expected = trafilatura.extract(
        html, fast=options.get("fast", False), include_comments=options.get("comments", False), **favour
    )
    assert document.text == expected
    assert document.language == "de-AT"
    assert '"title":"A title"' in document.meta


@pytest.mark.parametrize("favour", ["balance", "recall"])
def test_the_text_is_resiliparses_own(tmp_path, read_corpus, favour):
    html = page("The first paragraph", "<meta property='article:published_time' content='2021-03-04T10:00'>", "<nav>menu</nav>")
    (tmp_path / "a.html").write_text(html)
    found = read_corpus({"kind": "html", "paths": ["a.html"], "extract": {"engine": "resiliparse", "favour": favour}})
    expected = extract_plain_text(
        HTMLTree.parse(html), preserve_formatting=True, main_content=favour == "balance", alt_texts=False
    )
    assert found.texts == [expected]
    assert '"date":"2021-03-04"' in found.documents[0].meta


def test_an_option_that_the_engine_does_not_know_is_refused(read_corpus):
    with pytest.raises(ValueError, match="only trafilatura knows 'fast: true'"):
        read_corpus({"kind": "html", "paths": ["a.html"], "extract": {"engine": "resiliparse", "fast": True}})


GERMAN = "Übermäßig größere Straßenbäume für Schüler"
META = "<meta charset='{}'>"


@pytest.mark.parametrize(
    ("data", "header", "expected"),
    [
        (page(GERMAN).encode(), "iso-8859-1", "utf-8"),  # a header that is wrong
        (b"\xef\xbb\xbf" + page(GERMAN).encode(), None, "utf-8"),
        (b"\xff\xfe" + page(GERMAN).encode("utf-16-le"), None, "utf-16-le"),
        (page(GERMAN).encode("latin-1"), "ISO-8859-1", "cp1252"),
        (page(GERMAN, META.format("windows-1252")).encode("cp1252"), None, "cp1252"),
        (page(GERMAN, META.format("utf-8")).encode("cp1252"), None, "cp1252"),  # a page that lies
        (page("Привет, мир и всё остальное" * 3, META.format("windows-1251")).encode("cp1251"), None, "cp1251"),
        (page("Привет, мир и всё остальное на свете " * 9).encode("koi8-r"), None, "koi8-r"),
        (page("日本語の文章です。" * 9, META.format("shift_jis")).encode("cp932"), None, "shift_jis"),
        (page("中文的文章" * 9, META.format("gb2312")).encode("gb18030"), "klingon", "gb18030"),
        (page("日本語の文章です。" * 9, META.format("iso-2022-jp")).encode("iso-2022-jp"), None, "iso2022_jp"),
    ],
)
def test_encodings(data, header, expected):
    decoded = decode_page(data, header)
    assert decoded.encoding.replace("_", "-") == expected.replace("_", "-")
    assert decoded.wrong is None
    assert "�" not in decoded.text


def test_a_few_wrong_bytes_stay_utf8(tmp_path, read_corpus):
    data = page(GERMAN * 20, META.format("utf-8")).encode().replace(b"und", b"un\xff", 1).replace(b"and so on", b"and \xff on")
    assert decode_page(data).encoding == "utf-8"
    (tmp_path / "a.html").write_bytes(data)
    assert "�" in read_corpus({"kind": "html", "paths": ["a.html"], **FAST}).texts[0]
    (tmp_path / "b.html").write_text(page("fine"))
    found = read_corpus({"kind": "html", "paths": ["*.html"], "errors": "fail", **FAST})
    assert [failure["error"] for failure in found.failures] == ["invalid utf-8"]
    assert found.quarantine[0]["bytes"] == data


def test_what_stands_in_an_archive(tmp_path, read_corpus):
    body = page("Packed")
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:50].encode(), body[50:].encode())) + b"0\r\n\r\n"
    raw_deflate = zlib.compressobj(wbits=-15)
    records = {
        "plain": answer(page("Plain"), Content_Type="text/html; charset=utf-8"),
        "no type": answer(page("Sniffed")),
        "chunked": answer(chunked, Content_Type="text/html", Transfer_Encoding="chunked"),
        "said to be chunked": answer(body, Content_Type="text/html", Transfer_Encoding="chunked"),
        "gzip": answer(gzip.compress(body.encode()), Content_Type="text/html", Content_Encoding="gzip"),
        "said to be gzip": answer(body, Content_Type="text/html", Content_Encoding="gzip"),
        "zlib": answer(zlib.compress(body.encode()), Content_Type="text/html", Content_Encoding="deflate"),
        "deflate": answer(
            raw_deflate.compress(body.encode()) + raw_deflate.flush(), Content_Type="text/html", Content_Encoding="deflate"
        ),
        "brotli": answer(brotli.compress(body.encode()), Content_Type="text/html", Content_Encoding="br"),
        "zstd": answer(bytes(pa.Codec("zstd").compress(body.encode())), Content_Type="text/html", Content_Encoding="zstd"),
        "text": answer("Just a text.", Content_Type="text/plain"),
    }
    dropped = {
        "HTTP status 404": record(answer(page("Gone"), "404 Not Found", Content_Type="text/html")),
        "content type image, no page": record(answer(b"\x89PNG", Content_Type="image/png")),
        "record type request": record(b"GET / HTTP/1.1\r\n\r\n", "request"),
        "record type other": record(b"", "unheard-of"),
        "no main text": record(answer("<html><body></body></html>", Content_Type="text/html")),
        "a response that is not HTTP": record(b"example.org 1.2.3.4", mime="text/dns"),
    }
    every = [*map(record, records.values()), *dropped.values(), record(b"What a WET file holds.", "conversion", "text/plain")]
    (tmp_path / "a.warc").write_bytes(b"".join(every))
    (tmp_path / "b.warc.gz").write_bytes(b"".join(map(gzip.compress, every)))
    (tmp_path / "c.warc.gz").write_bytes(gzip.compress(b"".join(every)))
    (tmp_path / "d.warc.xz").write_bytes(lzma.compress(b"".join(every)))
    (tmp_path / "e.warc.zst").write_bytes(b"".join(bytes(pa.Codec("zstd").compress(r)) for r in every))
    found = read_corpus(WARC)
    by_file = {}
    for document in found.documents:
        by_file.setdefault(document.source, []).append(document)
    assert not found.failures
    assert found.ledger.dropped == dict.fromkeys(dropped, 5)
    for documents in by_file.values():
        assert [d.text for d in documents] == [d.text for d in by_file["a.warc"]]
        assert len({d.id for d in documents}) == len(documents) == len(records) + 1
    assert all("captured" in d.meta and "https://example.org/a" in d.meta for d in found.documents)
    offsets = [int(d.id.split(":")[1]) for d in by_file["b.warc.gz"]]
    data = (tmp_path / "b.warc.gz").read_bytes()
    assert all(zlib.decompressobj(31).decompress(data[at:], 5) == b"WARC/" for at in offsets)


@pytest.mark.parametrize("packing", ["plain", "gzip"])
def test_what_is_damaged_is_booked_with_its_place_and_reading_goes_on(tmp_path, read_corpus, packing):
    pack = gzip.compress if packing == "gzip" else bytes
    good = [pack(r) for r in pages(6)]
    cut = record(answer(page("Cut off"), Content_Type="text/html"), length=9_000)
    no_length = record(b"x").replace(b"Content-Length: 1\r\n", b"")
    broken = bytearray(pack(pages(1)[0]))
    broken[len(broken) // 2 :] = b"\xff" * (len(broken) - len(broken) // 2)
    damage = {
        "gzip": [*good[:1], pack(cut), good[1], broken, good[2], b"garbage", good[3], pack(no_length), good[4], good[5][:-30]],
        "plain": [good[0], b"garbage\r\n", good[1], no_length, good[2], good[3], good[4][:-30]],
    }[packing]
    (tmp_path / "a.warc").write_bytes(b"".join(damage))
    found = read_corpus(WARC)
    kept, errors = {"gzip": (5, 5), "plain": (4, 3)}[packing]
    assert len(found.texts) == kept
    assert len(found.failures) == errors
    data = b"".join(damage)
    for failure, row in zip(found.failures, found.quarantine, strict=True):
        assert (failure["file"], row["offset"]) == ("a.warc", failure["offset"])
        assert row["bytes"]
        assert row["whole"] or data.startswith(row["bytes"], failure["offset"]) or row["bytes"].startswith(b"HTTP")


def test_a_body_that_unfolds_a_thousandfold_is_refused(tmp_path, read_corpus):
    bomb = gzip.compress(bytes(20_000_000))
    blocks = [answer(bomb, Content_Type="text/html", Content_Encoding="gzip")]
    blocks += [answer(brotli.compress(bytes(20_000_000)), Content_Type="text/html", Content_Encoding="br")]
    (tmp_path / "a.warc.gz").write_bytes(
        b"".join(gzip.compress(record(block)) for block in blocks) + gzip.compress(pages(1)[0])
    )
    found = read_corpus({**WARC, "max_record_bytes": 1_000_000})
    assert [failure["error"] for failure in found.failures] == ["the body unfolds to more than max_record_bytes"] * 2
    assert len(found.texts) == 1


def test_a_record_above_the_bound_fails_alone(tmp_path, read_corpus):
    long = record(answer(page("x" * 50_000), Content_Type="text/html"))
    (tmp_path / "a.warc.gz").write_bytes(b"".join(map(gzip.compress, [*pages(1), long, *pages(1)])))
    found = read_corpus({**WARC, "max_record_bytes": 10_000})
    assert len(found.texts) == 2
    assert [failure["error"] for failure in found.failures] == ["record longer than max_record_bytes"]


def test_a_page_nested_beyond_reason(tmp_path, read_corpus):
    (tmp_path / "a.html").write_text("<div>" * 30_000 + "deep" + "</div>" * 30_000)
    (tmp_path / "b.html").write_text(page("fine"))
    for engine in ("trafilatura", "resiliparse"):
        found = read_corpus({"kind": "html", "paths": ["*.html"], "extract": {"engine": engine}})
        assert found.ledger.rows_in == 2
        assert engine == "trafilatura" or "NestedTooDeeply" in found.failures[0]["error"]
        assert "fine and so on" in found.texts[-1]


@pytest.mark.parametrize("suffix", [".warc", ".warc.gz", ".warc.xz"])
def test_archives_are_read_in_slices(tmp_path, read_corpus, suffix):
    records = [*pages(20), record(answer(page("Cut"), Content_Type="text/html"), length=700), *pages(5)]
    pack = {
        ".warc": b"".join,
        ".warc.gz": lambda rs: b"".join(map(gzip.compress, rs)),
        ".warc.xz": lambda rs: lzma.compress(b"".join(rs)),
    }
    (tmp_path / f"a{suffix}").write_bytes(pack[suffix](records))
    whole, sliced = (read_corpus(WARC, part_bytes=size) for size in (1 << 30, 4_000))
    assert [d.id for d in sliced.documents] == [d.id for d in whole.documents]
    assert sliced.failures == whole.failures
    done = tmp_path / "scratch-2" / ("read-exactly" if suffix == ".warc.gz" else "read")  # the guess meets the record cut off
    assert len(list((done if done.is_dir() else done.with_name("read")).glob("0*"))) > 4
    if suffix == ".warc.gz":
        many = read_corpus(WARC, part_bytes=4_000, workers=2)
        assert digests_of_folder(many.output) == digests_of_folder(sliced.output)


def test_an_archive_that_holds_archives_is_cut_between_its_own_records(tmp_path, read_corpus):
    """Their bytes lie bare in the outer one, as gzip stores what it cannot pack, so that a guess takes them for its own."""
    inner = b"".join(gzip.compress(r) for r in pages(8))
    outer = record(answer(inner, Content_Type="application/warc"))
    every = [gzip.compress(outer, compresslevel=0), *map(gzip.compress, pages(8))] * 2
    (tmp_path / "a.warc.gz").write_bytes(b"".join(every))
    whole, sliced = (read_corpus(WARC, part_bytes=size) for size in (1 << 30, 6_000))
    assert (len(whole.documents), whole.ledger.dropped.total()) == (16, 2)
    assert [d.id for d in sliced.documents] == [d.id for d in whole.documents]
    assert sliced.ledger.to_json() == whole.ledger.to_json()
    assert (tmp_path / "scratch-2" / "read-exactly").is_dir()


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="LMPIPE_TEST_DATA names no folder with warc_samples")
def test_every_sample_is_survived_and_accounted_for(tmp_path, read_corpus):
    for path in sorted(SAMPLES.glob("*.*")):
        if path.name == "README.md":
            continue
        (tmp_path / "good.warc").write_bytes(pages(1)[0])  # so that no corpus is empty
        found = read_corpus({**WARC, "paths": [str(path), "good.warc"], "statuses": []})
        assert found.ledger.rows_in == found.ledger.rows_kept + found.ledger.dropped.total() + found.ledger.failed.total()
        if "lz4" in path.name or path.suffix == ".bad":  # warcio does not read these
            continue
        with path.open("rb") as stream:
            expected = sum(1 for _ in ArchiveIterator(stream))
        assert found.ledger.rows_in == expected + 1, path.name
    assert (found.ledger.rows_kept, found.failures) == (2, [])


def test_an_empty_archive_is_an_empty_corpus(tmp_path, read_corpus):
    (tmp_path / "a.warc.gz").write_bytes(b"")
    with pytest.raises(SourceError, match="the corpus is empty"):
        read_corpus(WARC)


def test_extraction_depends_on_no_clock(tmp_path, read_corpus):
    html = page("Dated", "<meta name='date' content='2031-05-06'>")
    (tmp_path / "a.html").write_text(html)
    assert '"date":"2031-05-06"' in read_corpus({"kind": "html", "paths": ["a.html"]}).documents[0].meta
