"""Where text may come from: one class for every `kind` of source, and what a reading stage is identified by.

Data only: the readers live in the modules beside this one, and neither numpy nor pyarrow is imported here.
"""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

from pydantic import Field, field_validator

from lmpipe.base.config import Config

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
    max_record_bytes: int = Field(default=16_000_000, ge=1)
    """A longer line or record is booked as failed instead of being read into memory."""
    errors: Literal["fail", "replace"] = "fail"
    """Bytes that are no text in the file's encoding: book the document as failed, or put U+FFFD in their place."""


class FileSource(SourceBase):
    """What sources made of files have."""

    paths: tuple[str, ...] = Field(min_length=1)
    """Files, folders, globs (`**` too), fsspec URLs (`s3://`, `https://`, ...) or the named root `{stdlib}`, the running
    Python's standard library. Relative paths are looked up in the recipe's folder, then in the working folder. Files
    ending in .gz, .bz2, .xz or .zst are decompressed."""
    exclude: tuple[str, ...] = STANDARD_LIBRARY_EXCLUDED
    """Globs over the names of files (`stdlib/json/decoder.py`, `books/emma.txt`) that are left out."""


class TextSource(FileSource):
    """Plain text files."""

    kind: Literal["text"] = "text"
    document: Literal["file", "paragraph", "line"] = "file"
    """What one document is: a whole file, a run of lines between empty lines, or a line."""
    max_document_chars: int = Field(default=100_000, ge=100)
    """A longer document is cut into pieces at line borders; the pieces stay together in a split by document."""
    encoding: str = "utf-8"
    """Encoding of the files, by its Python name."""

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


class JsonlSource(FileSource, RecordSource):
    """One JSON object per line."""

    kind: Literal["jsonl"] = "jsonl"


class CsvSource(FileSource, RecordSource):
    """Comma- or tab-separated values with a header line, quoted as RFC 4180 says."""

    kind: Literal["csv"] = "csv"
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """What separates columns; by default a tab in files called .tsv and a comma elsewhere."""


class ParquetSource(FileSource, RecordSource):
    """Parquet files."""

    kind: Literal["parquet"] = "parquet"


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


SourceConfig = Annotated[TextSource | JsonlSource | CsvSource | ParquetSource | HubSource, Field(discriminator="kind")]


class ReadConfig(Config):
    """What a reading stage is identified by, beside the digests of its files: names stand where the recipe has paths."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    """The sources; `paths` are the names of their files in order, `exclude` is empty."""
    max_failed_fraction: float = 0.001
    """Share of failed records that stops the run."""
