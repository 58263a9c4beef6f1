"""The stages of a corpus: from files or a generator to documents on three sides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmpipe.audit.config import MemorizationConfig
from lmpipe.base.canonical import digest_of, digests_of_folder
from lmpipe.base.config import Config
from lmpipe.base.errors import RecipeError
from lmpipe.data.augmentation.files import pinned_files
from lmpipe.data.config import CorpusConfig
from lmpipe.data.dedup.config import SemanticConfig
from lmpipe.data.filters.trained_config import TrainedConfig
from lmpipe.data.pii.config import PiiConfig, TaggerConfig
from lmpipe.data.pii.presidio import MODEL_NAME, find_model
from lmpipe.data.pii.pseudonyms import key_source
from lmpipe.data.readers.config import JsonlSource, TextSource
from lmpipe.data.readers.sources import pinned, resolve_all, whole_folder
from lmpipe.data.readers.sources import resolve as resolve_source
from lmpipe.data.splitting.config import SPLITS, too_few
from lmpipe.data.synthesis.files import pinned_synthesis
from lmpipe.pipeline.stage import Source, Stage
from lmpipe.recipes import stage_configs as configs
from lmpipe.recipes.brought_items import brought_items
from lmpipe.recipes.graph import Graph
from lmpipe.recipes.schema import Recipe


def corpora(graph: Graph, recipe: Recipe, base_folders: list[Path]) -> dict[str, Stage]:
    """Every corpus up to its division, with what is done to its training side: by name."""
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
    splits |= _decontaminated(graph, recipe, splits, base_folders)
    splits = {name: training_side(graph, name, recipe, split, base_folders) for name, split in splits.items()}
    for name in splits:
        divided = (f"{kind}-{name}" for kind in ("toward", "split", "decontaminate", "augment", "balance", "arrange"))
        graph.corpora[name] += [stage for stage in divided if stage in graph.stages]
    return splits


def _first(graph: Graph, name: str, recipe: Recipe, base_folders: list[Path], splits: Mapping[str, Stage]) -> Stage:
    """Where the documents of a corpus come from: files, or a generator and the training side of another corpus."""
    corpus = recipe.data[name]
    if corpus.synthesis is None:
        return _read(graph, name, recipe, base_folders)
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


def _decontaminated(graph: Graph, recipe: Recipe, splits: Mapping[str, Stage], base_folders: list[Path]) -> dict[str, Stage]:
    """The splits whose training side loses what is measured on: other corpora's held-out text, and items that evaluations
    bring. Held-out text is the same before and after, so corpora may be cleaned of each other's without a circle."""
    found = {}
    wanted = any(corpus.decontaminate for corpus in recipe.data.values())
    brought, files = brought_items(recipe, base_folders) if wanted else ((), [])
    for name, corpus in recipe.data.items():
        if corpus.decontaminate and name in splits:
            sets = recipe.evaluated_sets(but=name)
            config = configs.DecontaminateStage(
                decontaminate=corpus.decontaminate, sets=tuple(f"{on}.{side}" for on, side in sets), brought=brought
            )
            inputs = {"documents": splits[name], **{f"evaluated-{on}": splits[on] for on, _ in sets}}
            sources = (lambda: files) if files else None
            found[name] = graph.add("decontaminate", f"decontaminate-{name}", config, inputs, sources=sources)
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


def training_side(graph: Graph, name: str, recipe: Recipe, split: Stage, base_folders: list[Path]) -> Stage:
    """What is done to training text alone; gives what looks like a split and is one."""
    corpus, seed = recipe.data[name], recipe.seed
    last = _augment(graph, name, recipe, split, base_folders)
    if corpus.balance:
        config: Config = configs.BalanceStage(balance=corpus.balance, seed=seed)
        last = graph.add("balance", f"balance-{name}", config, {"documents": last})
    if corpus.curriculum:
        config = configs.ArrangeStage(curriculum=corpus.curriculum, seed=seed)
        last = graph.add("arrange", f"arrange-{name}", config, {"documents": last})
    return last


def _augment(graph: Graph, name: str, recipe: Recipe, split: Stage, base_folders: list[Path]) -> Stage:
    """Further training documents, where the recipe asks for some: what looks like a split and is one."""
    if not recipe.data[name].augment:
        return split
    parts, files = pinned_files(recipe.data[name].augment, base_folders)
    found = [Source(f.name, f.url, f.size, f.stamp, f.digest) for f in files]
    config = configs.AugmentStage(augment=parts, seed=recipe.seed)
    return graph.add("augment", f"augment-{name}", config, {"documents": split}, sources=(lambda: found) if found else None)


def _read(graph: Graph, name: str, recipe: Recipe, base_folders: list[Path]) -> Stage:
    """Reading: identified by the names and digests of its files, wherever they lie.

    Raises:
        SourceError: for files that are missing, or too few of them for a division by file.
    """
    corpus = recipe.data[name]
    sources = corpus.sources()
    resolved = resolve_all(sources, base_folders)
    if corpus.split.by == "source" and name in recipe.splits_in_order():  # told here: the split comes many stages later
        wanted = {side for side in SPLITS if corpus.split.share(side)} - {source.side for source in sources}
        files = sum(len(found) for source, found in zip(sources, resolved, strict=True) if source.side is None)
        if files < len(wanted):
            raise too_few(files, len(wanted), corpus.split, where=f"data.{name}.split")
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


def canaries(graph: Graph, recipe: Recipe) -> Stage | None:
    """Secrets to plant in training text, where the audit of memorization asks for some."""
    audit = next((part for part in recipe.audit if isinstance(part, MemorizationConfig)), None)
    if audit is None or audit.canaries is None:
        return None
    return graph.add("canaries", "canaries", configs.CanariesStage(canaries=audit.canaries, seed=recipe.seed))
