"""How text is changed before anything is measured. Data only."""

from __future__ import annotations

from typing import Literal

from lmpipe.base.config import Config


class UnicodeConfig(Config):
    """Repair of text: normal form, line endings, control and invisible characters, lone surrogates, certain mojibake."""

    kind: Literal["unicode"] = "unicode"
    normal_form: Literal["NFC", "NFKC"] = "NFC"
    """NFC keeps what the author wrote; NFKC also folds ligatures, full-width letters and the like."""
    mojibake: bool = True
    """Undo UTF-8 that was read as Windows-1252, on lines where nothing else is plausible."""
