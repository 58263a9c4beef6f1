"""The model under test, ready to give logits: all that evaluation and audits know of a decoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lmpipe.evaluation.scoring import Decoder


@dataclass(frozen=True)
class Subject:
    """A decoder and what must be known to feed it. Its weights are in whatever precision the caller loaded them."""

    decoder: Decoder
    context_length: int
    vocab_size: int
    device: torch.device
