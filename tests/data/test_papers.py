"""Markdown, PDF and Word files, and what stands in for them."""

import io
import json
import zipfile

import pytest

from lmpipe.base.errors import SourceError

W = "xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main'"
DOCX = {"kind": "docx", "paths": ["*.docx"]}
PDF = {"kind": "pdf", "paths": ["*.pdf"]}


def word(body, name="word/document.xml", **members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, body if isinstance(body, bytes) else f"<w:document {W}><w:body>{body}</w:body></w:document>")
        for member, data in members.items():
            archive.writestr(member, data)
    return buffer.getvalue()


def paragraph(*texts):
    return "<w:p>" + "".join(f"<w:r><w:t xml:space='preserve'>{text}</w:t></w:r>" for text in texts) + "</w:p>"


def pdf(*pages, title=None):
    """A file with a text layer: each page is one line of text, None is a page without."""
    count = len(pages)
    kids = " ".join(f"{3 + 2 * n} 0 R" for n in range(count))
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", f"<</Type/Pages/Kids[{kids}]/Count {count}>>".encode()]
    font = 3 + 2 * count
    for number, text in enumerate(pages):
        drawn = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else b"0 0 m 10 10 l S"
        resources = f"/Resources<</Font<</F1 {font} 0 R>>>>"
        content = f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {4 + 2 * number} 0 R{resources}>>"
        objects += [content.encode(), b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn)]
    objects += [b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>", f"<</Title({title or ''})>>".encode()]
    data, places = b"%PDF-1.4\n", []
    for number, value in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj%s\nendobj\n" % (number, value)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = f"<</Size {len(objects) + 1}/Root 1 0 R/Info {len(objects)} 0 R>>\nstartxref\n{len(data)}\n%%EOF".encode()
    return data + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode() + table + b"trailer" + end


def test_markdown_keeps_its_markup_and_gives_its_front_matter(tmp_path, read_corpus):
    text = "# A heading\n\n- one\n- two\n\n---\n\nnot front matter: it comes later\n"
    (tmp_path / "a.md").write_text('\ufeff---\ntitle: "A title"\ntags: [a, b]\nnested:\n  key: value\n---\n\n' + text)
    (tmp_path / "b.md").write_text(text)
    (tmp_path / "c.md").write_text("---\n---\nempty front matter")
    found = read_corpus({"kind": "markdown", "paths": ["*.md"]})
    assert found.texts == [text, text, "empty front matter"]
    assert json.loads(found.documents[0].meta) == {"title": "A title", "tags": "[a, b]"}
    kept = read_corpus({"kind": "markdown", "paths": ["c.md"], "front_matter": False})
    assert kept.texts == ["---\n---\nempty front matter"]


def test_markdown_with_bytes_that_are_no_text(tmp_path, read_corpus):
    (tmp_path / "a.md").write_bytes(b"fine until \xff")
    (tmp_path / "b.md").write_text("fine")
    found = read_corpus({"kind": "markdown", "paths": ["*.md"]})
    assert found.failures == [{"file": "a.md", "record": "0", "error": "invalid utf-8", "offset": 11}]
    assert found.quarantine[0]["bytes"] == b"fine until \xff"


def test_pdf_pages_and_properties(tmp_path, read_corpus):
    (tmp_path / "a.pdf").write_bytes(pdf("The first page", "The second page", "The third page", title="A paper"))
    (document,) = read_corpus(PDF).documents
    assert document.text == "The first page\fThe second page\fThe third page"
    assert json.loads(document.meta) == {"pages": 3, "title": "A paper"}
    (short,) = read_corpus({**PDF, "max_pages": 2}).documents
    assert (short.text, json.loads(short.meta)["pages_left_out"]) == ("The first page\fThe second page", 1)


def test_pdf_that_gives_no_text(tmp_path, read_corpus):
    whole = pdf("A page")
    (tmp_path / "cut.pdf").write_bytes(whole[:60])
    (tmp_path / "fine.pdf").write_bytes(whole)
    (tmp_path / "none.pdf").write_bytes(b"not a PDF file at all")
    (tmp_path / "scan.pdf").write_bytes(pdf(None))
    found = read_corpus(PDF)
    assert found.texts == ["A page"]
    assert found.ledger.dropped == {"no text layer": 1}
    assert [(f["file"], f["error"]) for f in found.failures] == [
        ("cut.pdf", "not a PDF file, or a damaged one"),
        ("none.pdf", "not a PDF file, or a damaged one"),
    ]


def test_word_documents(tmp_path, read_corpus):
    table = (
        "<w:tbl>" + 2 * f"<w:tr><w:tc>{paragraph('a')}</w:tc><w:tc>{paragraph('b')}{paragraph('c')}</w:tc></w:tr>" + "</w:tbl>"
    )
    changed = "<w:p><w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:ins><w:r><w:t>new</w:t></w:r></w:ins></w:p>"
    breaks = "<w:p><w:r><w:t>left</w:t><w:tab/><w:t>right</w:t><w:br/><w:t>below</w:t></w:r></w:p>"
    core = (
        "<cp:coreProperties xmlns:cp='c' xmlns:dc='http://purl.org/dc/elements/1.1/'><dc:title>A letter</dc:title>"
        "<dc:creator>Me</dc:creator></cp:coreProperties>"
    )
    body = paragraph("One ", "line") + table + changed + breaks
    (tmp_path / "a.docx").write_bytes(word(body, **{"docProps/core.xml": core}))
    (document,) = read_corpus(DOCX).documents
    assert document.text == "One line\na\tb c\na\tb c\nnew\nleft\tright\nbelow"
    assert json.loads(document.meta) == {"title": "A letter", "author": "Me"}


def test_word_documents_that_are_traps(tmp_path, read_corpus):
    entities = "<!DOCTYPE w [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'>]>"
    files = {
        "bomb": word(paragraph("x" * 30_000_000)),
        "cut": word(paragraph("text"))[:-40],
        "entities": word(f"{entities}<w:document {W}><w:body>{paragraph('&b;')}</w:body></w:document>".encode()),
        "locked": b"\xd0\xcf\x11\xe0" + bytes(600),
        "nested": word("<w:sdt>" * 20_000 + "</w:sdt>" * 20_000),
        "none": b"text",
        "other": word(paragraph("text"), name="word/other.xml"),
        "traversal": word(paragraph("harmless"), **{"../../../../tmp/evil": "x", "/etc/evil": "y"}),
    }
    for name, data in files.items():
        (tmp_path / f"{name}.docx").write_bytes(data)
    found = read_corpus(DOCX)
    assert found.texts == ["harmless"]
    errors = {failure["file"].removesuffix(".docx"): failure["error"] for failure in found.failures}
    assert errors == {
        "bomb": "the Word document unfolds to more than max_record_bytes",
        "cut": "not a Word document, or a damaged one",
        "entities": "the Word document declares a document type",
        "locked": "the Word document is encrypted",
        "nested": "not a Word document, or a damaged one",
        "none": "not a Word document, or a damaged one",
        "other": "not a Word document, or a damaged one",
    }
    assert {row["file"] for row in found.quarantine if row["whole"]} == {f"{name}.docx" for name in errors}


@pytest.mark.parametrize("kind", ["markdown", "html", "pdf", "docx"])
def test_a_file_above_the_bound_is_booked(tmp_path, read_corpus, kind):
    suffix = {"markdown": "md"}.get(kind, kind)
    (tmp_path / f"a.{suffix}").write_bytes(bytes(20_000))
    with pytest.raises(SourceError, match=r"the corpus is empty"):
        read_corpus({"kind": kind, "paths": ["*.*"], "max_record_bytes": 10_000})
    with pytest.raises(SourceError, match=r"1 of 1 documents could not be processed: 1 x record longer") as error:
        read_corpus({"kind": kind, "paths": ["*.*"], "max_record_bytes": 10_000}, max_failed_fraction=0.001)
    assert "failures.jsonl" in error.value.fix
