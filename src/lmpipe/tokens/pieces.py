"""Long texts in pieces that can be encoded one by one, so that memory does not follow their length."""

from __future__ import annotations

import json
import re

import tokenizers

PIECE_CHARACTERS = 1 << 18
"""A longer text is encoded in pieces of about this size: the library needs some 200 bytes of memory per byte of one text."""

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""How GPT-2 splits words, as the library's own byte-level splitter has it."""
_BORDER = re.compile(r"(?<=[!-~\w]) ")
"""Where a text may be cut without changing its ids: no alternative of the GPT-2 splitting pattern runs from a character that is
no white space into a space. (`[!-~]` and word characters are never white space in any library's opinion.)"""
HARMLESS_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "BertNormalizer", "Lowercase", "StripAccents"}
"""None of them looks across a border."""


def pieces_of(text: str, limit: int = PIECE_CHARACTERS) -> list[str]:
    """`text` cut into pieces of about `limit` characters whose ids, joined, are the ids of `text`.

    A stretch of more than twice `limit` characters without a space is cut anyway: there the ids may differ from those that the
    library would give for the whole (it is still lossless), and memory stays bounded.

    >>> pieces_of("one two three", limit=5)
    ['one two', ' three']
    """
    if len(text) <= limit:
        return [text]
    pieces = []
    start = 0
    while len(text) - start > limit:
        border = _BORDER.search(text, start + limit, min(start + 2 * limit, len(text)))
        stop = border.start() if border else start + 2 * limit
        pieces.append(text[start:stop])
        start = stop
    if start < len(text):
        pieces.append(text[start:])
    return pieces


def may_be_cut(library: tokenizers.Tokenizer) -> bool:
    """Whether a tokenizer's ids are those of the pieces: it splits words as GPT-2 or BERT do, and no token of plain text that
    was added to it runs across a border. Others may put something before each text that they are given (SentencePiece does),
    or know tokens of several words."""
    content = json.loads(library.to_str())
    splitter, normalizer = content["pre_tokenizer"] or {}, content["normalizer"] or {}
    bytewise = splitter.get("type") == "ByteLevel" and splitter.get("use_regex") and not splitter.get("add_prefix_space")
    by_pattern = splitter.get("type") == "Split" and splitter.get("pattern") == {"Regex": GPT2_PATTERN}
    added = [token for token in content["added_tokens"] if not token["special"]]
    crossing = any(token["rstrip"] or " " in token["content"].lstrip() for token in added)
    harmless = not normalizer or normalizer["type"] in HARMLESS_NORMALIZERS
    known = bytewise or by_pattern or splitter.get("type") == "BertPreTokenizer"
    return bool(known) and harmless and not crossing
