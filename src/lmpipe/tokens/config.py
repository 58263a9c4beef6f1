"""What a user may ask of a tokenizer. Knows no library, so `lmpipe check` and `lmpipe plan` read it in no time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config, Name
from lmpipe.tokens.special import BYTES, SMALLEST_VOCABULARY, SPECIAL_TOKENS


class PretrainedTokenizerConfig(Config):
    """The tokenizer of the bundle that the model goes on from; filled in by `model: {from: ...}`."""

    kind: Literal["pretrained"] = "pretrained"
    vocab_size: int = Field(ge=1)
    """How many ids the bundle's model knows."""

    @property
    def corpus(self) -> str | None:
        """It is trained already."""
        return None


class NewTokenizerConfig(Config):
    """What every tokenizer that a recipe makes has: our control tokens, and sentinels where they are asked for."""

    sentinels: int = Field(default=0, ge=0, le=1000)
    """Tokens `<extra_id_0>`, `<extra_id_1>`, ... that stand for hidden spans (Raffel et al. 2020, T5: 100 of them); as there,
    the first is the last id."""

    @property
    def corpus(self) -> str | None:
        """The corpus that it is trained on; None: it needs no text."""
        return None


class ByteConfig(NewTokenizerConfig):
    """Every byte is a token. Nothing is trained."""

    kind: Literal["byte"] = "byte"

    @property
    def vocab_size(self) -> int:
        """256 bytes, 6 control tokens, sentinels."""
        return SMALLEST_VOCABULARY + self.sentinels


class TrainedTokenizerConfig(NewTokenizerConfig):
    """What every tokenizer that is trained has."""

    always: ClassVar[tuple[int, str]] = (SMALLEST_VOCABULARY, f"{BYTES} bytes and {len(SPECIAL_TOKENS)} control tokens")
    """Entries that are always in the vocabulary, and what they are."""

    vocab_size: int = Field(le=1 << 20)
    """Size of the vocabulary: control tokens, 256 bytes (but for `word` and `wordpiece`), sentinels, and as many learned
    entries as fit. A corpus too small for so many gives a smaller vocabulary, and says so."""
    train_on: str
    """The corpus (a name under `data:`) whose training split it is trained on."""
    max_training_bytes: int = Field(default=256_000_000, ge=1_000_000)
    """More text than this is sampled, evenly over the corpus: vocabularies hardly change after some hundred megabytes, their
    cost in time does."""

    @property
    def corpus(self) -> str | None:
        """As for every new tokenizer."""
        return self.train_on

    @property
    def learned_size(self) -> int:
        """The vocabulary without sentinels."""
        return self.vocab_size - self.sentinels

    @model_validator(mode="after")
    def _room_for_what_is_always_there(self) -> Self:
        least, what = self.always
        if self.learned_size < least:
            more = f" and {self.sentinels} sentinels" if self.sentinels else ""
            raise ValueError(
                f"vocab_size {self.vocab_size} is too small: {what}{more} are always in it; "
                f"expected at least {least + self.sentinels}"
            )
        return self


class BpeConfig(TrainedTokenizerConfig):
    """Byte-level byte-pair encoding (Sennrich et al. 2016; on bytes as in GPT-2): the most frequent pair is merged, over and
    over."""

    kind: Literal["bpe"] = "bpe"
    min_frequency: int = Field(default=2, ge=1)
    """A pair that occurs less often is not merged."""


class UnigramConfig(TrainedTokenizerConfig):
    """Pieces of bytes, each with a probability; a text is cut the most probable way (Kudo 2018)."""

    kind: Literal["unigram"] = "unigram"
    max_piece_length: int = Field(default=16, ge=2, le=64)
    """Longest piece, in bytes."""


class CharacterConfig(TrainedTokenizerConfig):
    """Every frequent character is a token; others are spelled by their bytes."""

    kind: Literal["character"] = "character"


class WordConfig(TrainedTokenizerConfig):
    """Every frequent word is a token, with the space before it; others are `<unk>`."""

    always = (len(SPECIAL_TOKENS) + 2, f"{len(SPECIAL_TOKENS)} control tokens, <unk> and one word")

    kind: Literal["word"] = "word"
    min_frequency: int = Field(default=2, ge=1)
    """A word that occurs less often is unknown."""


class WordPieceConfig(TrainedTokenizerConfig):
    """Words in pieces (Schuster and Nakajima 2012; as in BERT); a word with a character that training never saw is `<unk>`.
    White space does not come back."""

    always = WordConfig.always

    kind: Literal["wordpiece"] = "wordpiece"
    min_frequency: int = Field(default=2, ge=1)
    """A pair that occurs less often is not merged."""
    lowercase: bool = False
    """Whether case and accents are taken away first, as in an uncased BERT."""


MadeTokenizerConfig = BpeConfig | UnigramConfig | WordPieceConfig | ByteConfig | CharacterConfig | WordConfig
TokenizerConfig = Annotated[MadeTokenizerConfig | PretrainedTokenizerConfig, Field(discriminator="kind")]

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
