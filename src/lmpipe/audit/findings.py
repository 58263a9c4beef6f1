"""Findings on disk: one JSON list, in the order in which they were found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmpipe.base.files import write_json
from lmpipe.base.measures import Finding


def write_findings(folder: Path, findings: Sequence[Finding]) -> None:
    """Write `findings.json`. What depends on the clock belongs into a stage's `observed` folder, which no digest covers."""
    write_json(folder / "findings.json", [finding.model_dump(mode="json") for finding in findings])
