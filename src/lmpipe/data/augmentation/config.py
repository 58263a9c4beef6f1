"""What a user may ask of augmentation: further training documents made from those that are there.

Every kind is applied to the training side alone, after the split, and to original documents only: kinds do not build on each
other. Data only; neither numpy nor pyarrow is imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from lmpipe.base.config import Config
from lmpipe.base.templates import check_slots, slots_of
from lmpipe.data.generation.config import GeneratorConfig, SamplingConfig

Rate = Annotated[float, Field(gt=0, le=1)]
DOCUMENT_SLOTS = ("text", "id", "source", "licence", "language")
META_PREFIX = "meta."
"""`{meta.label}` is the value of `label` in a document's metadata."""


class AugmentBase(Config):
    """What all kinds of augmentation have."""

    share: Rate = 0.1
    """Share of the training documents that get copies. Which ones depends on the seed and their ids, never on their order."""
    copies: int = Field(default=1, ge=1, le=64)
    """Copies of each of them, each with a random stream of its own."""


class EdaConfig(AugmentBase):
    """Word operations, one per copy, sentence by sentence (Wei and Zou 2019, EDA, arXiv 1901.11196)."""

    kind: Literal["eda"] = "eda"
    operations: tuple[Literal["replace", "insert", "swap", "delete"], ...] = Field(default=("swap", "delete"), min_length=1)
    """`replace` words by synonyms, `insert` synonyms of words, `swap` two words, `delete` words. The first two need
    `synonyms`."""
    rate: Rate = 0.1
    """Share of the words of a sentence that are touched (alpha in the paper); of short sentences, one word."""
    synonyms: str | None = None
    """Path of a file with a word and its synonyms on each line, separated by commas: `quick,fast,rapid`. There is no list
    built in: which words mean the same depends on the field."""

    @model_validator(mode="after")
    def _synonyms_where_needed(self) -> Self:
        needed = [operation for operation in self.operations if operation in ("replace", "insert")]
        if needed and self.synonyms is None:
            raise ValueError(f"the operation '{needed[0]}' needs synonyms; name a file in `synonyms`, or use swap and delete")
        if self.synonyms is not None and not needed:
            raise ValueError("synonyms are named and no operation uses them; add replace or insert to `operations`")
        return self


class KeyboardConfig(AugmentBase):
    """Typing errors: a neighbouring key, a key too much, a key too few, two keys in the wrong order (Damerau 1964)."""

    kind: Literal["keyboard"] = "keyboard"
    layout: Literal["qwerty", "qwertz", "azerty"] = "qwerty"
    """Whose neighbours are hit: US, German or French."""
    rate: Rate = 0.02
    """Share of the letters that are mistyped."""
    errors: tuple[Literal["substitute", "insert", "delete", "transpose"], ...] = Field(
        default=("substitute", "insert", "delete", "transpose"), min_length=1
    )
    """Which errors are made, all equally often."""


class OcrConfig(AugmentBase):
    """Characters misread by optical recognition: `rn` for `m`, `cl` for `d`, `1` for `l`."""

    kind: Literal["ocr"] = "ocr"
    rate: Rate = 0.02
    """Share of the places that could be misread which are."""


class CaseConfig(AugmentBase):
    """Upper and lower case as people write in chats, headings and forms."""

    kind: Literal["case"] = "case"
    styles: tuple[Literal["lower", "upper", "title"], ...] = Field(default=("lower", "upper", "title"), min_length=1)
    """One of them for each copy."""


class PunctuationConfig(AugmentBase):
    """Punctuation taken out, or put between words at random (AEDA; Karimi et al. 2021, arXiv 2108.13230)."""

    kind: Literal["punctuation"] = "punctuation"
    operations: tuple[Literal["remove", "insert"], ...] = Field(default=("remove", "insert"), min_length=1)
    """One of them for each copy."""


class TemplatesConfig(AugmentBase):
    """Documents put into other words around them: one template for each copy, its slots filled from the document."""

    kind: Literal["templates"] = "templates"
    templates: tuple[str, ...] = Field(min_length=1)
    """Such as `"{greeting} {text}"`. Slots: text, id, source, licence, language, `meta.<key>` and those of `slots`. A document
    without the key gets no such copy; that is counted."""
    slots: dict[str, tuple[str, ...]] = Field(default={})
    """Slots of your own, each with the values from which one is drawn for each copy."""

    @field_validator("slots")
    @classmethod
    def _slots_have_values(cls, slots: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name, values in slots.items():
            if not values:
                raise ValueError(f"the slot '{name}' has no value; expected a list of at least one")
            if name in DOCUMENT_SLOTS or name.startswith(META_PREFIX):
                raise ValueError(f"the slot '{name}' is the document's own; give yours another name")
        return slots

    @model_validator(mode="after")
    def _slots_are_known(self) -> Self:
        for template in self.templates:
            check_slots(template, [*DOCUMENT_SLOTS, *self.slots], open_prefix=META_PREFIX)
        used = {slot for template in self.templates for slot in slots_of(template)}
        if unused := sorted(set(self.slots) - used):
            raise ValueError(f"the slot '{unused[0]}' is in no template; remove it or use it")
        return self


class RewriteBase(AugmentBase):
    """What kinds have whose copies a generator writes."""

    generator: GeneratorConfig
    """Who writes. Documents are sent to it as they are after masking."""
    sampling: SamplingConfig = SamplingConfig(max_tokens=1024)
    """How answers are drawn."""
    max_characters: int = Field(default=4000, ge=1)
    """Longer documents get no such copy; they are counted."""
    length_ratio: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]] = (0.5, 2.0)
    """A copy with fewer or more characters, by those of its parent, is no copy: comments, refusals, endless repetition."""


class BackTranslationConfig(RewriteBase):
    """Translation into another language and back (Sennrich et al. 2016, arXiv 1511.06709; Edunov et al. 2018)."""

    kind: Literal["back_translation"] = "back_translation"
    through: tuple[str, ...] = Field(min_length=1)
    """Languages, as the prompt should name them (`German`); one for each copy."""
    language: str = Field(min_length=1)
    """The documents' language, as the prompt should name it."""
    prompt: str = "Translate the following text into {language}. Answer with the translation only.\n\n{text}"
    """What is asked, twice. Slots: text, language."""

    @field_validator("prompt")
    @classmethod
    def _prompt_has_both(cls, prompt: str) -> str:
        return _needs(prompt, ["text", "language"], ["text", "language"])


class ParaphraseConfig(RewriteBase):
    """The same in other words, or whatever else the prompts ask of a document."""

    kind: Literal["paraphrase"] = "paraphrase"
    prompts: tuple[str, ...] = Field(
        default=("Rewrite the following text in other words. Keep its meaning. Answer with the new text only.\n\n{text}",),
        min_length=1,
    )
    """One of them for each copy. Slots: text, id, source, licence, language, `meta.<key>`."""

    @field_validator("prompts")
    @classmethod
    def _prompts_have_text(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_needs(prompt, ["text"], DOCUMENT_SLOTS, META_PREFIX) for prompt in prompts)


def _needs(prompt: str, slots: Sequence[str], known: Sequence[str], prefix: str = "") -> str:
    check_slots(prompt, known, open_prefix=prefix)
    if missing := [slot for slot in slots if slot not in slots_of(prompt)]:
        raise ValueError(f"a prompt with the slot {{{missing[0]}}}")
    return prompt


AugmentConfig = Annotated[
    EdaConfig
    | KeyboardConfig
    | OcrConfig
    | CaseConfig
    | PunctuationConfig
    | TemplatesConfig
    | BackTranslationConfig
    | ParaphraseConfig,
    Field(discriminator="kind"),
]


def generator_of(part: AugmentConfig) -> GeneratorConfig | None:
    """Who writes the copies of a kind; None where a rule makes them."""
    return part.generator if isinstance(part, RewriteBase) else None


def check_kinds(augment: tuple[AugmentConfig, ...]) -> None:
    """Each kind at most once: its name is part of the ids and of the random streams of what it makes.

    Raises:
        ValueError: naming a kind that stands twice.
    """
    kinds = [part.kind for part in augment]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise ValueError(f"augment has two parts of kind '{kind}'; expected each at most once")
