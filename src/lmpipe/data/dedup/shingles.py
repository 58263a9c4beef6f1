"""Texts to hashes of their words or characters and of runs of them (shingles), without a Python loop over words.

    "The cat, the CAT!"  ->  the cat the cat        words: runs of letters, digits, `_` and whatever is not ASCII or punctuation
                         ->  the-cat cat-the the-cat      runs of 2 words: shingles, one 64-bit number each

Case counts for nothing, nor does ASCII, Latin-1 and general or CJK punctuation, nor white space. Scripts that put no space
between words (Chinese, Japanese, Thai) are better compared by characters: there one stretch without punctuation is one word.
The numbers depend on the text alone: no seed of the process, no order of the documents enters them. Knows nothing of
duplicates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]
Unit = Literal["words", "characters"]
SLICE_BYTES = 1 << 19
"""Documents are looked at in slices of about so much text: what numpy holds at once is about 20 times that."""
VECTOR_BYTES = 64
"""A longer word is hashed alone: they are rare (addresses of pages, base64), and each 8 bytes cost a pass over all of them."""
SPACE = 0x20
ODD = np.uint64(0x9E3779B97F4A7C15)
MIX = np.uint64(0xD6E8FEB86659FD93)
PAD = np.uint64(0x5851F42D4C957F2D)
"""Stands for the missing words of a document that is shorter than one run."""
_FOLD = bytes(
    code + 32 if 65 <= code <= 90 else code if code >= 128 or chr(code).isalnum() or code == 95 else SPACE
    for code in range(256)
)


@dataclass(frozen=True)
class Words:
    """The words of some documents, in order. W counts words, D documents."""

    hash_W: Hashes
    first_D: Integers
    """D + 1 entries: the words of document d are `first_D[d]:first_D[d + 1]`."""
    start_W: Integers
    end_W: Integers
    """Where each word begins and ends, in bytes of the UTF-8 of all documents of the slice after folding to lower case."""

    @property
    def count_D(self) -> Integers:
        """How many words each document has."""
        return np.diff(self.first_D)


def slices_of(texts: Any) -> Iterator[tuple[int, Any]]:
    """Cut a column of texts into slices of bounded size: (number of the first document, the slice).

    Args:
        texts: `large_string`, an array or a chunked array.
    """
    column = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    offsets = np.frombuffer(column.buffers()[1], np.int64, len(column) + 1, 8 * column.offset) if len(column) else np.zeros(1)
    first = 0
    while first < len(column):
        last = int(np.searchsorted(offsets, offsets[first] + SLICE_BYTES, side="right")) - 1
        last = min(max(last, first + 1), len(column))
        yield first, column.slice(first, last - first)
        first = last


def words_of(texts: Any, unit: Unit = "words", *, fold: bool = True) -> Words:
    """Hash every word (or every character) of a slice of texts.

    Args:
        texts: a `large_string` array without nulls.
        unit: `characters` takes each code point as a word and any stretch of white space and punctuation as one.
        fold: whether upper case counts as lower case; without, positions are those of the text as it is.
    """
    data, offsets = _bytes_of(texts, fold)
    folded = np.frombuffer(data.translate(_FOLD), np.uint8)
    is_word = folded != SPACE
    _take_out_punctuation(folded, is_word)
    starts, ends = _words_between(is_word, offsets) if unit == "words" else _characters(folded, is_word, offsets)
    first_D = np.searchsorted(starts, offsets)
    return Words(_hashes(folded, starts, ends), first_D, starts, ends)


def _bytes_of(texts: Any, fold: bool) -> tuple[bytes, Integers]:
    """The UTF-8 of all texts in a row, and where each begins and ends in it."""
    if len(texts) == 0:
        return b"", np.zeros(1, np.int64)
    if fold and not pc.all(pc.string_is_ascii(texts)).as_py():
        texts = pc.utf8_lower(texts)
    offsets = np.frombuffer(texts.buffers()[1], np.int64, len(texts) + 1, 8 * texts.offset)
    start, end = int(offsets[0]), int(offsets[-1])
    buffer = texts.buffers()[2]
    return (buffer.slice(start, end - start).to_pybytes() if end > start else b""), offsets - start


def _take_out_punctuation(folded: npt.NDArray[np.uint8], is_word: npt.NDArray[np.bool_]) -> None:
    """Punctuation and spaces of two or three bytes are no parts of words: U+0080 to U+00BF, U+2000 to U+203F, U+3000 to
    U+303F."""
    if not len(folded) or folded.max() < 0xC2:
        return
    for first in (0xE2, 0xE3):
        places = np.flatnonzero(folded == first)
        places = places[folded[places + 1] == 0x80]
        for step in range(3):
            is_word[places + step] = False
    places = np.flatnonzero(folded == 0xC2)
    is_word[places] = is_word[places + 1] = False


def _words_between(is_word: npt.NDArray[np.bool_], offsets: Integers) -> tuple[Integers, Integers]:
    borders = offsets[(offsets > 0) & (offsets < len(is_word))]
    begins = is_word.copy()
    begins[1:] &= ~is_word[:-1]
    begins[borders] = is_word[borders]
    ends = is_word.copy()
    ends[:-1] &= ~is_word[1:]
    ends[borders - 1] = is_word[borders - 1]
    return np.flatnonzero(begins), np.flatnonzero(ends) + 1


def _characters(folded: npt.NDArray[np.uint8], is_word: npt.NDArray[np.bool_], offsets: Integers) -> tuple[Integers, Integers]:
    """Each code point within a word; what stands between two words counts as one character of length zero."""
    borders = offsets[(offsets > 0) & (offsets < len(is_word))]
    inner = is_word & ((folded & 0xC0) != 0x80)
    gap = ~is_word
    gap[1:] &= is_word[:-1]
    gap[:1] = False
    gap[borders] = False
    starts = np.flatnonzero(inner | gap)
    is_gap = gap[starts]
    lengths = np.where(is_gap, 0, 1 + (folded[starts] >= 0xC0) + (folded[starts] >= 0xE0) + (folded[starts] >= 0xF0))
    return starts, starts + lengths


def _hashes(folded: npt.NDArray[np.uint8], starts: Integers, ends: Integers) -> Hashes:
    """One 64-bit number for each stretch of bytes: eight bytes at a time, mixed by multiplication and shift. No byte is zero,
    so filling up with zeros makes no two words of up to eight bytes equal."""
    lengths = ends - starts
    padded = np.zeros(len(folded) + 8, np.uint8)
    padded[: len(folded)] = folded
    eight_at = np.ndarray(shape=(len(folded) + 1,), dtype="<u8", buffer=padded, strides=(1,))
    mask = np.array([(1 << (8 * count)) - 1 for count in range(9)], np.uint64)
    hashes = eight_at[starts]
    hashes &= mask[np.minimum(lengths, 8)]
    _mix(hashes)
    left = np.flatnonzero((lengths > 8) & (lengths <= VECTOR_BYTES))
    done = 8
    while len(left):
        piece = eight_at[starts[left] + done] & mask[np.minimum(lengths[left] - done, 8)]
        piece ^= hashes[left]
        _mix(piece)
        hashes[left] = piece
        done += 8
        left = left[lengths[left] > done]
    for place in np.flatnonzero(lengths > VECTOR_BYTES).tolist():
        word = folded[starts[place] : ends[place]].tobytes()
        hashes[place] = int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")
    return hashes


def _mix(values: Hashes) -> None:
    """Spread every bit, in place: a bijection (multiply, shift, xor; the family of D. Stafford's and P. Evensen's mixers)."""
    values *= MIX
    values ^= values >> np.uint64(32)
    values *= ODD
    values ^= values >> np.uint64(29)


def shingles_of(words: Words, length: int) -> tuple[Hashes, Integers]:
    """Hash every run of `length` words; a document with fewer words, but at least one, has one run.

    Returns:
        The hashes of all runs (S of them), and D + 1 numbers: the runs of document d are `first[d]:first[d + 1]`.
    """
    hash_W, first_D, count_D = _padded(words, length)
    if not len(hash_W):
        return hash_W, np.zeros_like(first_D)
    runs = hash_W[: len(hash_W) - length + 1].copy()
    for step in range(1, length):
        runs *= ODD
        runs += hash_W[step : len(hash_W) - length + 1 + step]
    stays = np.ones(len(runs), bool)
    for step in range(1, length):  # runs that begin in one document and end in the next
        borders = first_D[1:-1] - step
        stays[borders[(borders >= 0) & (borders < len(runs))]] = False
    runs_D = np.maximum(count_D - (length - 1), 0)
    if length > 1:
        runs = runs[stays]
    _mix(runs)
    return runs, np.concatenate(([0], np.cumsum(runs_D)))


def _padded(words: Words, length: int) -> tuple[Hashes, Integers, Integers]:
    """The words with short documents filled up to `length` words; documents without words stay empty."""
    count_D = words.count_D
    short = (count_D > 0) & (count_D < length)
    if not short.any():
        return words.hash_W, words.first_D, count_D
    filled_D = np.where(short, length, count_D)
    first_D = np.concatenate(([0], np.cumsum(filled_D)))
    hash_W = np.full(first_D[-1], PAD, np.uint64)
    hash_W[np.arange(len(words.hash_W)) + np.repeat(first_D[:-1] - words.first_D[:-1], count_D)] = words.hash_W
    return hash_W, first_D, filled_D


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of one text begin and end, in characters: the words that `words_of` counts, in the same order.

    >>> word_spans("Ça, c'est")
    [(0, 2), (4, 5), (6, 9)]
    """
    words = words_of(pa.array([text], pa.large_string()), fold=False)
    raw = np.frombuffer(text.encode(), np.uint8)
    character_B = np.concatenate(([0], np.cumsum((raw & 0xC0) != 0x80)))
    return list(zip(character_B[words.start_W].tolist(), character_B[words.end_W].tolist(), strict=True))
