import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmpipe.data.cleaning.unicode import repair_text


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ("plain ASCII stays\tas it is\n", "plain ASCII stays\tas it is\n"),
        ("one\r\ntwo\rthree\x0bfour\x0cfive\x85six\u2028seven\u2029eight", "one\ntwo\nthree\nfour\nfive\nsix\nseven\n\neight"),
        ("nul\x00, bell\x07, escape\x1b[0m, delete\x7f, c1\x9b", "nul, bell, escape[0m, delete, c1"),
        ("\ufeffmark, soft\u00adhyphen, word\u2060joiner, zero\u200bwidth", "mark, softhyphen, wordjoiner, zerowidth"),
        ("cafe\u0301 A\u030angstrom", "café Ångstrom"),
        ("lone \ud83d surrogate", "lone \ufffd surrogate"),
        ("naÃ¯ve cafÃ© Ã¼ber", "naïve café über"),
        ("donâ€™t â€œquoteâ€\x9d â€“ â‚¬", "don’t “quote” – €"),
        ("Â© 2020 Â· 20Â°", "© 2020 · 20°"),
        ("smile ð\x9f\x98\x80 and ðŸ˜€", "smile 😀 and 😀"),
        ("twice over: Ã¢â‚¬â„¢", "twice over: ’"),
        ("good line: é\nbad line: Ã©", "good line: é\nbad line: é"),
    ],
)
def test_what_has_one_right_answer_is_repaired(broken, expected):
    assert repair_text(broken) == expected


@pytest.mark.parametrize(
    "text",
    [
        "CAFÉ… VOILÀ” “IRMÃ” MAÇÃ…",
        "« DÉJÀ » — Ô, œuvre, Übergröße–Straße",
        "ไทย\u200bภาษา ខ្មែរ\u200bភាសា",  # zero-width spaces between words
        "می\u200cخواهم क्\u200dष 👩\u200d👩\u200d👧",  # joiners and non-joiners
        "\u200eleft to right\u200f and \u2067isolates\u2069",
        "Ã alone, Â alone, â alone, ð alone",
        "Ã© beside something that cannot be: ж",
        "ﬁne ｆｕｌｌ ① ² …",
    ],
)
def test_what_an_author_may_have_meant_stays(text):
    assert repair_text(text) == text


def test_options():
    assert repair_text("ﬁne ｆｕｌｌ ①", normal_form="NFKC") == "fine full 1"
    assert repair_text("cafÃ©", mojibake=False) == "cafÃ©"


NASTY = st.text(st.sampled_from("aéÃÂâ€™œ\x80\x9f\x99¢ð\u0301\u0303\u200b\ufeff\r\n\x85\u2028ก\ud800¡¯»©\x00 ﬁ…"), max_size=40)


@settings(deadline=None, max_examples=500)
@given(st.one_of(NASTY, st.text(max_size=60)), st.sampled_from(["NFC", "NFKC"]))
@example("A\u0303©", "NFC")
@example("ก\u200b\u200b\u200b", "NFC")
@example("\u00ad\u200b\u0e01\u00ad\u200b", "NFC")
def test_repair_is_idempotent_and_leaves_text_that_utf8_can_spell(text, form):
    repaired = repair_text(text, form)
    assert repair_text(repaired, form) == repaired
    repaired.encode("utf-8")
    assert "\r" not in repaired
    assert "\0" not in repaired


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(min_codepoint=0xA0, max_codepoint=0x24F), min_size=1, max_size=30))
def test_latin_text_is_never_taken_for_mojibake_unless_it_is(text):
    """What is changed was, in full, UTF-8 read as Windows-1252."""
    import unicodedata

    plain = unicodedata.normalize("NFC", text).replace("\u00ad", "")
    repaired = repair_text(text)
    if repaired != plain:
        assert any(pair in plain for pair in ("Â", "Ã", "â", "ð"))


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FF, exclude_characters="\x7f\xad"), max_size=40))
def test_mojibake_made_from_text_is_undone_or_left_alone(text):
    import unicodedata

    text = unicodedata.normalize("NFC", "".join(c for c in text if not 0x7F <= ord(c) <= 0x9F))
    broken = text.encode("utf-8").decode("latin-1")
    assert repair_text(broken) in (text, repair_text(broken, mojibake=False), repair_text(text))
