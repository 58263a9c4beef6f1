"""A chatbot in a folder, as a bundle carries it under `chatbot/`. Nothing is pickled.

chatbot.json     its configuration, the threshold and what it means on validation data
intents/         the intent classifier, where it is one of its own and not the bundle's model
snippets/        the snippets and their index
encoder/         what gives snippets and questions their vectors, where they are searched by meaning
tagger/          what finds entities of kind tagged, where the recipe taught it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lmpipe.base.bundle import check_bundle
from lmpipe.base.errors import DamagedError, ModelError
from lmpipe.base.extras import require
from lmpipe.base.files import read_json, write_json
from lmpipe.models.hmm.tagger import Tagger as WordTagger
from lmpipe.models.hmm.tagger import load_tagger, save_tagger
from lmpipe.models.linear.model import LinearClassifier, load_linear, save_linear
from lmpipe.serving.chatbot.config import ChatbotConfig
from lmpipe.serving.chatbot.entities.tags import Tagger
from lmpipe.serving.chatbot.grounding.config import GenerationConfig
from lmpipe.serving.chatbot.grounding.embedding import Embedder
from lmpipe.serving.chatbot.grounding.index import SnippetIndex, load_index, save_index
from lmpipe.serving.chatbot.names import CHATBOT
from lmpipe.serving.chatbot.session import Chatbot, Writer
from lmpipe.serving.chatbot.thresholds import OperatingPoint
from lmpipe.serving.chatbot.understanding import IntentClassifier, Understander

HEADER = "chatbot.json"
INTENTS, SNIPPETS, TAGGER, ENCODER = "intents", "snippets", "tagger", "encoder"
FORMAT_VERSION = 1
LINEAR, MODEL = "linear", "model"
"""What tells the intents apart."""


@dataclass(frozen=True)
class Models:
    """What a chatbot in a folder may need from outside of it."""

    tagger: Tagger | None = None
    """Marks entities where the folder has no tagger of its own."""
    embedder: Embedder | None = None
    """Gives vectors where the folder has no encoder of its own."""
    writer: Writer | None = None
    classifier: IntentClassifier | None = None
    """Tells the intents apart where the folder has no classifier of its own."""


def save_chatbot(
    folder: Path,
    config: ChatbotConfig,
    classifier: LinearClassifier | None,
    index: SnippetIndex,
    threshold: OperatingPoint,
    tagger: WordTagger | None = None,
) -> None:
    """Write everything. Equal parts give equal bytes.

    Args:
        folder: made where it is not there.
        config: the chatbot.
        classifier: of its intents; None: the bundle's model tells them apart.
        index: of its snippets.
        threshold: the chosen one, with what it means on validation data.
        tagger: of its entities, where it has one of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if classifier is not None:
        save_linear(classifier, folder / INTENTS)
    save_index(index, folder / SNIPPETS)
    if tagger is not None:
        save_tagger(tagger, folder / TAGGER)
    kind = LINEAR if classifier is not None else MODEL
    header: dict[str, Any] = {"format_version": FORMAT_VERSION, "classifier": kind, "threshold": asdict(threshold)}
    write_json(folder / HEADER, {**header, "config": config.model_dump(mode="json")})


def load_chatbot(folder: Path, models: Models = Models()) -> Chatbot:
    """Open a chatbot.

    Raises:
        ModelError: when there is none, one of another version, or one whose parts need a model that was not given.
        DamagedError: when its files do not fit each other.
        ServingError: when its classifier does not know its intents.
    """
    path = folder / HEADER
    if not path.is_file():
        raise ModelError("there is no chatbot", where=str(path), expected=f"{HEADER}, {INTENTS}/ and {SNIPPETS}/")
    try:
        header = read_json(path)
        version, kind, threshold = header["format_version"], header["classifier"], float(header["threshold"]["threshold"])
        config = ChatbotConfig.model_validate(header["config"])
    except ValidationError as error:
        raise _damaged(path, f"its configuration has {error.error_count()} problems") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from None
    if version != FORMAT_VERSION or kind not in (LINEAR, MODEL):
        raise ModelError(
            f"the chatbot has format {version} and a classifier '{kind}'", where=str(path), expected=f"1, {LINEAR} or {MODEL}"
        )
    classifier: IntentClassifier | None = load_linear(folder / INTENTS) if kind == LINEAR else models.classifier
    if classifier is None:
        raise ModelError(
            "the chatbot's intents are told apart by its bundle's model, which was not given",
            where=str(path),
            expected="the bundle that it came in",
        )
    tagger = load_tagger(folder / TAGGER) if (folder / TAGGER).is_dir() else models.tagger
    understander = Understander(config, classifier, threshold=threshold, tagger=tagger)
    index = load_index(folder / SNIPPETS, embedder=encoder_in(folder) or models.embedder)
    return Chatbot(config, understander, index, models.writer)


def encoder_in(folder: Path) -> Embedder | None:
    """The encoder that a chatbot carries, where it does.

    Raises:
        MissingExtraError: when it does, and torch is not there.
        ModelError: when it cannot be read.
    """
    if not (folder / ENCODER).is_dir():
        return None
    require("torch", extra="train", purpose="a search by meaning")
    from lmpipe.serving.chatbot.grounding.encoder import EncoderVectors

    return EncoderVectors(folder / ENCODER)


def open_chatbot(bundle: Path, generation: Mapping[str, float], *, threads: int) -> tuple[str, Chatbot]:
    """The name of a bundle and its chatbot. The bundle's own model writes the answers where it is tuned to chat.

    Args:
        bundle: every file is compared with the manifest before anything is loaded.
        generation: settings of `GenerationConfig` to be used instead of the chatbot's own.
        threads: for the model.

    Raises:
        DamagedError: when a file is not as the manifest says.
        ModelError: when there is no chatbot, or its parts do not fit together.
    """
    record = bundle / "record.json"
    name = str(read_json(record).get("name", "")) if record.is_file() else ""
    writer: Writer | None = None
    classifier: IntentClassifier | None = None
    if (bundle / "config.json").is_file():
        require("torch", extra="train", purpose="a chatbot with a model")
        from lmpipe.serving.bundle import load_any
        from lmpipe.serving.chatbot.writing import BundleIntents, BundleWriter
        from lmpipe.serving.task_bundle import TaskBundle

        model = load_any(bundle, threads=threads)
        if isinstance(model, TaskBundle):
            classifier = BundleIntents(model) if model.purpose == "classify" else None
        else:
            writer = BundleWriter(model) if model.tuned_to_chat else None
    else:
        check_bundle(bundle)
    bot = load_chatbot(bundle / CHATBOT, Models(writer=writer, classifier=classifier))
    if generation:
        settings = GenerationConfig.model_validate(bot.config.generation.model_dump() | dict(generation))
        bot = Chatbot(bot.config.model_copy(update={"generation": settings}), bot.understander, bot.index, writer)
    return name or "chatbot", bot


def _damaged(path: Path, what: str) -> DamagedError:
    return DamagedError(
        f"the chatbot cannot be used: {what}",
        where=str(path),
        expected="what was written when it was packaged",
        fix="make or fetch the bundle again",
    )
