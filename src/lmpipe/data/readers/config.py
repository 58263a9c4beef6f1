"""Where text may come from: one class for every `kind` of source, and what a reading stage is identified by.

    text, jsonl, csv, parquet, markdown        text as it stands, or in a column
    conll                                      sentences with a tag for each word
    html, warc                                 pages, whose text is extracted
    pdf, docx                                  papers with a text layer
    image, audio, webdataset                   media with a text beside them
    hub                                        data sets of the Hugging Face Hub

Data only: the readers live in the modules beside this one, and neither numpy nor pyarrow is imported here.
"""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

from pydantic import Field, field_validator

from lmpipe.base.config import Config
from lmpipe.data.extraction.config import ExtractConfig

STANDARD_LIBRARY_EXCLUDED = (
    "stdlib/**/site-packages/**",
    "stdlib/**/dist-packages/**",
    "stdlib/**/test/**",
    "stdlib/**/tests/**",
    "stdlib/**/idle_test/**",
)
"""What `{stdlib}` leaves out: other people's packages, and test folders (generated tables, deliberately broken files)."""


class SourceBase(Config):
    """What all sources have."""

    licence: str = Field(default="unknown", min_length=1)
    """Licence of the text, as an SPDX identifier where there is one. It is carried with every document to the data card."""
    language: str = Field(default="unknown", min_length=1)
    """Language of the text, as a BCP 47 tag such as `en`. Recorded, not checked."""
    side: Literal["train", "validation", "test"] | None = None
    """Where the documents stand when the corpus is divided, for data that comes divided; null: where `split` puts them."""
    max_record_bytes: int = Field(default=16_000_000, ge=1)
    """A longer line or record is booked as failed instead of being read into memory."""
    errors: Literal["fail", "replace"] = "fail"
    """Bytes that are no text in the file's encoding: book the document as failed, or put U+FFFD in their place."""


class FileSource(SourceBase):
    """What sources made of files have."""

    paths: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    """Files, folders, globs (`**` too), fsspec URLs (`s3://`, `https://`, ...) or the named root `{stdlib}`, the running
    Python's standard library. Relative paths are looked up in the recipe's folder, then in the working folder. Files
    ending in .gz, .bz2, .xz, .zst or .lz4 are decompressed."""
    exclude: tuple[str, ...] = STANDARD_LIBRARY_EXCLUDED
    """Globs over the names of files (`stdlib/json/decoder.py`, `books/emma.txt`) that are left out."""
    allow_private_addresses: bool = False
    """Let `http://` and `https://` lead to loopback, private and link-local addresses, also by a redirect. Off, because a
    recipe from elsewhere could otherwise read what only this machine can reach."""


class EncodedSource(FileSource):
    """What sources made of text files have whose encoding nothing in them tells."""

    encoding: str = "utf-8"
    """Encoding of the files, by its Python name."""

    @property
    def wide(self) -> bool:
        """Whether a line feed is more than one byte: then files are decoded as a stream, and lines are not cut by bytes."""
        return "\n".encode(self.encoding) != b"\n"

    @field_validator("encoding")
    @classmethod
    def _encoding_is_readable(cls, encoding: str) -> str:
        try:
            newline = "\n".encode(encoding)
            codecs.getincrementaldecoder(encoding)
        except LookupError:
            raise ValueError(
                f"Python knows no encoding '{encoding}'; expected a name such as utf-8, latin-1 or utf-16"
            ) from None
        if newline != b"\n" and not encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32")):
            raise ValueError(f"files in '{encoding}' cannot be read by lines; convert them to utf-8")
        return encoding


class TextSource(EncodedSource):
    """Plain text files."""

    kind: Literal["text"] = "text"
    document: Literal["file", "paragraph", "line"] = "file"
    """What one document is: a whole file, a run of lines between empty lines, or a line."""
    max_document_chars: int = Field(default=100_000, ge=100)
    """A longer document is cut into pieces at line borders; the pieces stay together in a split by document."""


class RecordSource(SourceBase):
    """What sources made of records have: the names of the columns (in JSON: keys) that are read."""

    text_column: str = "text"
    """Holds the text. A record without it is booked as failed."""
    id_column: str | None = None
    """Holds an id that stays the same when the file changes; without it, ids count records."""
    licence_column: str | None = None
    """Holds the licence of each record; where empty, `licence` counts."""
    language_column: str | None = None
    """Holds the language of each record; where empty, `language` counts."""
    meta_columns: tuple[str, ...] = ()
    """Further columns to keep with the document, as JSON."""


class JsonlSource(EncodedSource, RecordSource):
    """One JSON object per line."""

    kind: Literal["jsonl"] = "jsonl"


class CsvSource(EncodedSource, RecordSource):
    """Comma- or tab-separated values with a header line, quoted as RFC 4180 says."""

    kind: Literal["csv"] = "csv"
    columns: tuple[str, ...] | None = None
    """Names of the columns of files that have no header line; null: the first line has them."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """What separates columns; by default a tab in files called .tsv and a comma elsewhere."""


class ParquetSource(FileSource, RecordSource):
    """Parquet files."""

    kind: Literal["parquet"] = "parquet"


class ConllSource(FileSource):
    """Words and their tags in columns, a word to a line, an empty line after each sentence: CoNLL-U, CoNLL-2003 and their kin.

    The text has the words with a space between two; the metadata keeps `tags`."""

    kind: Literal["conll"] = "conll"
    words: int = Field(default=2, ge=1)
    """Which column holds the words, counted from 1: 2 in CoNLL-U, 1 in CoNLL-2003."""
    tags: int = Field(default=4, ge=1)
    """Which column holds the tags: in CoNLL-U 4 (universal parts of speech) or 5, in CoNLL-2003 2 or 4 (entities)."""


class MarkdownSource(FileSource):
    """Markdown files. The markup stays: models learn to write it. Front matter goes into the metadata."""

    kind: Literal["markdown"] = "markdown"
    front_matter: bool = True
    """Take a leading block between two `---` lines out of the text; its simple `key: value` lines become metadata."""


class HtmlSource(FileSource):
    """HTML files, one page each."""

    kind: Literal["html"] = "html"
    errors: Literal["fail", "replace"] = "replace"
    """A page with bytes that are no text in its encoding: book it as failed, or, as browsers do, put U+FFFD in their place."""
    extract: ExtractConfig = ExtractConfig()
    """How the text of a page is found."""


class WarcSource(FileSource):
    """Web archives: WARC 0.17 to 1.1 with captured pages, and WET with their text; plain or compressed, whole or by record.

    Records that are no page are dropped, with a reason each. A damaged record is booked as failed, and reading goes on at the
    next one."""

    kind: Literal["warc"] = "warc"
    errors: Literal["fail", "replace"] = "replace"
    """A page with bytes that are no text in its encoding: book it as failed, or, as browsers do, put U+FFFD in their place."""
    extract: ExtractConfig = ExtractConfig()
    """How the text of a page is found."""
    statuses: tuple[int, ...] = (200,)
    """HTTP status codes of the responses that count as pages; empty: all."""


class PdfSource(FileSource):
    """PDF files with a text layer, one document each. Nothing is recognised in pictures of text."""

    kind: Literal["pdf"] = "pdf"
    max_pages: int | None = Field(default=None, ge=1)
    """Read no further than so many pages; the metadata then says `pages_left_out`."""


class DocxSource(FileSource):
    """Word documents (.docx): paragraphs, headings, lists and tables in their order; no pictures, comments or page headers."""

    kind: Literal["docx"] = "docx"


class MediaSource(FileSource):
    """What sources of media beside text have: files whose names differ in the suffix only are one record."""

    caption_key: str = "caption"
    """In a `.json` file beside the medium: the key that holds the text. A `.txt` file beside it is the text itself."""
    max_media_bytes: int = Field(default=64_000_000, ge=1)
    """A record with a larger medium is booked as failed instead of being read into memory."""


class ImageSource(MediaSource):
    """Folders of images, each with its text in a `.txt` or `.json` file of the same name."""

    kind: Literal["image"] = "image"


class AudioSource(MediaSource):
    """Folders of recordings, each with its text in a `.txt` or `.json` file of the same name."""

    kind: Literal["audio"] = "audio"


class WebDatasetSource(MediaSource):
    """Tar files in WebDataset layout: consecutive members with one name and different suffixes are one record."""

    kind: Literal["webdataset"] = "webdataset"


class HubSource(RecordSource):
    """A Hugging Face data set by name, or a local folder in one of the layouts that `datasets` reads."""

    kind: Literal["hub"] = "hub"
    name: str = Field(min_length=1)
    """Such as `roneneldan/TinyStories`, or the path of a folder (which needs no network)."""
    config: str | None = None
    """The data set's configuration, where it has several."""
    split: str = "train"
    """Which of the data set's own splits is read."""
    revision: str | None = None
    """A commit hash pins the data set; a branch, a tag or nothing is looked up on the hub whenever a run is planned."""


PathSource = (
    TextSource
    | JsonlSource
    | CsvSource
    | ParquetSource
    | ConllSource
    | MarkdownSource
    | HtmlSource
    | WarcSource
    | PdfSource
    | DocxSource
    | ImageSource
    | AudioSource
    | WebDatasetSource
)
SourceConfig = Annotated[PathSource | HubSource, Field(discriminator="kind")]

SUFFIXES: dict[str, tuple[str, ...]] = {
    "text": (".txt", ".text", ".md", ".rst", ".py"),
    "jsonl": (".jsonl", ".ndjson"),
    "csv": (".csv", ".tsv"),
    "parquet": (".parquet",),
    "conll": (".conllu", ".conll", ".tsv", ".txt"),
    "markdown": (".md", ".markdown"),
    "html": (".html", ".htm", ".xhtml"),
    "warc": (".warc", ".wet"),
    "pdf": (".pdf",),
    "docx": (".docx",),
    "image": (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".txt", ".json"),
    "audio": (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".txt", ".json"),
    "webdataset": (".tar",),
}
"""Which files of a folder are read when a path names only the folder."""


def modules_of(source: PathSource | HubSource) -> dict[str, str]:
    """Modules beyond the extra [data] that reading a source needs, each with the extra that brings it.

    >>> modules_of(PdfSource(paths=("a.pdf",)))
    {'pypdfium2': 'documents'}
    """
    if isinstance(source, HubSource):
        return {"datasets": "hub"}
    needed: dict[str, str] = {}
    if any(path.startswith(("http://", "https://")) for path in source.paths):
        needed["aiohttp"] = "remote"
    if isinstance(source, HtmlSource | WarcSource):
        needed |= dict.fromkeys(source.extract.modules(), "web")
    if isinstance(source, PdfSource):
        needed["pypdfium2"] = "documents"
    return needed


class ReadConfig(Config):
    """What a reading stage is identified by, beside the digests of its files: names stand where the recipe has paths."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    """The sources; `paths` are the names of their files in order, `exclude` is empty."""
    max_failed_fraction: float = 0.001
    """Share of failed records that stops the run."""
    max_quarantine_bytes: int = 64_000_000
    """How many bytes of failed records are kept."""
    libraries: dict[str, str] = Field(default_factory=dict)
    """Versions of the libraries that decide what text a page or a paper gives."""
