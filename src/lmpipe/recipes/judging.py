"""The stage in which a judge compares the trained model's answers with references. Imported in the stage's own process only.

prompts --> trained model --> answers --.
   `------> references -----------------+--> judge, both orders --> verdicts.parquet --> metrics.json
   `------> other answers, people's verdicts --> judge, both orders --> agreement, kappa

verdicts.parquet   per pair: line of the file, digest of what was asked, whose answer, the answer, what was said in each order,
                   and by a person
metrics.json       win rate, self-agreement, position bias, unparsable verdicts, agreement with people
judge.json         who judged, tokens, cost where the recipe names prices
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lmpipe.base.canonical import digest_of
from lmpipe.base.errors import EndpointError, SourceError
from lmpipe.base.files import atomic_file, read_json, write_json
from lmpipe.base.measures import Metric, write_metrics
from lmpipe.base.randomness import derive_seed
from lmpipe.data.generation.asking import Answer, Asker, Question, Usage, account
from lmpipe.data.generation.config import EndpointConfig, SamplingConfig
from lmpipe.evaluation.bootstrap import Resampling
from lmpipe.evaluation.judged_items import VERDICTS
from lmpipe.evaluation.judging import Outcome, human_metrics, judged_metrics, outcome_of, settled
from lmpipe.models.drawing import Drawing
from lmpipe.models.generate import TextGenerator
from lmpipe.models.passes import DRAWN_TOGETHER
from lmpipe.pipeline.stage import Work
from lmpipe.recipes.generating import askers_of, note_calls
from lmpipe.recipes.judged_config import JudgedConfig
from lmpipe.recipes.stages import trained_model
from lmpipe.serving.answers import written
from lmpipe.tokens.chat import render
from lmpipe.tokens.tokenizer import Tokenizer, load_tokenizer

COLUMNS = pa.schema(
    [
        ("line", pa.int64()),
        *((name, pa.string()) for name in ("item_sha256", "of", "answer", "first", "second", "verdict", "human")),
    ]
)
SAID: dict[str, Outcome] = {"other": "win", "reference": "loss", "tie": "tie"}
"""What a person's word says of the other answer."""
INSTRUCTION = (
    "Compare two answers to one question. {criteria}\n"
    "The order of the answers and their length say nothing about them.\n\n"
    "[Question]\n{prompt}\n\n[Answer A]\n{first}\n\n[Answer B]\n{second}\n\n"
    "Reply with one word: A if answer A is better, B if answer B is better, tie if neither is."
)


@dataclass(frozen=True)
class Row:
    """One line of the file."""

    line: int
    prompt: str
    reference: str
    other: str | None
    human: Outcome | None


@dataclass(frozen=True)
class Pair:
    """An answer that the judge compares with the reference of its row."""

    row: Row
    of: str
    """`model`, or `other`: the file's own other answer."""
    answer: str


def judged(work: Work) -> None:
    """A decoder in fp32 answers, the judge compares."""
    config = work.config.judged
    file = next(source for source in work.sources if source.name == config.file)
    rows = read_rows(Path(file.url), config)
    pairs = [Pair(row, "model", text) for row, text in zip(rows, _answers(work, rows), strict=True)]
    pairs += [Pair(row, "other", row.other) for row in rows if row.other is not None]
    askers = askers_of({"judge": config.judge}, work)
    orders = _verdicts(work, pairs, askers)
    by_whom = {"criteria": config.criteria, "judge": dict(askers["judge"].generator.identity)}
    _write_verdicts(work.output, pairs, orders, by_whom)
    write_metrics(
        work.output, _metrics(config, pairs, orders, derive_seed(work.config.seed, "bootstrap", config.subject) % 10**6)
    )


def read_rows(path: Path, config: JudgedConfig) -> list[Row]:
    """The rows of the file, the first `limit` of them.

    Raises:
        SourceError: when a line is no JSON object or lacks a column, or there is none.
    """
    rows: list[Row] = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if len(rows) == config.limit:
                break
            if line.strip():
                rows.append(_row(line, number, config, path))
    if not rows:
        raise SourceError("the file has no prompts", where=str(path), expected="a JSON object to a line")
    return rows


def _row(line: str, number: int, config: JudgedConfig, path: Path) -> Row:
    where = f"{path}, line {number}"
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SourceError(f"the line is no JSON: {error}", where=where, expected="a JSON object to a line") from None
    if not isinstance(row, dict):
        raise SourceError("the line is no JSON object", where=where, expected='such as {"prompt": "...", "reference": "..."}')
    prompt, reference = (_text(row, column, where) for column in (config.prompt, config.against))
    said = row.get(config.human.verdict) if config.human else None
    if config.human is None or said is None:
        return Row(number, prompt, reference, None, None)
    if said not in SAID:
        raise SourceError(
            f"'{said}' is no verdict",
            where=f"{where}, column '{config.human.verdict}'",
            expected=f"one of {', '.join(SAID)}, or nothing",
            fix="correct the file",
        )
    return Row(number, prompt, reference, _text(row, config.human.answer, where), SAID[said])


def _text(row: dict[str, Any], column: str, where: str) -> str:
    value = row.get(column)
    if not isinstance(value, str):
        raise SourceError(
            f"there is no text in the column '{column}'",
            where=where,
            expected=f"a text; the line has {', '.join(row) or 'nothing'}",
            fix="name the columns with `prompt`, `against` and `human`, or correct the file",
        )
    return value


def _answers(work: Work, rows: Sequence[Row]) -> list[str]:
    """The trained model's answers; one that was given before a kill is not given again."""
    config, tokenizer = work.config.judged, load_tokenizer(work.inputs["tokenizer"])
    model = trained_model(work)
    generator = TextGenerator(model, known_ids=tokenizer.vocab_size)
    answers: list[str] = []
    for first in range(0, len(rows), DRAWN_TOGETHER):
        block = rows[first : first + DRAWN_TOGETHER]
        kept = work.scratch / f"{first:06d}.json"
        if not kept.is_file():
            asked = [
                Drawing(
                    prompt_ids=_prompt_ids(row, tokenizer, work.config.chats, model.context_length - config.max_new_tokens),
                    max_new_tokens=config.max_new_tokens,
                    temperature=config.temperature,
                    seed=derive_seed(work.config.seed, config.subject, row.line),
                    stop_ids=tokenizer.stop_ids,
                )
                for row in block
            ]
            found: dict[int, str] = {}
            for number, ids in generator.generate_all(asked):
                found[number] = written(tokenizer, ids)
                work.progress.update(first + len(found), len(rows), "answers")
            write_json(kept, [found[number] for number in range(len(block))])
        answers += read_json(kept)
        work.progress.update(len(answers), len(rows), "answers")
    return answers


def _prompt_ids(row: Row, tokenizer: Tokenizer, chats: bool, room: int) -> list[int]:
    asked = [{"role": "user", "content": row.prompt}]
    ids = render(asked, tokenizer) if chats else tokenizer.encode_prompt(row.prompt)
    if len(ids) > room:
        raise SourceError(
            f"the prompt of line {row.line} has {len(ids)} tokens, and there is room for {room} beside the answer",
            expected="prompts that fit, because an answer to half a prompt says nothing",
            fix="lower max_new_tokens, shorten the prompt, or take a model with a longer context",
        )
    return ids


def _verdicts(work: Work, pairs: Sequence[Pair], askers: dict[str, Asker]) -> list[tuple[Outcome | None, Outcome | None]]:
    """What the judge says of each pair, its answer first and its answer second."""
    config = work.config.judged
    usage, said = Usage(), []
    questions = [_question(config, pair, first, work.config.seed) for pair in pairs for first in (True, False)]
    for number, given in enumerate(askers["judge"].answers(questions)):
        usage.book(given)
        said.append(outcome_of(given.text, ours="B" if number % 2 else "A") if isinstance(given, Answer) else None)
        work.progress.update(number + 1, len(questions), "verdicts")
    note_calls(askers, work)
    price = config.judge.price if isinstance(config.judge, EndpointConfig) else None
    write_json(work.output / "judge.json", account(usage, askers["judge"].generator.identity, price))
    return list(zip(said[::2], said[1::2], strict=True))


def _question(config: JudgedConfig, pair: Pair, comes_first: bool, seed: int) -> Question:
    first, second = (pair.answer, pair.row.reference) if comes_first else (pair.row.reference, pair.answer)
    text = INSTRUCTION.format(criteria=config.criteria, prompt=pair.row.prompt, first=first, second=second)
    return Question((("user", text),), SamplingConfig(max_tokens=config.verdict_tokens, temperature=0.0), seed)


def _metrics(
    config: JudgedConfig, pairs: Sequence[Pair], orders: Sequence[tuple[Outcome | None, Outcome | None]], seed: int
) -> list[Metric]:
    resampling = Resampling(config.resamples, config.level, seed, "pairs")
    of_model = [order for pair, order in zip(pairs, orders, strict=True) if pair.of == "model"]
    if all(settled(*order) is None for order in of_model):
        raise EndpointError(
            f"the judge gave no verdict on any of {len(of_model)} pairs in both orders",
            where=config.subject,
            expected="A, B or tie, and nothing else",
            fix="take another judge, or raise verdict_tokens where it thinks aloud first",
        )
    compared = [(settled(*order), pair.row.human) for pair, order in zip(pairs, orders, strict=True) if pair.of == "other"]
    people = [human for _, human in compared if human is not None]
    metrics = judged_metrics(of_model, subject=config.subject, resampling=resampling)
    return metrics + human_metrics([one for one, _ in compared], people, subject=config.subject, resampling=resampling)


def _write_verdicts(
    output: Path,
    pairs: Sequence[Pair],
    orders: Sequence[tuple[Outcome | None, Outcome | None]],
    by_whom: Mapping[str, Any],
) -> None:
    rows = [
        {
            "line": pair.row.line,
            "item_sha256": digest_of({"prompt": pair.row.prompt, "reference": pair.row.reference, **by_whom}),
            "of": pair.of,
            "answer": pair.answer,
            "first": first,
            "second": second,
            "verdict": settled(first, second),
            "human": pair.row.human if pair.of == "other" else None,
        }
        for pair, (first, second) in zip(pairs, orders, strict=True)
    ]
    with atomic_file(output / VERDICTS) as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), file, compression="zstd")
