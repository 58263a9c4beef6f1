"""The Mixtral layout for one device: the Llama layout with a mixture of experts for a feed-forward (`layers/experts.py`)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lmpipe.models.heads import Head
from lmpipe.models.layers.attention import Cache
from lmpipe.models.layers.experts import Experts, balance_loss
from lmpipe.models.llama.model import Block, RotaryDecoder
from lmpipe.models.mixtral.config import MixtralConfig


class Mixtral(RotaryDecoder):
    """A decoder in the Mixtral layout."""

    config: MixtralConfig

    def __init__(self, config: MixtralConfig, vocab_size: int) -> None:
        experts = [
            Experts(config.width, config.feed_forward_width, config.experts, config.experts_per_token)
            for _ in range(config.layers)
        ]
        super().__init__(config, vocab_size, (Block(config, each) for each in experts))

    def hidden(
        self,
        ids_BT: Tensor,
        segments_BT: Tensor | None = None,
        cache: Sequence[Cache] | None = None,
        prefix_BT: Tensor | None = None,
    ) -> Tensor:
        """The last normalised residual stream (B, T, C); in training it leaves the balance loss in `auxiliary_loss`."""
        result = super().hidden(ids_BT, segments_BT, cache, prefix_BT)
        experts = [module for module in self.modules() if isinstance(module, Experts)]
        routings = [module.routing for module in experts if module.routing is not None]
        self.auxiliary_loss = self.config.balance_loss * balance_loss(routings) if routings else None
        return result


def build(config: MixtralConfig, vocab_size: int, head: Head) -> Mixtral:
    """As `families.build`; the only head is the language head."""
    return Mixtral(config, vocab_size)
