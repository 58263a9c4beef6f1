"""Packed rows for models that take one text to a row: each text read by itself, beside those of like length, and its numbers
put back where it stands.

B rows, T positions, N texts, W positions of the longest of some texts, L numbers for each position (or for each text).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

NARROWEST = 16
"""Positions; up to as many, texts count as of one length, and beyond it up to each power of two."""


class Texts:
    """Where the texts of packed rows stand. A text is a run of positions of one segment; padding is segment -1."""

    def __init__(self, segments_BT: Tensor) -> None:
        there_BT = segments_BT >= 0
        before_BT = F.pad(segments_BT[:, :-1], (1, 0), value=-1)
        behind_BT = F.pad(segments_BT[:, 1:], (0, 1), value=-1)
        self.shape = segments_BT.shape
        self.starts_N = (there_BT & (segments_BT != before_BT)).flatten().nonzero()[:, 0]
        """Of all positions, row after row, the first one of each text."""
        self.lengths_N = (there_BT & (segments_BT != behind_BT)).flatten().nonzero()[:, 0] - self.starts_N + 1

    def __len__(self) -> int:
        return len(self.starts_N)

    def alike(self) -> Iterator[Tensor]:
        """Numbers of texts of like length, so that little of what goes through together is padding."""
        widths = [max(NARROWEST, 1 << (length - 1).bit_length()) for length in self.lengths_N.tolist()]
        for width in sorted(set(widths)):
            alike = [number for number, own in enumerate(widths) if own == width]
            yield torch.tensor(alike, device=self.starts_N.device)

    def places(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Of these texts, the places (n, W) among all positions, and whether there is one (n, W); 0 where there is none."""
        lengths = self.lengths_N[numbers]
        columns_W = torch.arange(int(lengths.max()), device=numbers.device)
        there = columns_W < lengths[:, None]
        return (self.starts_N[numbers][:, None] + columns_W).masked_fill(~there, 0), there

    def put_back(self, found: list[tuple[Tensor, Tensor]]) -> Tensor:
        """(B, T, L): of places among all positions and their numbers (.., L); zeros elsewhere."""
        places, values = (torch.cat(parts) for parts in zip(*found, strict=True))
        rows, positions = self.shape
        return values.new_zeros(rows * positions, values.shape[-1]).index_copy(0, places, values).view(rows, positions, -1)


def taken(ids_BT: Tensor, places: Tensor, there: Tensor, padding: int) -> Tensor:
    """The ids at these places, as `Texts.places` gives them."""
    return ids_BT.flatten()[places].masked_fill(~there, padding)
