import itertools
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lmpipe.base.errors import ServingError
from lmpipe.serving.chatbot.entities.config import (
    DateConfig,
    EmailConfig,
    LookupConfig,
    NumberConfig,
    PatternConfig,
    TaggedConfig,
    TimeConfig,
)
from lmpipe.serving.chatbot.entities.dates import find_dates
from lmpipe.serving.chatbot.entities.extraction import Extractor
from lmpipe.serving.chatbot.entities.lookup import Lookup, edits
from lmpipe.serving.chatbot.entities.numbers import find_numbers, in_words
from lmpipe.serving.chatbot.entities.tags import spans_of
from lmpipe.serving.chatbot.entities.times import find_times

MONDAY = date(2026, 3, 2)


def values(found):
    return sorted({str(value) for *_, value in found})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("for 4 people", ["4"]),
        ("1,200 or 3", ["1200", "3"]),
        ("2.5 kilos", []),
        ("twenty-five guests", ["25"]),
        ("two hundred and one", ["201"]),
        ("three thousand", ["3000"]),
        ("flat 3b, A4, v1.2.3", []),
        ("-5 degrees", ["-5"]),
        ("someone, often, tone", []),
    ],
)
def test_whole_numbers(text, found):
    assert values(find_numbers(text, words=True, whole=True, decimal=".")) == sorted(found)


def test_decimals_as_they_are_written_in_two_places():
    assert values(find_numbers("1,200.5", words=False, whole=False, decimal=".")) == ["1200.5"]
    assert values(find_numbers("1.200,5", words=False, whole=False, decimal=",")) == ["1200.5"]
    assert values(find_numbers("five", words=False, whole=True, decimal=".")) == []


def english(number):
    """Numbers below a million in words: an independent way there."""
    small = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
    ]
    small += ["seventeen", "eighteen", "nineteen"]
    tens = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
    if number < 20:
        return small[number]
    if number < 100:
        return tens[number // 10 - 2] + (f"-{small[number % 10]}" if number % 10 else "")
    if number < 1000:
        return f"{small[number // 100]} hundred" + (f" and {english(number % 100)}" if number % 100 else "")
    return f"{english(number // 1000)} thousand" + (f" {english(number % 1000)}" if number % 1000 else "")


@given(st.integers(0, 999_999))
def test_every_number_in_words_is_read(number):
    assert in_words(english(number)) == number
    assert list(find_numbers(english(number), words=True, whole=True, decimal=".")) == [(0, len(english(number)), number)]


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-12-24", "2026-12-24"),
        ("on 24/12", "2026-12-24"),
        ("on 1/3", "2027-03-01"),  # past this year
        ("24.12.27", "2027-12-24"),
        ("March 5th", "2026-03-05"),
        ("5 March 2027", "2027-03-05"),
        ("the 5th of March", "2026-03-05"),
        ("jan 9", "2027-01-09"),
        ("on the 1st", "2026-04-01"),
        ("on the 31st", "2026-03-31"),
        ("today", "2026-03-02"),
        ("this evening", "2026-03-02"),
        ("tomorrow", "2026-03-03"),
        ("the day after tomorrow", "2026-03-04"),
        ("monday", "2026-03-09"),
        ("this monday", "2026-03-02"),
        ("friday", "2026-03-06"),
        ("next friday", "2026-03-13"),
        ("in two weeks", "2026-03-16"),
        ("the 8th of this month", "2026-03-08"),
        ("thursday next week", "2026-03-12"),
        ("monday this week", "2026-03-02"),
        ("later today", "2026-03-02"),
        ("in 3 days", "2026-03-05"),
    ],
)
def test_days(text, day):
    start, end, found = max(find_dates(text, MONDAY, day_first=True), key=lambda item: item[1] - item[0])
    assert found.isoformat() == day
    assert text[start:end].strip() == text[start:end] != ""


@pytest.mark.parametrize(
    "text", ["31/2", "2026-13-01", "32 March", "2.5", "10/10/10/10", "in 99999 weeks", "may I come", "7-8"]
)
def test_no_days(text):
    assert not list(find_dates(text, MONDAY, day_first=True))


@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)), st.booleans())
def test_a_written_day_is_read_as_itself(day, day_first):
    numbers = f"{day.day}/{day.month}/{day.year}" if day_first else f"{day.month}/{day.day}/{day.year}"
    for text in (day.isoformat(), numbers, f"{day:%B} {day.day}, {day.year}", f"{day.day} {day:%b} {day.year}"):
        assert day in [found for *_, found in find_dates(text, MONDAY, day_first=day_first)]


@given(st.dates(date(2024, 1, 1), date(2030, 12, 31)), st.sampled_from(["monday", "thursday", "sunday"]))
def test_weekdays_lie_ahead(today, weekday):
    (found,) = [day for *_, day in find_dates(weekday, today, day_first=True)]
    assert timedelta(0) < found - today <= timedelta(7)
    assert f"{found:%A}".lower() == weekday


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("at 19:30", "19:30"),
        ("7 pm", "19:00"),
        ("7:15 p.m.", "19:15"),
        ("12 am", "00:00"),
        ("12 pm", "12:00"),
        ("half past 11 in the morning", "11:30"),
        ("quarter to six", "05:45"),
        ("5 o'clock in the afternoon", "17:00"),
        ("noon", "12:00"),
        ("9 at night", "21:00"),
        ("four pm", "16:00"),
        ("evening 6:30", "18:30"),
        ('5 o"clock in the evening', "17:00"),
    ],
)
def test_times(text, time):
    assert max(find_times(text), key=lambda found: found[1] - found[0])[2] == time


@pytest.mark.parametrize("text", ["for 4 people", "25:00", "19:75", "half past nothing", "1:30:20", "room 7"])
def test_no_times(text):
    assert not list(find_times(text))


def slowly(one, other):
    """Optimal string alignment by its definition."""
    if not one or not other:
        return len(one) + len(other)
    ways = [slowly(one[1:], other) + 1, slowly(one, other[1:]) + 1, slowly(one[1:], other[1:]) + (one[0] != other[0])]
    if one[:2] == other[1::-1] and len(one) > 1 and len(other) > 1:
        ways.append(slowly(one[2:], other[2:]) + 1)
    return min(ways)


words = st.text(alphabet="abc", max_size=5)


@settings(deadline=None)
@given(words, words)
def test_the_distance_is_that_of_its_definition(one, other):
    assert edits(one, other) == slowly(one, other)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(alphabet="abcd", min_size=1, max_size=9), min_size=1, max_size=6), st.text(alphabet="abcd", max_size=9))
def test_look_ups_find_what_comparing_with_everything_finds(names, text):
    found = Lookup(dict.fromkeys(names, ()), max_edits=2).match(text)

    def allowed(word):
        return min(2, len(word) // 4)

    near = [edits(text, name) for name in names if edits(text, name) <= min(allowed(name), allowed(text))]
    near += [0 for name in names if name == text]
    assert (None if found is None else found[1]) == min(near, default=None)


def test_spellings_of_a_list():
    lookup = Lookup({"reggio_emilia": (), "london": ("LDN", "city of London"), "rom": ()}, max_edits=1)
    text = "Reggio Emilia, ldn, lodnon or Rim"
    found = {(text[start:end], value, errors) for start, end, value, errors in lookup.find(text)}
    assert found == {("Reggio Emilia", "reggio_emilia", 0), ("ldn", "london", 0), ("lodnon", "london", 1)}  # Rim is too short


ENTITIES = [
    LookupConfig(name="origin", values={"rome": (), "milan": ()}, after=("from", "leaving")),
    LookupConfig(name="target", values={"rome": (), "milan": ()}, after=("to",)),
    DateConfig(name="day"),
    TimeConfig(name="hour"),
    NumberConfig(name="count"),
    EmailConfig(name="mail"),
    PatternConfig(name="code", pattern=r"order ([a-z]{2}\d{2})", change="upper"),
]


def found(text, asked=(), entities=ENTITIES, tagger=None):
    return [(e.name, e.value, text[e.start : e.end]) for e in Extractor(entities, tagger).find(text, MONDAY, asked)]


def test_the_word_before_tells_two_places_apart():
    assert found("from Milan to the Rome") == [("origin", "milan", "Milan"), ("target", "rome", "Rome")]
    assert found("Rome") == []
    assert found("Rome", asked=["target"]) == [("target", "rome", "Rome")]


def test_longer_readings_win():
    assert found("2 of us on 3/4 at 7 pm") == [("count", 2, "2"), ("day", "2026-04-03", "3/4"), ("hour", "19:00", "7 pm")]
    assert found("Order AB12 for Ann.B@Example.org") == [
        ("code", "AB12", "AB12"),
        ("mail", "ann.b@example.org", "Ann.B@Example.org"),
    ]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.text(alphabet="0123456789/-:. apmto,andfive@", max_size=60))
def test_entities_lie_in_the_text_and_apart(text):
    entities = Extractor(ENTITIES).find(text, MONDAY, asked=["origin", "target"])
    for entity in entities:
        assert 0 <= entity.start < entity.end <= len(text)
    assert all(one.end <= other.start for one, other in itertools.pairwise(entities))


class Capitals:
    def tag(self, words):
        tags, before = [], "O"
        for word in words:
            tag = "O" if not word[0].isupper() else "I-name" if before != "O" else "B-name"
            tags.append(tag)
            before = tag
        return tags


def test_a_tagger_marks_words_and_spans_count_characters():
    assert found("ask  Ann Smith, or Bo", entities=[TaggedConfig(name="person", label="name")], tagger=Capitals()) == [
        ("person", "Ann Smith", "Ann Smith"),
        ("person", "Bo", "Bo"),
    ]


def test_a_tagger_that_is_missing_or_miscounts_is_named():
    with pytest.raises(ServingError, match="'person' is found by a tagger"):
        Extractor([TaggedConfig(name="person")])

    class Short:
        def tag(self, words):
            return ["O"]

    with pytest.raises(ServingError, match="1 tags for 2 words"):
        Extractor([TaggedConfig(name="person")], Short()).find("two words", MONDAY)


@given(st.lists(st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b"]), max_size=8))
def test_every_tagged_word_is_in_one_span_of_its_name(tags):
    places = [(3 * place, 3 * place + 2) for place in range(len(tags))]
    spans = spans_of(tags, places)
    for tag, (start, end) in zip(tags, places, strict=True):
        covering = [name for first, last, name in spans if first <= start and end <= last]
        assert covering == ([] if tag == "O" else [tag[2:]])
    assert len(spans) >= sum(tag[0] == "B" for tag in tags)


@pytest.mark.parametrize(("pattern", "says"), [("(", "no regular expression"), ("a*", "matches an empty text")])
def test_bad_patterns_are_refused(pattern, says):
    with pytest.raises(ValidationError, match=says):
        PatternConfig(name="x", pattern=pattern)
