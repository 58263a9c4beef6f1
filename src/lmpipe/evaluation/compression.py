"""Bits per byte of a general-purpose compressor: the floor that any model of a text should beat.

The size is that of the .xz file which `xz -<preset>` writes for the concatenated texts, header and index included: Python's
lzma module drives the same liblzma with the same presets and the same CRC64. It has seen no training text, and it needs no
end-of-document symbol while a model must also predict where each document ends; both make it weaker and stronger by a little.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable
from dataclasses import dataclass

from lmpipe.base.errors import SourceError


@dataclass(frozen=True)
class Compressed:
    """How many bytes went in and how many came out."""

    bytes_in: int
    bytes_out: int

    @property
    def bits_per_byte(self) -> float:
        """Bits of output for each byte of input."""
        return 8 * self.bytes_out / self.bytes_in


def xz_size(texts: Iterable[str], preset: int) -> Compressed:
    """Compress the concatenation of `texts`, keeping only the byte counts.

    Raises:
        SourceError: when there is not one byte to compress.
    """
    compressor = lzma.LZMACompressor(format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, preset=preset)
    bytes_in = bytes_out = 0
    for text in texts:
        data = text.encode()
        bytes_in += len(data)
        bytes_out += len(compressor.compress(data))
    bytes_out += len(compressor.flush())
    if bytes_in == 0:
        raise SourceError("there is no text to compress", expected="at least one byte in the scored split")
    return Compressed(bytes_in, bytes_out)
