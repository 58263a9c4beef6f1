"""Makes the folder of a chatbot: intents learned, a threshold chosen, snippets indexed, stories told.

    training messages, examples --> classifier --+
    validation messages -----------> threshold --+--> chatbot/      what a bundle carries
    written snippets, documents ---> index ------+       |
    test messages, stories <-----------------------------+          metrics.json, stories.json

Without messages the examples of the intents teach them alone, and the threshold is the one that is written.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import ServingError
from lmpipe.base.files import storing
from lmpipe.base.measures import Interval, Metric, write_metrics
from lmpipe.base.nearest import did_you_mean
from lmpipe.models.hmm.tagger import Tagger
from lmpipe.models.linear.config import LinearConfig
from lmpipe.models.linear.model import LinearClassifier
from lmpipe.models.linear.training import train_linear
from lmpipe.serving.chatbot.config import ChatbotConfig
from lmpipe.serving.chatbot.entities.config import TaggedConfig
from lmpipe.serving.chatbot.folder import ENCODER, Models, encoder_in, load_chatbot, save_chatbot
from lmpipe.serving.chatbot.grounding.chunks import snippets_of
from lmpipe.serving.chatbot.grounding.index import build_index
from lmpipe.serving.chatbot.making_config import CHATBOT_METRICS, MadeChatbotConfig
from lmpipe.serving.chatbot.names import CHATBOT
from lmpipe.serving.chatbot.stories import run_stories, story_metrics, write_stories
from lmpipe.serving.chatbot.thresholds import Floats, OperatingPoint, choose_threshold, confidences, operating_points
from lmpipe.serving.chatbot.understanding import IntentClassifier

Messages = Sequence[tuple[str, str]]
"""(text, intent)."""
NOT_OF_THE_MODEL = {"record.json", "observed"}
"""Of the stage whose output the encoder is."""
ShareInterval = Callable[[int, int], Interval]
"""(hits, trials) to the interval of the share."""


class Sides(NamedTuple):
    """Messages with their intents."""

    train: Messages
    validation: Messages
    test: Messages


def make_chatbot(
    config: MadeChatbotConfig,
    sides: Sides | None,
    documents: Iterable[tuple[str, str, str]],
    output: Path,
    *,
    interval: ShareInterval,
    model: IntentClassifier | None = None,
    tagger: Tagger | None = None,
    encoder: Path | None = None,
    measured: Sequence[Metric] = (),
) -> list[Metric]:
    """Write `chatbot/`, `metrics.json` and `stories.json`; gives the metrics.

    Args:
        config: the chatbot.
        sides: labelled messages; None: the examples of the intents alone.
        documents: (id, text, source) of further snippets.
        output: an existing folder.
        model: tells the intents apart where the config says so.
        tagger: finds entities of kind `tagged`.
        encoder: folder of what gives vectors, where snippets are searched by meaning; copied.
        measured: numbers of the chatbot's parts that stand before its own.
        interval: of a share, from how often something was so, of how many times.

    Raises:
        ServingError: when the messages are of other intents than the config's, none can choose a threshold, or the tagger knows
            no such entity.
        TrainingError: when there are not two intents to learn.
    """
    plain = ChatbotConfig.model_validate(config.model_dump(include=set(ChatbotConfig.model_fields)))
    known = {*plain.intent_by_name, plain.understanding.out_of_scope}
    if sides is not None:
        _check_intents(sides.train, known)
    linear = _learned(plain, config.classifier, sides) if isinstance(config.classifier, LinearConfig) else None
    classifier: IntentClassifier | None = linear or model
    assert classifier is not None, "the stage gives the model where the config asks for it"
    aim = plain.understanding.threshold
    point = OperatingPoint(getattr(aim, "value", 0.0), 0.0, 0.0, 0.0, 0.0)
    if tagger is not None:
        _check_tags(plain, tagger)
    metrics = list(measured)
    if sides is not None:
        point = choose_threshold(*_confidences(classifier, sides.validation, known), aim).point
        metrics += _measured(classifier, sides.test, point.threshold, known, interval)
    pieces = [piece for name, text, source in documents for piece in snippets_of(text, name=name, source=source)]
    if encoder is not None:
        with storing(output / CHATBOT):
            shutil.copytree(encoder, output / CHATBOT / ENCODER, ignore=lambda _, names: NOT_OF_THE_MODEL & {*names})
    index = build_index(plain.snippets, pieces, embedder=encoder_in(output / CHATBOT))
    save_chatbot(output / CHATBOT, plain, linear, index, point, tagger)
    results = run_stories(load_chatbot(output / CHATBOT, Models(classifier=model)), plain.stories)
    write_stories(output, results)
    metrics += story_metrics(results)
    write_metrics(output, metrics)
    return metrics


def _check_intents(messages: Messages, known: set[str | None]) -> None:
    other = sorted({intent for _, intent in messages} - {name for name in known if name})
    if other:
        raise ServingError(
            f"messages have the intent '{other[0]}', which the chatbot does not",
            where="chatbot.messages",
            expected=f"one of {', '.join(sorted(name for name in known if name))}",
            fix="add it to `intents`, or let `holds.none_of_them` name it",
        )


def _check_tags(config: ChatbotConfig, tagger: Tagger) -> None:
    known = sorted({tag.partition("-")[2] for tag in tagger.tags if tag[:2] in ("B-", "I-")})
    for entity in config.entities:
        if isinstance(entity, TaggedConfig) and (entity.label or entity.name) not in known:
            label = entity.label or entity.name
            raise ServingError(
                f"the entity '{entity.name}' is marked by tags of '{label}'{did_you_mean(label, known)}, which no sentence has",
                where="chatbot.spans_from",
                expected=f"one of {', '.join(known) or 'tags such as B-city, I-city, O'}",
                fix="set the entity's label, or mark it in the training sentences",
            )


def _learned(config: ChatbotConfig, linear: LinearConfig, sides: Sides | None) -> LinearClassifier:
    pairs = [*(sides.train if sides else ()), *((text, intent.name) for intent in config.intents for text in intent.examples)]
    return train_linear([text for text, _ in pairs], [intent for _, intent in pairs], linear)


def _confidences(
    classifier: IntentClassifier, messages: Messages, known: set[str | None]
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each message the confidence, whether its intent is right, and whether it is in scope."""
    probabilities = classifier.probabilities([text for text, _ in messages])
    confidence_N, right_N = confidences(probabilities, classifier.labels, [intent for _, intent in messages])
    return confidence_N, right_N, np.array([intent in known for _, intent in messages], bool)


def _measured(
    classifier: IntentClassifier, messages: Messages, threshold: float, known: set[str | None], interval: ShareInterval
) -> list[Metric]:
    """What the threshold means on messages that chose nothing."""
    confidence_N, right_N, inside_N = _confidences(classifier, messages, known)
    points = operating_points(confidence_N, right_N, inside_N)
    at = next((point for point in points if point.threshold >= threshold), points[-1])
    counts = (int(inside_N.sum()), int(inside_N.sum()), int((~inside_N).sum()))
    values = (at.in_scope_accuracy, at.accepted, at.recall)
    return [
        Metric(
            name=name,
            value=value,
            unit="fraction",
            direction="higher",
            interval=interval(round(value * count), count),
            count=count,
            count_unit="messages",
        )
        for name, value, count in zip(CHATBOT_METRICS, values, counts, strict=True)
        if count
    ]
