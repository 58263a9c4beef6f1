"""What some objectives need beside tokens and a model; handed in by whoever starts a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Attempt(NamedTuple):
    """An answer that is to be judged."""

    prompt: str
    answer: str
    target: str
    """What the example says beside its prompt."""


Judge = Callable[[Sequence[Attempt]], Sequence[float]]
"""What each of some answers is worth."""


@dataclass(frozen=True)
class Materials:
    """Nothing of it, for most objectives."""

    tokenizer: Path | None = None
    """Folder of the tokenizer that made the tokens; there for objectives whose config says `needs_tokenizer`,
    and for samples."""
    teacher: Path | None = None
    """Folder of the model that is learned from, in Hugging Face layout."""
    judge: Judge | None = None
    """What answers are worth, where rewards are learned from."""
