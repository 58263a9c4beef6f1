"""The model under test, ready to give logits: all that evaluation and audits know of a decoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lmpipe.evaluation.scoring import TOKENS_AT_ONCE, Decoder

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
        """Padded tokens in one forward pass such that its logits stay below 70 MB: 4096 with a vocabulary of 4096."""
        return max(1, min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // self.vocab_size))
