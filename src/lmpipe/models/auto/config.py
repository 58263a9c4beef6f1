"""Which foreign model, by numbers that follow from its own config.json. Knows no tensor library."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from lmpipe.base.config import Config


class AutoConfig(Config):
    """Any model that Transformers knows, from a folder or from the Hub."""

    architecture: ClassVar[str] = "any"

    kind: Literal["auto"] = "auto"
    source: str
    """A folder in Hugging Face layout, or a name on the Hub such as `org/model`."""
    revision: str | None = None
    """Which commit, tag or branch of a model on the Hub."""
    remote_code: bool = False
    """Whether code that comes with the model may run. It can do whatever this program can: read it first."""
    context: int = Field(default=1024, ge=1)
    """Tokens that a prediction can see; what the model's own config.json says, where it says so."""
