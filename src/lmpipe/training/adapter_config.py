"""Adapters by numbers: what is added to frozen weights, and to which of them. Knows no tensor library."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lmpipe.base.config import Config


class LoraConfig(Config):
    """LoRA (Hu et al. 2022): chosen matrices W learn a product of two thin ones, W + alpha / rank B A; the rest is frozen."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=8, ge=1, le=1024)
    """Rows of A, columns of B."""
    alpha: float = Field(default=16.0, gt=0)
    """The product counts alpha / rank times."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of A's inputs dropped while training."""
    targets: tuple[str, ...] = ()
    """Matrices by the last part of their names on disk, such as `q_proj`, `v_proj`; empty: every matrix of every layer."""


class DoraConfig(LoraConfig):
    """DoRA (Liu et al. 2024): LoRA turns each row of W, and a learned number says how long it is."""

    kind: Literal["dora"] = "dora"  # type: ignore[assignment]


AdapterConfig = Annotated[LoraConfig | DoraConfig, Field(discriminator="kind")]
