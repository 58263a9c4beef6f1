"""MinHash signatures and bands (Broder 1997; Leskovec, Rajaraman & Ullman, chapter 3): which documents may be alike.

    shingles of a document -> `bands` x `rows` minima -> one 64-bit key per band
    two documents with Jaccard similarity s share a key with probability 1 - (1 - s^rows)^bands

Only proposes: keys that agree by chance are what the exact comparison afterwards is for.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lmpipe.data.dedup.shingles import MIX, ODD, Hashes, Integers

CHUNK_RUNS = 1 << 14
"""Shingles whose minima are taken at once: 64 kB of 32-bit numbers stay in the first caches (measured: 64 documents of 340
words take half the time of 512)."""


@lru_cache
def _multipliers(count: int) -> npt.NDArray[np.uint32]:
    digests = (hashlib.blake2b(f"minhash {number}".encode(), digest_size=4).digest() for number in range(count))
    return np.array([int.from_bytes(digest, "little") | 1 for digest in digests], np.uint32)


def band_keys(shingles: Hashes, first_D: Integers, bands: int, rows: int) -> Hashes:
    """The keys of documents.

    Args:
        shingles: hashes of all documents in a row.
        first_D: D + 1 entries: where those of each document begin; each has at least one.
        bands: keys per document.
        rows: minima behind each key.

    Returns:
        Shape (bands, D). Keys of different bands never meet but by chance.
    """
    minima = _minima((shingles >> np.uint64(32)).astype(np.uint32), first_D, bands * rows)
    keys = np.empty((bands, len(first_D) - 1), np.uint64)
    for band in range(bands):
        key = np.full(keys.shape[1], band + 1, np.uint64) * ODD
        for row in range(rows):
            key = (key ^ minima[band * rows + row]) * MIX
            key ^= key >> np.uint64(32)
        keys[band] = key * ODD
    return keys


def _minima(values: npt.NDArray[np.uint32], first_D: Integers, count: int) -> npt.NDArray[np.uint32]:
    """Shape (count, D): the least of each document's numbers after each of `count` multiplications modulo 2^32, which are
    bijections that look random on hashed shingles (multiply-shift, Dietzfelbinger et al. 1997)."""
    documents = len(first_D) - 1
    minima = np.empty((count, documents), np.uint32)
    first = 0
    while first < documents:
        last = int(np.searchsorted(first_D, first_D[first] + CHUNK_RUNS, side="right")) - 1
        last = min(max(last, first + 1), documents)
        some = values[first_D[first] : first_D[last]]
        starts, product = first_D[first:last] - first_D[first], np.empty_like(some)
        for number, factor in enumerate(_multipliers(count)):
            np.multiply(some, factor, out=product)
            np.minimum.reduceat(product, starts, out=minima[number, first:last])
        first = last
    return minima
