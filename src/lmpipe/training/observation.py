"""Sizes of weights, gradients and activations by layer: what one looks at first when a run goes wrong.

Root mean squares. They change nothing of the run: the forward pass for activations is one row, dropout off, no gradient.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lmpipe.models.network import Network
from lmpipe.training.objectives import Objective
from lmpipe.training.parameters import layer_number
from lmpipe.training.ranks import ALONE, Ranks
from lmpipe.training.step import Part


def sizes(tensors: Mapping[str, Tensor], ranks: Ranks = ALONE) -> dict[str, float]:
    """Root mean square of the entries, by layer: `layer.0`, `layer.1`, ..., and `rest` for what belongs to no layer.

    Of tensors that are divided among processes, `ranks`.
    """
    groups: dict[str, list[Tensor]] = defaultdict(list)
    for name, tensor in tensors.items():
        number = layer_number(name)
        groups["rest" if number is None else f"layer.{number}"].append(tensor)
    return {layer: _root_mean_square(group, ranks) for layer, group in groups.items()}


def blocks_of(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers of a network in order, by name: the members of its module lists called `blocks`."""
    lists = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.ModuleList)]
    return [
        (f"{name}.{number}", block)
        for name, blocks in lists
        if name.rpartition(".")[2] == "blocks"
        for number, block in enumerate(blocks)
    ]


@torch.no_grad()
def activations(network: Network, objective: Objective, part: Part) -> dict[str, float]:
    """Root mean square of what each layer gives, over the first row of `part`."""
    found: dict[str, float] = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            found[name] = _root_mean_square([output[0] if isinstance(output, tuple) else output])

        return hook

    hooks = [block.register_forward_hook(note(f"layer.{i}")) for i, (_, block) in enumerate(blocks_of(network))]
    was_training = network.training
    try:
        objective.losses(network.eval(), *(tensor[:1] for tensor in part))
    finally:
        network.train(was_training)
        for handle in hooks:
            handle.remove()
    return found


def _root_mean_square(tensors: Iterable[Tensor], ranks: Ranks = ALONE) -> float:
    squares, count = 0.0, 0.0
    for tensor in tensors:
        squares += float(tensor.detach().float().square().sum())
        count += tensor.numel()
    squares, count = ranks.totals([squares, count])
    return math.sqrt(squares / max(1, count))
