"""Many stretches between white space taken apart into words at once: `words_of`, of which most answers are plain to see.

    characters    ( s t e p ) ,   1 9 9 9 .   d o g ' s
    class         o c c c c m m   c c c c .   c c c m c       o, m: marks that stand alone; c: letters and digits
    words begin   ^ ^       ^ ^   ^       ^   ^     ^         by the classes alone, or, like the last, asked of `words_of`

A stretch is plain when it is letters, or digits at its end, between marks that are always words of their own; between letters
may stand single dashes, at their end 's. Only the others are handed to Python, each distinct one once. Words are slices of
stretches, so they are numbered without making a string.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.data.filters.words import CLOSING, LONGEST_STRETCH, OPENING, stretches_with_own_answers, words_of

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

MAX_STRETCHES = 80_000
"""Of stretches that are not plain; 50 MB of mixed text have 124,000. Starting anew on the way costs little."""
SLICE_BYTES = 1 << 20
"""So much is taken apart at once: it takes some 40 bytes per character."""
CODES = 0x10000
OPENS, CLOSES, LETTER, DIGIT, LOWER, UPPER, DASH, APOSTROPHE = (1 << bit for bit in range(8))
DOT = ord(".")


class Vocabulary:
    """How stretches that are not plain are taken apart. It outlives batches, and no result depends on what it has seen."""

    def __init__(self) -> None:
        first = array("i", [0])  # the words of stretch i have the lengths lengths[first[i] : first[i + 1]]
        lengths = array("i")

        def add(stretch: str) -> None:
            lengths.extend(map(len, words_of(stretch)))
            first.append(len(lengths))

        # The function does not know this object: a circle would keep it in memory after its successor has taken over.
        self._numbers: dict[str, int] = _Numbering(add)
        self._first, self._lengths = first, lengths

    def is_full(self) -> bool:
        """Whether a new vocabulary should take over before the next batch."""
        return len(self._numbers) > MAX_STRETCHES

    def lengths_of(self, stretches: Sequence[str]) -> tuple[Ints, Ints]:
        """(characters of the words of all stretches, how many words each has)."""
        numbers = np.fromiter(map(self._numbers.__getitem__, stretches), np.int64, len(stretches))
        first, lengths = np.array(self._first, np.int64), np.array(self._lengths, np.int64)
        counts = np.diff(first)[numbers]
        begin = np.cumsum(counts) - counts
        places = np.repeat(first[numbers] - begin, counts) + np.arange(int(counts.sum()))
        return lengths[places], counts


class _Numbering(dict[str, int]):
    """Numbers keys in the order in which they are first asked for."""

    def __init__(self, added: Any) -> None:
        self.added = added

    def __missing__(self, key: str) -> int:
        number = self[key] = len(self)
        self.added(key)
        return number


class Cut(NamedTuple):
    """Stretches as words."""

    words: Ints
    """The numbers of the words of all stretches, in order."""
    counts: Ints
    """Words of each stretch."""
    distinct: Any
    """The words by number: an Arrow array."""


def cut(stretches: Any, vocabulary: Vocabulary) -> Cut:
    """Take stretches apart.

    Args:
        stretches: Arrow array of large strings, none empty, distinct for speed.
        vocabulary: remembers the stretches that are not plain.
    """
    offsets, data = _buffers(stretches)
    begins, counts, start = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    while start < len(stretches):
        end = max(start + 1, int(np.searchsorted(offsets, offsets[start] + SLICE_BYTES, side="right")) - 1)
        some = _word_begins(stretches.slice(start, end - start), vocabulary)
        begins.append(offsets[start] + some[0])
        counts.append(some[1])
        start = end
    words = _strings(np.append(np.concatenate(begins), len(data)), data).dictionary_encode()
    return Cut(words.indices.to_numpy(), np.concatenate(counts), words.dictionary)


def _word_begins(stretches: Any, vocabulary: Vocabulary) -> tuple[Ints, Ints]:
    """(at which of their bytes words begin, how many words each has)."""
    offsets, data = _buffers(stretches)
    if len(data) > SLICE_BYTES:  # a single one, and so long that it is data, not words
        return np.zeros(1, np.int64), np.ones(1, np.int64)
    codes = np.frombuffer(data.tobytes().decode().encode("utf-32-le"), np.uint32)
    byte_of = np.zeros(len(codes) + 1, np.int64)  # where each character begins
    np.cumsum(1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= CODES), out=byte_of[1:])
    ends = np.searchsorted(byte_of, offsets)
    begins, plain = _plain(codes, ends, byte_of, data)
    rest = np.flatnonzero(~plain)
    lengths, counts = vocabulary.lengths_of(stretches.take(pa.array(rest)).to_pylist())
    within = np.cumsum(lengths) - lengths
    before = np.repeat(ends[rest] - within[np.cumsum(counts) - counts], counts)
    begins[before + within] = True
    places = np.flatnonzero(begins)
    return byte_of[places], np.diff(np.searchsorted(places, ends))


def _plain(codes: npt.NDArray[np.uint32], ends: Ints, byte_of: Ints, data: Any) -> tuple[Flags, Flags]:
    """(where words of plain stretches begin, which stretches are plain)."""
    kind = _classes()[np.minimum(codes, CODES - 1)]
    start, end = ends[:-1], ends[1:]
    is_letter, is_digit = (kind & LETTER) != 0, (kind & DIGIT) != 0
    is_dash = _between_letters((kind & DASH) != 0, is_letter, start)
    is_owned = _between_letters((kind & APOSTROPHE) != 0, is_letter, start)
    is_owned[:-1] &= (codes[1:] == ord("s")) | (codes[1:] == ord("S"))
    is_core = is_letter | is_digit | is_dash
    is_core[1:] &= ~is_owned[:-1]
    core = np.flatnonzero(is_core)
    core_D = _number(is_core, start, end)
    plain = (core_D > 0) & (end - start <= LONGEST_STRETCH)
    which = np.searchsorted(core, start)
    first = core[np.where(plain, which, 0)] if len(core) else start
    last = core[np.where(plain, which + core_D - 1, 0)] if len(core) else start
    plain &= last - first + 1 == core_D  # in one run
    plain &= _number((kind & OPENS) != 0, start, first) == first - start
    after = last + 1
    owned = (after < end) & is_owned[np.minimum(after, len(codes) - 1)]
    dot_at = after + 2 * owned
    dot = (dot_at < end) & (codes[np.minimum(dot_at, len(codes) - 1)] == DOT)
    last_two = kind[last] & kind[np.maximum(last - 1, first)]
    ends_small = (kind[np.minimum(dot_at - 1, len(codes) - 1)] & (LOWER | DIGIT)) != 0
    plain &= ~dot | ends_small | (~owned & (core_D > 1) & ((last_two & UPPER) != 0))
    rest = dot_at + dot
    plain &= _number((kind & CLOSES) != 0, np.minimum(rest, end), end) == end - rest
    has_marks = owned | (_number(is_dash, first, after) > 0)
    plain &= (_number(is_digit, first, after) == 0) | (is_digit[last] & ~has_marks)  # after a digit may stand a unit
    chosen = np.flatnonzero(plain)
    if len(chosen):
        borders = byte_of[np.stack([first[chosen], after[chosen]], axis=1)].ravel()
        runs = _strings(borders, data)  # every second one is what stands between two
        plain[chosen] = ~pc.is_in(runs, _touchy()).to_numpy(zero_copy_only=False)[::2]
    begins = np.repeat(plain, end - start)
    in_word = is_letter | is_digit
    begins[1:] &= ~(in_word[1:] & in_word[:-1] | is_owned[:-1])
    begins[start[plain]] = True
    return begins, plain


def _between_letters(flags: Flags, is_letter: Flags, start: Ints) -> Flags:
    """Of the characters flagged, those with a letter of the same stretch at each side."""
    found = flags.copy()
    found[1:] &= is_letter[:-1]
    found[:-1] &= is_letter[1:]
    found[start] = False
    found[start[1:] - 1] = False
    found[-1:] = False
    return found


def _number(flags: Flags, start: Ints, end: Ints) -> Ints:
    """How many flags are set in [start, end) of each stretch."""
    total = np.zeros(len(flags) + 1, np.int64)
    np.cumsum(flags, out=total[1:])
    return total[end] - total[start]


def _buffers(strings: Any) -> tuple[Ints, npt.NDArray[np.uint8]]:
    """(where each string begins and the last one ends, the bytes) of an array of large strings."""
    _, places, data = strings.buffers()
    count = len(strings)
    offsets = np.frombuffer(places, np.int64)[strings.offset : strings.offset + count + 1] if count else np.zeros(1, np.int64)
    size = int(offsets[-1])
    found = np.frombuffer(data, np.uint8)[int(offsets[0]) : size] if size else np.zeros(0, np.uint8)
    return offsets - offsets[0], found


def _strings(offsets: Ints, data: npt.NDArray[np.uint8]) -> Any:
    """The strings between offsets: no byte is copied."""
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


@cache
def _classes() -> npt.NDArray[np.uint8]:
    """What each character may be. The last code stands for all above; it is nothing. Letters above U+3000 have no case here, as
    in the rules for final stops."""
    kinds = np.zeros(CODES, np.uint8)
    for code in filter(lambda code: chr(code).isalpha(), range(CODES)):
        kinds[code] = LETTER
        if code < 0x3000:
            kinds[code] |= (0 if chr(code).isupper() else LOWER) | (0 if chr(code).islower() else UPPER)
    kinds[ord("0") : ord("9") + 1] |= DIGIT
    for marks, kind in ((OPENING, OPENS), (CLOSING, CLOSES), ("-–~—", DASH), ("'’", APOSTROPHE)):
        kinds[[ord(mark) for mark in marks]] |= kind
    return kinds


@cache
def _touchy() -> Any:
    """Runs of letters and digits that stand alone, or between marks, in a stretch with an answer of its own."""
    marks = re.escape("".join(sorted(OPENING | CLOSING | {"."})))
    between = re.compile(f"[{marks}]*([^{marks}]+)[{marks}]*")
    found = map(between.fullmatch, stretches_with_own_answers())
    return pa.array(sorted({match[1] for match in found if match}), pa.large_string())
