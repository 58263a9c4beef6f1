"""The stages that put repeated evaluations together. Imported in a stage's own process only."""

from __future__ import annotations

from typing import Any

from lmpipe.base.files import read_json, write_json
from lmpipe.base.measures import read_metrics, write_metrics
from lmpipe.evaluation.bootstrap import Resampling
from lmpipe.evaluation.catalogue import SEEDS
from lmpipe.evaluation.learning_curve import measure_learning
from lmpipe.evaluation.out_of_fold import join_folds
from lmpipe.evaluation.repeats import measure_seeds
from lmpipe.evaluation.robustness import measure_robustness
from lmpipe.pipeline.stage import Work


def seeds(work: Work) -> None:
    """One evaluation over several training seeds."""
    config = work.config
    folders = {seed: work.inputs[f"seed-{seed}"] for seed in config.seeds}
    spreads = measure_seeds(folders, config.subject, Resampling(config.resamples, config.level, config.seed))
    write_metrics(work.output, [spread.metric(f"{config.subject}.{SEEDS}") for spread in spreads])
    facts = {
        "subject": config.subject,
        "seeds": list(config.seeds),
        "stages": list(config.stages),
        "bundled": config.seeds[0],
        "statistics": [spread.model_dump(mode="json") for spread in spreads],
    }
    write_json(work.output / f"{SEEDS}.json", facts)


def fold(work: Work) -> None:
    """One fold of a corpus as its test side."""
    from lmpipe.data.splitting.folds import divide_fold

    config = work.config
    ledger = divide_fold(
        work.inputs["documents"],
        work.output,
        work.scratch,
        config=config.cross_validation,
        seed=config.seed,
        repeat=config.repeat,
        fold=config.fold,
    )
    work.facts["ledger"] = ledger.to_json()


def folds(work: Work) -> None:
    """One evaluation over all folds."""
    config = work.config
    repeats = [[work.inputs[stage] for stage in one] for one in config.stages]
    resampling = Resampling(config.resamples, config.level, config.seed)
    metrics = join_folds(repeats, work.output, subject=config.subject, resampling=resampling)
    of_folds = [{metric.name: metric.value for metric in read_metrics(folder)} for one in repeats for folder in one]
    statistics = [
        {**metric.model_dump(mode="json"), "folds": [one.get(metric.name.replace(".folds.", ".", 1)) for one in of_folds]}
        for metric in metrics
    ]
    facts = {"subject": config.subject, "folds": len(repeats[0]), "repeats": len(repeats), "statistics": statistics}
    write_json(work.output / "folds.json", facts)


def share(work: Work) -> None:
    """A part of the training text."""
    from lmpipe.data.splitting.shares import take_share

    config, documents = work.config, work.inputs["documents"]
    options = {"share": config.share, "column": config.column, "seed": config.seed}
    work.facts["ledger"] = take_share(documents, work.output, work.scratch, **options).to_json()


def learning(work: Work) -> None:
    """One evaluation over parts of the training text."""
    config = work.config
    documents = [read_json(work.inputs[f"documents-{share}"] / "splits.json")["train"]["documents"] for share in config.shares]
    folders = [work.inputs[stage] for stage in config.stages]
    resampling = Resampling(config.resamples, config.level, config.seed)
    found = measure_learning(folders, documents, config.subject, resampling)
    facts: dict[str, Any] = {"subject": config.subject, "shares": list(config.shares), "documents": documents}
    facts["statistics"] = [one.model_dump(mode="json") for one in found]
    write_json(work.output / "learning.json", facts)


def change(work: Work) -> None:
    """Test text changed."""
    from lmpipe.data.augmentation.changing import change

    config = work.config
    work.facts |= change(work.inputs["documents"], work.output, side=config.side, kind=config.kind, seed=config.seed)


def robustness(work: Work) -> None:
    """One evaluation on plain and on changed text."""
    config = work.config
    changed = {kind: work.inputs[kind] for kind in config.changes}
    resampling = Resampling(config.resamples, config.level, config.seed)
    found = measure_robustness(work.inputs["plain"], changed, config.subject, resampling)
    write_metrics(work.output, [metric for pairs in found.values() for pair in pairs for metric in pair if metric])
    plain = {metric.name.removeprefix(f"{config.subject}."): metric for metric in read_metrics(work.inputs["plain"])}
    facts = {
        "subject": config.subject,
        "changes": list(config.changes),
        "plain": {name: metric.model_dump(mode="json") for name, metric in plain.items() if "." not in name},
    }
    write_json(work.output / "robustness.json", facts)
