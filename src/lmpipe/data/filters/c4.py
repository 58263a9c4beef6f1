"""The rules of C4 (Raffel et al. 2020, JMLR 21, section 2.2), as datatrove's `C4QualityFilter` applies them.

    line goes      a word of more than 1,000 characters; no terminal punctuation; fewer than 3 words; "javascript"; a policy
    phrase page goes      a line that stays says "lorem ipsum" or holds a curly bracket; fewer than 5 sentences in the lines
    that stay

The order counts: a line that an earlier rule takes out condemns no page. Marks of citations (`[12]`, `[edit]`) are cut out of
lines. Sentences are counted as spaCy's sentence splitter does: a new one begins with the first word after a final stop.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lmpipe.data.filters.batch import Batch, Flags, Ints, WordFlags, borders, segment_sums
from lmpipe.data.filters.line_rules import LineRules
from lmpipe.data.filters.punctuation import SENTENCE
from lmpipe.data.filters.words import is_punctuation

CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
CURLY, LOREM, JAVASCRIPT = "curly", "lorem ipsum", "javascript"

KEPT = ""


class LineJudge:
    """Says of every line which rule removes it."""

    def __init__(self, rules: LineRules) -> None:
        self.rules = rules
        self._policy = tuple(phrase.lower() for phrase in rules.policy_phrases)

    def lines_of(self, text: str) -> list[tuple[str, str]]:
        """(line as it would stay, rule that removes it or "") for every line of a text."""
        rules, low = self.rules, text.lower()
        javascript = rules.javascript and JAVASCRIPT in low
        policy = tuple(phrase for phrase in self._policy if phrase in low)
        citations = rules.citations and "[" in text
        return [self._judged(line.strip(), javascript, policy, citations) for line in text.splitlines()]

    def _judged(self, line: str, javascript: bool, policy: tuple[str, ...], citations: bool) -> tuple[str, str]:
        rules, limit = self.rules, self.rules.max_word_characters
        enough = not rules.min_words or len(line.split(None, rules.min_words)) >= rules.min_words
        if limit is not None and len(line) > limit and max(map(len, line.split()), default=0) > limit:
            return line, "long_word"
        if citations and "[" in line:
            line = CITATION.sub("", line)
        if rules.terminal_punctuation and (not line.endswith(rules.terminal_marks) or line.endswith("...")):
            return line, "no_terminal_punctuation"
        if not enough:
            return line, "few_words"
        if not (javascript or policy):
            return line, KEPT
        low = line.lower()
        if javascript and JAVASCRIPT in low and LOREM not in low:
            return line, "javascript"
        if policy and "{" not in line and LOREM not in low and any(phrase in low for phrase in policy):
            return line, "policy"
        return line, KEPT


class C4:
    """Computes the scores of batches."""

    def __init__(self, rules: LineRules) -> None:
        self._judge = LineJudge(rules)
        self._counter = SentenceCounter()

    def __call__(self, batch: Batch) -> list[Any]:
        """Columns in the order of `C4Scores.columns`."""
        judged = [self._judge.lines_of(text) for text in batch.texts]
        kept = np.array([not rule for lines in judged for _, rule in lines], bool)
        sentences = self._counter.per_line(batch)
        place = 0
        places: list[int] = []
        changed: list[str] = []
        for lines, original in zip(judged, batch.lines, strict=True):
            for (line, rule), before in zip(lines, original, strict=True):
                if not rule and len(line) != len(before) and line != before.strip():  # a citation was cut out of it
                    places.append(place)
                    changed.append(line)
                place += 1
        if places:
            sentences[places] = self._counter.per_text(Batch(changed, vocabulary=batch.vocabulary))
        ends = batch.line_borders
        return [
            segment_sums(np.where(kept, sentences, 0), ends),
            _lines_with(judged, LOREM, batch.texts, str.lower),
            _lines_with(judged, "{", batch.texts, str),
        ]


def _lines_with(judged: Sequence[list[tuple[str, str]]], what: str, texts: Sequence[str], form: Callable[[str], str]) -> Ints:
    """How many lines that stay hold `what`."""
    return np.array(
        [
            sum(not rule and what in form(line) for line, rule in lines) if what in form(text) else 0
            for text, lines in zip(texts, judged, strict=True)
        ],
        np.int64,
    )


class SentenceCounter:
    """Counts sentences."""

    def __init__(self) -> None:
        self._final = WordFlags(SENTENCE.__contains__)
        self._plain = WordFlags(lambda word: word not in SENTENCE and not is_punctuation(word))

    def per_line(self, batch: Batch) -> Ints:
        """Sentences of every line of a batch, 0 where it has no words."""
        final = self._final.of(batch)
        plain = self._plain.of(batch)
        return sentences(final, plain, batch.line_word_borders)

    def per_text(self, batch: Batch) -> Ints:
        """Sentences of every text of a batch, line by line."""
        return segment_sums(self.per_line(batch), batch.line_borders)


def sentences(final: Flags, plain: Flags, ends: Ints) -> Ints:
    """Sentences between borders: one, and one more for every plain word that has a final stop between it and the plain word
    before it (or the border)."""
    stops = borders(final.astype(np.int64))
    places = np.flatnonzero(plain)
    before = np.concatenate([[0], places[:-1]]) if len(places) else places
    since = np.maximum(before, np.repeat(ends[:-1], np.diff(ends))[places])
    begins = np.zeros(len(final), bool)
    begins[places] = stops[places] > stops[since]
    return np.where(np.diff(ends) > 0, 1 + segment_sums(begins, ends), 0)
