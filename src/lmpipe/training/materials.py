"""What some objectives need beside tokens and a model; handed in by whoever starts a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Materials:
    """Nothing of it, for most objectives."""

    tokenizer: Path | None = None
    """Folder of the tokenizer that made the tokens; there for objectives whose config says `needs_tokenizer`."""
