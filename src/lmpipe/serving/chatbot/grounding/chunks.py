"""A document as snippets: one for each heading, long ones cut between paragraphs, then between sentences. Loses no word."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lmpipe.serving.chatbot.grounding.config import SnippetConfig

HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t#]*$")
SENTENCE = re.compile(r"(?<=[.!?。])\s+")
FENCE = ("```", "~~~")
LONGEST = 1500
"""Characters of a snippet, about."""


def snippets_of(document: str, *, name: str, source: str, words: int = 150) -> list[SnippetConfig]:
    """The snippets of one text or Markdown document.

    Args:
        document: its text.
        name: what their ids begin with: `name#1`, `name#2`, ...
        source: where it stands.
        words: of one snippet, about at most; a single longer sentence stays whole, up to 1,500 characters.
    """
    found = [(title, part) for title, body in _sections(document) for part in _parts(body, words)]
    return [
        SnippetConfig(id=f"{name}#{number}", title=title[:200], text=part, source=source)
        for number, (title, part) in enumerate(found, start=1)
    ]


def _sections(document: str) -> Iterator[tuple[str, str]]:
    """(headings above, text below)."""
    above: list[tuple[int, str]] = []
    lines: list[str] = []
    fenced = ""
    for line in document.splitlines():
        mark = line.lstrip()[:3]
        if mark in FENCE and fenced in ("", mark):
            fenced = "" if fenced else mark
        heading = None if fenced else HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        yield " / ".join(title for _, title in above), "\n".join(lines)
        depth, lines = len(heading[1]), []
        above = [*((level, title) for level, title in above if level < depth), (depth, heading[2])]
    yield " / ".join(title for _, title in above), "\n".join(lines)


def _parts(text: str, words: int) -> Iterator[str]:
    """Pieces of a section that are short enough, whole paragraphs together as far as they fit."""
    held: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        for piece in _pieces(paragraph.strip(), words):
            length = sum(map(len, held)) + len(piece)
            if held and (sum(len(other.split()) for other in held) + len(piece.split()) > words or length > LONGEST):
                yield "\n\n".join(held)
                held = []
            held += [piece] if piece else []
    if held:
        yield "\n\n".join(held)


def _pieces(paragraph: str, words: int) -> Iterator[str]:
    if len(paragraph.split()) <= words and len(paragraph) <= LONGEST:
        yield paragraph
        return
    held = ""
    for sentence in SENTENCE.split(paragraph):
        for start in range(0, len(sentence), LONGEST):
            part = sentence[start : start + LONGEST]
            if held and (len(held.split()) + len(part.split()) > words or len(held) + len(part) > LONGEST):
                yield held
                held = ""
            held = f"{held} {part}" if held else part
    if held:
        yield held
