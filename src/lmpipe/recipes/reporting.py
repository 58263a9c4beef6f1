"""From a run's records and files to its report: fills the plain data that the page and the terminal summary are made from."""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmpipe.audit.config import EXTRACTABLE
from lmpipe.base.files import atomic_file
from lmpipe.base.ledger import Ledger
from lmpipe.base.measures import Metric
from lmpipe.evaluation.config import PerplexityConfig
from lmpipe.evaluation.task_config import BM25, LINEAR
from lmpipe.export.data_card import data_card, names_sentence
from lmpipe.models.hmm.config import HmmConfig
from lmpipe.models.ngram.config import NgramConfig
from lmpipe.pipeline.record import Record
from lmpipe.recipes.documents import run_cards
from lmpipe.recipes.facts import fact_tables
from lmpipe.recipes.model_graph import goal_corpus
from lmpipe.recipes.results import Run, open_run
from lmpipe.recipes.schema import Recipe
from lmpipe.report import model
from lmpipe.report.page import render
from lmpipe.report.repeat_model import Repeats
from lmpipe.report.summary import Line, summary
from lmpipe.report.task_model import Fit, Task
from lmpipe.training.config import PhaseConfig
from lmpipe.training.objective_config import ContrastiveConfig

BESIDE = {
    LINEAR: ("accuracy", "linear classifier on words and word pairs, same training texts"),
    BM25: ("mrr", "search by words (BM25)"),
}
"""Baselines that stand beside the model on the first screen, where the goal names no other number: by which, and in words."""
SHOWN_SOURCES = 20
SHOWN_LIBRARIES = ("torch", "tokenizers", "pyarrow", "numpy", "safetensors")


def write_page(run: Run) -> Path:
    """Write the run's HTML page beside its record and return its path."""
    with atomic_file(run.report, "w", encoding="utf-8") as file:
        file.write(render(build_report(run)))
    return run.report


def write_report(reference: str, *, store: str, output: Path | None) -> Path:
    """Write the page of a run, here and (where given) to `output`.

    Raises:
        RecipeError: when there is no such run.
    """
    run = open_run(reference, store)
    page = run.report if run.report.is_file() else write_page(run)
    if output is None:
        return page
    with atomic_file(output, "w", encoding="utf-8") as file:
        file.write(page.read_text(encoding="utf-8"))
    return output


def data_card_text(accounts: Sequence[Mapping[str, Any]]) -> str:
    """The data card of a run, as Markdown."""
    return data_card(accounts)


def summary_lines(run: Run) -> list[Line]:
    """The end of the run in a few lines."""
    renamed = "name" in run.entry.extra.get("overrides", {})  # the file's name then leads to other runs
    recipe = run.name if renamed else run.entry.extra.get("recipe_path") or run.name
    flag = "" if run.store.url == "store" else f" --store {shlex.quote(run.store.url)}"
    target = shlex.quote(recipe)
    embeds = run.entry.recipe["train"][-1]["objective"]["kind"] == ContrastiveConfig().kind  # and says nothing
    talking = [
        model.Command(command=f"lmpipe chat {target}{flag}", purpose="talk to it here"),
        model.Command(command=f"lmpipe serve {target}{flag}", purpose="an OpenAI-compatible server with a web page"),
    ]
    following = [
        *([] if embeds else talking),
        model.Command(command=f"lmpipe verify {target}{flag}", purpose="prove that these are the bytes of this run"),
    ]
    return summary(build_report(run, summary_only=True), page=_shown(run.report), next_commands=following)


def _tasks_and_fits(
    run: Run, recipe: Recipe, cards: Sequence[Mapping[str, Any]]
) -> tuple[list[Task], list[Fit], list[Repeats]]:
    from lmpipe.recipes.fit import fits_of  # these read tables; a summary reads none, and pyarrow would cost it .2 s
    from lmpipe.recipes.reporting_tasks import tasks_of

    return tasks_of(run), fits_of(run, recipe, cards), run.repeats


def build_report(run: Run, *, summary_only: bool = False) -> model.Report:
    """Everything that a page says about a run; what the run lacks is left out.

    `summary_only` leaves out curves and corpora, which a summary does not show and which take longest to read.
    """
    recipe = Recipe.model_validate_json(json.dumps(run.entry.recipe))
    metrics = run.metrics
    cards = [] if summary_only else run_cards(run)
    tasks, fits, repeats = ([], [], []) if summary_only else _tasks_and_fits(run, recipe, cards)
    corpus, split = goal_corpus(recipe), recipe.goal.on if recipe.goal else "test"
    subject = f"{corpus}.{split}.{recipe.goal.metric if recipe.goal else 'bits_per_byte'}"
    return model.Report(
        run_name=run.name,
        run_id=run.id,
        created_at=run.started_at,
        lmpipe_version=run.entry.lmpipe,
        description=recipe.description,
        failure=_failure(run),
        recipe=_recipe_text(run),
        goal=_goal(recipe, subject),
        verdict=run.verdict,
        headline=[subject, f"{corpus}.{split}.next_token_accuracy", EXTRACTABLE],
        comparison=_comparison(recipe, metrics, corpus, split),
        metrics=metrics,
        tasks=tasks,
        repeats=repeats,
        phases=[] if summary_only else [phase for phase in (_phase(run, one) for one in recipe.train) if phase],
        fits=fits,
        corpora=[_corpus(run, card) for card in cards],
        tokenizer=_tokenizer(run, recipe, corpus, split),
        architecture=_architecture(run, recipe),
        samples=[model.Sample.model_validate(value) for value in run.read("samples", "samples.json") or ()],
        findings=run.findings,
        stages=_stages(run),
        predictions=_predictions(run),
        machine=_machine(run),
        verify=_verify(run),
    )


def _failure(run: Run) -> model.Failure | None:
    failure = run.entry.failure
    if failure is None:
        return None
    return model.Failure(stage=failure.stage, **{k: v for k, v in failure.error.items() if k != "error"})


def _recipe_text(run: Run) -> model.RecipeText:
    extra = run.entry.extra
    overrides = [f"{key}={json.dumps(value)}" for key, value in extra.get("overrides", {}).items()]
    return model.RecipeText(
        path=extra.get("recipe_path", ""),
        text=extra.get("recipe_text", ""),
        overrides=overrides,
        resolved=run.entry.recipe,
    )


def _goal(recipe: Recipe, subject: str) -> model.Goal | None:
    if recipe.goal is None:
        return None
    return model.Goal(subject=subject, at_most=recipe.goal.at_most, at_least=recipe.goal.at_least)


def _comparison(recipe: Recipe, metrics: list[Metric], corpus: str, split: str) -> model.Comparison | None:
    found = {metric.name: metric for metric in metrics}
    for name, (decisive, label) in BESIDE.items():
        if f"{corpus}.{split}.{name}.{decisive}" in found:
            return _beside(recipe, found, f"{corpus}.{split}", name, decisive, label)
    subject = f"{corpus}.{split}.bits_per_byte"
    if subject not in found:
        return None
    part = next(
        part for part in recipe.evaluate if isinstance(part, PerplexityConfig) and (part.on, part.split) == (corpus, split)
    )
    labels = {"": "this model"}
    for baseline in part.baselines:
        if isinstance(baseline, NgramConfig):
            labels["ngram."] = f"{baseline.order}-gram Kneser-Ney, same training text"
        elif isinstance(baseline, HmmConfig):
            labels["hmm."] = f"hidden Markov model with {baseline.states} states, same training text"
        else:
            labels["xz."] = f"xz -{baseline.preset}, same bytes"
    contenders = [
        model.Contender(label=label, role="baseline" if key else "model", value=metric.value, interval=metric.interval)
        for key, label in labels.items()
        if (metric := found.get(f"{corpus}.{split}.{key}bits_per_byte"))
    ]
    title = f"Bits per byte of the {split} split of {corpus}"
    return model.Comparison(title=title, subject=subject, unit="bits/byte", better="lower", contenders=contenders)


def _beside(
    recipe: Recipe, found: Mapping[str, Metric], held_out: str, baseline: str, decisive: str, label: str
) -> model.Comparison | None:
    """The model beside a baseline: by the goal's number, else by the decisive one."""
    statistic = recipe.goal.metric.rpartition(".")[2] if recipe.goal else decisive
    own, simple = found.get(f"{held_out}.{statistic}"), found.get(f"{held_out}.{baseline}.{statistic}")
    if own is None or simple is None or own.direction == "none":
        return None
    contenders = [
        model.Contender(label="this model", role="model", value=own.value, interval=own.interval),
        model.Contender(
            label=label,
            role="baseline",
            value=simple.value,
            interval=simple.interval,
        ),
    ]
    corpus, split = held_out.rsplit(".", 1)
    title = f"{statistic.replace('_', ' ').capitalize()} on the {split} split of {corpus}"
    return model.Comparison(title=title, subject=own.name, unit=own.unit, better=own.direction, contenders=contenders)


def _phase(run: Run, phase: PhaseConfig) -> model.Phase | None:
    name, unit = phase.name, phase.objective.counted_in
    folder = run.folder(f"train-{name}")
    training = run.read(f"train-{name}", "training.json")
    if folder is None or training is None:
        return None
    rows = _json_lines(folder / "curve.jsonl")
    meters = _json_lines(folder / "observed" / "meters.jsonl")
    written = _json_lines(folder / "observed" / "samples.jsonl")
    return model.Phase(
        name=name,
        steps=training["steps"],
        tokens=training["tokens"],
        training_loss=_curve(rows, "loss", unit),
        validation_loss=_curve(rows, "validation_loss", unit),
        learning_rate=_curve(rows, "learning_rate", ""),
        gradient_norm=_curve(rows, "gradient_norm", ""),
        tokens_per_second=_curve(meters, "tokens_per_second", "tokens/s"),
        best_step=training.get("best_step"),
        best_tokens=training.get("best_tokens"),
        best_validation_loss=training.get("best_validation_loss"),
        stopped_early=training.get("stopped_early", False),
        stop_reason=training.get("stop_reason", ""),
        processes=run.records[f"train-{name}"].facts.get("processes", 1),
        prompts=list(phase.samples.prompts) if written and phase.samples else [],
        written=[model.Written(tokens=row["tokens"], texts=row["written"]) for row in written],
        sparsity=model.Sparsity(**_without(pruned, "share")) if (pruned := training.get("sparsity")) else None,
    )


def _json_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _curve(rows: list[dict[str, Any]], key: str, unit: str) -> model.Curve | None:
    points = [(row["tokens"], row[key]) for row in rows if row.get(key) is not None]
    if not points:
        return None
    return model.Curve(unit=unit, tokens=[tokens for tokens, _ in points], values=[value for _, value in points])


def _corpus(run: Run, card: Mapping[str, Any]) -> model.Corpus:
    name = card["name"]
    tokens = (run.read(f"tokenize-{name}", "tokens.json") or {}).get("splits", {})
    seconds = {cost["step"]: cost["seconds"] for cost in card["costs"]}
    return model.Corpus(
        name=name,
        sources=card.get("source_count", 0),
        steps=[
            model.DataStep(name=step["step"], seconds=seconds.get(step["step"]), **_without(step, "step"))
            for step in card.get("steps", ())
        ],
        rules=_rules(card),
        histograms=_histograms(card),
        clusters=[_clusters(kind, found) for kind, found in (card.get("duplicates") or {}).items()],
        facts=fact_tables(card),
        largest_sources=[
            model.TextSource(**{key: source[key] for key in ("name", "licence", "documents", "characters")})
            for source in card.get("sources", ())[:SHOWN_SOURCES]
        ],
        licences=card.get("licences") or {},
        languages=card.get("languages") or {},
        personal_data=model.PersonalData(**card["pii"], names_found_by=names_sentence(card.get("names")))
        if "pii" in card
        else None,
        splits=[
            model.Split(name=split, **facts, tokens=tokens.get(split, {}).get("tokens"))
            for split, facts in (card.get("splits") or {}).items()
        ],
    )


def _rules(card: Mapping[str, Any]) -> list[model.DropRule]:
    """Every rule that dropped something or nearly did."""
    counts = Counter[str]()
    for step in card["steps"]:
        counts.update(step["dropped"])
    dropped, nearest, bounds = (card.get(key) or {} for key in ("dropped", "nearest_kept", "bounds"))
    return [
        model.DropRule(
            name=name,
            documents=counts[name],
            dropped=[model.Example(**_given(_without(row, "threshold"))) for row in dropped.get(name, ())],
            nearest=[model.Example(**row) for row in nearest.get(name, ())],
            **bounds.get(name, {}),
        )
        for name in dict.fromkeys((*dropped, *nearest))
    ]


def _given(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not None}


def _histograms(card: Mapping[str, Any]) -> list[model.Histogram]:
    bounds: dict[str, list[float]] = {}
    for rule in (card.get("bounds") or {}).values():
        bounds.setdefault(rule["score"], []).extend(b for b in (rule["at_least"], rule["at_most"]) if b is not None)
    return [
        model.Histogram(score=score, bounds=bounds.get(score, []), **facts)
        for score, facts in (card.get("scores") or {}).items()
    ]


def _clusters(kind: str, found: Mapping[str, Any]) -> model.Clusters:
    largest = {row["id"]: row["documents"] for row in found["largest"]}
    return model.Clusters(kind=kind, sizes=found["sizes"], largest=largest)


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in mapping.items() if k != key}


def _tokenizer(run: Run, recipe: Recipe, corpus: str, split: str) -> model.Tokenizer | None:
    training = run.read("tokenizer", "tokenizer_training.json")
    if training is None:
        return None
    tokens = run.read(f"tokenize-{corpus}", "tokens.json") or {}
    per_token = tokens.get("splits", {}).get(split, {}).get("bytes_per_token")
    return model.Tokenizer(
        kind=recipe.tokenizer.kind,
        vocab_size=training["vocab_size"],
        bytes_per_token=per_token,
        measured_on=f"{split} split" if per_token else "",
        groups=_token_groups(run.read(f"tokenize-{corpus}", "groups.json") or ()),
    )


def _token_groups(rows: Sequence[Mapping[str, Any]]) -> list[model.TokenGroup]:
    """The parts of a text, by whatever there are several of."""
    several = {by for by, number in Counter(row["by"] for row in rows).items() if number > 1}
    return [
        model.TokenGroup(
            by=row["by"],
            name=row["group"],
            documents=row["documents"],
            tokens_per_word=row["tokens"] / row["words"] if row["words"] else None,
            bytes_per_token=row["bytes"] / row["tokens"],
        )
        for row in rows
        if row["by"] in several and row["tokens"]
    ]


def _architecture(run: Run, recipe: Recipe) -> model.Architecture | None:
    training = run.read(f"train-{recipe.train[0].name}", "training.json")
    if training is None:
        return None
    named = {"kind", "layers", "width", "context", "size", "parameters", "for_vocabulary", "stored_parameters"}
    shown = recipe.model.model_dump(mode="json", exclude=named)
    return model.Architecture(
        kind=recipe.model.kind,
        layers=recipe.model.layers,
        width=recipe.model.width,
        context_length=recipe.model.context,
        parameters=training["parameters"],
        parameters_predicted=run.entry.extra.get("predictions", {}).get("parameters"),
        settings={**shown, **recipe.model.resolved()},
    )


def _stages(run: Run) -> list[model.Stage]:
    entries = {stage.name: stage for stage in run.entry.stages}
    failed = run.entry.failure.stage if run.entry.failure else ""
    stages = []
    for name in run.entry.planned:
        record = run.records.get(name)
        if record is None:
            stages.append(model.Stage(name=name, status="failed" if name == failed else "not reached"))
        else:
            stages.append(_stage(record, reused=entries[name].status == "hit"))
    return stages


def _stage(record: Record, *, reused: bool) -> model.Stage:
    ledger = record.facts.get("ledger", {})
    return model.Stage(
        name=record.stage,
        version=str(record.version),
        status="reused" if reused else "computed",
        fingerprint=record.fingerprint,
        content_digest=record.content_digest,
        inputs={role: entry.content_digest for role, entry in record.inputs.items()},
        versions=record.libraries,
        started_at=record.started_at,
        seconds=record.seconds,
        cpu_seconds=record.cpu_seconds,
        peak_memory_bytes=record.peak_memory_bytes,
        energy=model.Energy(**record.energy.model_dump()),
        rows_in=ledger.get("rows_in"),
        rows_out=Ledger.from_json(ledger).rows_out if ledger else None,
    )


def _predictions(run: Run) -> list[model.Prediction]:
    """What `plan` said, beside what happened."""
    predicted = run.entry.extra.get("predictions") or {}
    rows = []
    for stage, numbers in predicted.get("stages", {}).items():
        record = run.records.get(stage)
        for key, unit in (("seconds", "seconds"), ("peak_memory_bytes", "bytes")):
            if key in numbers:
                name = f"{stage}: {'time' if key == 'seconds' else 'peak memory'}"
                actual = getattr(record, key) if record else None
                rows.append(
                    model.Prediction(name=name, unit=unit, predicted=numbers[key], actual=actual, method=numbers["method"])
                )
    return rows


def _machine(run: Run) -> model.Machine | None:
    record = next(iter(run.records.values()), None)
    if record is None:
        return None
    libraries: dict[str, str] = {}
    for other in run.records.values():
        libraries |= {name: version for name, version in other.libraries.items() if name in SHOWN_LIBRARIES}
    return model.Machine(
        processor=record.machine.processor,
        cores=record.machine.cores,
        memory_bytes=record.machine.memory_bytes,
        system=record.machine.system,
        python=record.python,
        device=run.entry.extra.get("device", "cpu"),
        versions=dict(sorted(libraries.items())),
    )


def _verify(run: Run) -> list[model.Command]:
    return [
        model.Command(command=f"lmpipe verify {run.id}", purpose="read every byte again and check the chain of digests"),
        model.Command(
            command=f"lmpipe verify {run.id} --recompute all", purpose="compute every stage again and compare the bytes"
        ),
        model.Command(
            command=f"lmpipe lineage {_shown(run.bundle)}" if run.bundle else "lmpipe show",
            purpose="trace the bundle back to the raw files",
        ),
    ]


def _shown(path: Path) -> str:
    """The shorter of the path as it is and the path from here, as a user would type it."""
    relative = os.path.relpath(path)
    return shlex.quote(relative if not relative.startswith("..") else str(path))
