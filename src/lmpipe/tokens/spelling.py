"""How ids spell text, told from the library's decoder.

    bytes     each token is some bytes, and the bytes joined are the text              GPT-2, RoBERTa, Llama 3, Qwen, ours
    pieces    likewise; a space that was put before the text is taken away again       T5, Llama 2, Mistral, Gemma
    words     each token is a word, or goes on with one                                BERT
    other     only the library's decoder knows

Only bytes are exact by construction. What the other kinds give back is measured, text by text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import tokenizers

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""A token that stands for one byte, as SentencePiece spells it."""
Kind = Literal["bytes", "pieces", "words", "other"]
PIECE_STEPS = {"Metaspace", "Replace", "ByteFallback", "Fuse", "Strip"}
KEEPING_STEPS = {"ByteLevel", "Split", "Digits", "Punctuation"}
"""Pre-tokenizers that only cut, unless they are told to remove something."""


@dataclass(frozen=True)
class Spelling:
    """What each id stands for."""

    kind: Kind
    table: list[bytes] | None
    """Bytes by id, none for a control token: in a text, after another token. None: only the library knows."""
    drops_space: bool
    """Whether a space at the beginning of what tokens spell is no part of the text."""
    lossless: bool
    """Whether any text comes back exactly: nothing is changed before it is encoded, and every byte has an id."""


def spelling_of(library: tokenizers.Tokenizer, special: Collection[int]) -> Spelling:
    """How the ids of a tokenizer spell text.

    Args:
        library: the tokenizer.
        special: ids that stand for no text.
    """
    content = json.loads(library.to_str())
    vocabulary: dict[str, int] = library.get_vocab(with_added_tokens=True)
    steps = _steps(content.get("decoder"), "decoders")
    kind, spell = _speller(steps)
    table = None
    if spell is not None:
        table = [b""] * (max(vocabulary.values(), default=-1) + 1)
        for token, number in vocabulary.items():
            table[number] = b"" if number in special else spell(token)
    lossless = kind == "bytes" and _keeps_everything(content) and byte_alphabet().keys() <= vocabulary.keys()
    return Spelling(kind, table, _drops_space(steps), lossless)


@lru_cache(maxsize=1)
def byte_alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in a byte-level vocabulary (Radford et al. 2019, GPT-2).

    Bytes that print keep their character; the others take the characters from U+0100 on, in order.

    >>> byte_alphabet()["a"], byte_alphabet()["Ġ"]
    (97, 32)
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    alphabet = {chr(byte): byte for byte in printable}
    alphabet |= {chr(256 + position): byte for position, byte in enumerate(others)}
    return alphabet


def byte_level(token: str) -> bytes:
    """The bytes of a byte-level token; a token that was added as plain text (a run of spaces in GPT-NeoX) is that text."""
    alphabet = byte_alphabet()
    try:
        return bytes(alphabet[character] for character in token)
    except KeyError:
        return token.encode("utf-8")


def _speller(steps: Sequence[Mapping[str, Any]]) -> tuple[Kind, Callable[[str], bytes] | None]:
    """The kind of a decoder, and a function from a token to its bytes where it treats each token by itself."""
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"]:
        return "bytes", byte_level
    if kinds == ["WordPiece"]:
        prefix = steps[0]["prefix"]
        return "words", lambda token: (token.removeprefix(prefix) if token.startswith(prefix) else f" {token}").encode("utf-8")
    changes = [(step["replacement"], " ") for step in steps if step["type"] == "Metaspace"]
    changes += [(step["pattern"].get("String", ""), step["content"]) for step in steps if step["type"] == "Replace"]
    if not kinds or not PIECE_STEPS.issuperset(kinds) or not all(old for old, _ in changes):
        return "other", None
    return "pieces", lambda token: _piece(token, changes, bytewise="ByteFallback" in kinds)


def _drops_space(steps: Sequence[Mapping[str, Any]]) -> bool:
    metaspaces = any(step["type"] == "Metaspace" and step["prepend_scheme"] != "never" for step in steps)
    return metaspaces or any(step["type"] == "Strip" and step["content"] == " " and step["start"] for step in steps)


def _piece(token: str, changes: list[tuple[str, str]], *, bytewise: bool) -> bytes:
    if bytewise and (byte := _BYTE.fullmatch(token)):
        return bytes([int(byte[1], 16)])
    for old, new in changes:
        token = token.replace(old, new)
    return token.encode("utf-8")


def _keeps_everything(content: Mapping[str, Any]) -> bool:
    """Whether a byte-level tokenizer changes nothing before it looks bytes up."""
    steps = _steps(content.get("pre_tokenizer"), "pretokenizers")
    cuts = all(
        step["type"] in KEEPING_STEPS and step.get("behavior") != "Removed" and not step.get("add_prefix_space")
        for step in steps
    )
    bytewise = any(step["type"] == "ByteLevel" for step in steps)
    eats_spaces = any((token["lstrip"] or token["rstrip"]) and not token["special"] for token in content["added_tokens"])
    return content.get("normalizer") is None and cuts and bytewise and not eats_spaces


def _steps(part: Mapping[str, Any] | None, key: str) -> list[Mapping[str, Any]]:
    """The steps of a part of a tokenizer, sequences laid flat."""
    if part is None:
        return []
    return [step for one in part[key] for step in _steps(one, key)] if part["type"] == "Sequence" else [part]
