"""From a recipe to its stages: names, versions, identities and who reads whose output. Imports nothing heavy, computes nothing.

    read > repair > measure ----.                        canaries
                 \\> exact, ... -> select > lines, ... > mask > split ---> tokenizer > tokenize > train > evaluate, samples,
                 audits
                                                                     \\> ngram ----------^        > gate > bundle

`VERSIONS` is where the author of a stage states that its meaning changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmpipe.audit.config import MemorizationConfig
from lmpipe.base.canonical import digest_of, digests_of_folder
from lmpipe.base.config import Config
from lmpipe.base.errors import RecipeError
from lmpipe.base.runtime import Runtime
from lmpipe.data.augmentation.files import pinned_files
from lmpipe.data.config import CorpusConfig
from lmpipe.data.dedup.config import SemanticConfig
from lmpipe.data.filters.trained_config import TrainedConfig
from lmpipe.data.holding import LabelsConfig, PairsConfig, PreferencesConfig, ScoresConfig, TagsConfig
from lmpipe.data.pii.config import PiiConfig, TaggerConfig
from lmpipe.data.pii.presidio import MODEL_NAME, find_model
from lmpipe.data.pii.pseudonyms import key_source
from lmpipe.data.readers.config import JsonlSource, TextSource
from lmpipe.data.readers.sources import pinned, resolve_all, whole_folder
from lmpipe.data.readers.sources import resolve as resolve_source
from lmpipe.data.synthesis.files import pinned_synthesis
from lmpipe.evaluation.config import PerplexityConfig
from lmpipe.evaluation.task_config import ClassificationEvaluation, TaggingEvaluation
from lmpipe.pipeline.stage import Source, Stage
from lmpipe.recipes import stage_configs as configs
from lmpipe.recipes.continuing import file_source, files_of, start_folder
from lmpipe.recipes.schema import Recipe
from lmpipe.serving.chatbot.making_config import ModelIntents
from lmpipe.tokens.config import MixtureConfig, PretrainedTokenizerConfig
from lmpipe.training.config import PhaseConfig, resolve_precision
from lmpipe.training.distillation_config import DistillationConfig
from lmpipe.training.grpo_config import FunctionReward, GrpoConfig

VERSIONS = {
    "read": 3,
    "synthesize": 1,
    "repair": 2,
    "boilerplate": 1,
    "measure": 2,
    "learn_quality": 1,
    "learn_toxicity": 1,
    "learn_perplexity": 1,
    "quality": 1,
    "toxicity": 1,
    "perplexity": 1,
    "exact": 2,
    "minhash": 1,
    "semantic": 1,
    "lines": 2,
    "paragraphs": 2,
    "spans": 2,
    "select": 2,
    "names": 1,
    "mask": 3,
    "toward": 2,
    "split": 3,
    "decontaminate": 1,
    "balance": 2,
    "arrange": 2,
    "augment": 1,
    "canaries": 1,
    "pretrained": 2,
    "adopt": 2,
    "tokenizer": 3,
    "tokenize": 3,
    "mix": 1,
    "train": 3,
    "ngram": 1,
    "evaluate": 1,
    "linear": 1,
    "hmm": 1,
    "answers": 4,
    "chatbot": 1,
    "samples": 1,
    "memorization": 2,
    "energy": 1,
    "gate": 1,
    "bundle": 3,
}

MODULES = dict.fromkeys(("linear", "hmm", "answers", "chatbot"), "lmpipe.recipes.task_stages")
"""Where stages are that do not stand in `stages.py`."""


@dataclass
class Graph:
    """The stages of one recipe, by role, in an order in which they can run."""

    stages: dict[str, Stage] = field(default_factory=dict)
    corpora: dict[str, list[str]] = field(default_factory=dict)
    """Names of the data stages of each corpus, in order: what its card is made from."""

    def add(self, kind: str, name: str, config: Config, inputs: Mapping[str, Stage] | None = None, **options: Any) -> Stage:
        """Make one stage of `kind` and keep it under `name`."""
        stage = Stage(
            name=name,
            version=VERSIONS[kind],
            config=config,
            run=f"{MODULES.get(kind, 'lmpipe.recipes.stages')}:{kind}",
            inputs=dict(inputs or {}),
            **options,
        )
        self.stages[name] = stage
        return stage


def resolve(recipe: Recipe, runtime: Runtime) -> Recipe:
    """The recipe with every `auto` decided for this runtime: what identities are made from."""
    phases = tuple(
        phase.model_copy(update={"precision": resolve_precision(phase.precision, runtime.resolved_device())})
        for phase in recipe.train
    )
    return recipe.model_copy(update={"train": phases})


def build_graph(recipe: Recipe, runtime: Runtime, base_folders: list[Path]) -> Graph:
    """All stages of `recipe`."""
    recipe = resolve(recipe, runtime)
    graph = Graph()
    canaries = _canaries(graph, recipe)
    cleaned: dict[str, Stage] = {}
    splits: dict[str, Stage] = {}
    for name in recipe.corpora_in_order():
        for other in (*recipe.data[name].learns_from(), *recipe.made_from(name)):
            splits[other] = splits.get(other) or _split(graph, other, recipe, cleaned[other], splits)
        known = set(graph.stages)
        cleaned[name] = _corpus(graph, name, recipe, base_folders, cleaned, splits)
        graph.corpora[name] = [stage for stage in graph.stages if stage not in known]
    for name in recipe.splits_in_order():
        splits[name] = splits.get(name) or _split(graph, name, recipe, cleaned[name], splits)
    splits |= _decontaminated(graph, recipe, splits)
    splits |= {name: _augment(graph, name, recipe, split, base_folders) for name, split in splits.items()}
    splits = {name: _training_side(graph, name, recipe.data[name], recipe.seed, split) for name, split in splits.items()}
    for name in splits:
        divided = (f"{kind}-{name}" for kind in ("toward", "split", "decontaminate", "augment", "balance", "arrange"))
        graph.corpora[name] += [stage for stage in divided if stage in graph.stages]
    start = _start(graph, recipe, base_folders)
    tokenizer = _tokenizer(graph, recipe, splits, start)
    trained_on = {name for phase in recipe.train for name in phase.corpora()}
    tokens = {}
    evaluated = {part.on for part in recipe.evaluate}
    for name in (name for name in recipe.data if name in trained_on | evaluated):
        inputs = {"documents": splits[name], "tokenizer": tokenizer}
        if canaries and name in trained_on and recipe.data[name].holds == "text":
            inputs["canaries"] = canaries
        tokens[name] = graph.add("tokenize", f"tokenize-{name}", configs.TokenizeStage(holds=recipe.data[name].holds), inputs)
    tokens |= {phase.source(): _mix(graph, phase, phase.on, tokens) for phase in recipe.train if not isinstance(phase.on, str)}
    train = _train(graph, recipe, tokens, tokenizer, start, base_folders)
    measured = _evaluations(graph, recipe, splits, tokens, tokenizer, train)
    measured |= _chatbot(graph, recipe, splits, tokenizer, train, measured)
    measured |= _audits(graph, recipe, tokens, tokenizer, train, canaries)
    gate = _gate(graph, recipe, measured)
    _bundle(graph, recipe, tokenizer, train, measured, gate, canaries)
    return graph


def _first(graph: Graph, name: str, recipe: Recipe, base_folders: list[Path], splits: Mapping[str, Stage]) -> Stage:
    """Where the documents of a corpus come from: files, or a generator and the training side of another corpus."""
    corpus = recipe.data[name]
    if corpus.synthesis is None:
        return _read(graph, name, corpus, base_folders)
    synthesis, files = pinned_synthesis(corpus.synthesis, base_folders)
    found = [Source(f.name, f.url, f.size, f.stamp, f.digest) for f in files]
    config = configs.SynthesizeStage(synthesis=synthesis, seed=recipe.seed, max_failed_fraction=corpus.max_failed_fraction)
    inputs = {"seeds": splits[synthesis.seeds.corpus]} if synthesis.seeds else {}
    return graph.add("synthesize", f"synthesize-{name}", config, inputs, sources=(lambda: found) if found else None)


def _corpus(
    graph: Graph,
    name: str,
    recipe: Recipe,
    base_folders: list[Path],
    cleaned: Mapping[str, Stage],
    splits: Mapping[str, Stage],
) -> Stage:
    """The data stages of one corpus, those that its recipe asks for; gives the documents that are to be split.

    `cleaned`, `splits`: of the corpora before it."""
    corpus = recipe.data[name]
    last = _first(graph, name, recipe, base_folders, splits)
    unicode, lines, select = corpus.unicode(), corpus.lines(), corpus.select()
    if unicode:
        last = graph.add("repair", f"repair-{name}", unicode, {"documents": last})
    if lines:
        last = graph.add("boilerplate", f"boilerplate-{name}", lines, {"documents": last})
    if select:
        lists = [_list_file(kind, path, base_folders) for kind, path in corpus.lists().items()]
        corpus = corpus.without_paths()
        measure, select = corpus.measure(), corpus.select() or select
        beside = {"documents": last}
        if measure:
            beside["measures"] = graph.add("measure", f"measure-{name}", measure, {"documents": last}, sources=lambda: lists)
        for part in corpus.trained():
            beside[f"measures-{part.kind}"] = _trained(graph, name, part, recipe.seed, last, splits)
        beside |= _duplicates(graph, name, corpus, last, cleaned, base_folders)
        last = graph.add("select", f"select-{name}", select, beside)
    for repeated in corpus.repeated():
        last = graph.add(repeated.kind, f"{repeated.kind}-{name}", repeated, {"documents": last})
    if corpus.pii:
        last = _mask(graph, name, corpus.pii, last, recipe.seed, base_folders)
    return last


def _duplicates(
    graph: Graph, name: str, corpus: CorpusConfig, documents: Stage, cleaned: Mapping[str, Stage], base_folders: list[Path]
) -> dict[str, Stage]:
    """The searches for duplicates, each by the role that says its place and kind; it leaves out what was marked before."""
    found: dict[str, Stage] = {}
    for number, part in enumerate(corpus.duplicates()):
        inputs = {"documents": documents, **{f"against-{other}": cleaned[other] for other in part.against}}
        inputs |= {f"earlier-{role}": stage for role, stage in found.items()}
        options: dict[str, Any] = {}
        if isinstance(part, SemanticConfig):
            model = _encoder(part, name, base_folders)
            part, options = part.model_copy(update={"model": model.name}), {"sources": lambda model=model: [model]}
        found[f"duplicates-{number}-{part.kind}"] = graph.add(part.kind, f"{part.kind}-{name}", part, inputs, **options)
    return found


def _encoder(config: SemanticConfig, corpus: str, base_folders: list[Path]) -> Source:
    """The model of a search for semantic duplicates: identified by its files, wherever they lie."""
    folder = whole_folder(config.model, "encoder", base_folders)
    if folder is None:
        raise RecipeError(
            f"there is no folder '{config.model}'",
            where=f"data.{corpus}.dedup: semantic",
            expected="the folder of an encoder; nothing is downloaded",
            fix="save a model and its tokenizer there, or name the folder where they are",
        )
    return Source(folder.name, folder.url, folder.size, folder.stamp, folder.digest)


def _split(graph: Graph, name: str, recipe: Recipe, documents: Stage, splits: Mapping[str, Stage]) -> Stage:
    """The division of a corpus, what resembles another corpus selected before it; `splits` are those that it may name."""
    corpus = recipe.data[name]
    if corpus.select_toward:
        toward = configs.TowardStage(toward=corpus.select_toward, seed=recipe.seed)
        inputs = {"documents": documents, "target": splits[corpus.select_toward.corpus]}
        documents = graph.add("toward", f"toward-{name}", toward, inputs)
    config = configs.SplitStage(split=corpus.split, seed=recipe.seed, given=corpus.sides_given())
    return graph.add("split", f"split-{name}", config, {"documents": documents})


def _decontaminated(graph: Graph, recipe: Recipe, splits: Mapping[str, Stage]) -> dict[str, Stage]:
    """The splits whose training side loses what `evaluate:` measures on other corpora. Held-out text is the same before and
    after, so corpora may be cleaned of each other's without a circle."""
    found = {}
    for name, corpus in recipe.data.items():
        if corpus.decontaminate and name in splits:
            sets = recipe.evaluated_sets(but=name)
            config = configs.DecontaminateStage(
                decontaminate=corpus.decontaminate, sets=tuple(f"{on}.{side}" for on, side in sets)
            )
            inputs = {"documents": splits[name], **{f"evaluated-{on}": splits[on] for on, _ in sets}}
            found[name] = graph.add("decontaminate", f"decontaminate-{name}", config, inputs)
    return found


def _trained(graph: Graph, name: str, part: TrainedConfig, seed: int, documents: Stage, splits: Mapping[str, Stage]) -> Stage:
    """Training of a filter, which knows no document that it will judge, then the scores."""
    inputs = {corpus: splits[corpus] for corpus in part.corpora()}
    unbounded = part.model_copy(update=dict.fromkeys(part.BOUNDS))
    kind = f"learn_{part.kind}"
    model = graph.add(kind, f"{kind}-{name}", configs.LearnStage(part=unbounded, seed=seed), inputs)
    return graph.add(part.kind, f"{part.kind}-{name}", configs.ScoreStage(), {"documents": documents, "model": model})


def _list_file(kind: str, path: str, base_folders: list[Path]) -> Source:
    """A list of words or URLs: identified by its digest."""
    found = resolve_source(TextSource(paths=(path,)), base_folders)
    if len(found) != 1:
        raise RecipeError(f"'{path}' is {len(found)} files", expected="one text file with one entry per line", where="path")
    return Source(kind, found[0].url, found[0].size, found[0].stamp, found[0].digest)


def _training_side(graph: Graph, name: str, corpus: CorpusConfig, seed: int, split: Stage) -> Stage:
    """What is done to training text alone; gives what looks like a split and is one."""
    last = split
    if corpus.balance:
        config: Config = configs.BalanceStage(balance=corpus.balance, seed=seed)
        last = graph.add("balance", f"balance-{name}", config, {"documents": last})
    if corpus.curriculum:
        config = configs.ArrangeStage(curriculum=corpus.curriculum, seed=seed)
        last = graph.add("arrange", f"arrange-{name}", config, {"documents": last})
    return last


def _mix(graph: Graph, phase: PhaseConfig, mixture: MixtureConfig, tokens: Mapping[str, Stage]) -> Stage:
    """The corpora of a phase as one."""
    inputs = {name: tokens[name] for name in mixture.corpora()}
    return graph.add("mix", phase.source(), configs.MixStage(mixture=mixture), inputs)


def _augment(graph: Graph, name: str, recipe: Recipe, split: Stage, base_folders: list[Path]) -> Stage:
    """Further training documents, where the recipe asks for some: what looks like a split and is one."""
    if not recipe.data[name].augment:
        return split
    parts, files = pinned_files(recipe.data[name].augment, base_folders)
    found = [Source(f.name, f.url, f.size, f.stamp, f.digest) for f in files]
    config = configs.AugmentStage(augment=parts, seed=recipe.seed)
    return graph.add("augment", f"augment-{name}", config, {"documents": split}, sources=(lambda: found) if found else None)


def _read(graph: Graph, name: str, corpus: CorpusConfig, base_folders: list[Path]) -> Stage:
    """Reading: identified by the names and digests of its files, wherever they lie."""
    sources = corpus.sources()
    resolved = resolve_all(sources, base_folders)
    found = [Source(f.name, f.url, f.size, f.stamp, f.digest) for files in resolved for f in files]
    config = pinned(sources, resolved, corpus.max_failed_fraction, corpus.max_quarantine_bytes)
    return graph.add("read", f"read-{name}", config, sources=lambda: found)


def _mask(graph: Graph, name: str, pii: PiiConfig, documents: Stage, seed: int, base_folders: list[Path]) -> Stage:
    """Masking: identified by digests of its key and of a model of names, wherever they lie; before it the training of a tagger,
    where there is one."""
    key = key_source(pii, base_folders)
    sources = [Source(key.name, key.location, 0, "", lambda: key.digest)] if key else []
    inputs, engine = {"documents": documents}, None
    if isinstance(pii.names, TaggerConfig):
        inputs["names"] = _names(graph, name, pii, pii.names, seed, base_folders)
    elif pii.names:
        model = find_model(pii.names.model, base_folders)
        sources.append(Source(MODEL_NAME, str(model), 0, "", lambda: digest_of(digests_of_folder(model))))
        engine = pii.names.model_copy(update={"model": MODEL_NAME})
    config = configs.MaskStage(masking=pii.masking(), engine=engine)
    return graph.add("mask", f"mask-{name}", config, inputs, sources=lambda: sources)


def _names(graph: Graph, name: str, pii: PiiConfig, names: TaggerConfig, seed: int, base_folders: list[Path]) -> Stage:
    """Training of a tagger: identified by the names and digests of its marked texts."""
    (files,) = resolve_all([JsonlSource(paths=names.train_on)], base_folders)
    found = [Source(f.name, f.url, f.size, f.stamp, f.digest) for f in files]
    pinned_names = names.model_copy(update={"train_on": tuple(file.name for file in files)})
    config = configs.NamesStage(names=pinned_names, kinds=pii.name_kinds(), seed=seed)
    return graph.add("names", f"names-{name}", config, sources=lambda: found)


def _canaries(graph: Graph, recipe: Recipe) -> Stage | None:
    audit = next((part for part in recipe.audit if isinstance(part, MemorizationConfig)), None)
    if audit is None or audit.canaries is None:
        return None
    return graph.add("canaries", "canaries", configs.CanariesStage(canaries=audit.canaries, seed=recipe.seed))


def _start(graph: Graph, recipe: Recipe, base_folders: list[Path]) -> Stage | None:
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
    file = next((folder / path for folder in base_folders if (folder / path).is_file()), None)
    if file is None:
        raise RecipeError(
            f"there is no file '{path}'",
            where=f"train.{phase.name}.objective.reward.function",
            expected="a Python file, seen from the recipe's folder",
            fix="check the path",
        )
    reward = objective.reward.model_copy(update={"function": f"{file.name}:{name}"})
    return phase.model_copy(update={"objective": objective.model_copy(update={"reward": reward})}), [file_source(file)]


def _teacher(graph: Graph, name: str, teacher: str, base_folders: list[Path]) -> Stage:
    """The model that another learns from: identified by its files, wherever they lie."""
    found = files_of(start_folder(teacher, base_folders, "objective.teacher"))
    return graph.add("pretrained", name, configs.PretrainedStage(), sources=lambda: found)


def _tokenizer(graph: Graph, recipe: Recipe, splits: Mapping[str, Stage], start: Stage | None) -> Stage:
    if isinstance(recipe.tokenizer, PretrainedTokenizerConfig):
        assert start is not None, "the schema lets a pretrained tokenizer come with its bundle only"
        return graph.add("adopt", "tokenizer", configs.PretrainedStage(), {"bundle": start})
    corpus = recipe.tokenizer.corpus
    holds = recipe.data[corpus].holds if corpus else "text"
    config = configs.TokenizerStage(
        tokenizer=recipe.tokenizer, targets=holds.column if isinstance(holds, PairsConfig | PreferencesConfig) else None
    )
    return graph.add("tokenizer", "tokenizer", config, {"documents": splits[corpus]} if corpus else {})


def _train(
    graph: Graph,
    recipe: Recipe,
    tokens: Mapping[str, Stage],
    tokenizer: Stage,
    start: Stage | None,
    base_folders: list[Path],
) -> Stage:
    """Every phase, each starting from the weights of the one before; gives the last."""
    last = start
    for phase in recipe.train:
        inputs = {"tokens": tokens[phase.source()]} | ({"start": last} if last else {})
        inputs |= {"tokenizer": tokenizer} if phase.objective.needs_tokenizer else {}
        if isinstance(phase.objective, DistillationConfig):
            inputs["teacher"] = _teacher(graph, f"teacher-{phase.name}", phase.objective.teacher, base_folders)
            phase = phase.model_copy(update={"objective": phase.objective.model_copy(update={"teacher": "teacher"})})
        phase, files = _pinned_reward(phase, base_folders)
        config = configs.TrainStage(model=recipe.model, phase=phase, seed=recipe.seed)
        found = (lambda files=files: files) if files else None
        last = graph.add("train", f"train-{phase.name}", config, inputs, sources=found)
    assert last is not None, "the schema asks for one phase at least"
    return last


def _evaluations(
    graph: Graph,
    recipe: Recipe,
    splits: Mapping[str, Stage],
    tokens: Mapping[str, Stage],
    tokenizer: Stage,
    train: Stage,
) -> dict[str, Stage]:
    """Every evaluation, and the samples; by stage name."""
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
            answers = configs.AnswersStage(evaluation=part, holds=holds, weights=weights, seed=recipe.seed)
            stage = graph.add("answers", f"evaluate-{part.on}-{part.split}", answers, inputs)
            measured[stage.name] = stage
            continue
        ngram = part.baseline("ngram")
        if ngram:
            source = (recipe.text_phase() or recipe.train[0]).source()
            name = f"ngram-{source}"
            inputs["ngram"] = graph.stages.get(name) or graph.add("ngram", name, ngram, {"tokens": tokens[source]})
        config = configs.EvaluateStage(evaluation=part, weights=weights, seed=recipe.seed)
        stage = graph.add("evaluate", f"evaluate-{part.on}-{part.split}", config, inputs)
        measured[stage.name] = stage
    text = recipe.text_phase()
    if recipe.model.architecture == "decoder" and text:
        inputs = {"train": train, "tokens": tokens[text.source()], "tokenizer": tokenizer}
        graph.add("samples", "samples", configs.SamplesStage(weights=weights, seed=recipe.seed), inputs)
    return measured


def _chatbot(
    graph: Graph,
    recipe: Recipe,
    splits: Mapping[str, Stage],
    tokenizer: Stage,
    train: Stage,
    measured: Mapping[str, Stage],
) -> dict[str, Stage]:
    """The chatbot, where there is one, by stage name."""
    bot = recipe.chatbot
    if bot is None:
        return {}
    holds = recipe.data[bot.messages].holds if bot.messages else None
    inputs = {field: splits[name] for field, name in bot.corpora().items()}
    if isinstance(bot.classifier, ModelIntents):  # at the temperature that the evaluation chose
        inputs |= {"train": train, "tokenizer": tokenizer, **measured}
    config = configs.ChatbotStage(
        chatbot=bot,
        holds=holds if isinstance(holds, LabelsConfig) else None,
        weights=recipe.export[0].weights,
        decision=_decision(recipe),
    )
    return {"chatbot": graph.add("chatbot", "chatbot", config, inputs)}


def _audits(
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


def _gate(graph: Graph, recipe: Recipe, measured: Mapping[str, Stage]) -> Stage | None:
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


def _chats(recipe: Recipe) -> bool:
    """Whether the last phase taught the model to answer."""
    last = recipe.train[-1]
    holds = recipe.data[last.corpora()[0]].holds
    if isinstance(last.objective, GrpoConfig):
        return last.objective.rendered == "chat"
    return last.objective.kind == "chat" or (isinstance(holds, PreferencesConfig) and holds.rendered == "chat")


def _bundle(
    graph: Graph,
    recipe: Recipe,
    tokenizer: Stage,
    train: Stage,
    measured: Mapping[str, Stage],
    gate: Stage | None,
    canaries: Stage | None,
) -> Stage:
    config = configs.BundleStage(
        name=recipe.name,
        export=recipe.export[0],
        goal=recipe.goal.sentence() if recipe.goal else "",
        chats=_chats(recipe),
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
