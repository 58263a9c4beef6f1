"""The parts of a chatbot that need no model, on real data: retrieval, thresholds, state tracking, dates and times.

    python benchmarks/serving/chatbot.py SHARED     SHARED holds the folders banking77, clinc150 and sgd_dialogues

Retrieval: the training messages are the snippets; a test message has found one of its own intent among the first k (banking77,
clinc150); beside rank_bm25 where it is installed. Found or not: clinc150's threshold chosen on validation messages, with and
without an answer. State: whole dialogues of one service (SGD dev), their own intents and spans given, told to a chatbot with a
form for each intent; after every message the slots must be what the user said last. Dates and times: our patterns against the
spans that people marked (SGD, user turns; the patterns were written with a look at dev).
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lmpipe.evaluation.intervals import wilson
from lmpipe.models.bm25.index import build_bm25, words_of
from lmpipe.serving.chatbot.config import ChatbotConfig
from lmpipe.serving.chatbot.entities.dates import find_dates
from lmpipe.serving.chatbot.entities.found import Entity
from lmpipe.serving.chatbot.entities.times import find_times
from lmpipe.serving.chatbot.grounding.config import FUNCTION_WORDS
from lmpipe.serving.chatbot.grounding.index import build_index
from lmpipe.serving.chatbot.session import Chatbot
from lmpipe.serving.chatbot.thresholds import choose_threshold
from lmpipe.serving.chatbot.understanding import Understanding
from lmpipe.serving.chatbot.understanding_config import BestF1, FixedThreshold

TODAY = date(2019, 3, 1)
"""In SGD's dialogues it is March 2019."""
NONE = "none"
Pairs = list[tuple[str, str]]


def banking77(folder: Path) -> tuple[Pairs, Pairs]:
    import csv

    def rows(name: str) -> Pairs:
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return [(row["text"], row["category"]) for row in csv.DictReader(file)]

    return rows("train"), rows("test")


def share(hits: int, count: int) -> str:
    interval = wilson(hits, count)
    return f"{hits / count:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


def retrieval(name: str, train: Pairs, test: Pairs) -> None:
    labels = np.array([label for _, label in train])
    texts = [text for text, _ in train]
    started = time.process_time()
    index = build_bm25(texts, k1=1.2, b=0.75)
    built = time.process_time() - started
    for what, ignored in (("all words", frozenset[str]()), ("without function words", frozenset(FUNCTION_WORDS))):
        started = time.process_time()
        questions = [" ".join(word for word in words_of(text) if word not in ignored) or text for text, _ in test]
        ranked = [labels[np.argsort(-index.scores(question), kind="stable")[:5]] for question in questions]
        seconds = time.process_time() - started
        first = sum(str(found[0]) == label for found, (_, label) in zip(ranked, test, strict=True))
        five = sum(label in found.tolist() for found, (_, label) in zip(ranked, test, strict=True))
        print(
            f"{name}, BM25, {what}: recall@1 {share(first, len(test))}, recall@5 {share(five, len(test))}; "
            f"index {built:.2f} s, {1000 * seconds / len(test):.2f} ms a question"
        )
    if find_spec("rank_bm25"):
        from rank_bm25 import BM25Okapi  # type: ignore[import-untyped]

        started = time.process_time()
        peer = BM25Okapi([words_of(text) for text in texts], k1=1.2, b=0.75)
        built, started = time.process_time() - started, time.process_time()
        ranked = [labels[np.argsort(-peer.get_scores(words_of(text)), kind="stable")[:5]] for text, _ in test]
        seconds = time.process_time() - started
        first = sum(str(found[0]) == label for found, (_, label) in zip(ranked, test, strict=True))
        five = sum(label in found.tolist() for found, (_, label) in zip(ranked, test, strict=True))
        print(
            f"{name}, rank_bm25, all words: recall@1 {share(first, len(test))}, recall@5 {share(five, len(test))}; "
            f"index {built:.2f} s, {1000 * seconds / len(test):.2f} ms a question"
        )


def found_or_not(data: dict[str, Any], what: str, ignored: Sequence[str]) -> None:
    """Whether the share of the highest score tells questions with an answer from those without."""
    texts, labels = [text for text, _ in data["train"]], np.array([label for _, label in data["train"]])
    index = build_bm25(texts, k1=1.2, b=0.75, ignored=ignored)

    def measured(split: str) -> tuple[Any, Any, Any]:
        pairs = data[split] + data[f"oos_{split}"]
        confidence, right = [], []
        for text, label in pairs:
            best = int(index.scores(text).argmax())
            confidence.append(index.shares(text)[best])
            right.append(labels[best] == label)
        return np.array(confidence), np.array(right), np.arange(len(pairs)) < len(data[split])

    chosen = choose_threshold(*measured("val"), BestF1()).point
    test = choose_threshold(*measured("test"), FixedThreshold(value=chosen.threshold)).point
    print(
        f"clinc150, found or not, {what}: threshold {chosen.threshold:.3f} (best F1 on validation); test: "
        f"{test.in_scope_accuracy:.4f} of "
        f"questions with an answer get one of their intent, {test.recall:.4f} of those without get none, F1 {test.f1:.4f}"
    )


def dialogues(folder: Path, split: str) -> list[dict[str, Any]]:
    with gzip.open(folder / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


class Gold:
    """Understands as the people did who marked the dialogues."""

    threshold = 0.5

    def __init__(self) -> None:
        self.turn: dict[str, Any] = {}

    def understand(self, text: str, *, today: date, asked: object = ()) -> Understanding:
        entities = tuple(
            Entity(s["s"], text[s["start"] : s["end"]], s["start"], s["end"], "tagged") for s in self.turn["slots"]
        )
        return Understanding(text, (((self.turn["intents"] or [NONE])[0], 1.0),), True, entities)


def bot_for(dialogs: list[dict[str, Any]], gold: Gold) -> Chatbot:
    """A chatbot for one service: a form for each intent, with the slots that users fill there."""
    slots: dict[str, dict[str, None]] = defaultdict(dict)
    for dialog in dialogs:
        for turn in dialog["turns"]:
            if turn["speaker"] == "USER":
                for intent in turn["intents"][:1] or [NONE]:
                    slots[intent] |= dict.fromkeys(slot["s"] for slot in turn["slots"])
    names = sorted({name for found in slots.values() for name in found})
    forms = [
        {
            "name": f"form_{number}",
            "questions": [{"slot": name, "ask": "ask"} for name in found],
            "done": "done",
            "max_asks": 10,
        }
        for number, (_, found) in enumerate(sorted(slots.items()))
        if found
    ]
    started = {intent: f"form_{number}" for number, (intent, found) in enumerate(sorted(slots.items())) if found}
    say = {"kind": "respond", "response": "done"}
    rules = [{"on": i, "do": {"kind": "form", "form": started[i]} if i in started else say} for i in sorted({*slots, NONE})]
    config = ChatbotConfig.model_validate(
        {
            "intents": [{"name": intent} for intent in sorted({*slots, NONE})],
            "entities": [{"kind": "tagged", "name": name} for name in names],
            "slots": [{"name": name, "entities": [name], "fill": "always"} for name in names],
            "forms": [{**form, "fresh": False} for form in forms],
            "responses": {"ask": "?", "done": "."},
            "rules": rules,
        }
    )
    return Chatbot(config, gold, build_index(config.snippets))  # type: ignore[arg-type]


def tracking(folder: Path) -> None:
    by_service: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for dialog in dialogues(folder, "dev"):
        if len(dialog["services"]) == 1:
            by_service[dialog["services"][0]].append(dialog)
    turns = right = values = kept = 0
    started = time.process_time()
    for dialogs in by_service.values():
        gold = Gold()
        bot = bot_for(dialogs, gold)
        for dialog in dialogs:
            _, state = bot.start()
            expected: dict[str, str] = {}
            for gold.turn in (turn for turn in dialog["turns"] if turn["speaker"] == "USER"):
                text = gold.turn["text"]
                said: dict[str, str] = {}
                for slot in gold.turn["slots"]:
                    said.setdefault(slot["s"], text[slot["start"] : slot["end"]])  # the first of two in one message
                expected |= said
                _, state = bot.reply(state, text, today=TODAY)
                held = {slot.name: slot.value for slot in state.slots}
                turns, right = turns + 1, right + (held == expected)
                values, kept = values + len(said), kept + sum(held.get(name) == value for name, value in said.items())
    seconds = time.process_time() - started
    count = sum(map(len, by_service.values()))
    print(
        f"SGD dev, {count} dialogues of {len(by_service)} services: whole state right after {share(right, turns)} of {turns} "
        f"messages, {kept / values:.4f} of {values} values taken; {1000 * seconds / turns:.2f} ms a message"
    )


def patterns(folder: Path, split: str) -> None:
    """How many marked dates and times are found, with the very same ends or overlapping."""
    counts: dict[str, list[int]] = {"date": [0, 0, 0, 0], "time": [0, 0, 0, 0]}
    for dialog in dialogues(folder, split):
        for turn in dialog["turns"]:
            if turn["speaker"] != "USER":
                continue
            spans: dict[str, list[tuple[int, int]]] = {
                "date": [(start, end) for start, end, _ in find_dates(turn["text"], TODAY, day_first=False)],
                "time": [(start, end) for start, end, _ in find_times(turn["text"])],
            }
            for kind, found in spans.items():
                marked = [
                    (s["start"], s["end"]) for s in turn["slots"] if s["s"].endswith(kind) or s["s"].startswith(f"{kind}_")
                ]
                counts[kind][0] += len(marked)
                counts[kind][1] += sum(span in found for span in marked)
                counts[kind][2] += sum(any(s < end and start < e for s, e in found) for start, end in marked)
                counts[kind][3] += sum(not any(s < end and start < e for start, end in marked) for s, e in found)
    for kind, (marked_count, exact, overlapping, alone) in counts.items():
        print(
            f"SGD {split}, {kind}s: {marked_count} marked, same ends {share(exact, marked_count)}, "
            f"overlapping {share(overlapping, marked_count)}; {alone} found where none is marked"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    shared = parser.parse_args().shared
    clinc = json.loads((shared / "clinc150" / "data_full.json").read_text(encoding="utf-8"))
    retrieval("banking77", *banking77(shared / "banking77"))
    retrieval("clinc150", clinc["train"], clinc["test"])
    found_or_not(clinc, "share of all words", ())
    found_or_not(clinc, "share without function words", FUNCTION_WORDS)
    tracking(shared / "sgd_dialogues")
    patterns(shared / "sgd_dialogues", "dev")  # read while they were written
    patterns(shared / "sgd_dialogues", "test")


if __name__ == "__main__":
    main()
