"""How the text of a web page is found: which engine, and how strict. Data only."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from lmpipe.base.config import Config


class ExtractConfig(Config):
    """From a page's HTML to its main text; title, date, address and language go into the metadata of the document."""

    engine: Literal["trafilatura", "resiliparse"] = "trafilatura"
    """`trafilatura` finds main text best; `resiliparse` is about ten times as fast and keeps more of the page's frame."""
    favour: Literal["balance", "precision", "recall"] = "balance"
    """What to prefer in doubt. With resiliparse, `recall` keeps all visible text, and there is no `precision`."""
    fast: bool = False
    """Trafilatura without its second and third opinion: about a third faster, slightly less found."""
    comments: bool = False
    """Keep readers' comments."""
    tables: bool = True
    """Keep tables. Resiliparse always does."""
    metadata: bool = True
    """Look for title, date and site name. With trafilatura, dates take about a third of the time."""

    @model_validator(mode="after")
    def _engine_knows_it(self) -> Self:
        unknown = {"favour: precision": self.favour == "precision", "fast: true": self.fast, "tables: false": not self.tables}
        asked = [name for name, wanted in unknown.items() if wanted]
        if self.engine == "resiliparse" and asked:
            raise ValueError(f"only trafilatura knows '{asked[0]}'; leave it out, or choose engine: trafilatura")
        return self

    def modules(self) -> tuple[str, ...]:
        """What must be installed. Encodings are detected by resiliparse whatever the engine."""
        return ("trafilatura", "resiliparse") if self.engine == "trafilatura" else ("resiliparse",)
