"""What a user may ask of a tokenizer. Knows no library, so `lmpipe check` and `lmpipe plan` read it in no time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from lmpipe.base.config import Config
from lmpipe.tokens.special import BYTES, SMALLEST_VOCABULARY, SPECIAL_TOKENS


class PretrainedTokenizerConfig(Config):
    """The tokenizer of the bundle that the model goes on from; filled in by `model: {from: ...}`."""

    kind: Literal["pretrained"] = "pretrained"
    vocab_size: int = Field(ge=1)
    """How many ids the bundle's model knows."""


class BpeConfig(Config):
    """Byte-level byte-pair encoding (Sennrich et al. 2016; on bytes as in GPT-2), trained on the training split of a corpus."""

    kind: Literal["bpe"] = "bpe"
    vocab_size: int = Field(le=1 << 20)
    """Size of the vocabulary: 256 bytes, 6 control tokens, and as many merges as fit. A corpus too small for that many merges
    gives a smaller vocabulary, and says so."""
    train_on: str
    """The corpus (a name under `data:`) whose training split it is trained on."""
    min_frequency: int = Field(default=2, ge=1)
    """A pair that occurs less often is not merged."""
    max_training_bytes: int = Field(default=256_000_000, ge=1_000_000)
    """More text than this is sampled, evenly over the corpus: merges hardly change after some hundred megabytes, their cost in
    time does."""

    @field_validator("vocab_size")
    @classmethod
    def _room_for_every_byte(cls, value: int) -> int:
        if value < SMALLEST_VOCABULARY:
            raise ValueError(
                f"a vocabulary of {value} is too small: {BYTES} bytes and {len(SPECIAL_TOKENS)} control tokens "
                f"are always in it; expected at least {SMALLEST_VOCABULARY}"
            )
        return value


TokenizerConfig = Annotated[BpeConfig | PretrainedTokenizerConfig, Field(discriminator="kind")]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Weight = Annotated[float, Field(gt=0)]


class MixtureConfig(Config):
    """Several corpora trained on together: `{mixture: {books: 0.7, web: 0.3}}` or `{mixture: [books, web], temperature: 2}`."""

    mixture: dict[Name, Weight] | tuple[Name, ...] = Field(min_length=2)
    """Corpora with the weight of each (they need not add up to 1), or corpora alone: their sizes and `temperature` decide."""
    temperature: float | None = Field(default=None, ge=1)
    """Where no weights are given, the share of a corpus of n tokens is in proportion to n^(1/temperature): 1 takes them as they
    are, more lifts the small ones (Xue et al. 2021, mT5: 3.3), a very large one makes them equal. Default 1."""

    @model_validator(mode="after")
    def _temperature_without_weights(self) -> Self:
        if isinstance(self.mixture, Mapping) and self.temperature is not None:
            raise ValueError("mixture gives weights, so temperature means nothing; expected one of the two")
        if len(set(self.mixture)) != len(self.mixture):
            raise ValueError("mixture names a corpus twice; expected each once")
        return self

    def corpora(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(self.mixture)

    def shares(self, tokens: Mapping[str, int]) -> dict[str, float]:
        """Of the training tokens, how much comes from each corpus.

        >>> MixtureConfig(mixture=("a", "b"), temperature=2).shares({"a": 900, "b": 100})
        {'a': 0.75, 'b': 0.25}
        """
        if isinstance(self.mixture, Mapping):
            weights = dict(self.mixture)
        else:
            weights = {name: tokens[name] ** (1 / (self.temperature or 1.0)) for name in self.mixture}
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items()}
