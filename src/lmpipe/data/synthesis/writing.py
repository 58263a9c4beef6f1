"""One task of synthesis: a run of draws is asked, divided into examples, held against the rules and shown to the judge.

part-00000.parquet   examples that no rule and no judge took out
dropped.parquet      the others: id, source, rule, value, threshold; never text
calls.jsonl          {id, question, answer, finish, tokens_in, tokens_out}: digests, so that the stage's content says which
                     answers it was made from
usage.json           what the answers took, of the generator and of the judge
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import pyarrow as pa

from lmpipe.base.files import write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.randomness import derive_seed
from lmpipe.data.documents import SCHEMA, Document, TableWriter, part_name, table_of, tables_of
from lmpipe.data.dropped import DROPPED_SCHEMA, dropped_writer
from lmpipe.data.generation.asking import Answer, Asker, Question, Refusal, Usage
from lmpipe.data.synthesis.config import TEXT_SLOT, SynthesisConfig
from lmpipe.data.synthesis.examples import Verdict, broken_rule, divided, judged
from lmpipe.data.synthesis.questions import Draw, filled, question_of, values_of
from lmpipe.data.tasks import Tick, save_ledger

CALLS = "calls.jsonl"
USAGE = "usage.json"
REFUSED = "the generator refused the question"
NO_VALUE = "generator.no_value"
CUT_OFF = "generator.cut_off"
EMPTY = "generator.empty"


@dataclass(frozen=True)
class Plan:
    """What all tasks share."""

    config: SynthesisConfig
    seed: int
    asker: Asker
    judge: Asker | None
    source: str
    """What the documents name as their source."""


@dataclass(frozen=True)
class Batch:
    """One task."""

    part: Path | None
    """Part of the seeds in which those of the draws stand."""
    draws: Sequence[Draw]


class Example(NamedTuple):
    """A document in the making."""

    draw: Draw
    number: int
    text: str
    score: float | None = None


@dataclass
class Writer:
    """Does one task."""

    plan: Plan
    usage: Usage = field(default_factory=Usage)
    judge_usage: Usage = field(default_factory=Usage)

    def __call__(self, task: Batch, folder: Path, tick: Tick) -> None:
        """Ask, judge, write."""
        self.usage, self.judge_usage = Usage(), Usage()
        seeds = _seeds_of(task)
        ledger = Ledger()
        dropped: list[tuple[str, Verdict]] = []
        with (folder / CALLS).open("w", encoding="utf-8") as calls:
            examples = list(self._examples(task, seeds, ledger, dropped, calls, tick))
            kept = list(self._judged(examples, seeds, ledger, dropped, calls))
        for example in kept:
            ledger.keep(len(example.text))
        with TableWriter(folder / part_name(0)) as writer:
            writer.write(table_of([self._document(example) for example in kept]))
        _write_dropped(folder, dropped, self.plan.source)
        write_json(folder / USAGE, {"generator": self.usage.to_json(), "judge": self.judge_usage.to_json()})
        save_ledger(folder, ledger)

    def _examples(
        self,
        task: Batch,
        seeds: Mapping[str, Document],
        ledger: Ledger,
        dropped: list[tuple[str, Verdict]],
        calls: TextIO,
        tick: Tick,
    ) -> Iterator[Example]:
        """Examples that break no rule; every draw is booked."""
        config = self.plan.config
        asked = [(draw, question_of(config, draw, seeds.get(draw.seed_id), self.plan.seed)) for draw in task.draws]
        answers = self.plan.asker.answers(question for _, question in asked if question)
        for draw, question in asked:
            tick(1)
            answer = next(answers) if question else None
            if question and answer:
                self.usage.book(answer)
                calls.write(_call(draw.name, self.plan.asker, question, answer))
            if isinstance(answer, Refusal):
                ledger.fail(REFUSED)
                continue
            verdict = _unusable(answer, config.cut_off)
            parts = divided(answer.text, config.examples) if answer and not verdict else []
            if not parts:
                self._drop(Example(draw, 0, ""), verdict or Verdict(EMPTY), ledger, dropped)
            wanted = [
                filled(text, values_of(draw, seeds.get(draw.seed_id)), seeds.get(draw.seed_id)) or text
                for text in config.rules.must_contain
            ]
            for number, text in enumerate(parts):
                example = Example(draw, number, text)
                if broken := broken_rule(text, config.rules, wanted):
                    self._drop(example, broken, ledger, dropped)
                else:
                    yield example

    def _judged(
        self,
        examples: Sequence[Example],
        seeds: Mapping[str, Document],
        ledger: Ledger,
        dropped: list[tuple[str, Verdict]],
        calls: TextIO,
    ) -> Iterator[Example]:
        """Examples with a score that is high enough; all of them where there is no judge."""
        judge, asker = self.plan.config.judge, self.plan.judge
        if judge is None or asker is None:
            yield from examples
            return
        questions = [self._judge_question(example, seeds.get(example.draw.seed_id)) for example in examples]
        for example, question, answer in zip(examples, questions, asker.answers(questions), strict=True):
            self.judge_usage.book(answer)
            calls.write(_call(_id(example), asker, question, answer))
            score, verdict = judged(answer, judge)
            if verdict:
                self._drop(example, verdict, ledger, dropped)
            else:
                yield example._replace(score=score)

    def _judge_question(self, example: Example, seed_document: Document | None) -> Question:
        judge = self.plan.config.judge
        assert judge is not None
        values = {**values_of(example.draw, seed_document), TEXT_SLOT: example.text}
        prompt = filled(judge.prompt, values, seed_document) or judge.prompt
        seed = derive_seed(self.plan.seed, "judge", example.draw.name, example.number) % 2**31
        return Question((("user", prompt),), judge.sampling, seed)

    def _drop(self, example: Example, verdict: Verdict, ledger: Ledger, dropped: list[tuple[str, Verdict]]) -> None:
        ledger.drop(verdict.rule, len(example.text))
        dropped.append((_id(example), verdict))

    def _document(self, example: Example) -> Document:
        config, draw = self.plan.config, example.draw
        meta: dict[str, Any] = {"synthetic": True, "generator": self.plan.source, "attributes": dict(draw.attributes)}
        meta |= {"seed": draw.seed_id} if draw.seed_id else {}
        meta |= {"judge_score": example.score} if example.score is not None else {}
        spelled = json.dumps(meta, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return Document(_id(example), example.text, self.plan.source, config.licence, config.language, spelled)


def _seeds_of(task: Batch) -> dict[str, Document]:
    wanted = {draw.seed_id for draw in task.draws}
    if task.part is None:
        return {}
    rows = (row for table in tables_of(task.part, SCHEMA.names) for row in table.to_pylist() if row["id"] in wanted)
    return {row["id"]: Document(**row) for row in rows}


def _unusable(answer: Answer | None, cut_off: str) -> Verdict | None:
    if answer is None:
        return Verdict(NO_VALUE)
    return Verdict(CUT_OFF) if answer.finish == "length" and cut_off == "drop" else None


def _id(example: Example) -> str:
    digest = hashlib.blake2b(example.text.encode(), digest_size=6).hexdigest()
    return example.draw.example_id(example.number, digest)


def _call(name: str, asker: Asker, question: Question, answer: Answer | Refusal) -> str:
    told: dict[str, Any] = {"id": name, "question": asker.digest(question)}
    if isinstance(answer, Answer):
        told |= {"answer": hashlib.sha256(answer.text.encode()).hexdigest(), "finish": answer.finish}
        told |= {"tokens_in": answer.tokens_in, "tokens_out": answer.tokens_out}
    else:
        told["refused"] = answer.reason
    return json.dumps(told) + "\n"


def _write_dropped(folder: Path, dropped: Sequence[tuple[str, Verdict]], source: str) -> None:
    rows = [{"id": identity, "source": source, **verdict._asdict()} for identity, verdict in dropped]
    with dropped_writer(folder) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=DROPPED_SCHEMA))
