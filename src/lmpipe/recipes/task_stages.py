"""The stages that measure answers. Imported in a stage's own process only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json
from lmpipe.base.measures import Metric
from lmpipe.base.nearest import did_you_mean
from lmpipe.base.randomness import derive_seed
from lmpipe.data.columns import OWN_COLUMNS, needed_for, values_of
from lmpipe.data.documents import parts_of, tables_of
from lmpipe.data.holding import Holds, LabelsConfig, MatchesConfig, PairsConfig, TagsConfig
from lmpipe.data.splitting.config import SPLITS
from lmpipe.evaluation.code.evaluating import evaluate_programs
from lmpipe.evaluation.examples import ExampleLayout
from lmpipe.evaluation.intervals import wilson
from lmpipe.evaluation.mauve import Embedder
from lmpipe.evaluation.measuring import metrics_of
from lmpipe.evaluation.suites import evaluate_suite
from lmpipe.evaluation.tagging import Tagging
from lmpipe.evaluation.task_work import Asked
from lmpipe.evaluation.tasks import evaluate_task
from lmpipe.models.hmm.config import TaggerConfig
from lmpipe.models.hmm.tagger import Tagger, load_tagger, save_tagger, train_tagger
from lmpipe.models.linear.model import load_linear, save_linear
from lmpipe.models.linear.training import train_linear
from lmpipe.models.loading import load_network
from lmpipe.pipeline.stage import Work
from lmpipe.recipes.embedding import load_embedder
from lmpipe.recipes.stages import trained_model
from lmpipe.serving.chatbot.making import Sides, make_chatbot
from lmpipe.serving.chatbot.making_config import SPAN_METRICS
from lmpipe.serving.chatbot.names import CHATBOT
from lmpipe.tokens.documents import read_examples
from lmpipe.tokens.examples import references, spelled, tags_of
from lmpipe.tokens.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from lmpipe.models.network import Network
    from lmpipe.serving.chatbot.writing import BundleIntents


def answers(work: Work) -> None:
    """A network's answers to held-out examples, beside the right ones."""
    import torch

    config = work.config.evaluation
    device = work.runtime.resolved_device()
    torch.set_num_threads(work.runtime.resolved_threads())
    evaluate_task(
        config,
        load_network(work.inputs["train"] / work.config.weights, device=device),
        tokenizer=load_tokenizer(work.inputs["tokenizer"]),
        tokens=work.inputs["tokens"],
        asked=lambda: asked(work.inputs["documents"] / config.split, work.config.holds, config.slices),
        linear=load_linear(work.inputs["linear"]) if "linear" in work.inputs else None,
        tagger=load_tagger(work.inputs["hmm"]) if "hmm" in work.inputs else None,
        embed=_encoder(work) if "encoder" in work.inputs else None,
        passages=lambda: _passages(work),
        start=_before(work, device) if "start" in work.inputs else None,
        prefix=work.config.holds.prefix if isinstance(work.config.holds, PairsConfig) else "",
        output=work.output,
        seed=work.config.seed,
        device=device,
        progress=work.progress,
    )


def _passages(work: Work) -> Iterator[str]:
    """What is searched: passages of the measured side, or of all, the measured one's first."""
    config = work.config.evaluation
    others = [side for side in SPLITS if side != config.split] if config.among == "corpus" else []
    for side in (config.split, *others):
        for one in asked(work.inputs["documents"] / side, work.config.holds, ()):
            yield from one.references


def _before(work: Work, device: str) -> Network:
    """The encoder before it was trained here, its vectors made as those of the trained one."""
    trained = load_network(work.inputs["train"] / work.config.weights, device="cpu")
    return load_network(work.inputs["start"], device=device, head=getattr(trained, "head_config", None))


def _encoder(work: Work) -> Embedder:
    """The encoder by which written texts are compared with references."""
    tokens = work.config.evaluation.mauve.max_tokens
    return load_embedder(work.inputs["encoder"], max_tokens=tokens, threads=work.runtime.resolved_threads())


def suite(work: Work) -> None:
    """Tasks of lm-evaluation-harness, asked of a decoder in fp32, so that the numbers are those of the bundle."""
    folder = work.scratch / "tasks" if work.sources else None
    for source in work.sources:
        copy = work.scratch / "tasks" / source.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.url, copy)
    evaluate_suite(
        work.config.suite,
        trained_model(work),
        tokenizer=load_tokenizer(work.inputs["tokenizer"]),
        folder=folder,
        output=work.output,
        seed=work.config.seed,
        progress=work.progress,
    )


def programs(work: Work) -> None:
    """Programs that a decoder in fp32 writes, run in the sandbox."""
    (file,) = work.sources
    evaluate_programs(
        work.config.programs,
        trained_model(work),
        tokenizer=load_tokenizer(work.inputs["tokenizer"]),
        file=Path(file.url),
        output=work.output,
        scratch=work.scratch,
        seed=work.config.seed,
        workers=work.runtime.resolved_workers(),
        progress=work.progress,
    )


def linear(work: Work) -> None:
    """The linear classifier that a model has to beat, trained on the same examples."""
    holds = work.config.holds
    texts, labels = [], []
    for _, text, value in read_examples(work.inputs["documents"] / "train", holds.column):
        label = spelled(value, holds)
        if label != holds.none_of_them:
            texts.append(text)
            labels.append(label)
    save_linear(train_linear(texts, labels, work.config.linear), work.output)


def hmm(work: Work) -> None:
    """The hidden Markov model that a tagger has to beat, counted on the same sentences."""
    sentences = _tagged_sentences(work.inputs["documents"] / "train", work.config.holds.column)
    save_tagger(train_tagger(sentences, work.config.tagger), work.output)


def chatbot(work: Work) -> None:
    """A chatbot's folder, from messages, snippets and, where it tells the intents apart, the trained model."""
    config = work.config
    sides = None
    if "messages" in work.inputs:
        sides = Sides(*(_messages(work.inputs["messages"] / side, config.holds) for side in SPLITS))
        sides = sides._replace(train=[row for row in sides.train if row[1] != config.holds.none_of_them])
    tagger, measured = _spans(work) if "spans_from" in work.inputs else (None, ())
    make_chatbot(
        config.chatbot,
        sides,
        _snippets(work),
        work.output,
        interval=wilson,
        model=_intents(work) if "train" in work.inputs else None,
        tagger=tagger,
        encoder=work.inputs.get("encoder"),
        measured=measured,
    )


def _spans(work: Work) -> tuple[Tagger, Sequence[Metric]]:
    """A tagger of entities, taught by the training side, and how well it finds those of the test side."""
    folder, column = work.inputs["spans_from"], work.config.spans.column
    tagger = train_tagger(_tagged_sentences(folder / "train", column), TaggerConfig())
    held_out = list(_tagged_sentences(folder / "test", column))
    if not held_out:
        return tagger, ()
    found = [tagger.tag([word for word, _ in one]) for one in held_out]
    layout = ExampleLayout(kind="tagging", subject=CHATBOT, seed=derive_seed(work.config.seed, "bootstrap", CHATBOT) % 10**6)
    measured = Tagging([[tag for _, tag in one] for one in held_out], found)
    return tagger, [metric for metric in metrics_of(measured, layout) if metric.name in SPAN_METRICS]


def _tagged_sentences(documents: Path, column: str) -> Iterator[list[tuple[str, str]]]:
    """Words with their tags; the reading refuses none, so what does not fit is told here."""
    for number, text, value in read_examples(documents, column):
        words, tags = text.split(" "), tags_of(value)
        if value is None or len(words) != len(tags):
            raise SourceError(
                f"document {number} has {len(words)} words and {0 if value is None else len(tags)} tags",
                where=f"column '{column}'",
                expected="one tag for each word, words and tags with one space between two",
                fix="correct the file",
            )
        yield list(zip(words, tags, strict=True))


def _messages(documents: Path, holds: LabelsConfig) -> list[tuple[str, str]]:
    return [(text, spelled(value, holds)) for _, text, value in read_examples(documents, holds.column)]


def _snippets(work: Work) -> Iterator[tuple[str, str, str]]:
    for side in SPLITS if "snippets_from" in work.inputs else ():
        for part in parts_of(work.inputs["snippets_from"] / side):
            for table in tables_of(part, ["id", "text", "source"]):
                for row in table.to_pylist():
                    yield "-".join(row["id"].split()), row["text"] or "", row["source"] or ""


def _intents(work: Work) -> BundleIntents:
    """The trained model as the bundle will serve it."""
    import torch

    from lmpipe.serving.chatbot.writing import BundleIntents
    from lmpipe.serving.task_bundle import TaskBundle

    torch.set_num_threads(work.runtime.resolved_threads())
    network = load_network(work.inputs["train"] / work.config.weights)
    decision = decided(work) or {}
    folder, tokenizer = work.inputs["train"], load_tokenizer(work.inputs["tokenizer"])
    return BundleIntents(TaskBundle(folder, "intents", "", network, tokenizer, decision))


def decided(work: Work) -> dict[str, Any] | None:
    """What the evaluations chose on validation text; the first one that chose anything counts."""
    paths = (folder / "decision.json" for name, folder in work.inputs.items() if name.startswith("evaluate-"))
    given: dict[str, Any] = work.config.decision
    return next(({**given, **read_json(path)} for path in paths if path.is_file()), None) or given


def asked(documents: Path, holds: Holds, slices: tuple[str, ...]) -> Iterator[Asked]:
    """Every example of one side, with what its answer is compared with and the columns by which it is told apart."""
    columns = sorted({"id", "text", "meta"}.union(*map(needed_for, slices)))
    _check_slices(documents, slices)
    for part in parts_of(documents):
        for table in tables_of(part, columns):
            values = [values_of(table, name) for name in slices]
            for number, row in enumerate(table.select(["id", "text", "meta"]).to_pylist()):
                answer = None if isinstance(holds, str) else json.loads(row["meta"] or "{}").get(holds.column)
                yield Asked(
                    row["id"],
                    row["text"] or "",
                    tuple(column[number] or "" for column in values),
                    references=tuple(references(answer)) if isinstance(holds, PairsConfig | MatchesConfig) else (),
                    tags=tuple(tags_of(answer)) if isinstance(holds, TagsConfig) else (),
                )


def _check_slices(documents: Path, slices: tuple[str, ...]) -> None:
    """Refuse, before anything is computed, a column that no example has: its only slice would be all examples, unnamed."""
    absent = set(slices)
    seen: dict[str, None] = dict.fromkeys(OWN_COLUMNS)
    for part in parts_of(documents) if absent else ():
        for table in tables_of(part, sorted({"meta"}.union(*map(needed_for, slices)))):
            absent = {name for name in absent if not any(values_of(table, name))}
            if not absent:
                return
            seen |= dict.fromkeys(key for meta in table["meta"].to_pylist() for key in json.loads(meta or "{}"))
    for name in sorted(absent):
        raise SourceError(
            f"no example has a '{name}' to be told apart by{did_you_mean(name, seen)}",
            where="slices",
            expected="columns of the examples: " + ", ".join(list(seen)[:30]),
            fix="keep the column by `meta_columns` of its source, or correct `slices`",
        )
