"""How text is changed before anything is measured. Data only."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lmpipe.base.config import Config
from lmpipe.data.filters.line_rules import LineRules


class UnicodeConfig(Config):
    """Repair of text: normal form, line endings, control and invisible characters, lone surrogates, certain mojibake."""

    kind: Literal["unicode"] = "unicode"
    normal_form: Literal["NFC", "NFKC"] = "NFC"
    """NFC keeps what the author wrote; NFKC also folds ligatures, full-width letters and the like."""
    mojibake: bool = True
    """Undo UTF-8 that was read as Windows-1252, on lines where nothing else is plausible."""


class LinesConfig(LineRules):
    """Removal of lines that are boilerplate: by the line rules of C4, and where the same line stands in many documents."""

    kind: Literal["lines"] = "lines"
    repeated_in: int | None = Field(default=None, ge=1)
    """Lines that stand in more than so many documents go; `null` keeps them."""
    repeated_within: Literal["corpus", "source", "host"] = "source"
    """Documents of what are counted together: of the whole corpus, of one file, or of one host (metadata `url`)."""
    repeated_min_characters: int = Field(default=10, ge=1)
    """Shorter lines are not counted: `}` and `Chapter I` stand everywhere by right."""
