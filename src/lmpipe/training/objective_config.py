"""What is learned, by numbers: one class per objective. Knows no tensor library."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from lmpipe.models.heads import Pooling
from lmpipe.training.distillation_config import DistillationConfig
from lmpipe.training.grpo_config import GrpoConfig
from lmpipe.training.objective_base import ObjectiveBase, TokenObjective
from lmpipe.training.preference_config import PreferenceConfig


class CausalConfig(TokenObjective):
    """Predict every token from those before it in the same document."""

    architectures = ("decoder",)
    reason = "it predicts each token from those before it, and the model must not see what follows"
    writes = "text"

    kind: Literal["causal"] = "causal"

    @property
    def calibrates(self) -> bool:
        """Any ids will do."""
        return True


class PrefixConfig(TokenObjective):
    """Go on with a text whose beginning is read both ways: each of its tokens sees all of it, and only what follows is learned
    (Raffel et al. 2020, T5, section 3.2; Dong et al. 2019, UniLM). Where the beginning ends is drawn anew each time a text is
    read, every place as likely as any other."""

    architectures = ("decoder",)
    reason = "a text is gone on with, one token after the other, by the network that read its beginning"
    writes = "text"
    reads_prefix = True

    kind: Literal["prefix"] = "prefix"
    causal_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the texts of which all is learned, each token from those before it. What is measured of whole texts (perplexity)
    asks exactly that, which a model that always had a beginning to read has hardly learned."""

    @property
    def calibrates(self) -> bool:
        """Any ids will do."""
        return True


class ChatConfig(TokenObjective):
    """Answer: conversations are read whole, and only what the assistant says is learned."""

    architectures = ("decoder",)
    reason = CausalConfig.reason
    learns = ("conversations",)
    writes = "chat"
    takes_buckets = True

    kind: Literal["chat"] = "chat"

    @property
    def calibrates(self) -> bool:
        """Any ids will do."""
        return True


class MaskedConfig(TokenObjective):
    """Guess tokens that were hidden, from both sides (Devlin et al. 2019, BERT); hidden anew each time a text is read."""

    architectures = ("encoder",)
    reason = "it hides tokens and asks for them, and the model must see both sides of them"

    kind: Literal["masked"] = "masked"
    rate: float = Field(default=0.15, gt=0, lt=1)
    """Share of each row's tokens that is asked for; 0.3 to 0.4 is often better for pre-training (Wettig et al. 2023)."""
    mask_fraction: float = Field(default=0.8, ge=0, le=1)
    """Share of those that is replaced by the mask token."""
    random_fraction: float = Field(default=0.1, ge=0, le=1)
    """Share of those that is replaced by any other token; the rest stands as it is, and is asked for all the same."""
    whole_words: bool = False
    """Whether all tokens of a word are asked for together (BERT's whole-word masking, 2019; Cui et al. 2021): a part of a word
    says too much about the rest of it."""

    @property
    def needs_tokenizer(self) -> bool:
        """Only a tokenizer knows where words begin."""
        return self.whole_words

    @property
    def calibrates(self) -> bool:
        """Any ids will do, where they need not be words."""
        return not self.whole_words

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.mask_fraction + self.random_fraction > 1:
            raise ValueError("mask_fraction and random_fraction together are more than all the hidden tokens")
        return self


class SpanCorruptionConfig(TokenObjective):
    """Write the stretches of a text that were hidden (Raffel et al. 2020, T5); hidden anew each time a text is read."""

    architectures = ("encoder-decoder",)
    reason = "the text is read by an encoder, and what is hidden in it written by a decoder"

    kind: Literal["span_corruption"] = "span_corruption"
    density: float = Field(default=0.15, gt=0, le=0.5)
    """Share of each document's tokens that is hidden."""
    mean_span: float = Field(default=3.0, ge=1)
    """Tokens of a hidden stretch, on average."""
    target_tokens: int | None = Field(default=None, ge=8)
    """Positions for the hidden stretches of a row; a document that finds no room there is not asked for. Null: by the average
    length of documents."""

    def hidden_of(self, tokens: int) -> int:
        """How many of a document's tokens are hidden.

        >>> SpanCorruptionConfig().hidden_of(100), SpanCorruptionConfig().hidden_of(1)
        (15, 0)
        """
        return min(max(1, round(tokens * self.density)), tokens - 1)

    def spans_of(self, tokens: int) -> int:
        """In how many stretches.

        >>> SpanCorruptionConfig().spans_of(100)
        5
        """
        hidden = self.hidden_of(tokens)
        return min(max(1, round(hidden / self.mean_span)), tokens - hidden)


class ClassificationConfig(ObjectiveBase):
    """Tell classes apart: one of several, any number of several, or a number (a corpus of scores)."""

    architectures = ("encoder",)
    reason = "a class is read off what an encoder makes of the whole text"
    learns = ("labels", "scores")
    takes_buckets = True
    head = "sequence"
    judged_by_accuracy = True
    loss_unit = "per text"

    kind: Literal["classification"] = "classification"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each target's probability that is spread over all classes (Szegedy et al. 2016)."""
    class_weights: Literal["equal", "balanced"] | dict[str, float] = "equal"
    """How much an example of each class counts: the same; `balanced`: in inverse proportion to how often the class occurs (n
    examples over the number of classes times its count); or a number for each class, 1 for those not named."""

    @model_validator(mode="after")
    def _weights_are_positive(self) -> Self:
        if isinstance(self.class_weights, dict) and any(weight <= 0 for weight in self.class_weights.values()):
            raise ValueError("class_weights has a weight that is not above 0")
        return self


class TaggingConfig(ObjectiveBase):
    """Tell the tag of every word, from the whole text; read off its first token."""

    architectures = ("encoder",)
    reason = "a tag is read off what an encoder makes of a word among those on both sides"
    learns = ("tags",)
    takes_buckets = True
    head = "token"
    judged_by_accuracy = True
    loss_unit = "nats per word"

    kind: Literal["tagging"] = "tagging"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each target's probability that is spread over all tags (Szegedy et al. 2016)."""


class ContrastiveConfig(ObjectiveBase):
    """Tell which passage belongs to which query among all those of a batch (van den Oord et al. 2018, InfoNCE), both ways: what
    embeddings are trained with. Passages and queries that stand in a batch twice are not held against each other."""

    architectures = ("encoder",)
    reason = "a vector is made of what an encoder makes of the whole text"
    learns = ("matches",)
    head = "embedding"
    judged_by_accuracy = True
    loss_unit = "nats per pair"
    undivided = "compares all pairs of a batch with each other"
    whole_batches = True

    kind: Literal["contrastive"] = "contrastive"
    temperature: float = Field(default=0.05, gt=0, le=1)
    """What cosines are divided by: a small one asks for a larger distance to the nearest of the others."""
    pooling: Pooling = "mean"
    """How a text becomes one vector: the mean of its hidden states, or the one at its first position (`cls`)."""
    passage_tokens: int | None = Field(default=None, ge=8)
    """Positions for passages in a row; a longer passage is cut. Null: as many as for queries."""


class Seq2SeqConfig(TokenObjective):
    """Write the target of a text: summaries, translations."""

    architectures = ("encoder-decoder",)
    reason = "the text is read by an encoder, and its target written by a decoder"
    learns = ("pairs",)
    takes_buckets = True

    kind: Literal["seq2seq"] = "seq2seq"
    target_tokens: int | None = Field(default=None, ge=8)
    """Positions for targets in a row; a longer target is cut. Null: as many as for texts."""


AnyObjective = (
    CausalConfig
    | PrefixConfig
    | ChatConfig
    | MaskedConfig
    | SpanCorruptionConfig
    | ClassificationConfig
    | TaggingConfig
    | ContrastiveConfig
    | Seq2SeqConfig
    | PreferenceConfig
    | DistillationConfig
    | GrpoConfig
)
ObjectiveConfig = Annotated[AnyObjective, Field(discriminator="kind")]


def objectives_by_kind() -> dict[str, type[ObjectiveBase]]:
    """Every objective by what recipes call it."""
    return {str(one.model_fields["kind"].default): one for one in get_args(AnyObjective)}
