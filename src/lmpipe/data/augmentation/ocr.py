"""Misreadings of optical character recognition.

What is taken for what: pairs of the ambiguity table of Tesseract's English data (tesseract-ocr/langdata, eng/eng.unicharambigs,
where a reading on the left may stand for the truth on the right), and the digits that look like letters. All readings of a
truth are equally likely: how often each happens depends on typeface, scan and engine, and no table of frequencies fits all.
"""

from __future__ import annotations

import re
from random import Random

from lmpipe.data.augmentation.chance import hits

READINGS: dict[str, tuple[str, ...]] = {
    "m": ("rn", "in", "ni"),
    "rn": ("m",),
    "in": ("m", "ux", "ur"),
    "d": ("cl", "tl"),
    "cl": ("d",),
    "nn": ("rm",),
    "rm": ("nn",),
    "im": ("un",),
    "n": ("ri", "ii", "rr"),
    "ri": ("n",),
    "h": ("li", "lr", "lx"),
    "th": ("di",),
    "u": ("ii",),
    "H": ("ll", "I-I"),
    "w": ("vv",),
    "W": ("VV",),
    "k": ("l<",),
    "ki": ("ld",),
    "fi": ("E",),
    "t": ("f", "r"),
    "f": ("t",),
    "a": ("o", "u"),
    "o": ("a", "0"),
    "e": ("c",),
    "c": ("e",),
    "i": ("1", "l"),
    "l": ("1", "I"),
    "I": ("l", "1"),
    "O": ("0",),
    "0": ("O", "o"),
    "1": ("l", "I"),
    "S": ("5",),
    "5": ("S",),
    "B": ("8",),
    "8": ("B",),
    "g": ("9", "q"),
    "Z": ("2",),
    "2": ("Z",),
}
TRUTH = re.compile("|".join(map(re.escape, sorted(READINGS, key=len, reverse=True))))


def misread(text: str, rate: float, stream: Random) -> str:
    """`text` with each place that could be misread (the longest match counts) misread with probability `rate`."""
    places = list(TRUTH.finditer(text))
    parts: list[str] = []
    done = 0
    for number in hits(stream, len(places), rate):
        place = places[number]
        parts += [text[done : place.start()], stream.choice(READINGS[place[0]])]
        done = place.end()
    return "".join([*parts, text[done:]])
