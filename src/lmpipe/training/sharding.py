"""Weights, gradients and what optimisers remember, divided among processes: torch's FSDP2 by a plan from outside the model.

    plan         each layer is a group, all that belongs to no layer one more; a layer's weights are whole while it computes
    weight       (rows, ...): process r holds the r-th part of the rows, as torch.chunk cuts them
    optimiser    updates its own rows, plain tensors: every number is updated by itself, so nobody need know the others
    checkpoint   rows put together in the first process, in the layout of one process: any number of processes goes on from it

Models are written for one device and stay so. Does not know: objectives, the loop.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from lmpipe.models.network import Decoder, Encoder
from lmpipe.training.observation import blocks_of
from lmpipe.training.ranks import Ranks


class Shards:
    """This process's part of a network's parameters."""

    def __init__(self, network: nn.Module, ranks: Ranks) -> None:
        """Divide the parameters of `network`, in place; its names and its forward pass stay what they were."""
        self.network, self.ranks = network, ranks
        self.rows = {name: len(parameter) for name, parameter in network.named_parameters()}
        mesh = init_device_mesh(ranks.device, (ranks.count,))
        for _, block in blocks_of(network):
            fully_shard(block, mesh=mesh, mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32))
        fully_shard(network, mesh=mesh, mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32))
        if isinstance(network, Encoder | Decoder):
            register_fsdp_forward_method(network, "hidden")  # objectives ask for it, and give what they pick of it to the head

    def forget_whole(self) -> None:
        """Let go of weights that a forward pass put together: once updated they are others."""
        assert isinstance(self.network, FSDPModule)
        self.network.reshard()

    def mine(self, whole: Tensor) -> Tensor:
        """This process's rows: a copy. There may be none."""
        parts = whole.chunk(self.ranks.count)
        return (parts[self.ranks.rank] if self.ranks.rank < len(parts) else whole[:0]).clone()

    def whole(self, name: str, mine: Tensor) -> Tensor:
        """All rows of what belongs to the parameter `name`, in the first process's main memory; the others get nothing.

        All processes must ask for it, in the same order.
        """
        rows = self.rows[name]
        padded = mine.new_zeros(-(-rows // self.ranks.count), *mine.shape[1:])
        padded[: len(mine)] = mine
        parts = self.ranks.gathered(padded)
        return torch.cat([part.cpu() for part in parts])[:rows] if self.ranks.is_first else mine[:0]

    def place(self, tensor: Tensor) -> Tensor:
        """This process's rows of a divided tensor, sharing its memory."""
        tensor = tensor.detach()
        assert isinstance(tensor, DTensor), "FSDP makes all parameters such"
        return tensor.to_local()

    def gradient(self, parameter: nn.Parameter) -> Tensor | None:
        """Of this process's rows, added up over all processes, of which FSDP takes the mean; in fp32."""
        return None if parameter.grad is None else self.place(parameter.grad).float() * self.ranks.count
