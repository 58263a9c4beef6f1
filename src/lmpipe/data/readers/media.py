"""Images and recordings with the text beside them, from folders and WebDataset tar files, as binary columns.

    read stage/part-00000.parquet          id, text, ...               the text, cleaned like any other
               media/part-00000.parquet    id, image, audio, name      row for row the same documents, row group by row group

Text stages read and write the first alone, so that gigabytes of pictures pass through no filter; what trains on both takes the
ids that are left and finds their media with `media_of`. Memory follows the row group: at most about 8 MB of text and media, or
one record.

In a tar file only names and bytes of regular members are looked at, and nothing is written: links and names that lead
elsewhere do nothing.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from lmpipe.data.documents import PART_BYTES, Document, PartWriter, TableWriter, part_name, parts_of, tables_of
from lmpipe.data.readers.config import SUFFIXES, AudioSource, ImageSource, MediaSource, WebDatasetSource
from lmpipe.data.readers.lines import KEPT_BYTES, Tick
from lmpipe.data.readers.opening import damaged, open_decompressed, reading
from lmpipe.data.readers.record import INVALID_TEXT, NO_TEXT, TOO_LONG, Record, Records, decode

MEDIA = "media"
SCHEMA = pa.schema([("id", pa.string()), ("image", pa.large_binary()), ("audio", pa.large_binary()), ("name", pa.string())])
IMAGE_SUFFIXES = tuple(suffix for suffix in SUFFIXES["image"] if suffix not in (".txt", ".json"))
AUDIO_SUFFIXES = tuple(suffix for suffix in SUFFIXES["audio"] if suffix not in (".txt", ".json"))
NO_MEDIUM = "no image and no recording"
TOO_LARGE = "medium longer than max_media_bytes"
INVALID_JSON = "invalid JSON beside the medium"
NO_FILE = "a member that is no regular file"


def groups_of(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Names that differ in the suffix only, together, in the order of their stems.

    >>> groups_of(["a/1.jpg", "a/1.txt", "a/2.jpg"])
    [('a/1.jpg', 'a/1.txt'), ('a/2.jpg',)]
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(str(PurePosixPath(name).with_suffix("")), []).append(name)
    return [tuple(sorted(group)) for _, group in sorted(groups.items())]


def read_group(config: ImageSource | AudioSource, files: Sequence[tuple[str, str]]) -> Records:
    """The one record that files with one stem are.

    Args:
        config: the source.
        files: (name, url) of each.
    """
    sample: dict[str, bytes] = {}
    for name, url in files:
        suffix, limit = PurePosixPath(name).suffix.lower(), _limit(config, name)
        with reading(name, url), open_decompressed(url, allow_private=config.allow_private_addresses) as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            yield Record("0", error=TOO_LARGE if suffix in IMAGE_SUFFIXES + AUDIO_SUFFIXES else TOO_LONG, raw=data[:KEPT_BYTES])
            return
        sample[suffix] = data
    yield _record(config, "0", sample, {})


def read_webdataset(config: WebDatasetSource, stream: IO[bytes], name: str, url: str, tick: Tick) -> Records:
    """The records of one tar file: runs of members with one name up to the first dot of its last part.

    Raises:
        SourceError: when it is no tar file, or a truncated one.
    """
    key, sample, error, number = "", dict[str, bytes](), "", 0
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                tick(member.size + tarfile.BLOCKSIZE)
                if member.isdir():
                    continue
                this, suffix = _key_of(member.name)
                if key and this != key:
                    yield _finished(config, number, key, sample, error)
                    number, sample, error = number + 1, {}, ""
                key = this
                error = error or _take(config, archive, member, suffix, sample)
    except (tarfile.TarError, EOFError) as problem:
        raise damaged(name, url, str(problem)) from problem
    if key:
        yield _finished(config, number, key, sample, error)


def _key_of(name: str) -> tuple[str, str]:
    """WebDataset's rule: `a/b.seg.png` is `a/b` and `.seg.png`."""
    path = PurePosixPath(name)
    stem, dot, suffix = path.name.partition(".")
    return str(path.with_name(stem or path.name)), (dot + suffix).lower()


def _take(
    config: WebDatasetSource, archive: tarfile.TarFile, member: tarfile.TarInfo, suffix: str, sample: dict[str, bytes]
) -> str:
    """Put a member into the sample; say what is wrong with it."""
    if not member.isreg():
        return NO_FILE
    if member.size > _limit(config, suffix):
        return TOO_LARGE if suffix in IMAGE_SUFFIXES + AUDIO_SUFFIXES else TOO_LONG
    stream = archive.extractfile(member)
    sample[suffix] = stream.read() if stream is not None else b""
    return ""


def _finished(config: MediaSource, number: int, key: str, sample: Mapping[str, bytes], error: str) -> Record:
    if error:
        return Record(str(number), error=error, raw=b"".join(sample.values())[:KEPT_BYTES])
    return _record(config, str(number), sample, {"key": key})


def _limit(config: MediaSource, name: str) -> int:
    return config.max_media_bytes if name.lower().endswith(IMAGE_SUFFIXES + AUDIO_SUFFIXES) else config.max_record_bytes


def _record(config: MediaSource, number: str, sample: Mapping[str, bytes], meta: dict[str, Any]) -> Record:
    image = next((sample[suffix] for suffix in IMAGE_SUFFIXES if suffix in sample), None)
    audio = next((sample[suffix] for suffix in AUDIO_SUFFIXES if suffix in sample), None)
    raw = b"".join(sample.values())
    if image is None and audio is None:
        return Record(number, error=NO_MEDIUM, raw=raw)
    known: dict[str, Any] = {}
    if ".json" in sample:
        try:
            value = json.loads(sample[".json"])
        except (ValueError, RecursionError):
            return Record(number, error=INVALID_JSON, raw=sample[".json"])
        known = value if isinstance(value, dict) else {}
    text: Any = known.pop(config.caption_key, None)
    if ".txt" in sample:
        text, invalid = decode(sample[".txt"], "utf-8", config.errors)
        if invalid is not None:
            return Record(number, error=INVALID_TEXT.format(encoding="utf-8"), offset=invalid, raw=sample[".txt"])
    if not isinstance(text, str):
        return Record(number, error=NO_TEXT, raw=raw)
    simple = {key: value for key, value in known.items() if isinstance(value, str | int | float | bool)}
    return Record(number, text=text, meta={**simple, **meta} or None, image=image, audio=audio)


class MediaWriter(PartWriter):
    """Writes documents and, row for row beside them, their media."""

    def __init__(self, folder: Path, *, part_bytes: int = PART_BYTES) -> None:
        super().__init__(folder, part_bytes=part_bytes)
        self._media: list[tuple[str, bytes | None, bytes | None, str]] = []
        self._media_writer: TableWriter | None = None

    def add_with_media(self, document: Document, record: Record) -> None:
        """Append one document and what belongs to it."""
        self._media.append((document.id, record.image, record.audio, document.source))
        self._row_bytes += len(record.image or b"") + len(record.audio or b"")
        self.add(document)

    def _flush(self) -> None:
        if self._media:
            self._part()
            assert self._media_writer is not None
            columns = zip(*self._media, strict=True)
            arrays = [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)]
            self._media_writer.write(pa.table(arrays, schema=SCHEMA))
            self._media = []
        super()._flush()

    def _part(self) -> TableWriter:
        if self._writer is None:
            self._media_writer = TableWriter(self.folder / MEDIA / part_name(self.parts), SCHEMA)
        return super()._part()

    def _close(self) -> None:
        if self._media_writer is not None:
            self._media_writer.__exit__(None, None, None)
            self._media_writer = None
        super()._close()


def media_of(read_folder: Path, ids: Sequence[str] | set[str]) -> Iterator[dict[str, Any]]:
    """`id`, `image`, `audio` (bytes or None) and `name` of the wanted documents, in the order of the corpus.

    Args:
        read_folder: output of the reading stage.
        ids: of the documents that are left after cleaning, as any later stage has them.
    """
    wanted = pa.array(sorted(set(ids)), pa.string())
    for part in parts_of(read_folder / MEDIA):
        for table in tables_of(part):
            yield from table.filter(pa.compute.is_in(table.column("id"), value_set=wanted)).to_pylist()
