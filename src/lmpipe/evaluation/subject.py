"""The model under test, ready to give logits: all that evaluation and audits know of a decoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lmpipe.evaluation.scoring import Decoder
from lmpipe.models.passes import positions_at_once

LOGITS_AT_ONCE = 1 << 24
"""Numbers in the logits of one forward pass."""


@dataclass(frozen=True)
class Subject:
    """A decoder and what must be known to feed it. Its weights are in whatever precision the caller loaded them."""

    decoder: Decoder
    context_length: int
    vocab_size: int
    device: torch.device

    @property
    def tokens_at_once(self) -> int:
        """Padded tokens in one forward pass: what suits the device, fewer where its logits would pass 70 MB."""
        return max(1, min(positions_at_once(self.device.type), LOGITS_AT_ONCE // self.vocab_size))
