"""The rules with which The Stack was filtered (bigcode-dataset, preprocessing; Kocetkov et al. 2022, Li et al. 2023).

A comment line begins with one of the marks below: a guess that needs no parser, right for most lines of most languages.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lmpipe.data.filters.batch import Batch, ratio

COMMENT_LINE = re.compile(
    r"^[ \t]*(?:#(?!include|define|if|else|end|pragma|undef)|//|/\*|\*(?![*\w])|--|;|%|<!--|\"\"\"|''')", re.MULTILINE
)
NEITHER_LETTER_NOR_DIGIT = re.compile(r"[\W_]+")
GENERATED = re.compile(r"auto-?generated|automatically generated|generated (?:by|from) |do not edit", re.IGNORECASE)
HEAD_LINES = 5


def code_scores(batch: Batch) -> list[Any]:
    """Longest line, mean line, share of letters and digits, share of comment lines, and whether the head says "generated"."""
    longest = np.array([max(map(len, text.split("\n"))) for text in batch.texts], np.int64)
    lines = np.array([text.count("\n") + 1 for text in batch.texts], np.int64)
    lettered = np.array([len(NEITHER_LETTER_NOR_DIGIT.sub("", text)) for text in batch.texts], np.int64)
    comments = np.array([len(COMMENT_LINE.findall(text)) for text in batch.texts], np.int64)
    filled = np.array([sum(not (line.isspace() or not line) for line in text.split("\n")) for text in batch.texts], np.int64)
    generated = np.array([bool(GENERATED.search("\n".join(text.split("\n", HEAD_LINES)[:HEAD_LINES]))) for text in batch.texts])
    return [
        longest,
        ratio(batch.characters - (lines - 1), lines),
        ratio(lettered, batch.characters),
        ratio(comments, filled),
        generated.astype(np.int64),
    ]
