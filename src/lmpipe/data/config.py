"""What a user may ask of a corpus: where its text comes from, how it is cleaned, deduplicated, masked and split.

    read -> clean: unicode -> clean: length, repetition -> dedup -> pii -> split

The order of the steps is fixed; only their presence and their numbers are the user's. Data only: building lives in the modules
beside this one, and neither numpy nor pyarrow is imported here.
"""

from __future__ import annotations

import codecs
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from lmpipe.base.config import Config
from lmpipe.data.cleaning.config import UnicodeConfig
from lmpipe.data.filters.config import FilterConfig, LengthConfig, MeasureConfig, RepetitionConfig, SelectConfig
from lmpipe.data.pii.config import PiiConfig
from lmpipe.data.splitting.config import SplitConfig

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


CleanConfig = Annotated[UnicodeConfig | LengthConfig | RepetitionConfig, Field(discriminator="kind")]


class ExactConfig(Config):
    """Documents whose normalised text is the same; the first in the order of the corpus stays."""

    kind: Literal["exact"] = "exact"
    ignore_case: bool = False
    """Count texts as the same that differ in upper and lower case only."""
    ignore_white_space: bool = True
    """Count texts as the same that differ in the amount of white space only."""


class CorpusConfig(Config):
    """One named corpus: a small pipeline from raw files to three splits."""

    read: tuple[SourceConfig, ...] = Field(min_length=1)
    """Where the text comes from. The order counts: of two equal documents the first stays."""
    max_failed_fraction: float = Field(default=0.001, ge=0, le=1)
    """The run stops when more than this share of the records cannot be read."""
    clean: tuple[CleanConfig, ...] = ()
    """Repair and filters."""
    dedup: tuple[ExactConfig, ...] = Field(default=(), max_length=1)
    """Removal of duplicates."""
    pii: PiiConfig | None = None
    """Personal data and secrets."""
    split: SplitConfig = SplitConfig()
    """Training, validation and test text."""

    @model_validator(mode="after")
    def _each_step_once(self) -> Self:
        for kind in sorted({part.kind for part in self.clean}):
            if sum(part.kind == kind for part in self.clean) > 1:
                raise ValueError(f"clean has two steps of kind '{kind}'; expected each at most once")
        if self.unicode() not in (None, *self.clean[:1]):
            raise ValueError("clean has its 'unicode' step after a filter; expected it first: filters see repaired text")
        return self

    def unicode(self) -> UnicodeConfig | None:
        """The repair step, where there is one."""
        return next((part for part in self.clean if isinstance(part, UnicodeConfig)), None)

    def filters(self) -> tuple[FilterConfig, ...]:
        """The filters, in order."""
        return tuple(part for part in self.clean if not isinstance(part, UnicodeConfig))

    def measure(self) -> MeasureConfig | None:
        """The scores that the filters need; None where there are no filters."""
        kinds = {part.kind for part in self.filters()}
        return MeasureConfig(scores=tuple(sorted(kinds))) if kinds else None

    def select(self) -> SelectConfig | None:
        """The selection; None where nothing could be dropped."""
        return SelectConfig(filters=self.filters()) if self.filters() or self.dedup else None


class ReadConfig(Config):
    """What a reading stage is identified by, beside the digests of its files: names stand where the recipe has paths."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    """The sources; `paths` are the names of their files in order, `exclude` is empty."""
    max_failed_fraction: float = 0.001
    """Share of failed records that stops the run."""
