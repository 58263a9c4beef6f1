"""From a file and its source's `kind` to its records: the one table of readers, imported on use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, Protocol

from lmpipe.data.readers.config import (
    AudioSource,
    ConllSource,
    CsvSource,
    DocxSource,
    HtmlSource,
    HubSource,
    ImageSource,
    JsonlSource,
    MarkdownSource,
    ParquetSource,
    PathSource,
    PdfSource,
    SourceConfig,
    TextSource,
    WarcSource,
    WebDatasetSource,
)
from lmpipe.data.readers.dividing import Slice, bounded
from lmpipe.data.readers.lines import Tick
from lmpipe.data.readers.opening import open_decompressed, open_raw, open_to_seek, reading
from lmpipe.data.readers.record import Records, record_of_row
from lmpipe.data.readers.watching import Watch


class RawFile(Protocol):
    """What is known of a raw file."""

    @property
    def config(self) -> SourceConfig:
        """Its source."""

    @property
    def name(self) -> str:
        """Free of machine paths."""

    @property
    def url(self) -> str:
        """Where it is opened."""

    @property
    def beside(self) -> tuple[tuple[str, str], ...]:
        """(name, url) of files that belong to the same record."""


def records_of_files(source: PathSource, names: Sequence[str]) -> Iterable[tuple[str, ...]]:
    """Names of files grouped into what is read at once: mostly each by itself."""
    if isinstance(source, ImageSource | AudioSource):
        from lmpipe.data.readers.media import groups_of

        return groups_of(names)
    return ((name,) for name in names)


def records(file: RawFile, part: Slice, tick: Tick, watch: Watch) -> Records:
    """The records of one file, or of a slice of it.

    Args:
        file: what is read.
        part: of it.
        tick: told how many bytes of it were read.
        watch: told which record a parser of pages or papers is at.

    Raises:
        SourceError: when it cannot be read to its end.
    """
    config = file.config
    if isinstance(config, HubSource):
        from lmpipe.data.readers.hub import read_rows

        rows = read_rows(config, file.name, file.url)
        yield from (record_of_row(config, number, row) for number, row in enumerate(rows))
        return
    with reading(file.name, file.url):
        if isinstance(config, ImageSource | AudioSource):
            from lmpipe.data.readers.media import read_group

            yield from read_group(config, [(file.name, file.url), *file.beside])
        elif isinstance(config, WarcSource):
            from lmpipe.data.readers.warc import read_warc

            yield from read_warc(config, file.url, part, tick, watch)
        elif isinstance(config, ParquetSource):
            yield from _parquet(config, file, part, tick)
        else:
            yield from _of_stream(config, file, part, tick, watch)


def _parquet(config: ParquetSource, file: RawFile, part: Slice, tick: Tick) -> Records:
    from lmpipe.data.readers.parquet import read_parquet

    groups = None if part.stop is None else range(part.start, part.stop)
    with open_to_seek(file.name, file.url, allow_private=config.allow_private_addresses) as stream:
        yield from read_parquet(config, stream, file.name, file.url, tick, groups=groups, first=part.first)


def _of_stream(config: PathSource, file: RawFile, part: Slice, tick: Tick, watch: Watch) -> Iterator[Any]:
    allowed = config.allow_private_addresses
    if part.piece is not None:
        with open_decompressed(part.piece) as stream:
            yield from _read(config, stream, file, part, tick, watch)
    elif part.stop is not None:
        with open_raw(file.url, allow_private=allowed) as stream:
            yield from _read(config, bounded(stream, part), file, part, tick, watch)
    else:
        with open_decompressed(file.url, allow_private=allowed) as stream:
            yield from _read(config, stream, file, part, tick, watch)


def _read(config: PathSource, stream: IO[bytes], file: RawFile, part: Slice, tick: Tick, watch: Watch) -> Records:
    place = {"start": part.start, "first": part.first}
    match config:
        case TextSource():
            from lmpipe.data.readers.text import read_text

            return read_text(config, stream, tick, **place)
        case JsonlSource():
            from lmpipe.data.readers.jsonl import read_jsonl

            return read_jsonl(config, stream, file.name, tick, **place)
        case CsvSource():
            from lmpipe.data.readers.csv import read_csv

            return read_csv(config, stream, file.name, tick, header=part.header, **place)
        case ConllSource():
            from lmpipe.data.readers.conll import read_conll

            return read_conll(config, stream, tick)
        case WebDatasetSource():
            from lmpipe.data.readers.media import read_webdataset

            return read_webdataset(config, stream, file.name, file.url, tick)
        case MarkdownSource() | HtmlSource() | PdfSource() | DocxSource():
            from lmpipe.data.readers.papers import read_paper

            return read_paper(config, stream, tick, watch)
        case _:
            raise TypeError(f"no reader for a source of kind '{config.kind}'")
