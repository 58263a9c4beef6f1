"""The page: one HTML file that needs nothing but itself.

    Report ──► head (policy, style) ─► first screen ─► contents ─► sections ─► foot

Promises: no request leaves the page (its content security policy forbids every load and allows exactly its own style and
script, by hash); it reads the same from `file://`, with scripts off, on paper and in a screen reader; equal reports give equal
bytes.

Does not know: where a report's data come from.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from urllib.parse import quote

from lmpipe.report.first_screen import first_screen, standing
from lmpipe.report.html import Content, Markup, element
from lmpipe.report.model import Report
from lmpipe.report.numbers import moment
from lmpipe.report.parts import Section, Tone
from lmpipe.report.sections import audits, cost, data, fit, model, provenance, repeats, result, samples, tasks, training

SECTIONS = (
    result.section,
    tasks.section,
    repeats.section,
    samples.section,
    training.section,
    fit.section,
    data.section,
    model.section,
    audits.section,
    cost.section,
    provenance.section,
)
"""In the order of the page: what came out, how, from what, at what risk and cost, and how to check."""

_ICONS: dict[Tone, tuple[str, str]] = {
    "good": ("#0a6b52", "M8 17l6 6 11-13"),
    "bad": ("#b3261e", "M9 9l14 14M23 9L9 23"),
    "unsure": ("#8a5a00", "M8 18q4-7 8-2t8-2"),
    "plain": ("#5d5a54", "M8 16h16"),
}


def render(report: Report) -> str:
    """The whole page as text; write it as UTF-8."""
    made = [section(report) for section in SECTIONS]
    skip = element("a", "Skip to the result", href="#result", class_="skip")
    body = element(
        "body",
        skip,
        element(
            "div", first_screen(report), contents(made), element("main", map(_section, made)), _foot(report), class_="page"
        ),
        _script(),
    )
    return f"<!doctype html>\n{element('html', _head(report), body, lang='en')}\n"


def contents(sections: list[Section]) -> Markup:
    """The table of contents; each entry with the section's one fact, or the word that it is missing."""
    entries = []
    for one in sections:
        fact = one.fact if one.body else "not recorded"
        link = element("a", element("span", one.title), " ", element("small", fact) if fact else None, href=f"#{one.id}")
        entries.append(element("li", link))
    title = element("p", "On this page", class_="nav-title", id="contents-title")
    return element("nav", title, element("ol", entries), aria_labelledby="contents-title", class_="contents")


def _section(one: Section) -> Markup:
    title = f"{one.id}-title"
    body: Content = one.body or element("p", one.missing, class_="missing")
    absent = None if one.body else "absent"
    heading = element("h2", one.title, id=title)
    return element("section", heading, body, id=one.id, aria_labelledby=title, tabindex="-1", class_=absent)


def _foot(report: Report) -> Markup:
    made = f"Made by lmpipe {report.lmpipe_version} for run {report.run_id} of {moment(report.created_at)}."
    return element("footer", element("p", made, " This page loads nothing from the network."))


def _head(report: Report) -> Markup:
    style, script = _asset("page.css"), _asset("page.js")
    sources = f"style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:"
    policy = f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"
    word, tone, _ = standing(report)
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{report.run_name}: {word} · lmpipe report"),
        element("link", rel="icon", href=_icon(tone)),
        Markup(f"<style>{style}</style>"),
    )


def _script() -> Markup:
    return Markup(f"<script>{_asset('page.js')}</script>")


def _icon(tone: Tone) -> str:
    """The verdict's sign for the browser's tab."""
    colour, shape = _ICONS[tone]
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
        f'<rect width="32" height="32" rx="7" fill="{colour}"/>'
        f'<path d="{shape}" fill="none" stroke="#fff" stroke-width="4" stroke-linecap="round"/></svg>'
    )
    return f"data:image/svg+xml,{quote(svg, safe='')}"


def _asset(name: str) -> str:
    return files("lmpipe.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
