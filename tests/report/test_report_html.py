"""The element builder: whatever text holds, it comes back from a parser as that text and nothing else."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.report.html import Markup, element, escape, join
from lmpipe.report.visible import visible


class Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(markup: str) -> Texts:
    parser = Texts()
    parser.feed(markup)
    parser.close()
    return parser


@settings(deadline=None, max_examples=200)
@given(st.text())
def test_any_text_is_read_back_as_text(text: str) -> None:
    read = parsed(element("p", text, title=text))
    assert read.tags == ["p"]
    assert read.text == visible(text)
    assert read.attributes == [("title", visible(text))]


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet=st.sampled_from("<>&\"'/ax=\x00\x1b\u202e\ud800\n")))
def test_the_result_can_be_written_as_utf8_and_hides_nothing(text: str) -> None:
    escaped = escape(text)
    assert escaped.encode().decode() == escaped
    assert not any(ord(c) < 32 and c not in "\t\n" for c in escaped)
    assert "\u202e" not in escaped


def test_markup_is_not_escaped_twice_and_plain_text_joined_to_it_is_escaped() -> None:
    inner = element("b", "1 < 2")
    assert element("p", inner) == "<p><b>1 &lt; 2</b></p>"
    assert (
        element("p", inner + "<i>") == "<p>&lt;b&gt;1 &amp;lt; 2&lt;/b&gt;&lt;i&gt;</p>"
    )  # lost its standing: safe, and visibly so


def test_iterables_are_flattened_and_none_is_left_out() -> None:
    assert join(["a", None, [1, Markup("<br>")]]) == "a1<br>"
    assert element("br") == "<br>"
    assert element("a", "x", href="#y", hidden=None, download=False, inert=True) == '<a href="#y" inert>x</a>'


@pytest.mark.parametrize(
    "attributes",
    [
        {"onclick": "x()"},
        {"OnLoad": "x()"},
        {"style": "color:red"},
        {"src": "x.png"},
        {"href": "https://example.org"},
        {"href": "javascript:x()"},
        {"href": "data:text/html,x"},
        {'x"y': "z"},
    ],
)
def test_attributes_that_run_or_leave_are_refused(attributes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"not allowed|leaves the page"):
        element("a", **attributes)


def test_names_and_void_content_are_checked() -> None:
    with pytest.raises(ValueError, match="element name"):
        element("p><script")
    with pytest.raises(ValueError, match="no content"):
        element("br", "x")
