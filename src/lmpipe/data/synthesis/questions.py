"""Which questions are asked: seeds, attributes and prompts, put together in an order that depends on nothing but them.

A question's name is the digest of what it is made of, and its random seed and the ids of its examples follow from the name: one
more attribute or seed leaves all other questions, and their answers, as they are.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from lmpipe.base.canonical import digest_of
from lmpipe.base.randomness import derive_seed, unit_interval
from lmpipe.base.templates import fill, slots_of
from lmpipe.data.augmentation.templates import meta_values
from lmpipe.data.documents import Document, group_key
from lmpipe.data.generation.asking import Question
from lmpipe.data.synthesis.config import SEED_META_PREFIX, SEED_SLOT, SynthesisConfig

NO_SEED = ""


@dataclass(frozen=True)
class Draw:
    """One combination, asked for one answer."""

    seed_id: str
    attributes: tuple[tuple[str, str], ...]
    prompt: str
    answer: int

    @property
    def name(self) -> str:
        """Stable, whatever else is asked."""
        return digest_of([self.seed_id, dict(self.attributes), self.prompt, self.answer])

    def group(self) -> str:
        """What all examples around one seed share, so that a split keeps them together."""
        return f"synthetic/{group_key(self.seed_id)}" if self.seed_id else f"synthetic/{self.name[:16]}"

    def example_id(self, number: int, text_digest: str) -> str:
        """The id of an example: its group, a number that only this draw and place give, the text's digest."""
        place = int(digest_of([self.name, number])[:15], 16)
        return f"{self.group()}~{place}:{text_digest}"


def choose_seeds(ids: Iterable[str], count: int | None, seed: int) -> list[str]:
    """`count` ids by the hash of each, so that neither order nor other documents matter much; all, sorted, without a count."""
    if count is None:
        return sorted(ids)
    return sorted(heapq.nsmallest(count, ids, key=lambda identity: (unit_interval(seed, "seeds", identity), identity)))


def draws(config: SynthesisConfig, seed_ids: Sequence[str], seed: int) -> Iterator[Draw]:
    """All combinations, or `count` of them drawn with repetition (then asked under another number)."""
    seeds = seed_ids if config.seeds else [NO_SEED]
    names = list(config.attributes)
    if config.combine == "all":
        for identity in seeds:
            for values in itertools.product(*config.attributes.values()):
                for prompt in config.prompts:
                    yield from _answers(identity, tuple(zip(names, values, strict=True)), prompt, config.answers, 0)
        return
    times: dict[str, int] = {}
    for number in range(config.count or 0):
        stream = Random(derive_seed(seed, "synthesis", number))
        attributes = tuple((name, stream.choice(config.attributes[name])) for name in names)
        drawn = list(_answers(stream.choice(seeds), attributes, stream.choice(config.prompts), config.answers, 0))
        before = times[drawn[0].name] = times.get(drawn[0].name, -1) + 1
        first = drawn[0]
        yield from _answers(first.seed_id, attributes, first.prompt, config.answers, before * config.answers)


def _answers(identity: str, attributes: tuple[tuple[str, str], ...], prompt: str, answers: int, first: int) -> Iterator[Draw]:
    return (Draw(identity, attributes, prompt, first + number) for number in range(answers))


def values_of(draw: Draw, seed_document: Document | None) -> dict[str, str]:
    """What fills the slots of prompts, of `must_contain` and of the judge."""
    values = dict(draw.attributes)
    return values if seed_document is None else {**values, SEED_SLOT: seed_document.text}


def filled(template: str, values: Mapping[str, str], seed_document: Document | None) -> str | None:
    """A template with its slots filled; None where the seed's metadata lacks a value."""
    slots = slots_of(template)
    known = {**values, **meta_values(seed_document, slots, SEED_META_PREFIX)} if seed_document else values
    return fill(template, known) if known.keys() >= set(slots) else None


def question_of(config: SynthesisConfig, draw: Draw, seed_document: Document | None, seed: int) -> Question | None:
    """The question; None where the seed's metadata lacks a value."""
    prompt = filled(draw.prompt, values_of(draw, seed_document), seed_document)
    if prompt is None:
        return None
    system = (("system", config.system),) if config.system else ()
    return Question((*system, ("user", prompt)), config.sampling, derive_seed(seed, "ask", draw.name) % 2**31)
