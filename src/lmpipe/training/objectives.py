"""What is learned: a batch and a model give a sum of nats and how many tokens it is over."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lmpipe.models.llama.model import Llama


def causal_nats(model: Llama, ids_BT: Tensor, targets_BT: Tensor, segments_BT: Tensor) -> Tensor:
    """Sum over the batch of -ln p(target), in fp32; attention stays inside each document."""
    logits_BTV = model(ids_BT, segments_BT)
    return F.cross_entropy(logits_BTV.flatten(0, 1).float(), targets_BT.flatten(), reduction="sum")
