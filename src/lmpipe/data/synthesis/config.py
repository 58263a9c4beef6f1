"""What a user may ask of synthesis: documents that a generator writes from seeds, attributes and prompts. Data only.

seeds x attributes x prompts --> questions --> answers --> examples --> rules --> judge --> duplicates --> documents
"""

from __future__ import annotations

import math
import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from lmpipe.base.config import Config
from lmpipe.base.templates import check_slots, slots_of
from lmpipe.data.generation.config import GeneratorConfig, SamplingConfig

SEED_SLOT = "seed"
SEED_META_PREFIX = "seed.meta."
"""`{seed.meta.label}` is the value of `label` in the metadata of the seed."""
TEXT_SLOT = "text"


class SeedsConfig(Config):
    """Documents that questions are built around."""

    corpus: str = Field(min_length=1)
    """Another corpus of the recipe; its training side is used, after its cleaning and masking, so that nothing is built on
    its validation or test text."""
    count: int | None = Field(default=None, ge=1)
    """So many of them, chosen by the seed and their ids; all, where it is left out."""
    max_characters: int = Field(default=4000, ge=1)
    """Longer documents are no seeds; they are counted."""


class RulesConfig(Config):
    """What an example must fulfil; cheap, so looked at before the judge is asked."""

    min_characters: int = Field(default=1, ge=1)
    """Fewest characters."""
    max_characters: int | None = Field(default=None, ge=1)
    """Most characters."""
    must_contain: tuple[str, ...] = ()
    """Strings that stand in every example; slots such as `{topic}` are filled as in the question."""
    must_match: tuple[str, ...] = ()
    """Regular expressions, each found somewhere in the example."""
    must_not_match: tuple[str, ...] = ()
    """Regular expressions that are found nowhere in it: refusals, phrases of the generator's own."""

    @field_validator("must_match", "must_not_match")
    @classmethod
    def _expressions_compile(cls, expressions: tuple[str, ...]) -> tuple[str, ...]:
        for expression in expressions:
            try:
                re.compile(expression)
            except re.error as error:
                raise ValueError(f"a regular expression; '{expression}' is none: {error}") from None
        return expressions


class JudgeConfig(Config):
    """A second question about each example, whose answer holds a score (Zheng et al. 2023, arXiv 2306.05685)."""

    prompt: str = Field(min_length=1)
    """With the slot `{text}` for the example; `{seed}` and the attributes may stand in it, too."""
    at_least: float
    """Lowest score with which an example stays."""
    pattern: str = r"(-?\d+(?:\.\d+)?)"
    """Regular expression whose first group is the score; its last match in the answer counts."""
    generator: GeneratorConfig | None = None
    """Who judges; the generator itself, where it is left out, which is known to favour its own text."""
    sampling: SamplingConfig = SamplingConfig(max_tokens=256, temperature=0.0)
    """How the verdict is drawn."""

    @field_validator("pattern")
    @classmethod
    def _pattern_has_a_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"a regular expression: {error}") from None
        if groups < 1:
            raise ValueError("a regular expression with a group around the score, such as `score: (\\d+)`")
        return pattern

    @model_validator(mode="after")
    def _sees_the_text(self) -> Self:
        if TEXT_SLOT not in slots_of(self.prompt):
            raise ValueError("the judge's prompt has no slot {text}: it would not see what it judges")
        return self


class SynthesisConfig(Config):
    """Documents written by a generator, in the place of `read`; cleaning, masking and the split follow as for any corpus."""

    generator: GeneratorConfig
    """Who writes."""
    sampling: SamplingConfig = SamplingConfig()
    """How answers are drawn."""
    system: str = ""
    """The system's message; nothing by default."""
    prompts: tuple[str, ...] = Field(min_length=1)
    """Such as `"Write a {tone} question about {topic}, in the manner of: {seed}"`."""
    seeds: SeedsConfig | None = None
    """Documents for the slot `{seed}`."""
    attributes: dict[str, tuple[str, ...]] = Field(default={})
    """Slots with their values: `{topic: [law, sport], tone: [formal, casual]}`."""
    combine: Literal["all", "sample"] = "all"
    """`all`: every seed with every combination of attributes and every prompt. `sample`: `count` of these at random."""
    count: int | None = Field(default=None, ge=1)
    """How many questions `sample` draws."""
    answers: int = Field(default=1, ge=1, le=1000)
    """Answers to each question, each with a seed of its own."""
    cut_off: Literal["drop", "keep"] = "drop"
    """What becomes of an answer that ends at `max_tokens`. A model that was never taught to end needs `keep`."""
    examples: Literal["answer", "paragraph", "line"] = "answer"
    """What one document is: an answer, a part of it between empty lines, or a line."""
    rules: RulesConfig = RulesConfig()
    """What every example must fulfil."""
    judge: JudgeConfig | None = None
    """A second opinion on each example."""
    near: float | None = Field(default=0.8, gt=0, le=1)
    """Examples this similar (Jaccard of runs of five words) to a seed or an earlier example go; equal ones always do."""
    licence: str = Field(default="unknown", min_length=1)
    """Licence of what is made: what the generator's terms allow. Carried with every document to the data card."""
    language: str = Field(default="unknown", min_length=1)
    """Language of what is made, as a BCP 47 tag. Recorded, not checked; `clean: [{kind: language}]` checks."""

    @model_validator(mode="after")
    def _slots_are_known(self) -> Self:
        for name, values in self.attributes.items():
            if not values:
                raise ValueError(f"the attribute '{name}' has no value; expected a list of at least one")
            if name in (SEED_SLOT, TEXT_SLOT):
                raise ValueError(f"the slot '{name}' is taken; give the attribute another name")
        known = [*self.attributes, *([SEED_SLOT] if self.seeds else [])]
        prefix = SEED_META_PREFIX if self.seeds else ""
        for template in (*self.prompts, *self.rules.must_contain):
            check_slots(template, known, open_prefix=prefix)
        if self.judge:
            check_slots(self.judge.prompt, [TEXT_SLOT, *known], open_prefix=prefix)
        used = {slot for template in self.prompts for slot in slots_of(template)}
        if unused := sorted(set(self.attributes) - used):
            raise ValueError(f"the attribute '{unused[0]}' is in no prompt; remove it or use it")
        if self.seeds and not any(slot.partition(".")[0] == SEED_SLOT for slot in used):
            raise ValueError("seeds are named and no prompt has a slot {seed}; remove them or use them")
        return self

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if (self.combine == "sample") != (self.count is not None):
            raise ValueError("`count` says how many questions `combine: sample` draws; expected both or neither")
        return self

    def questions(self, seeds: int | None) -> int | None:
        """How many questions there are with so many seeds; None where that cannot be known."""
        if self.combine == "sample":
            return (self.count or 0) * self.answers
        if self.seeds is None:
            seeds = 1
        if seeds is None:
            return None
        return seeds * math.prod(map(len, self.attributes.values())) * len(self.prompts) * self.answers
