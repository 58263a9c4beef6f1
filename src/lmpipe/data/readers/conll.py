"""Words and their tags in columns, a word to a line, an empty line after each sentence: CoNLL-U, CoNLL-2003 and their kin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

from lmpipe.data.readers.config import ConllSource
from lmpipe.data.readers.lines import Line, Tick, read_lines
from lmpipe.data.readers.record import INVALID_TEXT, TOO_LONG, Record, Records, decode

COLUMNS = "a line has fewer columns than `words` and `tags` say"
NOT_A_WORD = re.compile(r"\d+[-.]\d+$")
"""In CoNLL-U, the number of a contraction that is also given in its parts, or of a word that is left out."""
DOCUMENT = b"-DOCSTART-"
WORD_SPACE = "\u00a0"
"""Stands for a space within a word, because words are told apart by spaces."""


def read_conll(config: ConllSource, stream: IO[bytes], tick: Tick) -> Records:
    """The sentences of one file: `text` has the words with a space between two, `meta.tags` a tag for each.

    Args:
        config: the source.
        stream: decompressed bytes.
        tick: told bytes read.
    """
    for number, lines in enumerate(_sentences(config, stream, tick)):
        yield _sentence(config, str(number), lines)


def _sentences(config: ConllSource, stream: IO[bytes], tick: Tick) -> Iterator[list[Line]]:
    left_out = (b"#", DOCUMENT) if config.words > 1 else (DOCUMENT,)  # without numbers in front, "#" is a word
    lines: list[Line] = []
    for line in read_lines(stream, config.max_record_bytes, bare_cr=True):
        tick(len(line.data or b""))
        if line.data is not None and not line.data.strip():
            if lines:
                yield lines
            lines = []
        elif line.data is None or not line.data.startswith(left_out):
            lines.append(line)
    if lines:
        yield lines


def _sentence(config: ConllSource, number: str, lines: list[Line]) -> Record:
    words, tags = [], []
    raw = b"".join(line.data or line.head for line in lines)
    for line in lines:
        if line.data is None:
            return Record(number, error=TOO_LONG, offset=line.offset, raw=line.head)
        text, invalid = decode(line.data, "utf-8", config.errors)
        if invalid is not None:
            return Record(number, error=INVALID_TEXT.format(encoding="utf-8"), offset=line.offset + invalid, raw=raw)
        columns = text.rstrip("\r\n").split("\t") if "\t" in text else text.split()
        if len(columns) < max(config.words, config.tags):
            return Record(number, error=COLUMNS, offset=line.offset, raw=raw)
        if config.words > 1 and NOT_A_WORD.match(columns[0]):
            continue
        words.append(columns[config.words - 1].strip().replace(" ", WORD_SPACE))
        tags.append(columns[config.tags - 1].strip())
    return Record(number, text=" ".join(words), meta={"tags": tags})
