"""Personal data: F1 on the marked texts of presidio-research and MB/s, beside Presidio's analyzer without a model of names.

    python benchmarks/data/pii.py GOLD BOOKS --presidio PYTHON

GOLD: the folder of presidio-research with `data/synth_dataset_v2.json` and `tests/data/generated_large.json`.
BOOKS: JSON lines (.gz too) of long texts, for the speed on text that holds little; one marked sentence is put into each 5,000
characters, so that there is something to find.
PYTHON: the interpreter of an environment with presidio-analyzer.

A span counts when it overlaps a marked one of its kind by half of their union or more. Nine kinds that both look for; DATE_TIME
also marks bare years and weekdays, which name no day and which neither looks for. Both use one thread; rounds alternate.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmpipe.data.pii.find import FINDERS, find

KINDS = {
    "CREDIT_CARD": "credit_card", "IBAN_CODE": "iban", "EMAIL_ADDRESS": "email", "IP_ADDRESS": "ip", "PHONE_NUMBER": "phone",
    "DOMAIN_NAME": "url", "URL": "url", "US_SSN": "us_ssn", "US_DRIVER_LICENSE": "driver_licence", "DATE_TIME": "date",
}  # fmt: skip
CHECKSUMS = ("credit_card", "iban")
SETS = ("data/synth_dataset_v2.json", "tests/data/generated_large.json")
THRESHOLDS = (0.0, 0.1, 0.3, 0.4, 0.5, 0.7)
OURS = tuple(dict.fromkeys(KINDS.values()))
Spans = list[tuple[int, int, str]]


def our_spans(texts: Sequence[str]) -> list[Spans]:
    return [[tuple(span) for span in find(text, OURS, public_ips_only=False)] for text in texts]  # type: ignore[misc]


class Presidio:
    """The peer's process."""

    def __init__(self, python: str) -> None:
        script = Path(__file__).with_name("presidio_peer.py")
        self.process = subprocess.Popen(
            [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.versions = json.loads(self.process.stdout.readline())

    def ask(self, texts: Sequence[str]) -> tuple[float, list[list[Any]]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(list(texts)) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["seconds"], answer["spans"]


def scores(gold: Sequence[Spans], found: Sequence[Spans]) -> dict[str, tuple[float, float, float, int]]:
    """(precision, recall, F1, marked) by kind, of all kinds, and of those with a checksum."""
    hits, extra, missed = Counter[str](), Counter[str](), Counter[str]()
    for marked, spans in zip(gold, found, strict=True):
        left = list(marked)
        for span in spans:
            match = next((one for one in left if one[2] == span[2] and overlap(one, span) >= 0.5), None)
            if match:
                left.remove(match)
            (hits if match else extra)[span[2]] += 1
        missed.update(kind for _, _, kind in left)
    groups = {**{kind: (kind,) for kind in OURS}, "checksum kinds": CHECKSUMS, "all": OURS}
    return {name: _score(*(sum(c[k] for k in kinds) for c in (hits, extra, missed))) for name, kinds in groups.items()}


def _score(hits: int, extra: int, missed: int) -> tuple[float, float, float, int]:
    precision, recall = hits / max(1, hits + extra), hits / max(1, hits + missed)
    return precision, recall, 2 * hits / max(1, 2 * hits + extra + missed), hits + missed


def _shown(score: tuple[float, float, float, int]) -> str:
    return f"P {score[0]:.3f} R {score[1]:.3f} F1 {score[2]:.3f}"


def overlap(a: tuple[int, int, str], b: tuple[int, int, str]) -> float:
    return max(0, min(a[1], b[1]) - max(a[0], b[0])) / (max(a[1], b[1]) - min(a[0], b[0]))


def without_overlaps(spans: Sequence[Any], threshold: float) -> Spans:
    """Presidio's results of the compared kinds; of two that overlap, the higher score, then the longer one."""
    kept: Spans = []
    for start, end, kind, score in sorted(spans, key=lambda s: (-s[3], s[0] - s[1])):
        one = (start, end, KINDS.get(kind, ""))
        if one[2] and score >= threshold and not any(overlap(one, other) for other in kept):
            kept.append(one)
    return kept


def read_gold(path: Path) -> tuple[list[str], list[Spans]]:
    items = json.loads(path.read_text(encoding="utf-8"))
    gold = [
        [(s["start_position"], s["end_position"], KINDS[s["entity_type"]]) for s in item["spans"] if s["entity_type"] in KINDS]
        for item in items
    ]
    return [item["full_text"] for item in items], gold


def speed_texts(books: Path, sentences: Sequence[str], megabytes: float) -> list[str]:
    opener = gzip.open if books.suffix == ".gz" else open
    pieces: list[str] = []
    with opener(books, "rt", encoding="utf-8") as lines:
        for line in lines:
            text = json.loads(line)["text"]
            for start in range(0, len(text), 5000):
                if sum(map(len, pieces)) >= megabytes * 1e6:
                    return pieces
                pieces.append(f"{text[start : start + 5000]} {sentences[len(pieces) % len(sentences)]}")
    return pieces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gold", type=Path)
    parser.add_argument("books", type=Path)
    parser.add_argument("--presidio", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=0.5)
    arguments = parser.parse_args()
    peer = Presidio(arguments.presidio)
    print(f"Python {platform.python_version()}; {peer.versions}; {time.strftime('%Y-%m-%d')}")
    for name in SETS:
        texts, gold = read_gold(arguments.gold / name)
        found = peer.ask(texts)[1]
        tried = {t: scores(gold, [without_overlaps(spans, t) for spans in found]) for t in THRESHOLDS}
        best = max(tried, key=lambda t: tried[t]["all"][2])
        ours = scores(gold, our_spans(texts))
        print(f"\n{name}: {len(texts)} texts; Presidio's best threshold {best}")
        for kind in ours:
            o, p = ours[kind], tried[best][kind]
            print(f"  {kind:<15} {o[3]:>5} marked   ours {_shown(o)}   Presidio {_shown(p)}")
    sentences = read_gold(arguments.gold / SETS[0])[0]
    for label, texts in (("marked texts", sentences), ("books", speed_texts(arguments.books, sentences, arguments.megabytes))):
        measure(label, texts, peer, arguments.rounds)


def measure(label: str, texts: Sequence[str], peer: Presidio, rounds: int) -> None:
    size = sum(len(text.encode()) for text in texts) / 1e6
    rates: dict[str, list[float]] = {"nine kinds": [], "all kinds": [], "Presidio": []}
    for _ in range(rounds):
        for name, kinds in (("nine kinds", OURS), ("all kinds", tuple(FINDERS))):
            start = time.perf_counter()
            for text in texts:
                find(text, kinds, public_ips_only=False)
            rates[name].append(size / (time.perf_counter() - start))
        rates["Presidio"].append(size / peer.ask(texts)[0])
    print(f"\n{label}, {size:.2f} MB, {rounds} alternating rounds, MB/s: median [min, max]")
    for name, values in rates.items():
        ratio = statistics.median(value / other for value, other in zip(values, rates["Presidio"], strict=True))
        print(f"  {name:<12} {statistics.median(values):7.3f} [{min(values):.3f}, {max(values):.3f}]   {ratio:6.1f} x Presidio")


if __name__ == "__main__":
    main()
