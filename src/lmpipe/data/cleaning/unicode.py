"""Repair of text that is broken in ways which have one right answer. Changes nothing that an author may have meant.

    line ends        CR LF, CR, NEL, VT, FF, U+2028 become LF; U+2029 becomes two
    control          C0 and C1 controls but tab and LF, and U+FFF9 to U+FFFB, go
    invisible        byte order mark, soft hyphen, word joiner, deprecated format characters go; a zero-width space goes
                     unless it follows a South-East Asian letter, where it marks the border of a word
    kept             zero-width joiner and non-joiner (Persian, Indic scripts, emoji), bidirectional marks
    surrogates       a lone one becomes U+FFFD
    normal form      NFC, or NFKC if asked for
    mojibake         UTF-8 that was read as Windows-1252 or Latin-1 is read again, on lines where nothing else is plausible

Mojibake counts as certain when every run of non-ASCII characters of the line is valid UTF-8 under that reading, and one holds
a pair that no language writes: A with circumflex or tilde before a Latin-1 symbol, or a with circumflex before the euro sign.
So `CAFÉ…` and `“IRMÃ”` stay, though a part of each could be misread UTF-8.

Promises: idempotent; linear in the length of the text; ASCII text without control characters is returned as it is.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

NormalForm = Literal["NFC", "NFKC"]
LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028]")
CONTROLS = "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"
INVISIBLE = "\u00ad\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb"
SOUTH_EAST_ASIAN = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer: written without spaces
REMOVED = re.compile(f"[{CONTROLS}{INVISIBLE}]|(?<![{SOUTH_EAST_ASIAN}\u200b])\u200b+|(?<=\u200b)\u200b+")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
SUSPICIOUS = re.compile(f"[{CONTROLS}{INVISIBLE}\r\x0b\x0c\x85\u200b\u2028\u2029\ud800-\udfff]")
SUSPICIOUS_ASCII = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
"""One character class is searched many times faster than the patterns that act on it, and most text has nothing to act on."""

# What Windows-1252 makes of each byte; the five bytes that it leaves undefined are C1 controls, as browsers read them.
_AS_READ = {byte: bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(0x80, 0x100)}
_BYTE_OF = {character: byte for byte, character in _AS_READ.items()} | {chr(byte): byte for byte in range(0x80, 0x100)}
_NON_ASCII_RUN = re.compile("[^\x00-\x7f]+")
_LEADS = "ÂÃâð"
_TELLTALE = re.compile("[ÂÃ][\u00a0-\u00bf]|â(?:€|\x80)[" + "".join(map(re.escape, _BYTE_OF)) + "]|ð(?:Ÿ|\x9f)")


def repair_text(text: str, normal_form: NormalForm = "NFC", mojibake: bool = True) -> str:
    r"""`text`, repaired.

    >>> repair_text("\ufeffnaÃ¯ve\r\ncafe\u0301\x00")
    'naïve\ncafé'
    """
    if text.isascii():
        return _clean(text) if SUSPICIOUS_ASCII.search(text) else text
    while (repaired := _repair_once(text, normal_form, mojibake)) != text:  # a repair may uncover another: mojibake twice over
        text = repaired
    return text


def _repair_once(text: str, normal_form: NormalForm, mojibake: bool) -> str:
    if mojibake and any(letter in text for letter in _LEADS) and _TELLTALE.search(text):
        text = "\n".join(map(_undo_mojibake, text.split("\n")))
    text = unicodedata.normalize(normal_form, text)
    return _clean(text) if SUSPICIOUS.search(text) else text


def _clean(text: str) -> str:
    text = LONE_SURROGATE.sub("\ufffd", text)
    text = LINE_ENDS.sub("\n", text).replace("\u2029", "\n\n")
    return REMOVED.sub("", text)


def _undo_mojibake(line: str) -> str:
    """The line read again as UTF-8, if that is certainly what it was."""
    if not _TELLTALE.search(line):
        return line
    runs = []
    for run in _NON_ASCII_RUN.findall(line):
        try:
            runs.append(bytes(_BYTE_OF[character] for character in run).decode("utf-8"))
        except (KeyError, UnicodeDecodeError):
            return line
    waiting = iter(runs)
    return _NON_ASCII_RUN.sub(lambda match: next(waiting), line)
