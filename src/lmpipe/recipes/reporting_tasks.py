"""From an evaluation's files to the page's tasks: numbers, matrix, choices, and the examples that say most about the model.

Texts are not kept with per-example results; they are read from the documents that the evaluation read, for the examples shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lmpipe.base.files import read_json
from lmpipe.base.measures import Metric, read_metrics
from lmpipe.data.documents import parts_of
from lmpipe.evaluation.examples import EXAMPLES, ExampleLayout, read_layout
from lmpipe.recipes.results import Run
from lmpipe.report.task_model import AnsweredExample, Baseline, Choice, Confusion, Part, ReliabilityBar, Score, Task

MOST_EXAMPLES = 60
"""Examples shown of a task: the most telling ones, whatever their class."""
OF_EACH_GROUP = 2
"""And so many more of each class."""
SCORES = ("rougeL", "rouge1", "rouge2", "token_f1", "exact_match")
"""Of a written text beside its references; the first one orders the list."""
TITLES = {
    "classification": "Most confident and wrong",
    "multilabel": "Most labels wrong",
    "regression": "Farthest off",
    "tagging": "Most tags wrong",
    "generation": "Written texts beside their references, the worst first",
}


def tasks_of(run: Run) -> list[Task]:
    """Every evaluation of the run that kept per-example results."""
    folders = {stage: run.folder(stage) for stage in run.stages_of("evaluate")}
    return [
        _task(folder, _documents(run, stage))
        for stage, folder in folders.items()
        if folder is not None and (folder / EXAMPLES).is_file()
    ]


def _documents(run: Run, stage: str) -> Path | None:
    """What the evaluation read its texts from; programs, for one, come from elsewhere."""
    entry = run.records[stage].inputs.get("documents")
    return run.folder(entry.stage) if entry else None


def _task(folder: Path, documents: Path | None) -> Task:
    layout = read_layout(folder / EXAMPLES)
    metrics = read_metrics(folder)
    beside = sorted(path.parent for path in folder.glob(f"*/{EXAMPLES}"))
    own = [metric for metric in metrics if metric.name.count(".") == layout.subject.count(".") + 1]
    slices = [_part(one, layout.subject) for one in _read(folder, "slices.json") or ()]
    matrix = _read(folder, "confusion.json")
    table = pq.read_table(folder / EXAMPLES)
    wrong, shown = _chosen(layout, table)
    split = documents / layout.subject.rsplit(".", 1)[-1] if documents else None
    return Task(
        subject=layout.subject,
        kind=layout.kind,
        count=table.num_rows,
        scores=[_score(metric, layout.subject) for metric in own],
        baselines=[
            Baseline(
                name=one.name.replace("_", " "),
                scores=[_score(metric, f"{layout.subject}.{one.name}") for metric in read_metrics(one)],
            )
            for one in beside
        ],
        confusion=Confusion(classes=matrix["classes"], counts=matrix["counts"]) if matrix else None,
        classes=[one for one in slices if one.by == "class"],
        slices=[one for one in slices if one.by != "class"],
        reliability=[_bar(bar) for bar in _read(folder, "reliability.json") or ()],
        choices=choices_of(_read(folder, "decision.json") or {}),
        wrong=wrong,
        examples_title=TITLES.get(layout.kind, ""),
        examples=_with_texts(shown, split),
    )


def _score(metric: Metric, subject: str) -> Score:
    """`reviews.test.precision.good` is the precision: a class's name may hold dots."""
    statistic = metric.name.removeprefix(f"{subject}.").split(".", 1)[0]
    low, high = (metric.interval.low, metric.interval.high) if metric.interval else (None, None)
    return Score(statistic=statistic, value=metric.value, unit=metric.unit, low=low, high=high)


def _part(one: dict[str, Any], subject: str) -> Part:
    scores = [_score(Metric.model_validate(metric), subject) for metric in one["metrics"]]
    return Part(by=one["by"], value=one["value"], count=one["count"], small=one["small"], scores=scores)


def _bar(one: dict[str, Any]) -> ReliabilityBar:
    ends = {"accuracy_low": one["interval"]["low"], "accuracy_high": one["interval"]["high"]}
    return ReliabilityBar(**{key: value for key, value in one.items() if key != "interval"}, **ends)


def _read(folder: Path, name: str) -> Any:
    return read_json(folder / name) if (folder / name).is_file() else None


def choices_of(decision: dict[str, Any]) -> list[Choice]:
    """What `decision.json` says was chosen, in sentences."""
    found = []
    if temperature := decision.get("temperature"):
        effect = (
            f"Logits are divided by it: log loss on {temperature['count']:,} validation examples was "
            f"{temperature['nats_before']:.4g} nats as trained, {temperature['nats_after']:.4g} with it."
        )
        found.append(Choice(name="temperature", value=temperature["value"], effect=effect))
    if abstention := decision.get("abstention"):
        came = abstention["measured"]
        right = "none of them" if came["selective_accuracy"] is None else f"{came['selective_accuracy']:.1%} of them right"
        effect = f"Less sure answers are held back: {came['coverage']:.1%} are given, {right}."
        found.append(Choice(name="abstention threshold", value=abstention["chosen"]["threshold"], effect=effect))
    if scope := decision.get("scope"):
        came = scope["measured"]
        effect = (
            f"Less sure texts count as out of scope: {came['refused']:.1%} of those outside are refused, "
            f"{came['kept']:.1%} of those inside are kept."
        )
        found.append(Choice(name="scope threshold", value=scope["chosen"]["threshold"], effect=effect))
    return found


def _chosen(layout: ExampleLayout, table: pa.Table) -> tuple[int | None, list[AnsweredExample]]:
    """How many are wrong, and the most telling examples: the worst of all, then some of every group."""
    match layout.kind:
        case "classification":
            wrong = table.filter(pc.not_equal(table["label"], table["prediction"]))
            columns = wrong.select(["id", "label", "prediction", "confidence"]).to_pylist()
            columns.sort(key=lambda row: (-(row["confidence"] or 0), row["id"]))
            return len(columns), _spread(_classified(row) for row in columns)
        case "multilabel" | "tagging":
            rows = table.select(["id", "label", "prediction"]).to_pylist()
            marked = [(_differing(layout.kind, row), row) for row in rows]
            bad = sorted((one for one in marked if one[0]), key=lambda one: (-one[0], one[1]["id"]))
            return len(bad), [_several(row, n) for n, row in bad[:MOST_EXAMPLES]]
        case "regression":
            rows = table.select(["id", "label", "prediction"]).to_pylist()
            rows.sort(key=lambda row: (-abs(row["label"] - row["prediction"]), row["id"]))
            return None, [_scored(row) for row in rows[:MOST_EXAMPLES]]
        case "generation":
            scores = [name for name in SCORES if table[name].null_count < table.num_rows]
            order = [(scores[0], "ascending")] if scores else []
            worst = table.sort_by([*order, ("id", "ascending")]).slice(0, MOST_EXAMPLES)
            return None, [_written(row, scores) for row in worst.to_pylist()]
    return None, []


def _spread(examples: Iterable[AnsweredExample]) -> list[AnsweredExample]:
    kept, of = list[AnsweredExample](), Counter[str]()
    for place, one in enumerate(examples):
        of[one.group] += 1
        if place < MOST_EXAMPLES or of[one.group] <= OF_EACH_GROUP:
            kept.append(one)
    return kept


def _classified(row: dict[str, Any]) -> AnsweredExample:
    scores = {} if row["confidence"] is None else {"confidence": row["confidence"]}
    return _example(row, row["label"], row["prediction"], group=row["label"], scores=scores)


def _differing(kind: str, row: dict[str, Any]) -> int:
    if kind == "multilabel":
        return len(set(row["label"]) ^ set(row["prediction"]))
    return sum(true != predicted for true, predicted in zip(row["label"], row["prediction"], strict=True))


def _several(row: dict[str, Any], differing: int) -> AnsweredExample:
    return _example(row, " ".join(row["label"]), " ".join(row["prediction"]), scores={"wrong": differing})


def _scored(row: dict[str, Any]) -> AnsweredExample:
    off = row["prediction"] - row["label"]
    return _example(row, f"{row['label']:.4g}", f"{row['prediction']:.4g}", scores={"off_by": off})


def _written(row: dict[str, Any], scores: list[str]) -> AnsweredExample:
    found = {name: row[name] for name in scores if row[name] is not None}
    expected = "\n".join(row["references"] or ())
    return _example(row, expected, row["prediction"], scores=found, text=row["source"] or "")


def _example(
    row: dict[str, Any], expected: str, answer: str, *, scores: dict[str, float], group: str = "", text: str = ""
) -> AnsweredExample:
    return AnsweredExample(id=row["id"], text=text, expected=expected, answer=answer, group=group, scores=scores)


def _with_texts(examples: list[AnsweredExample], split: Path | None) -> list[AnsweredExample]:
    """The examples with the texts of their documents, where these are still there."""
    wanted = {one.id for one in examples if not one.text}
    if split is None or not split.is_dir() or not wanted:
        return examples
    texts: dict[str, str] = {}
    for part in parts_of(split):
        table = pq.read_table(part, columns=["id", "text"], filters=pc.field("id").isin(sorted(wanted)))
        texts |= dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
    return [one.model_copy(update={"text": one.text or texts.get(one.id) or ""}) for one in examples]
