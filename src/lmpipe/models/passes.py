"""How much goes through a network at once. Numbers change with it in the last bits of fp32 sums."""

from __future__ import annotations

ON_CPU = 1024
"""What lies between two layers then stays in a core's cache. On one Xeon thread in fp32, 400 texts of sst2 took 2.7 s in
passes of 1,024 positions and 4.9 s in passes of 8,192 (MiniLM); letters after a context 0.8 s, and 1.1 s in passes of 4,096."""
ELSEWHERE = 8192
ROWS_ON_CPU = 32
ROWS_ELSEWHERE = 128
KEPT_POSITIONS = 32_768
DRAWN_TOGETHER = 64
"""Texts of a block that a stage draws and keeps whole: the last bits of a sum depend on what is drawn beside it, so a stage
that goes on after a kill draws a block again from its beginning."""


def positions_at_once(device: str) -> int:
    """Positions that are read in one pass, as suits the kind of device (`cpu`, `cuda`)."""
    return ON_CPU if device == "cpu" else ELSEWHERE


def rows_at_once(device: str, positions: int) -> int:
    """Texts of at most so many `positions` that are written side by side: what a cache holds is bounded, too."""
    return max(1, min(ROWS_ON_CPU if device == "cpu" else ROWS_ELSEWHERE, KEPT_POSITIONS // positions))
