"""Where each position of a packed row stands in its own document."""

from __future__ import annotations

import torch
from torch import Tensor


def positions_of(ids_BT: Tensor, segments_BT: Tensor | None, start: int = 0, padding_B: Tensor | None = None) -> Tensor:
    """(T,) or (B, T): positions from `start` on, or from 0 in each segment, or after each row's padding (0 in it).

    Example:
        segments `[[4, 4, 7, 7, 7]]` give `[[0, 1, 0, 1, 2]]`.
    """
    everywhere_T = torch.arange(start, start + ids_BT.shape[1], device=ids_BT.device)
    if padding_B is not None:
        return (everywhere_T - padding_B[:, None]).clamp(min=0)
    if segments_BT is None:
        return everywhere_T
    begins_BT = torch.ones_like(segments_BT, dtype=torch.bool)
    begins_BT[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    first_BT = torch.where(begins_BT, everywhere_T, 0).cummax(dim=1).values
    return everywhere_T - first_BT
