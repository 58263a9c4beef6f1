"""What the model wrote, with the prompt and the settings it was drawn with."""

from __future__ import annotations

from lmpipe.report.html import Markup, element
from lmpipe.report.model import Report, Sample
from lmpipe.report.numbers import plural
from lmpipe.report.parts import Section, cut, settings

MAX_SAMPLES = 20


def section(report: Report) -> Section:
    """Each sample as a figure."""
    shown = report.samples[:MAX_SAMPLES]
    intro = element(
        "p",
        "Unedited. The prompt is set in grey with a thin line, what the model added in full ink with a thick one. "
        "A few samples show style, not quality: the numbers above do that.",
        class_="note",
    )
    body = [intro, [_sample(one, number) for number, one in enumerate(shown, 1)]] if shown else None
    fact = plural(len(report.samples), "sample") if shown else ""
    return Section("samples", "Samples", fact, body, "No sample was drawn from a model in this run.")


def _sample(one: Sample, number: int) -> Markup:
    caption = element("figcaption", f"Sample {number}", element("span", settings(one.settings), class_="unit"))
    prompt = element("div", element("span", "Prompt", class_="label"), element("pre", cut(one.prompt)), class_="prompt")
    added = element(
        "div", element("span", "Model", class_="label"), element("pre", cut(one.continuation)), class_="continuation"
    )
    return element("figure", caption, prompt, added, class_="sample")
