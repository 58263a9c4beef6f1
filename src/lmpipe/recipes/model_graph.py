"""The stages of a model: tokenizer, training, evaluations, audits, gate, bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lmpipe.audit.config import MemorizationConfig
from lmpipe.data.holding import LabelsConfig, MatchesConfig, PairsConfig, PreferencesConfig, ScoresConfig, TagsConfig
from lmpipe.evaluation.config import LanguageModelBaseline, PerplexityConfig
from lmpipe.evaluation.task_config import (
    START,
    ClassificationEvaluation,
    GenerationEvaluation,
    RetrievalEvaluation,
    TaggingEvaluation,
    TextEvaluation,
)
from lmpipe.models.hmm.config import HmmConfig
from lmpipe.pipeline.stage import Source, Stage
from lmpipe.recipes import stage_configs as configs
from lmpipe.recipes.continuing import files_of, recipes_file, start_folder
from lmpipe.recipes.graph import Graph
from lmpipe.recipes.schema import Recipe
from lmpipe.serving.chatbot.making_config import ModelIntents
from lmpipe.tokens.config import MixtureConfig, PretrainedTokenizerConfig
from lmpipe.training.config import PhaseConfig
from lmpipe.training.distillation_config import DistillationConfig
from lmpipe.training.grpo_config import FunctionReward, GrpoConfig


def tokenized(
    graph: Graph, recipe: Recipe, splits: Mapping[str, Stage], tokenizer: Stage, canaries: Stage | None
) -> dict[str, Stage]:
    """Token shards of every corpus that is trained on or evaluated, and of mixtures."""
    trained_on = {name for phase in recipe.train for name in phase.corpora()}
    tokens = {}
    evaluated = {part.on for part in recipe.evaluate}
    for name in (name for name in recipe.data if name in trained_on | evaluated):
        inputs = {"documents": splits[name], "tokenizer": tokenizer}
        if canaries and name in trained_on and recipe.data[name].holds == "text":
            inputs["canaries"] = canaries
        tokens[name] = graph.add("tokenize", f"tokenize-{name}", configs.TokenizeStage(holds=recipe.data[name].holds), inputs)
    tokens |= {phase.source(): _mix(graph, phase, phase.on, tokens) for phase in recipe.train if not isinstance(phase.on, str)}
    return tokens


def _mix(graph: Graph, phase: PhaseConfig, mixture: MixtureConfig, tokens: Mapping[str, Stage]) -> Stage:
    """The corpora of a phase as one."""
    inputs = {name: tokens[name] for name in mixture.corpora()}
    return graph.add("mix", phase.source(), configs.MixStage(mixture=mixture), inputs)


def starting_model(graph: Graph, recipe: Recipe, base_folders: list[Path]) -> Stage | None:
    """The model that is gone on from, where there is one."""
    if recipe.start_from is None:
        return None
    found = files_of(start_folder(recipe.start_from, base_folders))
    return graph.add("pretrained", "pretrained", configs.PretrainedStage(), sources=lambda: found)


def _pinned_reward(phase: PhaseConfig, base_folders: list[Path]) -> tuple[PhaseConfig, list[Source]]:
    """The phase with the name of its reward's file in the place of the path, and that file, where there is one.

    Raises:
        RecipeError: when there is no such file.
    """
    objective = phase.objective
    if not isinstance(objective, GrpoConfig) or not isinstance(objective.reward, FunctionReward):
        return phase, []
    path, _, name = objective.reward.function.rpartition(":")
    where = f"train.{phase.name}.objective.reward.function"
    file = recipes_file(path, base_folders, where=where, expected="a Python file")
    reward = objective.reward.model_copy(update={"function": f"{file.name}:{name}"})
    return phase.model_copy(update={"objective": objective.model_copy(update={"reward": reward})}), [file]


def _other_model(graph: Graph, name: str, model: str, base_folders: list[Path], where: str) -> Stage:
    """A model beside the one that is trained, such as a teacher: identified by its files, wherever they lie."""
    found = files_of(start_folder(model, base_folders, where))
    return graph.add("pretrained", name, configs.PretrainedStage(), sources=lambda: found)


def made_tokenizer(graph: Graph, recipe: Recipe, splits: Mapping[str, Stage], start: Stage | None) -> Stage:
    """The tokenizer: made, or that of the model that is gone on from."""
    if isinstance(recipe.tokenizer, PretrainedTokenizerConfig):
        assert start is not None, "the schema lets a pretrained tokenizer come with its bundle only"
        return graph.add("adopt", "tokenizer", configs.PretrainedStage(), {"bundle": start})
    corpus = recipe.tokenizer.corpus
    holds = recipe.data[corpus].holds if corpus else "text"
    config = configs.TokenizerStage(
        tokenizer=recipe.tokenizer,
        targets=holds.column if isinstance(holds, PairsConfig | MatchesConfig | PreferencesConfig) else None,
    )
    return graph.add("tokenizer", "tokenizer", config, {"documents": splits[corpus]} if corpus else {})


def training(
    graph: Graph,
    recipe: Recipe,
    tokens: Mapping[str, Stage],
    tokenizer: Stage,
    start: Stage | None,
    base_folders: list[Path],
    *,
    seed: int,
) -> Stage:
    """Every phase, each starting from the weights of the one before; gives the last."""
    last = start
    for phase in recipe.train:
        inputs = {"tokens": tokens[phase.source()]} | ({"start": last} if last else {})
        inputs |= {"tokenizer": tokenizer} if phase.objective.needs_tokenizer or phase.samples else {}
        if isinstance(phase.objective, DistillationConfig):
            inputs["teacher"] = _other_model(
                graph, f"teacher-{phase.name}", phase.objective.teacher, base_folders, "objective.teacher"
            )
            phase = phase.model_copy(update={"objective": phase.objective.model_copy(update={"teacher": "teacher"})})
        phase, files = _pinned_reward(phase, base_folders)
        config = configs.TrainStage(model=recipe.model, phase=phase, seed=seed)
        found = (lambda files=files: files) if files else None
        last = graph.add("train", f"train-{phase.name}", config, inputs, sources=found)
    assert last is not None, "the schema asks for one phase at least"
    return last


def evaluations(
    graph: Graph,
    recipe: Recipe,
    splits: Mapping[str, Stage],
    tokens: Mapping[str, Stage],
    tokenizer: Stage,
    train: Stage,
    base_folders: list[Path],
) -> dict[str, Stage]:
    """Every evaluation, by stage name."""
    weights = recipe.export[0].weights
    measured = {}
    for part in recipe.evaluate:
        inputs = {"train": train, "tokens": tokens[part.on], "documents": splits[part.on], "tokenizer": tokenizer}
        if not isinstance(part, PerplexityConfig):
            holds = recipe.data[part.on].holds
            if isinstance(part, ClassificationEvaluation) and isinstance(holds, LabelsConfig) and not holds.several:
                for linear in part.baselines:
                    name, learned = f"linear-{part.on}", configs.LinearStage(linear=linear, holds=holds)
                    given = {"documents": splits[part.on]}
                    inputs["linear"] = graph.stages.get(name) or graph.add("linear", name, learned, given)
            if isinstance(part, TaggingEvaluation) and isinstance(holds, TagsConfig):
                for tagger in part.baselines:
                    name, counted = f"hmm-{part.on}", configs.HmmStage(tagger=tagger, holds=holds)
                    given = {"documents": splits[part.on]}
                    inputs["hmm"] = graph.stages.get(name) or graph.add("hmm", name, counted, given)
            if isinstance(part, RetrievalEvaluation) and START in part.baseline_names():
                inputs["start"] = graph.stages["pretrained"]
            plain = part.model_copy(update={"robustness": ()}) if isinstance(part, TextEvaluation) else part
            if isinstance(plain, GenerationEvaluation) and plain.mauve:
                asked = plain.mauve.encoder
                inputs["encoder"] = _other_model(graph, f"encoder-{part.on}-{part.split}", asked, base_folders, "mauve.encoder")
                plain = plain.model_copy(update={"mauve": plain.mauve.model_copy(update={"encoder": "encoder"})})
            answers = configs.AnswersStage(evaluation=plain, holds=holds, weights=weights, seed=recipe.seed)
            stage = graph.add("answers", f"evaluate-{part.on}-{part.split}", answers, inputs)
            measured[stage.name] = stage
            continue
        source = (recipe.text_phase() or recipe.train[0]).source()
        inputs |= {one.kind: _estimated(graph, one, source, tokens[source], recipe.seed) for one in part.language_models()}
        config = configs.EvaluateStage(evaluation=part, weights=weights, seed=recipe.seed)
        stage = graph.add("evaluate", f"evaluate-{part.on}-{part.split}", config, inputs)
        measured[stage.name] = stage
    return measured


def _estimated(graph: Graph, baseline: LanguageModelBaseline, source: str, tokens: Stage, seed: int) -> Stage:
    """A language model beside the trained one; evaluations that ask for the same share it."""
    kind, config = (
        ("hidden_markov", configs.HiddenMarkovStage(hmm=baseline, seed=seed))
        if isinstance(baseline, HmmConfig)
        else ("ngram", baseline)
    )
    name, number = f"{baseline.kind}-{source}", 1
    while (known := graph.stages.get(name)) and known.config != config:
        number += 1
        name = f"{baseline.kind}-{source}-{number}"
    return known or graph.add(kind, name, config, {"tokens": tokens})


def samples(graph: Graph, recipe: Recipe, tokens: Mapping[str, Stage], tokenizer: Stage, train: Stage) -> None:
    """What the model writes, where it writes."""
    text = recipe.text_phase()
    if recipe.model.architecture == "decoder" and text:
        inputs = {"train": train, "tokens": tokens[text.source()], "tokenizer": tokenizer}
        config = configs.SamplesStage(weights=recipe.export[0].weights, seed=recipe.seed)
        graph.add("samples", "samples", config, inputs)


def chatbot(
    graph: Graph,
    recipe: Recipe,
    splits: Mapping[str, Stage],
    tokenizer: Stage,
    train: Stage,
    measured: Mapping[str, Stage],
    base_folders: list[Path],
) -> dict[str, Stage]:
    """The chatbot, where there is one, by stage name."""
    bot = recipe.chatbot
    if bot is None:
        return {}
    holds = recipe.data[bot.messages].holds if bot.messages else None
    spans = recipe.data[bot.spans_from].holds if bot.spans_from else None
    inputs = {field: splits[name] for field, name in bot.corpora().items()}
    if bot.encoder is not None:
        inputs["encoder"] = _other_model(graph, "encoder-chatbot", bot.encoder, base_folders, "chatbot.encoder")
        bot = bot.model_copy(update={"encoder": "encoder"})
    if isinstance(bot.classifier, ModelIntents):  # at the temperature that the evaluation chose
        inputs |= {"train": train, "tokenizer": tokenizer, **measured}
    config = configs.ChatbotStage(
        chatbot=bot,
        holds=holds if isinstance(holds, LabelsConfig) else None,
        spans=spans if isinstance(spans, TagsConfig) else None,
        seed=recipe.seed if bot.spans_from else None,
        weights=recipe.export[0].weights,
        decision=_decision(recipe),
    )
    return {"chatbot": graph.add("chatbot", "chatbot", config, inputs)}


def audits(
    graph: Graph,
    recipe: Recipe,
    tokens: Mapping[str, Stage],
    tokenizer: Stage,
    train: Stage,
    canaries: Stage | None,
) -> dict[str, Stage]:
    """Audits whose findings are the same when the run is repeated, by stage name; the energy audit is added beside them."""
    measured = {}
    for audit in recipe.audit:
        if isinstance(audit, MemorizationConfig):
            corpus = (recipe.text_phase() or recipe.train[0]).source()
            trained = {
                f"train-{phase.name}": graph.stages[f"train-{phase.name}"] for phase in recipe.train if phase.source() == corpus
            }
            config = configs.MemorizationStage(
                audit=audit, weights=recipe.export[0].weights, seed=recipe.seed, trained_in=tuple(trained)
            )
            inputs = {"train": train, "tokens": tokens[corpus], "tokenizer": tokenizer, **trained}
            inputs |= {"canaries": canaries} if canaries else {}
            measured["audit-memorization"] = graph.add("memorization", "audit-memorization", config, inputs)
        else:
            spent = {name: stage for name, stage in graph.stages.items() if name != "audit-energy"}
            graph.add("energy", "audit-energy", configs.EnergyStage(audit=audit), spent)
    return measured


def gate_stage(graph: Graph, recipe: Recipe, measured: Mapping[str, Stage]) -> Stage | None:
    """The verdict, where the recipe asks for one."""
    if recipe.gate is None:
        return None
    config = configs.GateStage(gate=recipe.gate, goal=recipe.goal, goal_corpus=goal_corpus(recipe))
    return graph.add("gate", "gate", config, measured)


def goal_corpus(recipe: Recipe) -> str:
    """The corpus that the goal speaks of: the one evaluated on the goal's split, the first of them where there are several."""
    split = recipe.goal.on if recipe.goal else "test"
    return next((part.on for part in recipe.evaluate if part.split == split), recipe.train[0].corpora()[0])


def _decision(recipe: Recipe) -> dict[str, str]:
    """What the trained model answers, as far as the recipe says it."""
    holds = recipe.data[recipe.train[-1].corpora()[0]].holds
    if isinstance(holds, LabelsConfig):
        return {"kind": "multilabel" if holds.several else "classification"}
    if isinstance(holds, ScoresConfig):
        return {"kind": "regression"}
    if isinstance(holds, PairsConfig):
        writes = recipe.model.architecture == "encoder-decoder"  # a decoder answers prompts as it goes on with any text
        return {"kind": "generation", "prefix": holds.prefix} if writes else {}
    return {"kind": "tagging"} if isinstance(holds, TagsConfig) else {}


def chats(recipe: Recipe) -> bool:
    """Whether the last phase taught the model to answer."""
    last = recipe.train[-1]
    holds = recipe.data[last.corpora()[0]].holds
    if isinstance(last.objective, GrpoConfig):
        return last.objective.rendered == "chat"
    return last.objective.kind == "chat" or (isinstance(holds, PreferencesConfig) and holds.rendered == "chat")


def bundle(
    graph: Graph,
    recipe: Recipe,
    tokenizer: Stage,
    train: Stage,
    measured: Mapping[str, Stage],
    gate: Stage | None,
    canaries: Stage | None,
) -> Stage:
    """The package: the trained model with everything that was measured of it."""
    config = configs.BundleStage(
        name=recipe.name,
        export=recipe.export[0],
        goal=recipe.goal.sentence() if recipe.goal else "",
        chats=chats(recipe),
        frames_texts=recipe.model.architecture == "encoder",
        decision=_decision(recipe),
        recipe=recipe.model_dump(mode="json"),
    )
    used = recipe.used_corpora()
    corpora = {name: graph.stages[name] for corpus in recipe.data if corpus in used for name in graph.corpora[corpus]}
    inputs = {"train": train, "tokenizer": tokenizer, **measured, **corpora}
    inputs |= {"gate": gate} if gate else {}
    inputs |= {"canaries": canaries} if canaries else {}
    return graph.add("bundle", "bundle", config, inputs)
