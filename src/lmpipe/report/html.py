"""HTML out of Python calls: everything is escaped unless this module made it.

Promises: text and attribute values never become markup, whatever they hold; a page built here can hold no event handler, no
inline style and no link that leaves the page, because asking for one raises. Hidden characters are shown (`visible.py`).

Does not know: what a report is.

    element("p", "5 < 6 ", element("b", "true"), class_="note")   ->   <p class="note">5 &lt; 6 <b>true</b></p>
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

from lmpipe.report.visible import REPLACEMENTS

VOID_TAGS = frozenset({"br", "col", "hr", "link", "meta", "wbr"})
"""Elements without content, of those that a report uses (HTML standard, 13.1.2)."""

NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*\Z")
FORBIDDEN_ATTRIBUTES = frozenset({"style", "src", "srcset", "action", "formaction", "srcdoc", "ping", "background"})


class Markup(str):
    """Text that is HTML already. Joining it with a plain string gives a plain string again, which will be escaped."""

    __slots__ = ()


Content: TypeAlias = "str | int | Iterable[Content] | None"
AttributeValue: TypeAlias = "str | int | bool | None"


def element(tag: str, *content: Content, **attributes: AttributeValue) -> Markup:
    """One element with its content.

    Attribute names: a trailing underscore is dropped (`class_`, `for_`), other underscores become hyphens (`aria_label`).
    A value of None or False leaves the attribute out; True writes its name alone.

    Raises:
        ValueError: for a name that is not one, content in a void element, an attribute that could run code or leave the page.
    """
    if not NAME.match(tag):
        raise ValueError(f"{tag!r} is not an element name")
    opening = "".join((f"<{tag}", *(_attribute(name, value) for name, value in attributes.items()), ">"))
    if tag in VOID_TAGS:
        if content:
            raise ValueError(f"<{tag}> has no content")
        return Markup(opening)
    return Markup(f"{opening}{join(content)}</{tag}>")


def join(content: Content) -> Markup:
    """Several pieces as one: markup as it is, strings escaped, None left out, iterables flattened."""
    if content is None:
        return Markup("")
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return escape(content)
    if isinstance(content, int):
        return Markup(str(content))
    return Markup("".join(join(piece) for piece in content))


def escape(text: str) -> Markup:
    """Text that shows as itself in an element and in a double-quoted attribute.

    >>> str(escape('<b onclick="x">\\x00'))
    '&lt;b onclick=&quot;x&quot;&gt;␀'
    """
    return Markup(text.translate(_ESCAPES))


def _attribute(name: str, value: AttributeValue) -> str:
    name = name.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if not NAME.match(name) or name in FORBIDDEN_ATTRIBUTES or name.lower().startswith("on"):
        raise ValueError(f"attribute {name!r} is not allowed in a report")
    if name == "href" and not str(value).startswith(("#", "data:image/svg+xml,")):
        raise ValueError(f"href={value!r} leaves the page")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


_ESCAPES = REPLACEMENTS | {
    ord(c): f"&{name};" for c, name in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot"), ("'", "#39"))
}
