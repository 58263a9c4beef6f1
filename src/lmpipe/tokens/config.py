"""What a user may ask of a tokenizer. Knows no library, so `lmpipe check` and `lmpipe plan` read it in no time."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from lmpipe.base.config import Config
from lmpipe.tokens.special import BYTES, SMALLEST_VOCABULARY, SPECIAL_TOKENS


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
