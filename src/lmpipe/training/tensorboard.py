"""The curve as a TensorBoard event file, row by row while the run goes on.

Written here in some lines instead of by the `tensorboard` package (79 MB, 3 seconds to import): an event file is a sequence of
records, each a length and a protobuf message with their checksums (TensorFlow's `event.proto` and `summary.proto`).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FILE = "events.out.tfevents.0000000000.lmpipe"
CASTAGNOLI = 0x82F63B78
"""The polynomial of CRC-32C, bits reversed (RFC 3720)."""


def _table() -> list[int]:
    entries = []
    for entry in range(256):
        for _ in range(8):
            entry = entry >> 1 ^ (CASTAGNOLI if entry & 1 else 0)
        entries.append(entry)
    return entries


TABLE = _table()


class EventFile:
    """Appends scalars; each row is on disk when `write` returns."""

    def __init__(self, folder: Path, earlier: Iterable[Mapping[str, Any]] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE
        version = _double(1, time.time()) + _text(3, b"brain.Event:2")
        self._path.write_bytes(_record(version))
        for row in earlier:
            self.write(row)

    def write(self, row: Mapping[str, Any]) -> None:
        """Every number of a row under its name, at the row's `step`."""
        values = [_value(name, value) for name, value in row.items() if name != "step" and isinstance(value, float | int)]
        if not values:
            return
        summary = b"".join(_text(1, value) for value in values)
        event = _double(1, time.time()) + _key(2, 0) + _varint(int(row["step"])) + _text(5, summary)
        with self._path.open("ab") as file:
            file.write(_record(event))


def crc32c(data: bytes) -> int:
    """CRC-32C.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _value(name: str, value: float) -> bytes:
    return _text(1, name.encode()) + _key(2, 5) + struct.pack("<f", value)


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _double(field: int, value: float) -> bytes:
    return _key(field, 1) + struct.pack("<d", value)


def _text(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
