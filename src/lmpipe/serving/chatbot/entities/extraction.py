"""Everything that a chatbot looks for in a message, as entities that do not overlap.

Of two readings of the same letters stays, in this order: the one that the bot has just asked for or whose `after` word stands
before it, the one without forgiven errors, the longer one, the one listed first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import date

from lmpipe.base.errors import ServingError
from lmpipe.serving.chatbot.entities.config import (
    DateConfig,
    EmailConfig,
    EntityConfig,
    LookupConfig,
    NumberConfig,
    PatternConfig,
    TaggedConfig,
    TimeConfig,
)
from lmpipe.serving.chatbot.entities.dates import find_dates
from lmpipe.serving.chatbot.entities.email import find_emails
from lmpipe.serving.chatbot.entities.found import Entity
from lmpipe.serving.chatbot.entities.lookup import Lookup
from lmpipe.serving.chatbot.entities.numbers import find_numbers
from lmpipe.serving.chatbot.entities.tags import Tagger, tagged_spans
from lmpipe.serving.chatbot.entities.times import find_times
from lmpipe.serving.chatbot.names import Value

CUE_REACH = 80
"""Characters before an entity in which its `after` word can stand."""
Finding = tuple[int, int, Value, int]
"""Start, end, value, forgiven errors."""


class Extractor:
    """Finds the entities that a chatbot was told of.

    Args:
        entities: what to look for.
        tagger: finds what is `tagged`.

    Raises:
        ServingError: when something is `tagged` and there is no tagger.
    """

    def __init__(self, entities: Sequence[EntityConfig], tagger: Tagger | None = None) -> None:
        self.entities = tuple(entities)
        self.tagger = tagger
        tagged = [entity.name for entity in entities if isinstance(entity, TaggedConfig)]
        if tagged and tagger is None:
            raise ServingError(
                f"the entity '{tagged[0]}' is found by a tagger, and there is none",
                expected="a tagger beside the chatbot",
                fix="give one, or describe the entity as a pattern or a list",
            )
        self._find: dict[str, Callable[[str, date], Iterable[Finding]]] = {}
        for entity in entities:
            if not isinstance(entity, TaggedConfig):
                self._find[entity.name] = _finder(entity)
        self._cues = {entity.name: _cue(entity.after) for entity in entities if entity.after}

    def find(self, text: str, today: date, asked: Collection[str] = ()) -> list[Entity]:
        """The entities of a message, in the order of the text.

        Args:
            text: the message.
            today: what days are relative to.
            asked: entities that the bot has just asked for: they need no `after` word and come first.
        """
        ranked: list[tuple[tuple[int, int, int, int], Entity]] = []
        for place, entity in enumerate(self._candidates(text, today)):
            cue = self._cues.get(entity.name)
            cued = cue is not None and cue.search(text, max(0, entity.start - CUE_REACH), entity.start) is not None
            wanted = entity.name in asked
            if cue is None or cued or wanted:
                rank = (0 if cued or wanted else 1, entity.edits, entity.start - entity.end, place)
                ranked.append((rank, entity))
        taken: list[Entity] = []
        for _, entity in sorted(ranked, key=lambda pair: pair[0]):
            if all(entity.end <= other.start or entity.start >= other.end for other in taken):
                taken.append(entity)
        return sorted(taken, key=lambda entity: entity.start)

    def _candidates(self, text: str, today: date) -> Iterator[Entity]:
        spans = tagged_spans(text, self.tagger) if self.tagger is not None else []
        for entity in self.entities:
            if isinstance(entity, TaggedConfig):
                label = entity.label or entity.name
                for start, end, name in spans:
                    if name == label:
                        yield Entity(entity.name, text[start:end], start, end, entity.kind)
            else:
                for start, end, value, errors in self._find[entity.name](text, today):
                    yield Entity(entity.name, value, start, end, entity.kind, errors)


def _cue(words: Sequence[str]) -> re.Pattern[str]:
    """One of the words directly before, an article between them at most."""
    return re.compile(rf"(?:^|\W)(?:{'|'.join(re.escape(word) for word in words)})\s+(?:the\s+|an?\s+)?$", re.IGNORECASE)


def _finder(
    entity: PatternConfig | LookupConfig | NumberConfig | DateConfig | TimeConfig | EmailConfig,
) -> Callable[[str, date], Iterable[Finding]]:
    if isinstance(entity, PatternConfig):
        return _pattern_finder(entity)
    if isinstance(entity, LookupConfig):
        lookup = Lookup(entity.values, entity.max_edits)
        return lambda text, _: lookup.find(text)
    if isinstance(entity, NumberConfig):
        words, whole, decimal = entity.words, entity.whole, entity.decimal
        return lambda text, _: [(*found, 0) for found in find_numbers(text, words=words, whole=whole, decimal=decimal)]
    if isinstance(entity, DateConfig):
        day_first = entity.order == "day_first"
        return lambda text, today: [
            (start, end, day.isoformat(), 0) for start, end, day in find_dates(text, today, day_first=day_first)
        ]
    find = find_times if isinstance(entity, TimeConfig) else find_emails
    return lambda text, _: [(*found, 0) for found in find(text)]


def _pattern_finder(entity: PatternConfig) -> Callable[[str, date], Iterable[Finding]]:
    pattern = re.compile(entity.pattern, re.IGNORECASE if entity.ignore_case else 0)
    changes: dict[str, Callable[[str], str]] = {"none": str, "upper": str.upper, "lower": str.lower}
    change = changes[entity.change]

    def find(text: str, _: date) -> Iterator[Finding]:
        for match in pattern.finditer(text):
            group = 1 if pattern.groups and match[1] is not None else 0
            start, end = match.span(group)
            if end > start:
                yield start, end, change(match[group]), 0

    return find
