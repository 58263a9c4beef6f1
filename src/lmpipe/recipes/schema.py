"""The recipe: one file, composed of the configs that live beside the parts they configure. Nothing is configured twice.

Knows names and references (a corpus that is trained on must exist; one that nothing uses is dead); builds nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from lmpipe.audit.config import AuditConfig
from lmpipe.audit.gate import GateConfig, GoalConfig
from lmpipe.base.config import Config
from lmpipe.data.config import CorpusConfig
from lmpipe.evaluation.config import PerplexityConfig
from lmpipe.export.config import HuggingFaceConfig
from lmpipe.models.config import ModelConfig
from lmpipe.tokens.config import BpeConfig
from lmpipe.training.config import PhaseConfig

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Recipe(Config):
    """Everything that defines a model: what is computed, never where."""

    name: Name
    """What runs of this recipe are called: lower-case letters, digits, `-` and `_`."""
    description: str = Field(default="", max_length=500)
    """One sentence for the report and the model card."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Every random choice of the run is derived from it."""
    goal: GoalConfig | None = None
    """What would count as success, said before anything is measured."""
    data: dict[Name, CorpusConfig] = Field(min_length=1)
    """Named corpora, each its own small pipeline."""
    tokenizer: BpeConfig
    """How text becomes token ids."""
    model: ModelConfig
    """The architecture."""
    train: tuple[PhaseConfig, ...] = Field(min_length=1, max_length=1)
    """Training phases, in order. (One for now.)"""
    evaluate: tuple[PerplexityConfig, ...] = ()
    """What is measured on held-out text."""
    audit: tuple[AuditConfig, ...] = ()
    """What is asked of the model besides quality."""
    gate: GateConfig | None = None
    """What must hold for the model to be let out."""
    export: tuple[HuggingFaceConfig, ...] = Field(default=(HuggingFaceConfig(),), min_length=1, max_length=1)
    """How the model is packaged."""

    @model_validator(mode="after")
    def _references_hold(self) -> Self:
        used = {
            "tokenizer.train_on": self.tokenizer.train_on,
            **{f"train.{i}.on": phase.on for i, phase in enumerate(self.train)},
            **{f"evaluate.{i}.on": part.on for i, part in enumerate(self.evaluate)},
        }
        for path, corpus in used.items():
            if corpus not in self.data:
                raise ValueError(f"{path} names the corpus '{corpus}'; data has: {', '.join(self.data)}")
        for corpus in self.data:
            if corpus not in used.values():
                raise ValueError(
                    f"data.{corpus} is dead: no tokenizer, training phase or evaluation uses it; remove it or use it"
                )
        seen: set[tuple[str, str]] = set()
        for i, part in enumerate(self.evaluate):
            if (part.on, part.split) in seen:
                raise ValueError(f"evaluate.{i} measures {part.on}.{part.split} a second time; each once")
            seen.add((part.on, part.split))
        for kind in {audit.kind for audit in self.audit}:
            if sum(audit.kind == kind for audit in self.audit) > 1:
                raise ValueError(f"audit has two parts of kind '{kind}'; each once, else their findings share names")
        return self


def json_schema() -> dict[str, Any]:
    """The JSON Schema of recipes, for editors: every key with its help text."""
    schema = Recipe.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "lmpipe recipe", **schema}
