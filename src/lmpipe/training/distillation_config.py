"""Distillation by numbers. Knows no tensor library."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lmpipe.training.objective_base import TokenObjective


class DistillationConfig(TokenObjective):
    """Predict every token as a larger model does, and the text as it is (Hinton et al. 2015)."""

    architectures = ("decoder",)
    reason = "it predicts each token from those before it as the teacher does, and the model must not see what follows"
    writes = "text"

    kind: Literal["distillation"] = "distillation"
    teacher: str = Field(min_length=1)
    """A bundle, a folder in Hugging Face layout, or `hub:org/name`: a decoder with the same tokenizer. It enters identities by
    the digests of its files."""
    temperature: float = Field(default=2.0, gt=0, le=100)
    """Both distributions are flattened by it before they are compared: what the teacher thinks of unlikely tokens then counts
    more."""
    weight: float = Field(default=0.5, ge=0, le=1)
    """Share of the teacher in what is minimised; the rest is the text's own cross-entropy."""

    @property
    def needs_tokenizer(self) -> bool:
        """It must be the teacher's."""
        return True
