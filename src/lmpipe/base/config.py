"""The base class of everything a user may write in a recipe.

Data only: frozen, keyword-only, unknown keys refused. Building lives in the room that owns the part. The docstring under a
field is its help text and its entry in the published JSON Schema.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """One section of a recipe. Equal configs are interchangeable, and a config never changes after it was made."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
        ser_json_inf_nan="strings",
    )
