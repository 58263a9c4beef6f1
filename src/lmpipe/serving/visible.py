"""Text that a model or a stranger wrote, made safe for a terminal."""

from __future__ import annotations


def visible(text: str) -> str:
    """`text` without the control characters that could move the cursor or change the terminal: a model may draw any byte.

    >>> visible("a\\x1b[2J\\tb\\n")
    'a␛[2J\\tb\\n'
    """
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    code = ord(character)
    if character in "\n\t" or (code >= 0x20 and not 0x7F <= code < 0xA0):
        return character
    return chr(0x2400 + code) if code < 0x20 else "\N{SYMBOL FOR DELETE}"
