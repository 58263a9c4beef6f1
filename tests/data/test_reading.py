import bz2
import csv
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmpipe.data.documents import group_key

TEXT = {"kind": "text", "paths": ["*.txt"]}
CUT = {**TEXT, "max_document_chars": 100}


def test_a_file_is_a_document_with_a_stable_id(tmp_path, read_corpus):
    (tmp_path / "a.txt").write_text("Grüße\n")
    first = read_corpus({**TEXT, "licence": "CC0-1.0", "language": "de"}).documents
    second = read_corpus(TEXT).documents
    assert first[0].id == second[0].id
    assert first[0].id.startswith("a.txt:0:")
    assert first[0][1:] == ("Grüße\n", "a.txt", "CC0-1.0", "de", "{}")
    (tmp_path / "a.txt").write_text("Gruesse\n")
    assert read_corpus(TEXT).documents[0].id != first[0].id


def test_long_files_are_cut_at_line_borders_and_nothing_is_lost(tmp_path, read_corpus):
    text = "".join(f"line {number} of some length\n" for number in range(50))
    (tmp_path / "a.txt").write_text(text)
    found = read_corpus(CUT)
    assert "".join(found.texts) == text
    assert all(len(piece) <= 100 and piece.endswith("\n") for piece in found.texts)
    assert [document.id.split(":")[1] for document in found.documents[:2]] == ["0~0", "0~1"]
    assert {group_key(document.id) for document in found.documents} == {"a.txt:0"}


def test_a_line_longer_than_a_document_is_cut_at_a_space(tmp_path, read_corpus):
    text = "word " * 100 + "x" * 250
    (tmp_path / "a.txt").write_text(text)
    found = read_corpus(CUT).texts
    assert "".join(found) == text
    assert all(len(piece) <= 100 for piece in found)
    assert found[0].endswith("word ")


def test_paragraphs_and_lines_as_documents(tmp_path, read_corpus):
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\r\n\r\n\n  \nthree\r\rfour\n\n\n")
    assert read_corpus({**TEXT, "document": "paragraph"}).texts == ["one\ntwo", "three", "four"]
    lines = read_corpus({**TEXT, "document": "line"})
    assert lines.texts == ["one", "two", "three", "four"]
    assert lines.ledger.dropped == {"empty": 6}
    assert [document.id.split(":")[1] for document in lines.documents] == ["0", "1", "5", "7"]


def test_a_byte_order_mark_is_no_text(tmp_path, read_corpus):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfhello\n")
    (tmp_path / "b.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "hello"}\n')
    (tmp_path / "c.csv").write_bytes(b"\xef\xbb\xbftext\nhello\n")
    sources = [TEXT, {"kind": "jsonl", "paths": ["*.jsonl"]}, {"kind": "csv", "paths": ["*.csv"]}]
    assert [text.strip() for text in read_corpus(*sources).texts] == ["hello"] * 3
    assert read_corpus({**TEXT, "document": "line"}).texts == ["hello"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252", "shift_jis"])
def test_other_encodings(tmp_path, read_corpus, encoding):
    text = "one\nzwei\n" + ("日本\n" if encoding == "shift_jis" else "drei: é\n")
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert read_corpus({**TEXT, "encoding": encoding}).texts == [text]
    assert read_corpus({**TEXT, "encoding": encoding, "document": "line"}).texts == text.split("\n")[:-1]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_compression_by_suffix(tmp_path, read_corpus, suffix):
    text = "".join(f"{number} some text that is longer than a block\n" for number in range(60_000)).encode()
    packers = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": pa.Codec("zstd").compress}
    packed = packers[suffix](text)
    (tmp_path / f"a.txt{suffix}").write_bytes(bytes(packed))
    found = read_corpus({"kind": "text", "paths": [f"*.txt{suffix}"], "max_document_chars": 1000})
    assert "".join(found.texts).encode() == text
    assert {document.source for document in found.documents} == {f"a.txt{suffix}"}


def test_json_lines_with_columns(tmp_path, read_corpus):
    rows = [
        {"body": "first", "key": "k1", "rights": "CC0-1.0", "lang": "en", "url": "https://example.org", "n": 1},
        {"body": "second\nline", "key": "", "rights": None},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    found = read_corpus(
        {
            "kind": "jsonl",
            "paths": ["a.jsonl"],
            "text_column": "body",
            "id_column": "key",
            "licence_column": "rights",
            "language_column": "lang",
            "licence": "fallback",
            "meta_columns": ["url", "n"],
        }
    ).documents
    assert found[0].id.startswith("a.jsonl:k1:")
    assert found[1].id.startswith("a.jsonl:1:")
    assert [(d.licence, d.language) for d in found] == [("CC0-1.0", "en"), ("fallback", "unknown")]
    assert json.loads(found[0].meta) == {"url": "https://example.org", "n": 1}
    assert found[1].meta == "{}"


def test_csv_with_quotes_line_ends_and_tabs(tmp_path, read_corpus):
    rows = [("text", "lang"), ('He said "no",\nthen left', "en"), ("semi;colon\ttab", "de")]
    for name, delimiter in (("a.csv", ","), ("b.tsv", "\t"), ("c.csv", ";")):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows(rows)
    (tmp_path / "d.csv").write_bytes(b"text,lang\rbare,en\rreturns,en\r")
    expected = [row[0] for row in rows[1:]]
    source = {"kind": "csv", "language_column": "lang"}
    assert read_corpus({**source, "paths": ["a.csv", "b.tsv"]}).texts == expected * 2
    assert read_corpus({**source, "paths": ["c.csv"], "delimiter": ";"}).texts == expected
    assert read_corpus({**source, "paths": ["d.csv"]}).texts == ["bare", "returns"]


def test_parquet_in_any_string_type(tmp_path, read_corpus):
    texts = ["eins", "zwei ö", None, "", "vier"]
    for name, kind in (("a", pa.string()), ("b", pa.large_string()), ("c", pa.dictionary(pa.int32(), pa.string()))):
        pq.write_table(pa.table({"text": pa.array(texts, kind), "id": [1, 2, 3, 4, 5]}), tmp_path / f"{name}.parquet")
    found = read_corpus({"kind": "parquet", "paths": ["*.parquet"], "id_column": "id"})
    assert found.texts == ["eins", "zwei ö", "vier"] * 3
    assert found.documents[2].id.startswith("a.parquet:5:")
    assert (found.ledger.dropped, found.ledger.failed) == ({"empty": 3}, {"no text": 3})


def test_sources_keep_their_order_and_files_are_sorted(tmp_path, read_corpus):
    for name in ("b.txt", "a.txt", "c.jsonl"):
        (tmp_path / name).write_text('{"text": "from c"}' if name == "c.jsonl" else f"from {name[0]}")
    found = read_corpus({"kind": "jsonl", "paths": ["c.jsonl"]}, TEXT)
    assert found.texts == ["from c", "from a", "from b"]


def test_the_account_of_every_file(tmp_path, read_corpus):
    (tmp_path / "a.txt").write_text("some text")
    (tmp_path / "b.txt").write_text("  \n")
    (tmp_path / "c.txt").write_bytes(b"\xff")
    found = read_corpus({**TEXT, "licence": "MIT"})
    lines = [json.loads(line) for line in (found.output / "sources.jsonl").read_text().splitlines()]
    assert [(s["name"], s["documents"], s["dropped"], s["failed"]) for s in lines] == [
        ("a.txt", 1, 0, 0),
        ("b.txt", 0, 1, 0),
        ("c.txt", 0, 0, 1),
    ]
    assert lines[0] == {
        "name": "a.txt",
        "licence": "MIT",
        "bytes": 9,
        "documents": 1,
        "characters": 9,
        "dropped": 0,
        "failed": 0,
    }
    assert json.loads((found.output / "ledger.json").read_text())["rows_in"] == 3


def test_fsspec_urls_are_read(read_corpus):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe({"/reading/a.jsonl.gz": gzip.compress(b'{"text": "far away"}\n')})
    try:
        assert read_corpus({"kind": "jsonl", "paths": ["memory://reading"]}).texts == ["far away"]
    finally:
        memory.rm("/reading", recursive=True)


def test_a_parquet_file_by_url(read_corpus, tmp_path):
    import fsspec

    pq.write_table(pa.table({"text": ["far", "away"]}), tmp_path / "x.parquet")
    memory = fsspec.filesystem("memory")
    memory.pipe({"/reading/x.parquet": (tmp_path / "x.parquet").read_bytes()})
    try:
        assert read_corpus({"kind": "parquet", "paths": ["memory://reading/x.parquet"]}).texts == ["far", "away"]
    finally:
        memory.rm("/reading", recursive=True)


def test_a_local_folder_in_a_hub_layout_needs_no_network(tmp_path, read_corpus):
    datasets = pytest.importorskip("datasets")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "train.jsonl").write_text('{"text": "one", "lang": "en"}\n{"text": "two", "lang": "fr"}\n')
    found = read_corpus({"kind": "hub", "name": "plain", "language_column": "lang", "licence": "MIT"})
    assert [(d.text, d.language, d.licence, d.source) for d in found.documents] == [
        ("one", "en", "MIT", "hub/plain/train"),
        ("two", "fr", "MIT", "hub/plain/train"),
    ]
    saved = datasets.Dataset.from_dict({"text": ["three", "four"]})
    datasets.DatasetDict({"train": saved}).save_to_disk(str(tmp_path / "saved"))
    assert read_corpus({"kind": "hub", "name": "saved"}).texts == ["three", "four"]
