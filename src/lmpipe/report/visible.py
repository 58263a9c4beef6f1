"""Text that somebody else wrote, made safe to look at: nothing in it is invisible, moves a cursor or reorders its surroundings.

Control characters become Unicode's pictures of them (an escape sequence in a model's sample must not reach a terminal),
bidirectional overrides become their code points, lone surrogates the replacement character. Tabs and line breaks stay.
"""

from __future__ import annotations

BIDIRECTIONAL_CONTROLS = frozenset((*range(0x202A, 0x202F), *range(0x2066, 0x206A)))
"""Embeddings, overrides and isolates: they change the order of the text that follows (CVE-2021-42574)."""


def visible(text: str) -> str:
    r"""The text with every hidden character shown.

    >>> visible("a\x1b[31m\r\n\u202e")
    'a␛[31m\n[U+202E]'
    """
    return text.translate(REPLACEMENTS)


def _replacements() -> dict[int, str]:
    table = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"}
    table |= {0x0D: "", 0x7F: "\u2421"}  # a carriage return shows as nothing in any browser
    table |= {code: f"[U+{code:04X}]" for code in (*range(0x80, 0xA0), *BIDIRECTIONAL_CONTROLS)}
    return table | dict.fromkeys(range(0xD800, 0xE000), "\ufffd")  # lone surrogates have no UTF-8


REPLACEMENTS = _replacements()
