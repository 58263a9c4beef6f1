"""Trainings and evaluations that repeat those of a run with one thing changed, over the same prepared data.

Every repeat builds the same stages again, under a prefix. A stage whose config and inputs are those of the run's own is that
stage: nothing is computed twice, and the data stages are shared because nothing about them changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmpipe.base.config import Config
from lmpipe.base.randomness import derive_seed
from lmpipe.data.holding import LabelsConfig
from lmpipe.data.splitting.fold_config import CrossValidationConfig
from lmpipe.evaluation.config import PerplexityConfig, known_metric_names
from lmpipe.evaluation.task_config import AnyTaskEvaluation, TextEvaluation
from lmpipe.pipeline.stage import Stage
from lmpipe.recipes import stage_configs as configs
from lmpipe.recipes.corpus_graph import training_side
from lmpipe.recipes.graph import Graph
from lmpipe.recipes.model_graph import evaluations, made_tokenizer, tokenized, training
from lmpipe.recipes.schema import Recipe


class Repeat(Graph):
    """The stages of a repeat: by the names that the run's own stages have, in the run's graph under a prefix."""

    def __init__(self, graph: Graph, prefix: str) -> None:
        super().__init__()
        self.graph = graph
        self.prefix = prefix

    def add(self, kind: str, name: str, config: Config, inputs: Mapping[str, Stage] | None = None, **options: Any) -> Stage:
        """Make one stage, or take the run's own where it is the same."""
        own = self.graph.stages.get(name)
        if own is None or own.config != config or _names(own.inputs) != _names(inputs or {}):
            own = self.graph.add(kind, f"{self.prefix}{name}", config, inputs, **options)
        self.stages[name] = own
        return own


def _names(inputs: Mapping[str, Stage]) -> dict[str, str]:
    return {role: stage.name for role, stage in inputs.items()}


def seeds(
    graph: Graph,
    recipe: Recipe,
    splits: Mapping[str, Stage],
    tokens: Mapping[str, Stage],
    tokenizer: Stage,
    start: Stage | None,
    base_folders: list[Path],
) -> dict[str, Stage]:
    """Training and evaluations once for each seed, and each evaluation over all of them, by stage name."""
    if recipe.seeds is None:
        return {}
    repeats = {}
    for seed in recipe.training_seeds():
        repeats[seed] = again = Repeat(graph, f"seed-{seed}-")
        train = training(again, recipe, tokens, tokenizer, start, base_folders, seed=seed)
        evaluations(again, recipe, splits, tokens, tokenizer, train, base_folders)
    found = {}
    for part in recipe.evaluate:
        members = {seed: again.stages[f"evaluate-{part.on}-{part.split}"] for seed, again in repeats.items()}
        config = configs.SeedsStage(
            seeds=tuple(members),
            stages=tuple(stage.name for stage in members.values()),
            **_resampled(recipe, part),
        )
        name = f"seeds-{part.on}-{part.split}"
        found[name] = graph.add("seeds", name, config, {f"seed-{seed}": stage for seed, stage in members.items()})
    return found


def folds(
    graph: Graph,
    recipe: Recipe,
    splits: Mapping[str, Stage],
    start: Stage | None,
    canaries: Stage | None,
    base_folders: list[Path],
) -> dict[str, Stage]:
    """Everything from the division on once for each fold of each repeat, and each evaluation over all folds, by stage name."""
    given = recipe.cross_validation
    if given is None:
        return {}
    folded = recipe.folded_corpora()
    tested = recipe.model_copy(update={"evaluate": tuple(p for p in recipe.evaluate if p.split == "test" and p.on in folded)})
    repeats = [
        [_fold(graph, tested, splits, start, canaries, base_folders, repeat, fold) for fold in range(given.folds)]
        for repeat in range(given.repeats)
    ]
    found = {}
    for part in tested.evaluate:
        stages = [[again.stages[f"evaluate-{part.on}-test"] for again in one] for one in repeats]
        config = configs.FoldsStage(
            stages=tuple(tuple(stage.name for stage in one) for one in stages),
            **_resampled(recipe, part),
        )
        name = f"folds-{part.on}-test"
        found[name] = graph.add("folds", name, config, {stage.name: stage for one in stages for stage in one})
    return found


def _fold(
    graph: Graph,
    recipe: Recipe,
    splits: Mapping[str, Stage],
    start: Stage | None,
    canaries: Stage | None,
    base_folders: list[Path],
    repeat: int,
    fold: int,
) -> Repeat:
    """One fold: its corpora divided anew, and what learns from them, the tokenizer too, made anew."""
    again = Repeat(graph, _fold_prefix(repeat, fold))
    own = dict(splits)
    for name in recipe.folded_corpora():
        config = configs.FoldStage(cross_validation=_stratified(recipe, name), seed=recipe.seed, repeat=repeat, fold=fold)
        divided = again.add("fold", f"fold-{name}", config, {"documents": graph.stages[f"split-{name}"]})
        own[name] = training_side(again, name, recipe, divided, base_folders)
    tokenizer = made_tokenizer(again, recipe, own, start)
    tokens = tokenized(again, recipe, own, tokenizer, canaries)
    train = training(again, recipe, tokens, tokenizer, start, base_folders, seed=recipe.training_seeds()[0])
    evaluations(again, recipe, own, tokens, tokenizer, train, base_folders)
    return again


def _fold_prefix(repeat: int, fold: int) -> str:
    return f"fold-{repeat + 1}-{fold + 1}-"


def _stratified(recipe: Recipe, name: str) -> CrossValidationConfig:
    """With the column decided by which a corpus is stratified."""
    given = recipe.cross_validation
    assert given is not None, "asked only where there is one"
    return given if given.stratify or given.group else given.model_copy(update={"stratify": _class_column(recipe, name)})


def learning_curve(
    graph: Graph,
    recipe: Recipe,
    splits: Mapping[str, Stage],
    tokenizer: Stage,
    start: Stage | None,
    canaries: Stage | None,
    base_folders: list[Path],
) -> None:
    """Training and evaluation on parts of the training text with the run's own tokenizer, and each evaluation over all."""
    if recipe.learning_curve is None:
        return
    names = recipe.shared_corpora()
    whole = {name: graph.stages.get(f"decontaminate-{name}") or graph.stages[f"split-{name}"] for name in names}
    measured = recipe.model_copy(update={"evaluate": tuple(part for part in recipe.evaluate if part.on in names)})
    taken, evaluated = {}, {}
    for share in recipe.learning_curve.parts():
        again = Repeat(graph, _share_prefix(share))
        own = dict(splits)
        for name in names:
            config = configs.ShareStage(share=share, column=_class_column(recipe, name), seed=recipe.seed)
            taken[share, name] = again.add("share", f"share-{name}", config, {"documents": whole[name]})
            own[name] = training_side(again, name, recipe, taken[share, name], base_folders)
        tokens = tokenized(again, measured, own, tokenizer, canaries)
        seed = recipe.training_seeds()[0]
        train = training(again, measured, tokens, tokenizer, start, base_folders, seed=seed)
        evaluations(again, measured, own, tokens, tokenizer, train, base_folders)
        evaluated[share] = again.stages
    evaluated[1.0] = graph.stages
    for part in measured.evaluate:
        own_name = f"evaluate-{part.on}-{part.split}"
        stages = {share: stages[own_name] for share, stages in evaluated.items()}
        inputs = {stage.name: stage for stage in stages.values()}
        inputs |= {f"documents-{share}": taken.get((share, part.on), whole[part.on]) for share in stages}
        config_ = configs.LearningStage(
            shares=tuple(stages),
            stages=tuple(stage.name for stage in stages.values()),
            **_resampled(recipe, part),
        )
        graph.add("learning", f"learning-{part.on}-{part.split}", config_, inputs)


def robustness(graph: Graph, recipe: Recipe, splits: Mapping[str, Stage], tokenizer: Stage) -> dict[str, Stage]:
    """Evaluations once more on changed test text, and what each change costs, by stage name."""
    found = {}
    for part in recipe.evaluate:
        if not isinstance(part, TextEvaluation) or not part.robustness:
            continue
        plain, evaluated = graph.stages[f"evaluate-{part.on}-{part.split}"], dict[str, Stage]()
        for kind in part.robustness:
            prefix = f"changed-{kind}-"
            config = configs.ChangeStage(kind=kind, side=part.split, seed=recipe.seed)
            changed = graph.add("change", f"{prefix}change-{part.on}", config, {"documents": splits[part.on]})
            shards = configs.TokenizeStage(holds=recipe.data[part.on].holds)
            inputs = {"documents": changed, "tokenizer": tokenizer}
            tokens = graph.add("tokenize", f"{prefix}tokenize-{part.on}", shards, inputs)
            inputs = {**plain.inputs, "documents": changed, "tokens": tokens}
            evaluated[kind] = graph.add("answers", f"{prefix}{plain.name}", plain.config, inputs)
        config_ = configs.RobustnessStage(
            changes=part.robustness,
            **_resampled(recipe, part),
        )
        name = f"robustness-{part.on}-{part.split}"
        found[name] = graph.add("robustness", name, config_, {"plain": plain, **evaluated})
    return found


def _resampled(recipe: Recipe, part: PerplexityConfig | AnyTaskEvaluation) -> dict[str, Any]:
    """What every stage over repeats of an evaluation is told: of which numbers, and how their intervals are made."""
    return {
        "subject": f"{part.on}.{part.split}",
        "resamples": part.resamples,
        "level": part.level,
        "seed": derive_seed(recipe.seed, "bootstrap", part.on, part.split) % 10**6,
    }


def _share_prefix(share: float) -> str:
    return f"share-{share:g}-".replace(".", "_")


def _class_column(recipe: Recipe, name: str) -> str | None:
    """The labels of a corpus that holds one for each text."""
    holds = recipe.data[name].holds
    return holds.column if isinstance(holds, LabelsConfig) and not holds.several else None


def repeated_metric_names(recipe: Recipe) -> list[str]:
    """Names of the numbers that repeats add to those of the evaluations."""
    own = [name.split(".", 2) for name in known_metric_names(recipe.evaluate)]
    over_seeds = [f"{corpus}.{split}.seeds.{name}" for corpus, split, name in own if "." not in name]
    tested = recipe.folded_corpora() if recipe.cross_validation else []
    over_folds = [f"{corpus}.{split}.folds.{name}" for corpus, split, name in own if split == "test" and corpus in tested]
    changed = [name for part in recipe.evaluate if isinstance(part, TextEvaluation) for name in part.robust_names()]
    return [*(over_seeds if recipe.seeds is not None else []), *over_folds, *changed]


def training_prefixes(recipe: Recipe) -> list[str]:
    """What the names of trainings begin with that repeat the run's own."""
    prefixes = [f"seed-{seed}-" for seed in recipe.training_seeds()[1:]]
    if given := recipe.cross_validation:
        prefixes += [_fold_prefix(repeat, fold) for repeat in range(given.repeats) for fold in range(given.folds)]
    prefixes += [_share_prefix(share) for share in recipe.learning_curve.parts()] if recipe.learning_curve else []
    return prefixes
