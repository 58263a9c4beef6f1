"""The only place where a domain function becomes a stage: each takes a `Work`, hands explicit arguments down, notes facts.

What a function needs is imported when it runs, so that a stage's process loads only its own room.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmpipe.base.canonical import digest_of
from lmpipe.base.files import read_json, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.measures import METRICS, Finding, Metric, Verdict, read_metrics
from lmpipe.pipeline.stage import Work

NO_DATA = ("train", "tokenize", "evaluate", "ngram", "hidden_markov")
"""Kinds of stages whose names may look like a corpus's."""

if TYPE_CHECKING:
    from lmpipe.data.filters.learning import Side
    from lmpipe.evaluation.subject import Subject
    from lmpipe.models.network import Decoder
    from lmpipe.training.materials import Judge


def read(work: Work) -> None:
    """Raw files to documents."""
    from lmpipe.data.reading import read

    _book(work, read(work.config, work.sources, work.output, **_data_options(work)))


def synthesize(work: Work) -> None:
    """Documents that a generator writes."""
    from lmpipe.data.synthesis.synthesizing import synthesize
    from lmpipe.recipes.generating import askers_of, note_calls

    config = work.config.synthesis
    judge = (config.judge.generator or config.generator) if config.judge else None
    askers = askers_of({"generator": config.generator, "judge": judge}, work)
    ledger = synthesize(
        work.inputs["seeds"] / "train" if "seeds" in work.inputs else None,
        work.output,
        config=config,
        seed=work.config.seed,
        max_failed_fraction=work.config.max_failed_fraction,
        asker=askers["generator"],
        judge=askers.get("judge"),
        **_data_options(work),
    )
    note_calls(askers, work)
    _book(work, ledger)


def repair(work: Work) -> None:
    """Unicode repair."""
    from lmpipe.data.cleaning.repair import repair

    _book(work, repair(work.inputs["documents"], work.output, config=work.config, **_data_options(work)))


def boilerplate(work: Work) -> None:
    """Removal of boilerplate lines."""
    from lmpipe.data.cleaning.lines import remove_lines

    ledger, removed = remove_lines(work.inputs["documents"], work.output, config=work.config, **_data_options(work))
    _book(work, ledger)
    work.facts["lines_removed"] = removed


def measure(work: Work) -> None:
    """Scores for the filters, beside the documents."""
    from lmpipe.data.measuring import measure

    files = {source.name: source.url for source in work.sources}
    _book(work, measure(work.inputs["documents"], work.output, config=work.config, files=files, **_data_options(work)))


def learn_quality(work: Work) -> None:
    """Training of a classifier that tells two corpora apart."""
    from lmpipe.data.filters.learning import Side

    part = work.config.part
    _learn(work, [Side(work.inputs[part.positive], True), Side(work.inputs[part.negative], False)])


def learn_toxicity(work: Work) -> None:
    """Training of a classifier on labels, and its false alarms about groups of people."""
    from lmpipe.data.filters.learning import Side

    part = work.config.part
    identity = [(work.inputs[about.on], about) for about in part.identity]
    _learn(work, [Side(work.inputs[part.labelled.on], part.labelled)], identity=identity)


def _learn(work: Work, sides: list[Side], **tests: Any) -> None:
    from lmpipe.data.filters.learning import learn

    config, seed = work.config.part.classifier, work.config.seed
    facts = learn(sides, work.output, config=config, seed=seed, progress=work.progress, **tests)
    work.facts["classifier"] = {name: facts[name] for name in ("auc", "auc_low", "auc_high")}


def learn_perplexity(work: Work) -> None:
    """Training of a language model of reference text."""
    from lmpipe.data.documents import read_documents
    from lmpipe.models.ngram.model import save
    from lmpipe.models.ngram.text import train_on_text

    part = work.config.part
    texts = (document.text for document in read_documents(work.inputs[part.reference] / "train"))
    save(train_on_text(texts, order=part.order, max_bytes=part.max_bytes, progress=work.progress), work.output)


def quality(work: Work) -> None:
    """Likeness to the good examples."""
    _classify(work, "quality")


def toxicity(work: Work) -> None:
    """Likeness to the toxic examples."""
    _classify(work, "toxicity")


def _classify(work: Work, kind: str) -> None:
    from lmpipe.data.filters.learning import score_documents

    documents, model = work.inputs["documents"], work.inputs["model"]
    _book(work, score_documents(documents, model, work.output, kind=kind, **_data_options(work)))


def perplexity(work: Work) -> None:
    """Bits per byte under the model of reference text."""
    from lmpipe.data.filters.perplexity import measure_perplexity
    from lmpipe.models.ngram.text import ByteScorer

    scorer = ByteScorer(work.inputs["model"])
    _book(work, measure_perplexity(work.inputs["documents"], work.output, scorer=scorer, **_data_options(work)))


def exact(work: Work) -> None:
    """Which documents repeat an earlier one."""
    from lmpipe.data.dedup.exact import mark_duplicates

    _book(work, mark_duplicates(work.inputs["documents"], work.output, config=work.config, **_dedup_options(work)))


def minhash(work: Work) -> None:
    """Which documents nearly repeat an earlier one."""
    from lmpipe.data.dedup.minhash import mark_near_duplicates

    _book(work, mark_near_duplicates(work.inputs["documents"], work.output, config=work.config, **_dedup_options(work)))


def semantic(work: Work) -> None:
    """Which documents say what an earlier one says."""
    from lmpipe.data.dedup.semantic import mark_semantic_duplicates
    from lmpipe.recipes.embedding import load_embedder

    folder, config = Path(work.sources[0].url), work.config
    embed = load_embedder(folder, max_tokens=config.max_tokens, threads=work.runtime.resolved_threads())
    ledger = mark_semantic_duplicates(work.inputs["documents"], work.output, config=config, embed=embed, **_dedup_options(work))
    _book(work, ledger)


def _dedup_options(work: Work) -> dict[str, Any]:
    against = {name: work.inputs[f"against-{name}"] for name in work.config.against}
    earlier = [folder for name, folder in sorted(work.inputs.items()) if name.startswith("earlier-")]
    return {**_data_options(work), "against": against, "earlier": earlier}


def select(work: Work) -> None:
    """Keep the documents that are no duplicates and break no bound."""
    from lmpipe.data.selection import select

    marked = sorted(role for role in work.inputs if role.startswith("duplicates-"))  # duplicates-0-exact, duplicates-1-minhash
    duplicates = {role.split("-", 2)[2]: work.inputs[role] for role in marked}
    measures = [folder for role, folder in sorted(work.inputs.items()) if role.startswith("measures")]
    _book(work, select(work.inputs["documents"], measures, duplicates, work.output, config=work.config, **_data_options(work)))


def lines(work: Work) -> None:
    """Documents less the lines that others have."""
    from lmpipe.data.dedup.repeated import remove_repeated

    _book(work, remove_repeated(work.inputs["documents"], work.output, config=work.config, **_data_options(work)))


paragraphs = lines


def spans(work: Work) -> None:
    """Documents less the runs of words that earlier ones have."""
    from lmpipe.data.dedup.spans import remove_spans

    _book(work, remove_spans(work.inputs["documents"], work.output, config=work.config, **_data_options(work)))


def names(work: Work) -> None:
    """Train the tagger of names and addresses."""
    from lmpipe.data.pii.training import train_tagger

    files = [(source.name, source.url) for source in work.sources]
    config = work.config
    facts = train_tagger(files, work.output, config=config.names, kinds=config.kinds, seed=config.seed, progress=work.progress)
    work.facts["scores"] = facts["scores"]


def mask(work: Work) -> None:
    """Personal data and secrets."""
    from lmpipe.data.pii.masking import mask
    from lmpipe.data.pii.presidio import MODEL_NAME, Presidio
    from lmpipe.data.pii.pseudonyms import KEY_NAME, same_key

    places = {source.name: source for source in work.sources}
    config, names = work.config.masking, work.inputs.get("names")
    key = same_key(places[KEY_NAME].url, places[KEY_NAME].digest()) if KEY_NAME in places else None
    engine = Presidio(work.config.engine, config.name_kinds(), Path(places[MODEL_NAME].url)) if work.config.engine else None
    ledger = mask(work.inputs["documents"], work.output, config=config, key=key, names=names or engine, **_data_options(work))
    _book(work, ledger)


def split(work: Work) -> None:
    """Training, validation and test text."""
    from lmpipe.data.splitting.dividing import split

    config, seed, given = work.config.split, work.config.seed, work.config.given
    documents, options = work.inputs["documents"], _data_options(work)
    _book(work, split(documents, work.output, config=config, seed=seed, given=given, **options))


def decontaminate(work: Work) -> None:
    """Training text less what is measured on."""
    from lmpipe.data.decontamination.brought import write_brought_items
    from lmpipe.data.decontamination.decontaminating import decontaminate

    items = {}
    for name in work.config.sets:
        corpus, _, side = name.rpartition(".")
        items[name] = work.inputs[f"evaluated-{corpus}"] / side
    for brought, file in zip(work.config.brought, work.sources, strict=True):
        items[brought.set] = write_brought_items(Path(file.url), brought, work.scratch / "brought" / brought.set)
    config = work.config.decontaminate
    _book(work, decontaminate(work.inputs["documents"], work.output, items=items, config=config, **_data_options(work)))


def toward(work: Work) -> None:
    """Keep the documents that resemble another corpus's training text."""
    from lmpipe.data.mixing.importance import select_toward

    documents, target = work.inputs["documents"], work.inputs["target"] / "train"
    config, seed = work.config.toward, work.config.seed
    _book(work, select_toward(documents, target, work.output, config=config, seed=seed, **_data_options(work)))


def balance(work: Work) -> None:
    """Make the classes of the training text equally frequent."""
    from lmpipe.data.mixing.balancing import balance

    config, seed = work.config.balance, work.config.seed
    _book(work, balance(work.inputs["documents"], work.output, config=config, seed=seed, **_data_options(work)))


def arrange(work: Work) -> None:
    """Put the training text into an order that counts."""
    from lmpipe.data.mixing.ordering import arrange

    config, seed = work.config.curriculum, work.config.seed
    _book(work, arrange(work.inputs["documents"], work.output, config=config, seed=seed, **_data_options(work)))


def augment(work: Work) -> None:
    """Further training documents."""
    from lmpipe.data.augmentation.augmenting import augment
    from lmpipe.data.augmentation.config import generator_of
    from lmpipe.data.augmentation.files import read_synonyms
    from lmpipe.recipes.generating import askers_of, note_calls

    config = work.config
    askers = askers_of({part.kind: generator_of(part) for part in config.augment}, work)
    ledger = augment(
        work.inputs["documents"],
        work.output,
        config=config.augment,
        seed=config.seed,
        synonyms=read_synonyms(config.augment, work.sources),
        askers=askers,
        **_data_options(work),
    )
    note_calls(askers, work)
    _book(work, ledger)


def canaries(work: Work) -> None:
    """Synthetic secrets, to be planted in training text."""
    from lmpipe.data.canaries import plant

    config = work.config.canaries
    ledger = plant(work.output, count=config.count, repeats=config.repeats, seed=work.config.seed, progress=work.progress)
    _book(work, ledger)


def _data_options(work: Work) -> dict[str, Any]:
    from lmpipe.data.engines.choice import Engine, use_engine

    use_engine(Engine(work.runtime.on, work.runtime.document_seconds))
    workers = work.runtime.resolved_workers()
    return {"scratch": work.scratch, "progress": work.progress, "workers": workers}


def _book(work: Work, ledger: Ledger) -> None:
    work.facts["ledger"] = ledger.to_json()


def tokenizer(work: Work) -> None:
    """Make the tokenizer, on the training split where it learns from text."""
    from lmpipe.tokens.training import train_tokenizer

    training = train_tokenizer(
        work.inputs["documents"] / "train" if "documents" in work.inputs else None,
        work.config.tokenizer,
        work.output,
        progress=work.progress,
        threads=work.runtime.resolved_threads(),
        targets=work.config.targets,
    )
    work.facts["vocab_size"] = training.vocab_size


def pretrained(work: Work) -> None:
    """The files of the model that is gone on from, under the store's digests."""
    import shutil

    from lmpipe.base.files import storing

    for source in work.sources:
        with storing(work.output / source.name):
            (work.output / source.name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source.url, work.output / source.name)


def adopt(work: Work) -> None:
    """The tokenizer of that model."""
    from lmpipe.models.published import vocab_size_of
    from lmpipe.tokens.adopting import adopt_tokenizer

    tokenizer = adopt_tokenizer(work.inputs["bundle"], work.output, known_ids=vocab_size_of(work.inputs["bundle"]))
    write_json(work.output / "tokenizer_training.json", {"vocab_size": tokenizer.vocab_size})
    work.facts["vocab_size"] = tokenizer.vocab_size


def tokenize(work: Work) -> None:
    """Every split to token shards, planted documents mixed into the training split; examples with their answers."""
    from lmpipe.data.holding import PreferencesConfig
    from lmpipe.tokens.examples import tokenize_examples
    from lmpipe.tokens.preferences import tokenize_preferences
    from lmpipe.tokens.tokenize import tokenize

    holds, threads = work.config.holds, work.runtime.resolved_threads()
    if not isinstance(holds, str):
        tokenize_all: Any = tokenize_preferences if isinstance(holds, PreferencesConfig) else tokenize_examples
        summary = tokenize_all(
            work.inputs["documents"],
            work.inputs["tokenizer"],
            work.output,
            holds=holds,
            progress=work.progress,
            threads=threads,
        )
        work.facts["tokens"] = summary["tokens"]
        return
    summary = tokenize(
        work.inputs["documents"],
        work.inputs.get("canaries"),
        work.inputs["tokenizer"],
        work.output,
        conversations=holds == "conversations",
        progress=work.progress,
        threads=threads,
    )
    work.facts["tokens"] = summary["tokens"]


def mix(work: Work) -> None:
    """The token shards of several corpora in one folder, with their shares."""
    from lmpipe.tokens.mixture import mix

    work.facts.update(mix(work.inputs, work.output, config=work.config.mixture, progress=work.progress))


def train(work: Work) -> None:
    """One training phase."""
    from lmpipe.training.job import TrainingJob
    from lmpipe.training.loop import Device
    from lmpipe.training.trackers import trackers_of

    runtime = work.runtime
    threads = max(1, runtime.resolved_threads() // runtime.processes)
    job = TrainingJob(
        tokens=work.inputs["tokens"],
        output=work.output,
        model=work.config.model,
        phase=work.config.phase,
        seed=work.config.seed,
        device=Device(runtime.resolved_device(), threads, runtime.compile, runtime.shard),
        scratch=work.scratch,
        observed=work.observed,
        start=_start(work),
        tokenizer=work.inputs.get("tokenizer"),
        teacher=work.inputs.get("teacher"),
        trackers=tuple(trackers_of(runtime.track)),
    )
    if runtime.trainers > 1:
        from lmpipe.training.launching import Where, train_in_processes

        where = Where(runtime.processes, runtime.machines, runtime.rendezvous, runtime.restarts)
        facts = train_in_processes(job, where, progress=work.progress, stopping=work.stopping)
    else:
        facts = job.run(progress=work.progress, stopping=work.stopping, judge=_judge(work))
    work.facts.update(facts)


def _judge(work: Work) -> Judge | None:
    """What answers are worth, where they are rewarded."""
    from lmpipe.recipes.rewarding import judge_of
    from lmpipe.training.grpo_config import GrpoConfig

    objective = work.config.phase.objective
    if not isinstance(objective, GrpoConfig):
        return None
    file = Path(work.sources[0].url) if work.sources else None
    return judge_of(objective.reward, file, work.runtime.resolved_threads())


def _start(work: Work) -> Path | None:
    """The model folder that a phase starts from: of the phase before, or a bundle."""
    if "start" not in work.inputs:
        return None
    folder = work.inputs["start"]
    return folder / work.config.phase.weights if (folder / "training.json").is_file() else folder


def ngram(work: Work) -> None:
    """Count the n-gram baseline on the training split's tokens."""
    from lmpipe.models.ngram.model import save
    from lmpipe.models.ngram.training import train
    from lmpipe.tokens.shards import open_shards

    shards = open_shards(work.inputs["tokens"] / "train")
    model = train(
        shards.iter_documents(),
        work.config,
        vocab_size=shards.vocab_size,
        end_of_text_id=shards.end_of_text_id,
        progress=work.progress,
    )
    save(model, work.output)


def hidden_markov(work: Work) -> None:
    """Estimate the hidden Markov baseline on the training split's tokens."""
    from lmpipe.models.hmm.model import save
    from lmpipe.models.hmm.training import train
    from lmpipe.tokens.shards import open_shards

    shards = open_shards(work.inputs["tokens"] / "train")
    model = train(
        shards.iter_documents(),
        work.config.hmm,
        vocab_size=shards.vocab_size,
        seed=work.config.seed,
        progress=work.progress,
        scratch=work.scratch,
    )
    save(model, work.output)


def evaluate(work: Work) -> None:
    """Score a held-out split with the model and its baselines."""
    from lmpipe.evaluation.perplexity import evaluate_perplexity
    from lmpipe.models.hmm import model as hmm
    from lmpipe.models.ngram import model as ngram
    from lmpipe.tokens.shards import open_shards
    from lmpipe.tokens.tokenizer import load_tokenizer

    config, readers = work.config.evaluation, {"ngram": ngram, "hmm": hmm}
    evaluate_perplexity(
        config,
        _subject(work),
        tokenizer=load_tokenizer(work.inputs["tokenizer"]),
        shards=open_shards(work.inputs["tokens"] / config.split),
        texts=work.inputs["documents"] / config.split,
        scorers={kind: module.load(work.inputs[kind]) for kind, module in readers.items() if kind in work.inputs},
        output=work.output,
        seed=work.config.seed,
        progress=work.progress,
    )


def samples(work: Work) -> None:
    """Let the model go on with the beginnings of held-out documents."""
    from lmpipe.base.randomness import derive_seed
    from lmpipe.models.drawing import Drawing
    from lmpipe.models.generate import TextGenerator
    from lmpipe.tokens.shards import open_shards
    from lmpipe.tokens.tokenizer import load_tokenizer

    config = work.config
    tokenizer = load_tokenizer(work.inputs["tokenizer"])
    shards = open_shards(work.inputs["tokens"] / "test")
    generator = TextGenerator(trained_model(work), known_ids=tokenizer.vocab_size)
    settings = {"temperature": config.temperature, "top_p": config.top_p, "seed": config.seed}
    prompts = []
    for number in range(min(config.count, shards.documents)):
        document = derive_seed(config.seed, "sample", number) % shards.documents
        prompts.append([int(token) for token in shards.document(document)[: config.prompt_tokens]])
    asked = [
        Drawing(
            prompt_ids=[shards.controls.start_of_text_id, *prompt],
            max_new_tokens=config.new_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            seed=derive_seed(config.seed, "sample", number, "draw"),
            stop_ids=(shards.end_of_text_id,),
        )
        for number, prompt in enumerate(prompts)
    ]
    found: dict[int, str] = {}
    for number, ids in generator.generate_all(asked):
        found[number] = tokenizer.decode(ids)
        work.progress.update(len(found), len(asked), "samples")
    written = [
        {"prompt": tokenizer.decode(prompt), "continuation": found[number], "settings": settings}
        for number, prompt in enumerate(prompts)
    ]
    write_json(work.output / "samples.json", written)


def memorization(work: Work) -> None:
    """Extraction of training passages, exposure of planted secrets."""
    from lmpipe.audit.exposure import Canary
    from lmpipe.audit.memorization import audit_memorization
    from lmpipe.tokens.shards import open_shards
    from lmpipe.tokens.tokenizer import load_tokenizer

    planted = read_json(work.inputs["canaries"] / "canaries.json")["canaries"] if "canaries" in work.inputs else []
    seen = sum(read_json(work.inputs[name] / "training.json")["tokens"] for name in work.config.trained_in)
    shards = open_shards(work.inputs["tokens"] / "train")
    audit_memorization(
        work.config.audit,
        _subject(work),
        tokenizer=load_tokenizer(work.inputs["tokenizer"]),
        train=shards,
        heldout=open_shards(work.inputs["tokens"] / "test"),
        canaries=[Canary(**canary) for canary in planted],
        epochs=seen / shards.tokens,
        output=work.output,
        seed=work.config.seed,
        progress=work.progress,
    )


def energy(work: Work) -> None:
    """Sum up what the stages before spent, from their records. Clock-dependent, so outside the content digest."""
    from lmpipe.audit.energy import energy_findings, write_energy

    facts = []
    for folder in work.inputs.values():
        record = read_json(folder / "record.json")
        spent = {key: record[key] for key in ("stage", "seconds", "cpu_seconds", "peak_memory_bytes")}
        facts.append({**spent, "energy_wh": record["energy"]["watt_hours"], "method": record["energy"]["method"]})
    write_energy(work.observed, energy_findings(work.config.audit, facts))


def gate(work: Work) -> None:
    """Decide from the numbers measured."""
    from lmpipe.audit.gate import decide, resolve

    bounds = resolve(work.config.gate, work.config.goal, work.config.goal_corpus)
    verdict = decide(bounds, _metrics(work), _findings(work))
    write_json(work.output / "verdict.json", verdict.model_dump(mode="json"))


def bundle(work: Work) -> None:
    """Package weights, tokenizer, results, cards and provenance, in a folder named after the recipe.

    A bundle has a `record.json` of its own, beside which the stage's would not fit.
    """
    from lmpipe.export.bundle import make_bundle
    from lmpipe.recipes.task_stages import decided
    from lmpipe.serving.chatbot.names import CHATBOT

    gate = work.inputs.get("gate")
    make_bundle(
        work.config.export,
        name=work.config.name,
        train_folder=work.inputs["train"],
        tokenizer_folder=work.inputs["tokenizer"],
        chats=work.config.chats,
        decision=decided(work),
        parts={CHATBOT: work.inputs["chatbot"] / CHATBOT} if "chatbot" in work.inputs else {},
        frames_texts=work.config.frames_texts,
        output=work.output / work.config.name,
        metrics=_metrics(work),
        findings=_findings(work),
        verdict=Verdict.model_validate(read_json(gate / "verdict.json")) if gate else None,
        goal=work.config.goal,
        data_cards=_data_cards(work),
        recipe=work.config.recipe,
        provenance=_provenance(work),
    )


def trained_model(work: Work) -> Decoder:
    """The trained model in fp32, so that its numbers are those of the bundle."""
    import torch

    from lmpipe.models.loading import load_model

    torch.set_num_threads(work.runtime.resolved_threads())
    return load_model(work.inputs["train"] / work.config.weights, device=work.runtime.resolved_device(), dtype="float32")


def _subject(work: Work) -> Subject:
    import torch

    from lmpipe.evaluation.subject import Subject

    model = trained_model(work)
    return Subject(model, model.context_length, model.vocab_size, torch.device(work.runtime.resolved_device()))


def _metrics(work: Work) -> list[Metric]:
    measured = (folder for folder in work.inputs.values() if (folder / METRICS).is_file())
    return [metric for folder in measured for metric in read_metrics(folder)]


def _findings(work: Work) -> list[Finding]:
    paths = (folder / "findings.json" for folder in work.inputs.values())
    return [Finding.model_validate(value) for path in paths if path.is_file() for value in read_json(path)]


def _provenance(work: Work) -> dict[str, Any]:
    """The recipe's digest, and the fingerprints of the stages behind the bundle, from their records."""
    records = {name: read_json(folder / "record.json") for name, folder in sorted(work.inputs.items())}
    stages = {record["stage"]: record["fingerprint"] for record in records.values()}
    return {"recipe": digest_of(work.config.recipe), "stages": stages}


def _data_cards(work: Work) -> list[dict[str, Any]]:
    """One account for each corpus, from the data stages among the inputs."""
    from lmpipe.data.card import corpus_card
    from lmpipe.data.config import CorpusConfig

    cards = []
    for name, given in work.config.recipe["data"].items():
        selection = CorpusConfig.model_validate_json(json.dumps(given)).select()
        cards.append(corpus_card(name, _corpus_folders(work, name), selection.rules() if selection else ()))
    return cards


def _corpus_folders(work: Work, corpus: str) -> dict[str, Path]:
    """Outputs of one corpus's data stages by kind; a stage is called by its kind and its corpus."""
    kinds = {name: read_json(path / "record.json")["code"]["function"].rpartition(":")[2] for name, path in work.inputs.items()}
    folders = {kind: work.inputs[name] for name, kind in kinds.items() if name == f"{kind}-{corpus}" and kind not in NO_DATA}
    return {**folders, **({"canaries": work.inputs["canaries"]} if "canaries" in work.inputs else {})}
