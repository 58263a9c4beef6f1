"""A captured HTTP answer: its status, its header fields, and its body as the server meant it. Knows no network.

Crawlers keep bodies as they were sent or already unpacked, and the header does not say which: a body that is not packed as the
header claims is taken as it is. What unfolds to more than a bound is refused.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

STATUS = re.compile(rb"HTTP/\d(?:\.\d)?\s+(\d{3})")
CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
HTML = re.compile(
    rb"\s*(?:<!--.{0,500}?-->\s*|<\?xml.{0,200}?\?>\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
TOO_MUCH = "the body unfolds to more than max_record_bytes"
UNKNOWN_CODING = "the body is packed in an unknown way"
SNIFFED_BYTES = 1024


class UnreadableBodyError(Exception):
    """No body can be had; the message is a fixed sentence."""


@dataclass(frozen=True)
class Answer:
    """What a server sent."""

    status: int | None
    fields: Mapping[str, str]
    """By their names in lower case; of several the first."""
    body: bytes


def parse_answer(data: bytes) -> Answer:
    """An answer as it was sent; without a status line, all of it is the body."""
    match = STATUS.match(data)
    if not match:
        return Answer(None, {}, data)
    ends = [at for at in (data.find(b"\r\n\r\n"), data.find(b"\n\n")) if at >= 0]
    end = min(ends, default=len(data))
    body = data[end + (4 if data.startswith(b"\r\n\r\n", end) else 2) :]
    fields: dict[str, str] = {}
    for line in data[:end].splitlines()[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            fields.setdefault(name.decode("latin-1").strip().lower(), value.decode("latin-1").strip())
    return Answer(int(match[1]), fields, body)


def mime_of(fields: Mapping[str, str]) -> str:
    """The content type without its parameters, in lower case; "" where none is stated."""
    return fields.get("content-type", "").partition(";")[0].strip().lower()


def charset_of(fields: Mapping[str, str]) -> str | None:
    """The encoding that the content type states."""
    match = CHARSET.search(fields.get("content-type", ""))
    return match[1] if match else None


def sniffed(body: bytes) -> str:
    """The content type of a body that states none: HTML or unknown."""
    return "text/html" if HTML.match(body[:SNIFFED_BYTES]) else ""


def body_of(answer: Answer, max_bytes: int) -> bytes:
    """The body, chunks joined and unpacked.

    Raises:
        UnreadableBodyError: when it unfolds to more than `max_bytes`, or is packed in a way that nobody here knows.
    """
    body = answer.body
    if "chunked" in answer.fields.get("transfer-encoding", "").lower():
        body = _joined(body)
    codings = [coding.strip() for coding in answer.fields.get("content-encoding", "").lower().split(",")]
    for coding in reversed([coding for coding in codings if coding not in ("", "identity", "none", "utf-8")]):
        body = _unpacked(body, coding, max_bytes)
    return body


def _joined(body: bytes) -> bytes:
    """Chunks put together (RFC 9112, section 7.1); what is not in chunks as it is."""
    parts: list[bytes] = []
    at = 0
    while match := CHUNK.match(body, at):
        size = int(match[1], 16)
        if not size:
            return b"".join(parts)
        parts.append(body[match.end() : match.end() + size])
        at = match.end() + size
        at += 2 if body.startswith(b"\r\n", at) else int(body.startswith(b"\n", at))
    return b"".join(parts) if parts and at >= len(body) else body


def _unpacked(body: bytes, coding: str, max_bytes: int) -> bytes:
    if coding in ("gzip", "x-gzip", "deflate"):
        return _inflated(body, max_bytes)
    if coding == "br":
        return _brotli(body, max_bytes)
    if coding == "zstd" and body.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstd(body, max_bytes)
    if HTML.match(body[:SNIFFED_BYTES]):
        return body
    raise UnreadableBodyError(UNKNOWN_CODING)


def _inflated(body: bytes, max_bytes: int) -> bytes:
    for window in (47, -15):  # gzip or zlib by its header; bare, as some servers send "deflate"
        inflate = zlib.decompressobj(window)
        try:
            data = inflate.decompress(body, max_bytes + 1)
        except zlib.error:
            continue
        if len(data) > max_bytes:
            raise UnreadableBodyError(TOO_MUCH)
        return data
    return body


def _brotli(body: bytes, max_bytes: int) -> bytes:
    from lmpipe.base.extras import require

    brotli = require("brotli", extra="web", purpose="unpacking captured pages")
    inflate, data = brotli.Decompressor(), b""
    try:
        data = inflate.process(body, output_buffer_limit=max_bytes + 1)
        while not inflate.can_accept_more_data() and len(data) <= max_bytes:
            data += inflate.process(b"", output_buffer_limit=max_bytes + 1)
    except brotli.error:
        return body
    if len(data) > max_bytes:
        raise UnreadableBodyError(TOO_MUCH)
    return bytes(data)


def _zstd(body: bytes, max_bytes: int) -> bytes:
    import pyarrow as pa

    try:
        data = bytes(pa.CompressedInputStream(pa.BufferReader(body), "zstd").read(max_bytes + 1))
    except OSError:
        return body
    if len(data) > max_bytes:
        raise UnreadableBodyError(TOO_MUCH)
    return data
