"""Typing errors on a keyboard's layout.

Keys stand in rows that are shifted by a quarter and by three quarters of a key (ISO 9995, ANSI INCITS 154); a neighbour is a
key whose centre is less than 1.3 keys away: two beside, two above, two below. The four errors are those that Damerau 1964 ("A
technique for computer detection and correction of spelling errors") found to make up 80% of misspellings.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random

from lmpipe.data.augmentation.chance import hits

LAYOUTS = {
    "qwerty": ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    "qwertz": ("qwertzuiopü", "asdfghjklöä", "yxcvbnm"),
    "azerty": ("azertyuiop", "qsdfghjklm", "wxcvbn"),
}
SHIFTS = (0.0, 0.25, 0.75)
REACH = 1.3


@cache
def neighbours(layout: str) -> dict[str, str]:
    """Each key to those around it.

    >>> neighbours("qwerty")["a"]
    'qwsz'
    """
    rows = zip(LAYOUTS[layout], SHIFTS, strict=True)
    keys = {key: (place + shift, row) for row, (keys, shift) in enumerate(rows) for place, key in enumerate(keys)}
    return {
        key: "".join(
            other for other, (x2, y2) in keys.items() if other != key and (x - x2) ** 2 + (y - y2) ** 2 < REACH * REACH
        )
        for key, (x, y) in keys.items()
    }


def mistype(text: str, layout: str, rate: float, errors: Sequence[str], stream: Random) -> str:
    """`text` with each letter of the layout mistyped with probability `rate`; other characters stay."""
    around = neighbours(layout)
    parts: list[str] = []
    done = 0
    for position in hits(stream, len(text), rate):
        if position < done or text[position].lower() not in around:
            continue
        error = stream.choice(errors)
        letter = text[position]
        key = stream.choice(around[letter.lower()])
        key = key.upper() if letter.isupper() else key
        follower = text[position + 1 : position + 2]
        parts.append(text[done:position])
        done = position + 1
        if error == "substitute":
            parts.append(key)
        elif error == "insert":
            parts.append(letter + key)
        elif error == "transpose" and follower.lower() in around:
            parts.append(follower + letter)
            done += 1
        elif error == "transpose":
            parts.append(letter)
    return "".join([*parts, text[done:]])
