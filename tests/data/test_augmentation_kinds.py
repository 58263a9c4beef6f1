"""What each kind of augmentation does to a text."""

import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lmpipe.base.errors import SourceError
from lmpipe.base.templates import fill, slots_of
from lmpipe.data.augmentation.keyboard import LAYOUTS, mistype, neighbours
from lmpipe.data.augmentation.ocr import READINGS, misread
from lmpipe.data.augmentation.surface import recase, with_punctuation, without_punctuation
from lmpipe.data.augmentation.synonyms import parse_synonyms
from lmpipe.data.augmentation.words import edit_words
from lmpipe.data.config import CorpusConfig

TEXT = "The quick fox, it's said, runs. A lazy dog sleeps!\nNobody sees them here."
SYNONYMS = {"quick": ("fast", "rapid"), "dog": ("hound",), "runs": ("sprints",)}


def words(text):
    return re.findall(r"\w+(?:['’-]\w+)*", text)


def marks(text):
    return re.sub(r"\w+(?:['’-]\w+)*", "", text)


@given(st.integers(0, 10_000))
def test_swapping_keeps_the_words_of_each_sentence_and_every_mark(seed):
    swapped = edit_words(TEXT, "swap", 0.2, Random(seed), {})
    assert marks(swapped) == marks(TEXT)
    for before, after in zip(re.split(r"[.!]\s", TEXT), re.split(r"[.!]\s", swapped), strict=True):
        assert Counter(words(before)) == Counter(words(after))


@given(st.text(max_size=60), st.integers(0, 100))
def test_a_sentence_never_loses_all_its_words(text, seed):
    deleted = edit_words(text, "delete", 0.9, Random(seed), {})
    assert bool(words(text)) == bool(words(deleted))
    assert not Counter(words(deleted)) - Counter(words(text))


def test_synonyms_replace_a_word_and_take_its_case():
    replaced = {edit_words("Quick. QUICK. quick.", "replace", 0.1, Random(seed), SYNONYMS) for seed in range(40)}
    assert "Fast. RAPID. fast." in replaced
    assert all(set(re.findall(r"\w+", text.lower())) <= {"fast", "rapid"} for text in replaced)


def test_synonyms_are_inserted_and_nothing_else_changes():
    inserted = edit_words("the dog eats", "insert", 0.1, Random(3), SYNONYMS)
    assert sorted(inserted.split()) == sorted(["the", "dog", "eats", "hound"])
    assert edit_words("no such word", "insert", 0.1, Random(3), SYNONYMS) == "no such word"


def test_ten_percent_of_a_long_sentence_are_touched():
    text = " ".join(["quick"] * 200)
    assert len(re.findall("fast|rapid", edit_words(text, "replace", 0.1, Random(1), SYNONYMS))) == 20


@pytest.mark.parametrize("layout", LAYOUTS)
def test_neighbours_are_mutual_and_near(layout):
    around = neighbours(layout)
    assert all(key in around[other] for key, others in around.items() for other in others)
    assert all(2 <= len(others) <= 6 for others in around.values())


def test_neighbours_are_those_of_the_keyboard():
    assert set(neighbours("qwerty")["g"]) == set("fhtyvb")
    assert set(neighbours("qwertz")["z"]) == set("tugh")
    assert set(neighbours("azerty")["q"]) == set("azsw")


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "Zs"]), max_size=200), st.integers(0, 1000))
def test_only_letters_of_the_layout_are_mistyped(text, seed):
    typed = mistype(text, "qwerty", 0.5, ("substitute", "insert", "delete", "transpose"), Random(seed))
    keys = set("qwertyuiopasdfghjklzxcvbnm")
    assert [c for c in typed if c.lower() not in keys] == [c for c in text if c.lower() not in keys]


def test_about_the_asked_share_of_letters_is_mistyped():
    text = "a" * 20_000
    typed = mistype(text, "qwerty", 0.02, ("substitute",), Random(1))
    assert 330 < sum(a != b for a, b in zip(text, typed, strict=True)) < 470


def test_each_error_does_what_it_says():
    assert mistype("ab", "qwerty", 1.0, ("delete",), Random(0)) == ""
    assert mistype("ab", "qwerty", 1.0, ("transpose",), Random(0)) == "ba"
    assert len(mistype("ab", "qwerty", 1.0, ("insert",), Random(0))) == 4
    near = mistype("ab", "qwerty", 1.0, ("substitute",), Random(0))
    assert near[0] in neighbours("qwerty")["a"]
    assert near[1] in neighbours("qwerty")["b"]


def test_misreadings_are_those_of_the_table():
    seen = {misread("modern", 1.0, Random(seed)) for seed in range(300)}
    assert {"rnaclcm", "in0tlcm"} <= seen
    assert misread("burn", 1.0, Random(0)) == "biim"
    assert misread("東京 xyz", 1.0, Random(1)) == "東京 xyz"
    assert all(truth not in readings for truth, readings in READINGS.items())


def test_case_and_punctuation():
    assert recase("It's the émile's turn", "title") == "It's The Émile's Turn"
    assert recase("Abc", "lower") + recase("Abc", "upper") == "abcABC"
    assert without_punctuation("«Well», that's $5 (or so)!") == "Well thats $5 or so"


@given(st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), min_size=1, max_size=30), st.integers(0, 100))
def test_marks_are_put_between_words_up_to_a_third(them, seed):
    marked = with_punctuation(" ".join(them), Random(seed))
    assert [word for word in marked.split() if word.isalpha()] == them
    assert 1 <= sum(word in set(".;?:!,") for word in marked.split()) <= max(1, len(them) // 3)


@given(st.text(max_size=30), st.text(max_size=30))
def test_what_stands_in_a_value_is_no_slot(before, value):
    template = before.replace("{", "{{").replace("}", "}}") + "{text}"
    assert slots_of(template) == ["text"]
    assert fill(template, {"text": value}) == before + value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"quick,fast\nslow\n", "line 2"),
        (b"quick,fast\n\n# fine\nslow,,late\n", "line 4"),
        (b"quick,fast\nna\xefve,simple\n", "line 2"),
        (b"# nothing\n", "no line with a word"),
    ],
)
def test_malformed_synonyms_name_the_line(data, message):
    with pytest.raises(SourceError, match="cannot be used") as raised:
        parse_synonyms(data, "thesaurus.csv")
    assert message in str(raised.value)


def test_synonyms_of_several_lines_add_up():
    assert parse_synonyms("\ufeffQuick, fast\nquick,rapid,fast,quick\n".encode(), "x") == {"quick": ("fast", "rapid")}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"kind": "eda", "operations": ["replace"]}, "needs synonyms"),
        ({"kind": "eda", "synonyms": "a.csv"}, "no operation uses them"),
        ({"kind": "eda", "share": 0}, "greater than 0"),
        ({"kind": "keyboard", "layout": "dvorak"}, "'qwerty', 'qwertz' or 'azerty'"),
        ({"kind": "templates", "templates": ["{txet} and {meta.label}"]}, r"did you mean '\{text\}'"),
        ({"kind": "templates", "templates": ["{text"]}, "stands alone"),
        ({"kind": "templates", "templates": ["{text!r}"]}, "is no slot"),
        ({"kind": "templates", "templates": ["{text.__class__}"]}, "is no slot|nothing fills"),
        ({"kind": "templates", "templates": ["{text}"], "slots": {"a": ["b"]}}, "is in no template"),
        ({"kind": "templates", "templates": ["{text}"], "slots": {"text": ["b"]}}, "document's own"),
    ],
)
def test_wrong_augmentation_is_refused(part, message):
    with pytest.raises(ValidationError, match=message):
        CorpusConfig.model_validate({"read": [{"kind": "text", "paths": ["a.txt"]}], "augment": [part]})


def test_a_kind_twice_is_refused():
    with pytest.raises(ValidationError, match="two parts of kind 'case'"):
        CorpusConfig.model_validate(
            {"read": [{"kind": "text", "paths": ["a.txt"]}], "augment": [{"kind": "case"}, {"kind": "case"}]}
        )
