"""The ladder: n-gram, hidden Markov, LSTM and three sizes of the Llama layout on the same books, on one axis of bits per byte.

    python benchmarks/training/ladder.py books_text.jsonl.gz --picture docs/ladder.svg [--tokens 1_000_000] [--work FOLDER]

One recipe, whose `model:` alone changes from rung to rung; data, tokenizer and test text are computed once. The networks see
`--tokens` training tokens each; the n-gram and the hidden Markov model count the whole training text (the latter at most
1,000,000 tokens of it). Intervals are bootstraps over blocks of the test text. Seconds and watt-hours are those of the stage
that trains (its record says how energy was taken), so they hold the start of a process and compiling, but no data and no
evaluation.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from pairs import machine

from lmpipe.base.measures import Metric, read_metrics
from lmpipe.base.runtime import Runtime
from lmpipe.pipeline.record import Record
from lmpipe.pipeline.runner import run
from lmpipe.recipes.project import open_project

COUNTED = [{"kind": "ngram", "order": 5}, {"kind": "hmm", "states": 32, "iterations": 10, "max_tokens": 1_000_000}]
NETWORKS: dict[str, tuple[dict[str, Any], float]] = {
    "LSTM, 2 layers, width 256": ({"kind": "lstm", "size": "mini", "context": 256}, 4e-3),
    "Llama layout, 2 layers, width 64": ({"kind": "llama", "layers": 2, "width": 64, "heads": 2, "context": 256}, 8e-3),
    "Llama layout, 2 layers, width 128": ({"kind": "llama", "size": "tiny", "context": 256}, 8e-3),
    "Llama layout, 4 layers, width 256": ({"kind": "llama", "size": "mini", "context": 256}, 4e-3),
}
"""Models and the peak rate of Muon."""


class Rung(NamedTuple):
    name: str
    metric: Metric
    record: Record
    parameters: int | None


def recipe_of(model: dict[str, Any], rate: float, arguments: argparse.Namespace) -> dict[str, Any]:
    read = {"kind": "jsonl", "paths": [str(arguments.books.resolve())], "language": "en"}
    phase = {
        "name": "pretrain",
        "on": "books",
        "tokens": arguments.tokens,
        "batch_tokens": arguments.batch_tokens,
        "optimizer": {"kind": "muon", "lr": rate},
        "validation": {"every_tokens": max(1, arguments.tokens // 4), "tokens": 20_000},
        "statistics": False,
    }
    return {
        "name": "ladder",
        "data": {"books": {"read": [read], "split": {"train": 0.97, "validation": 0.01, "test": 0.02, "by": "position"}}},
        "tokenizer": {"kind": "bpe", "vocab_size": arguments.vocabulary, "train_on": "books"},
        "model": model,
        "train": [phase],
        "evaluate": [{"kind": "perplexity", "on": "books", "baselines": [*COUNTED, {"kind": "xz", "preset": 9}]}],
    }


def rungs(arguments: argparse.Namespace, store: Path) -> Iterator[Rung]:
    runtime = Runtime(store=str(store), device="cpu", threads=arguments.threads)
    told = set[str]()
    for name, (model, rate) in NETWORKS.items():
        stages = open_project(recipe_of(model, rate, arguments)).stages(runtime)
        found = run([stage for stage in stages if stage.name.startswith("evaluate")], runtime)
        records = {result.name.partition("-")[0]: result.record for result in found.stages}
        measured = next(result for result in found.stages if result.name.startswith("evaluate"))
        metrics = {metric.name: metric for metric in read_metrics(measured.path)}
        for kind, label, stage in (
            ("ngram", "5-gram, Kneser-Ney", "ngram"),
            ("hmm", "hidden Markov, 32 states", "hidden_markov"),
        ):
            if kind not in told:
                told.add(kind)
                yield Rung(label, metrics[f"books.test.{kind}.bits_per_byte"], record_of(records, stage, kind), None)
        training = record_of(records, "train", "pretrain")
        yield Rung(name, metrics["books.test.bits_per_byte"], training, int(training.facts["parameters"]))


def record_of(records: dict[str, Record], *names: str) -> Record:
    return next(record for name, record in records.items() if name in names)


def table(found: Sequence[Rung]) -> str:
    lines = ["| model | parameters | bits per byte, test | seconds of training | Wh |", "|---|---|---|---|---|"]
    for rung in found:
        low, high = ends(rung.metric)
        size = f"{rung.parameters:,}" if rung.parameters else ""
        bits = f"{rung.metric.value:.3f} [{low:.3f}, {high:.3f}]"
        lines.append(f"| {rung.name} | {size} | {bits} | {rung.record.seconds:,.0f} | {rung.record.energy.watt_hours:.2f} |")
    return "\n".join(lines)


def ends(metric: Metric) -> tuple[float, float]:
    assert metric.interval is not None, "bits per byte have an interval"
    return metric.interval.low, metric.interval.high


WIDTH, LEFT, RIGHT, ROW, TOP = 900, 270, 640, 44, 64


def picture(found: Sequence[Rung], title: str) -> str:
    """A dot with its interval for each model, best on top, and what it cost; plain SVG that reads in light and dark."""
    ordered = sorted(found, key=lambda rung: rung.metric.value)
    low = min(ends(rung.metric)[0] for rung in found) - 0.05
    high = max(ends(rung.metric)[1] for rung in found) + 0.05
    height = TOP + ROW * len(found) + 56

    def across(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (RIGHT - LEFT)

    def text(x: float, y: float, words: str, more: str = "") -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="14">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        text(16, 26, title, 'font-size="16" font-weight="bold"'),
        text(RIGHT + 130, 52, "seconds", 'text-anchor="end" fill="#555"'),
        text(RIGHT + 220, 52, "Wh", 'text-anchor="end" fill="#555"'),
    ]
    bottom = TOP + ROW * len(found)
    ticks = [tick / 10 for tick in range(int(low * 10) + 1, int(high * 10) + 1)]
    for tick in ticks[:: max(1, len(ticks) // 8)]:
        parts.append(f'<line x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="{TOP}" y2="{bottom}" stroke="#ddd"/>')
        parts.append(text(across(tick), bottom + 20, f"{tick:.1f}", 'text-anchor="middle" fill="#555"'))
    parts.append(text((LEFT + RIGHT) / 2, bottom + 42, "bits per byte of test text (95% interval)", 'text-anchor="middle"'))
    for number, rung in enumerate(ordered):
        y = TOP + ROW * (number + 0.5)
        start, stop = map(across, ends(rung.metric))
        parts += [
            text(LEFT - 14, y + 5, rung.name, 'text-anchor="end"'),
            f'<line x1="{start:.1f}" x2="{stop:.1f}" y1="{y}" y2="{y}" stroke="#1f5fa8" stroke-width="3"/>',
            f'<circle cx="{across(rung.metric.value):.1f}" cy="{y}" r="6" fill="#1f5fa8"/>',
            text(across(rung.metric.value), y - 11, f"{rung.metric.value:.3f}", 'text-anchor="middle" font-size="12"'),
            text(RIGHT + 130, y + 5, f"{rung.record.seconds:,.0f}", 'text-anchor="end"'),
            text(RIGHT + 220, y + 5, f"{rung.record.energy.watt_hours:.2f}", 'text-anchor="end"'),
        ]
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("books", type=Path, help="JSON lines with `text`, plain or gzipped")
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--work", type=Path, help="keep everything there, and go on from what is there")
    arguments = parser.parse_args()
    print(machine("torch"))
    with tempfile.TemporaryDirectory() as temporary:
        found = []
        for rung in rungs(arguments, (arguments.work or Path(temporary)) / "store"):
            found.append(rung)
            print(table([rung]).splitlines()[-1], flush=True)
    print(table(found))
    print(f"energy: {found[0].record.energy.method}")
    if arguments.picture:
        title = f"The same books, one axis: networks after {arguments.tokens:,} tokens each"
        arguments.picture.write_text(picture(found, title), encoding="utf-8")


if __name__ == "__main__":
    main()
