"""The end of a run in a few lines: what came out, beside what, whether it may go out, what it cost, and what to do next.

Plain data, so that a terminal, a notebook cell and `--json` can each show it their way. Text of the model is made visible
(`visible.py`): an escape sequence that it learned must not reach a terminal.

Does not know: terminals and colours; a line only says whether it is good news.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lmpipe.report.first_screen import standing
from lmpipe.report.model import Command, Contender, Report, Sample
from lmpipe.report.numbers import bounds, change, duration, measured, size, with_unit
from lmpipe.report.parts import Tone, find
from lmpipe.report.sections.cost import energy_text, spent
from lmpipe.report.visible import visible

SAMPLE_LINES = 6
SAMPLE_CHARACTERS = 400


@dataclass(frozen=True)
class Line:
    """One labelled entry. `text` may hold line breaks; an empty label continues the entry above."""

    label: str
    text: str
    tone: Tone | Literal["command"] = "plain"


def summary(report: Report, *, page: str, next_commands: Sequence[Command] = ()) -> list[Line]:
    """The lines, in the order in which to print them; what a run lacks is left out.

    Args:
        report: the run.
        page: where its HTML page lies, as the user should type it.
        next_commands: what to try now.
    """
    word, tone, sentence = standing(report)
    lines = [*_result(report), *_sample(report.samples), Line("verdict", visible(f"{word}. {sentence}"), tone)]
    if report.failure and report.failure.fix:
        lines.append(Line("fix", visible(report.failure.fix)))
    lines += [*_spent(report), Line("report", page)]
    for number, one in enumerate(next_commands):
        lines.append(Line("" if number else "next", f"{one.command}    {one.purpose}", "command"))
    return lines


def _result(report: Report) -> list[Line]:
    """The compared number with its interval, and every baseline on a line of its own; else the first metric."""
    compared = report.comparison
    if compared is None:
        first = next((m for name in report.headline if (m := find(name, report.metrics))), next(iter(report.metrics), None))
        if first is None:
            return []
        return [
            Line(
                visible(first.name),
                f"{with_unit(first.value, first.unit, first.interval)} {bounds(first.interval, first.unit)}".strip(),
            )
        ]
    model = next((one for one in compared.contenders if one.role == "model"), None)
    lines = [Line(visible(compared.title), visible(_contender(one, model, compared.unit))) for one in compared.contenders]
    return [lines[0], *(Line("", line.text) for line in lines[1:])]


def _contender(one: Contender, model: Contender | None, unit: str) -> str:
    value = f"{measured(one.value, unit, one.interval)} {bounds(one.interval, unit)}".rstrip()
    against = f", model {change(model.value, one.value)}" if model is not None and one.role == "baseline" else ""
    return f"{value}  {one.label}{against}"


def _sample(samples: Sequence[Sample]) -> list[Line]:
    if not samples:
        return []
    whole = visible(samples[0].prompt + samples[0].continuation).strip("\n")
    lines = whole[:SAMPLE_CHARACTERS].splitlines()[:SAMPLE_LINES]
    text = "\n".join(lines)
    return [Line("sample", text if len(text) >= len(whole) else f"{text} ...")]


def _spent(report: Report) -> list[Line]:
    total = spent(report.stages)
    parts = [duration(total.seconds)] if total.seconds is not None else []
    parts += [f"{size(total.peak_memory_bytes)} peak memory"] if total.peak_memory_bytes is not None else []
    energy = energy_text(total)
    parts += [f"{energy} by {'; '.join(total.energy_methods)}"] if energy else []
    return [Line("spent", visible(", ".join(parts)))] if parts else []
