"""The event file against an independent reading of its format, and the checksums against the RFC's examples."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import training_example as example

from lmpipe.training.tensorboard import FILE, EventFile, crc32c


def scalars(path: Path) -> list[tuple[int, str, float]]:
    """(step, tag, value) of every scalar, by walking records and protobuf fields."""
    data, found, place = path.read_bytes(), [], 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        event = data[place + 12 : place + 12 + length]
        assert struct.unpack_from("<I", data, place + 8)[0] == masked(data[place : place + 8])
        assert struct.unpack_from("<I", data, place + 12 + length)[0] == masked(event)
        place += 12 + length + 4
        fields = dict(walk(event))
        for _, value in walk(fields.get(5, b"")):
            parts = dict(walk(value))
            found.append((fields[2], parts[1].decode(), struct.unpack("<f", parts[2])[0]))
    return found


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def walk(message: bytes):  # type: ignore[no-untyped-def]
    place = 0
    while place < len(message):
        key, place = varint(message, place)
        size = {1: 8, 5: 4}.get(key & 7)
        if key & 7 == 0:
            value, place = varint(message, place)
        else:
            if size is None:
                size, place = varint(message, place)
            value, place = message[place : place + size], place + size
        yield key >> 3, value


def varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value, shift, place = value | (byte & 0x7F) << shift, shift + 7, place + 1
        if byte < 0x80:
            return value, place


@pytest.mark.parametrize(("data", "crc"), [(bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)])
def test_checksums_are_those_of_rfc_3720(data: bytes, crc: int) -> None:
    assert crc32c(data) == crc


def test_rows_come_back(tmp_path: Path) -> None:
    file = EventFile(tmp_path, [{"step": 1, "loss": 2.5}])
    file.write({"step": 300, "loss": 0.5, "skipped": "text is no number", "learning_rate": 0.25})
    assert scalars(tmp_path / FILE) == [(1, "loss", 2.5), (300, "loss", 0.5), (300, "learning_rate", 0.25)]


def test_a_run_that_was_stopped_leaves_its_whole_curve(corpus: Path, tmp_path: Path) -> None:
    asked = iter(range(100))
    example.run_training(corpus, tmp_path, stopping=lambda: next(asked) >= 5)
    example.run_training(corpus, tmp_path)
    found = scalars(tmp_path / "output" / "observed" / "tensorboard" / FILE)
    assert [step for step, tag, _ in found if tag == "loss"] == list(range(1, 13))
    assert [step for step, tag, _ in found if tag == "validation_loss"] == [3, 6, 9, 12]
