"""What a model is asked to write while it is trained. Knows no tensor library."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from lmpipe.base.config import Config


class SamplesConfig(Config):
    """Text that the model writes on the way, always after the same prompts and with the same draws, to be looked at in the
    report. It changes nothing of what is learned."""

    prompts: tuple[Annotated[str, StringConstraints(min_length=1, max_length=2000)], ...] = Field(min_length=1, max_length=16)
    """What the model goes on with, or (of conversations) answers."""
    every_tokens: int = Field(default=1_000_000, ge=1)
    """Trained tokens between two times; the start and the end of the phase always have one."""
    new_tokens: int = Field(default=48, ge=1, le=1000)
    """Tokens to write, at most."""
    temperature: float = Field(default=0.8, ge=0, le=10)
    """0: always the most probable token."""
