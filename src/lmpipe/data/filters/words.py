"""Text to words as the published English heuristics count them: punctuation apart, contractions in two, numbers before units.

    "Don't" she said...   ->   Do n't " she said ...          (quotes, brackets, final stops, dashes between letters)
    10km, e.g. U.S.       ->   10 km , e.g. U.S.              (abbreviations keep their stop)
    https://a.org/b?c     ->   one word

The rules are those of spaCy's blank English tokenizer, with which datatrove runs the rules of Gopher, C4 and FineWeb; written
anew and compactly. What becomes of a stretch between white space depends on it alone, so each distinct one is taken apart once
and looked up afterwards. Measured on 2.2 million stretches of web, news, book, wiki and documentation text: 3 in 10,000 are
taken apart differently (rare smileys, TeX, letters of scripts whose case spaCy does not list).
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import product

PUNCTUATION = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
QUOTES = "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧"
CURRENCY = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa mbar "
    "mb MB kb KB gb GB tb TB T G M K %"
)
SYMBOLS = frozenset(chr(code) for code in range(0xA6, 0x10000) if unicodedata.category(chr(code)) == "So")


def _class(characters: str | frozenset[str]) -> str:
    return "[" + "".join(map(re.escape, sorted(characters))) + "]"


_LETTERS = [chr(code) for code in range(0x41, 0x3000) if chr(code).isalpha()]
_LOWER = _class(frozenset(letter for letter in _LETTERS if not letter.isupper()))
_UPPER = _class(frozenset(letter for letter in _LETTERS if not letter.islower()))
_ALPHA = r"[^\W\d_]"
_QUOTE = _class(QUOTES)
_SYMBOL = rf"(?:{_class(SYMBOLS)}|[\U0001f000-\U0001faff])"  # apart, because a class of both is searched character by character
OPENING, CLOSING = frozenset("§%=—–" + PUNCTUATION + QUOTES + CURRENCY), frozenset("—–" + PUNCTUATION + QUOTES)
"""What is always a prefix, or a suffix, of one character: no other alternative below begins, or ends, with one of these."""
_PREFIX = re.compile(rf"\+(?![0-9])|\.\.+|(?:US|C|A)\$|{_class(OPENING)}|{_SYMBOL}")
_SUFFIX = re.compile(
    rf"(?:\.\.+|{_class(CLOSING)}|{_SYMBOL}|['’][sS]|(?<=[0-9])(?:\+|{_class(CURRENCY)}|"
    rf"{'|'.join(map(re.escape, UNITS.split()))})|(?<=[0-9%²\-+]|{_LOWER}|{_class(PUNCTUATION + QUOTES)})\.|"
    rf"(?<={_UPPER}{_UPPER})\.)$"
)
_INFIX = re.compile(
    rf"(?!\w)(?:\.\.+|…|{_SYMBOL}|(?<=[0-9])[+\-*^](?=[0-9-])|(?:(?<={_LOWER})|(?<={_QUOTE}))\.(?={_UPPER}|{_QUOTE})|"
    rf"(?<={_ALPHA}),(?={_ALPHA})|(?:(?<=[0-9])|(?<={_ALPHA}))(?:---?|[-–~]|——?)(?={_ALPHA})|"
    rf"(?:(?<=[0-9])|(?<={_ALPHA}))[:<>=/](?={_ALPHA}))"
)
"""None begins with a letter or digit; saying so first spares most places the look behind."""
_INNER = re.compile(rf"[.…,:<>=/+\-*^–~—]|{_SYMBOL}")
_DIGIT = re.compile("[0-9]")
LONGEST_STRETCH = 1000
"""Longer ones are data, not words, and stay whole: a million brackets must not be peeled off one by one."""
LONGEST_SUFFIX = max(map(len, UNITS.split()))
_URL = re.compile(
    r"(?:[\w+.\-]{2,}://)?(?:[^\s@]+@)?(?:(?:[1-9]\d?|1\d\d|2[01]\d|22[0-3])(?:\.\d{1,3}){3}|"
    rf"(?:[A-Za-z0-9\u00a1-\uffff][A-Za-z0-9\u00a1-\uffff_-]{{0,62}}\.)+{_LOWER}{{2,63}})(?::\d{{2,5}})?(?:[/?#]\S*)?"
)


@cache
def stretches_with_own_answers() -> dict[str, tuple[str, ...]]:
    """Stretches with an answer of their own. `ill`, `its`, `well` and the like are words of their own."""
    found: dict[str, tuple[str, ...]] = {}

    def add(stems: str, *endings: tuple[str, ...]) -> None:
        for stem, ending in product(stems.split(), endings):
            for spelled in (stem, stem.title()):
                for mark in ("'", "’", ""):
                    parts = (spelled, *(part.replace("'", mark) for part in ending))
                    found["".join(parts)] = parts

    wh = "who what when where why how there that"
    add("i", ("'m",), ("'m", "a"))
    add(f"i you he she it we they {wh} this these those", ("'ll",), ("'ll", "'ve"), ("'d",), ("'d", "'ve"))
    add("i you we they", ("'ve",))
    add("you we they", ("'re",))
    add(f"he she it {wh} this", ("'s",))
    add("who what when where why how there these those", ("'re",), ("'ve",))
    could = "could might must should would"
    add(f"ca do does did had may need ought sha wo {could}", ("n't",), ("n't", "'ve"))
    add("ai are is was were have has dare", ("n't",))
    add(could, ("'ve",))
    add("not", ("'ve",))
    for hour, period in product(range(1, 13), ("a.m.", "am", "p.m.", "pm")):
        found[f"{hour}{period}"] = (str(hour), period)
    for parts in ("y' all", "y all", "can not", "gon na", "got ta", "let 's", "c'm on"):
        first, second = parts.split()
        for spelled in (first, first[0].upper() + first[1:]):
            found[spelled + second] = (spelled, second)
    for word in ["ill", "its", "hell", "shell", "shed", "were", "well", "whore"]:
        found.pop(word, None)
        found.pop(word.title(), None)
    whole = [spelled for word in _WHOLE.split() for spelled in (word, word.replace("'", "’"))]
    return found | {word: (word,) for word in whole}


_WHOLE = (
    "'em em 'll ll 'nuff nuff 'S 's ‘S ‘s and/or w/o 're 'Cause 'cause 'cos 'Cos 'coz 'Coz 'cuz 'Cuz 'bout ma'am "
    "Ma'am o'clock O'clock doin' Doin' goin' Goin' nothin' Nothin' nuthin' Nuthin' ol' Ol' somethin' Somethin' "
    "lovin' Lovin' havin' Havin' Mt. Ak. Ala. Apr. Ariz. Ark. Aug. Calif. Colo. Conn. Dec. Del. Feb. Fla. Ga. Ia. "
    "Id. Ill. Ind. Jan. Jul. Jun. Kan. Kans. Ky. La. Mar. Mass. Mich. Minn. Miss. N.C. N.D. N.H. N.J. N.M. N.Y. "
    "Neb. Nebr. Nev. Nov. Oct. Okla. Ore. Pa. S.C. Sep. Sept. Tenn. Va. Wash. Wis. 'd a.m. Adm. Bros. co. Co. Corp. "
    "D.C. Dr. e.g. E.g. E.G. Gen. Gov. i.e. I.e. I.E. Inc. Jr. Ltd. Md. Messrs. Mo. Mont. Mr. Mrs. Ms. p.m. Ph.D. "
    "Prof. Rep. Rev. Sen. St. vs. v.s. ' '' C++ a. b. c. d. e. f. g. h. i. j. k. l. m. n. o. p. q. r. s. t. u. v. "
    "w. x. y. z. ä. ö. ü. — :) :-) :( :-( ;) ;-) :D :-D :P :-P :p :/ :-/ :o :O =) =( <3 ^_^ -_- o_o xD XD :* :') "
    ":'( (: ): (; 8) 0.0 O.O o.O (= [= =[ =] :] :["
)
"""Abbreviations, clipped words and smileys that stay whole."""


def words_of(stretch: str) -> tuple[str, ...]:
    """The words of a stretch without white space.

    >>> words_of('"Don\\'t!"')
    ('"', 'Do', "n't", '!', '"')
    """
    exceptions = stretches_with_own_answers()
    if stretch in exceptions:
        return exceptions[stretch]
    if stretch.isalpha() or len(stretch) > LONGEST_STRETCH:
        return (stretch,)
    before: list[str] = []
    after: list[str] = []
    while stretch and not stretch.isalpha() and stretch not in exceptions:
        start, end = _affixes(stretch)
        if stretch[start:] in exceptions and start:
            end = len(stretch)
        elif stretch[:end] in exceptions and end < len(stretch):
            start = 0
        if start >= end:  # the two overlap: the first is taken
            end = len(stretch)
        if (start, end) == (0, len(stretch)):
            break
        if start:
            before.append(stretch[:start])
        if end < len(stretch):
            after.append(stretch[end:])
        stretch = stretch[start:end]
    return (*before, *_middle(stretch, exceptions), *reversed(after))


def _affixes(stretch: str) -> tuple[int, int]:
    """Where what stands between a prefix and a suffix begins and ends."""
    start, end = 0, len(stretch)
    first, last = stretch[0], stretch[-1]
    if first in OPENING:
        start = 1
    elif not first.isalnum() or "$" in stretch:
        prefix = _PREFIX.match(stretch)
        start = prefix.end() if prefix else 0
    if last in CLOSING:
        end -= 1
    elif stretch.endswith(".."):
        end = len(stretch.rstrip("."))
    elif not last.isalnum() or stretch[-2:-1] in "'’" or _DIGIT.search(stretch):
        suffix = _SUFFIX.search(stretch, max(0, end - LONGEST_SUFFIX))
        end = suffix.start() if suffix else end
    return start, end


def _middle(stretch: str, exceptions: dict[str, tuple[str, ...]]) -> list[str]:
    if not stretch:
        return []
    if stretch in exceptions:
        return list(exceptions[stretch])
    if stretch.isalpha() or not _INNER.search(stretch) or _is_url(stretch):
        return [stretch]
    words, last = [], 0
    for match in _INFIX.finditer(stretch):
        words += [stretch[last : match.start()], match[0]]
        last = match.end()
    return [word for word in (*words, stretch[last:]) if word]


def _is_url(stretch: str) -> bool:
    return "." in stretch and _URL.fullmatch(stretch) is not None


def is_punctuation(word: str) -> bool:
    """Whether every character is punctuation in Unicode's sense (categories P*)."""
    return all(unicodedata.category(character)[0] == "P" for character in word)
