"""The Mixtral layout by numbers: what a user may write, and what follows from it. Knows no tensor library."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmpipe.models.llama.config import RotaryShape


class MixtralConfig(RotaryShape):
    """A sparse mixture of experts in the Mixtral layout (Jiang et al. 2024): a Llama whose feed-forwards are several, of which
    each token uses a few.

    A budget counts every expert, so that as many parameters as a Llama's give a smaller network for each token.
    """

    architecture: ClassVar[str] = "decoder"
    heads_offered: ClassVar[tuple[str, ...]] = ("language",)

    kind: Literal["mixtral"] = "mixtral"
    experts: int = Field(default=8, ge=2, le=1024)
    """Feed-forwards in each layer (`num_local_experts`)."""
    experts_per_token: int = Field(default=2, ge=1)
    """How many of them each token goes through (`num_experts_per_tok`)."""
    balance_loss: float = Field(default=0.01, ge=0, lt=1)
    """Weight of the loss that keeps experts equally used (Fedus et al. 2021, section 2.2), added to the mean loss per token."""

    @model_validator(mode="after")
    def _experts_fit(self) -> Self:
        if self.experts_per_token > self.experts:
            raise ValueError(
                f"{self.experts_per_token} experts_per_token of {self.experts} experts: expected no more than there are"
            )
        return self


def parameter_count(config: MixtralConfig, vocab_size: int) -> int:
    """Exactly how many parameters the model has, all experts counted; a tied matrix counts once.

    >>> parameter_count(MixtralConfig(layers=2, width=64, heads=2, experts=4, context=64), 300)
    347712
    """
    return _count(config, vocab_size, config.experts)


def active_parameter_count(config: MixtralConfig, vocab_size: int) -> int:
    """Parameters that one token goes through."""
    return _count(config, vocab_size, config.experts_per_token)


def flops_per_token(config: MixtralConfig, vocab_size: int) -> float:
    """Floating-point operations of one training token, forward and backward; as for the Llama layout, chosen experts only."""
    looked_up = vocab_size * config.width * (1 if config.tie_embeddings else 2)
    multiplied = active_parameter_count(config, vocab_size) - looked_up + vocab_size * config.width
    return 6.0 * multiplied + 12.0 * config.layers * config.heads * config.head_width * config.context


def _count(config: MixtralConfig, vocab_size: int, experts: int) -> int:
    attention = config.width * config.head_width * (2 * config.heads + 2 * config.key_value_heads)
    router = config.width * config.experts
    layer = attention + router + experts * 3 * config.width * config.feed_forward_width + 2 * config.width
    embeddings = vocab_size * config.width * (1 if config.tie_embeddings else 2)
    return embeddings + config.layers * layer + config.width
