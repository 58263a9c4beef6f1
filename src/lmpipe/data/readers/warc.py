"""Web archives: WARC and WET files to the text of their pages (ISO 28500; WARC 0.17 to 1.1).

    response, resource     text/html, application/xhtml+xml: the text is extracted; text/plain: taken as it is
    conversion             text/plain: what a WET file holds
    all others             dropped, with a reason each: record type, HTTP status, content type

Promises: every record is a document, dropped with a reason or failed with file, place and error; after a damaged one reading
goes on at the next that can be found. A record is named by its place in the file, as an index of the archive has it. Memory is
bounded by `max_record_bytes`, also where a packed body unfolds to more.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from lmpipe.data.readers.config import WarcSource
from lmpipe.data.readers.dividing import WHOLE, Pieces, Slice, WrongCutError
from lmpipe.data.readers.http import Answer, UnreadableBodyError, body_of, charset_of, mime_of, parse_answer, sniffed
from lmpipe.data.readers.lines import KEPT_BYTES, Tick
from lmpipe.data.readers.opening import can_seek, decompressor, is_url, open_decompressed, open_raw
from lmpipe.data.readers.papers import page_record
from lmpipe.data.readers.record import TOO_LONG, Record, Records
from lmpipe.data.readers.text import Resumed, read_up_to
from lmpipe.data.readers.warc_stream import GZIP, MAGICS, RECORD, CutOff, Damage, GzipStream, PlainStream, members_from
from lmpipe.data.readers.watching import Watch

PAGES = {"text/html", "application/xhtml+xml"}
WITH_TEXT = ("response", "resource", "conversion")
OTHER_TYPES = ("warcinfo", "request", "metadata", "revisit", "continuation")
MAJOR_TYPES = ("application", "audio", "font", "image", "message", "multipart", "text", "video")
CUT_OFF = "the record ends before its Content-Length"
NO_HEADER = "no record where one should begin"
NO_LENGTH = "the record states no Content-Length"
MAX_HEADER_LINES = 1000
DAMAGED_BYTES = 1 << 16
"""So much of the file is kept from where a damaged record begins: where it ends, nobody knows."""
NO_BLOCKS = -1
"""For `walk`: headers alone."""


@dataclass(frozen=True)
class Found:
    """One record of an archive, or what is wrong in its place."""

    place: tuple[int, int]
    fields: Mapping[str, str]
    """Header fields by their names in lower case."""
    block: bytes = b""
    """What follows the header; only of records that may hold text."""
    error: str | None = None

    @property
    def name(self) -> str:
        """Its place, as it stands in ids."""
        offset, inner = self.place
        return f"{offset}+{inner}" if inner else str(offset)

    @property
    def kind(self) -> str:
        """Its type, in lower case."""
        return self.fields.get("warc-type", "").lower()


def read_warc(config: WarcSource, url: str, part: Slice, tick: Tick, watch: Watch) -> Records:
    """The records of one archive, or of a slice of it.

    Args:
        config: the source.
        url: where it is opened.
        part: what of it is read.
        tick: told bytes of the file as it is stored.
        watch: told which record's page is looked for.
    """
    if part.piece is not None:
        with open_decompressed(part.piece) as unpacked:
            yield from _records(config, PlainStream(unpacked, part.start), part, tick, watch)
        return
    with open_raw(url, allow_private=config.allow_private_addresses) as raw:
        yield from _records(config, _stream(raw, part.start), part, tick, watch)


def _stream(raw: IO[bytes], start: int) -> PlainStream:
    """The archive in a file, whose first bytes say more than its suffix: broken and renamed files are common."""
    if can_seek(raw):
        packing = _packing(raw)
        raw.seek(start)
    else:
        head = read_up_to(raw, 8)
        packing, raw = _packing_of(head), cast("IO[bytes]", Resumed(head, raw))
    if packing == ".gz":
        return GzipStream(raw, start)
    if packing:
        return PlainStream(decompressor(raw, packing), unpacked=True)
    return PlainStream(raw, start)


def _packing(raw: IO[bytes]) -> str:
    head = raw.read(8)
    raw.seek(0)
    return _packing_of(head)


def _packing_of(head: bytes) -> str:
    return ".gz" if head.startswith(GZIP) else next((suffix for magic, suffix in MAGICS if head.startswith(magic)), "")


def _records(config: WarcSource, stream: PlainStream, part: Slice, tick: Tick, watch: Watch) -> Records:
    """
    Raises:
        WrongCutError: when no record begins where a guessed slice ends. The slices of a file follow one another from its
            beginning, so as long as nobody raises, each begins with a record.
    """
    told = stream.raw_position()
    for found in walk(stream, part.stop, config.max_record_bytes):
        record = watch.parsed(found.name, partial(_record, config, found), found.block, found.place[0])
        if record.error is not None and not record.raw:
            record = replace(record, raw=stream.stored(found.place[0], DAMAGED_BYTES), cut=True)
        yield record
        tick(stream.raw_position() - told)
        told = stream.raw_position()
    if part.guessed and part.stop is not None and stream.place() != (part.stop, 0):
        raise WrongCutError(f"no record begins at byte {part.stop}")


def walk(stream: PlainStream, stop: int | None, max_bytes: int) -> Iterator[Found]:
    """Every record that begins before `stop`, with blocks of at most `max_bytes` where they may hold text."""
    while True:
        place, fields = None, {}
        try:
            if not _skip_empty_lines(stream):
                return
            place = stream.place()
            if stop is not None and place[0] >= stop:
                return
            fields = _header(stream)
            found = _with_block(stream, place, fields, max_bytes)
        except CutOff:
            yield Found(place or stream.place(), fields, error=CUT_OFF)
            continue
        except Damage as damage:
            yield Found(place or stream.place(), fields, error=str(damage))
            if not stream.resync():
                return
            continue
        finally:
            stream.within_record = False
        yield found


def _skip_empty_lines(stream: PlainStream) -> bool:
    """Go to the next record; say whether there is something."""
    while not stream.at_end():
        if not (stream.begins_with(b"\r\n") or stream.begins_with(b"\n")):
            return True
        stream.line()
    return False


def _header(stream: PlainStream) -> dict[str, str]:
    """The fields of a header, its version left out.

    Raises:
        Damage: where there is none.
    """
    if not stream.begins_with(RECORD):
        raise Damage(NO_HEADER)
    stream.line()
    stream.within_record = True
    fields: dict[str, str] = {}
    name = ""
    for _ in range(MAX_HEADER_LINES):
        line = stream.line()
        if line in (b"\r\n", b"\n"):
            break
        if not line.endswith(b"\n"):
            raise Damage(CUT_OFF)
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text[:1] in (" ", "\t") and name:
            fields[name] += " " + text.strip()
            continue
        name, colon, value = text.partition(":")
        name = name.strip().lower()
        if colon:
            fields.setdefault(name, value.strip())
    if not fields.get("content-length", "").isdecimal():
        raise Damage(NO_LENGTH)
    return fields


def _with_block(stream: PlainStream, place: tuple[int, int], fields: dict[str, str], max_bytes: int) -> Found:
    length = int(fields["content-length"])
    wanted = max_bytes != NO_BLOCKS and fields.get("warc-type", "").lower() in WITH_TEXT
    block = stream.read(min(length, max_bytes if length <= max_bytes else KEPT_BYTES)) if wanted else b""
    left = length - len(block)
    taken = stream.skip(left)
    stream.within_record = False
    if taken < left:
        return Found(place, fields, block, error=CUT_OFF)
    if wanted and length > max_bytes:
        return Found(place, fields, block, error=TOO_LONG)
    return Found(place, fields, block)


def _record(config: WarcSource, found: Found) -> Record:
    name, offset = found.name, found.place[0]
    if found.error is not None:
        return Record(name, error=found.error, offset=offset, raw=found.block)
    if found.kind not in WITH_TEXT:
        return Record(name, dropped=f"record type {found.kind if found.kind in OTHER_TYPES else 'other'}", offset=offset)
    answer = Answer(None, {"content-type": found.fields.get("content-type", "")}, found.block)
    if found.kind == "response":
        if not mime_of(answer.fields).startswith("application/http"):
            return Record(name, dropped="a response that is not HTTP", offset=offset)
        answer = parse_answer(found.block)
    if config.statuses and answer.status is not None and answer.status not in config.statuses:
        return Record(name, dropped=f"HTTP status {answer.status}", offset=offset)
    mime = mime_of(answer.fields) or sniffed(answer.body)
    if mime not in PAGES and mime != "text/plain":
        major = mime.partition("/")[0]
        return Record(name, dropped=f"content type {major if major in MAJOR_TYPES else 'unknown'}, no page", offset=offset)
    try:
        body = body_of(answer, config.max_record_bytes)
    except UnreadableBodyError as error:
        return Record(name, error=str(error), offset=offset, raw=found.block)
    return _page(config, found, mime, body, charset_of(answer.fields))


def _page(config: WarcSource, found: Found, mime: str, body: bytes, charset: str | None) -> Record:
    url = found.fields.get("warc-target-uri", "").strip("<>") or None
    engine = config.extract if mime in PAGES else None
    record = page_record(config, engine, found.name, body, url=url, charset=charset, offset=found.place[0])
    captured = found.fields.get("warc-date")
    meta: dict[str, Any] = {**(record.meta or {}), **({"captured": captured} if captured else {})}
    return record if record.text is None else replace(record, meta=meta)


def warc_slices(url: str, size: int, folder: Path, tick: Tick, *, allow_private: bool, guess: bool) -> list[Slice]:
    """Where an archive can be cut: at records that begin a gzip member, or at any in one that is not packed. Other packings,
    and archives elsewhere, are unpacked into pieces.

    To find every member means to unpack all of them, an eighth of the time that resiliparse takes for their pages. A guess
    looks for the bytes that begin a member near the places where a cut is wanted, and unpacks that member alone.
    """
    with open_raw(url, allow_private=allow_private) as raw:
        if not can_seek(raw):
            return [WHOLE]
        packing = _packing(raw)
        if packing == ".gz" and guess and not is_url(url):
            return list(_guesses(raw, size))
        if packing in ("", ".gz") and not is_url(url):
            return list(_cuts(_stream(raw, 0), size, tick))
        inner = decompressor(raw, packing) if packing else raw
        return list(_pieces(inner, bool(packing), size, Pieces(folder), tick))


def _cuts(stream: PlainStream, size: int, tick: Tick) -> Iterator[Slice]:
    """Slices of a file that can be read from the middle: each begins with a record."""
    start = told = 0
    for found in walk(stream, None, NO_BLOCKS):
        offset, inner = found.place
        if offset - start >= size and not inner and found.error is None:
            yield Slice(start, offset)
            start = offset
        tick(stream.raw_position() - told)
        told = stream.raw_position()
    yield Slice(start)


def _guesses(raw: IO[bytes], size: int) -> Iterator[Slice]:
    """Slices that end where a whole gzip member with a record in it seems to begin."""
    end = raw.seek(0, io.SEEK_END)
    start = 0
    while start + 2 * size <= end:
        cut = next(members_from(raw, start + size, min(start + 2 * size, end)), None)
        if cut is None:  # one long member, or none that is whole
            yield Slice(start)
            return
        yield Slice(start, cut, guessed=True)
        start = cut
    yield Slice(start)


def _pieces(raw: IO[bytes], unpacked: bool, size: int, pieces: Pieces, tick: Tick) -> Iterator[Slice]:
    """The same for a stream, which is kept on the way. Pieces overlap by what was read ahead; slices do not."""
    stream = PlainStream(cast("IO[bytes]", _Copied(raw, pieces)), unpacked=unpacked)
    start = 0
    for _ in walk(stream, None, NO_BLOCKS):
        if stream.position - start >= size:
            tick(stream.position - start)
            yield Slice(start, stream.position, piece=pieces.close())
            start = stream.position
            pieces.write(stream.rest())
    yield Slice(start, piece=pieces.close())


class _Copied(io.RawIOBase):
    """A stream that is kept in pieces while it is read."""

    def __init__(self, stream: IO[bytes], pieces: Pieces) -> None:
        self._stream, self._pieces = stream, pieces

    def read(self, size: int = -1) -> bytes:
        """What the stream gives."""
        data = self._stream.read(size)
        self._pieces.write(data)
        return data
