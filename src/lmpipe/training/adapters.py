"""LoRA and DoRA from outside the model: thin matrices beside the frozen ones, merged into them when the run ends.

    y = W x + s B A x                      LoRA; s = alpha / rank, A starts random and B as zero, so nothing changes at first
    y = m / |W + s B A| (W x + s B A x)    DoRA; |.| the norms of the rows, taken as constants; m starts as |W|

One of our matrices may be several on disk (queries, keys, values): each has an A and a B of its own, as PEFT would give it. The
names of the frozen weights stay what they were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmpipe.base.errors import TrainingError
from lmpipe.models.layout import Stored
from lmpipe.models.network import Network
from lmpipe.training.adapter_config import DoraConfig, LoraConfig
from lmpipe.training.parameters import layer_number

DOWN, UP, LENGTH = "adapter_down", "adapter_up", "adapter_length"
"""Our names of A, B and m."""


class Target(NamedTuple):
    """A part of a matrix that has a name of its own on disk."""

    name: str
    """On disk, without `.weight`."""
    rows: slice
    adapted: bool


class AdaptedLinear(nn.Linear):
    """A frozen linear map with an adapter; made from a plain one by `adapt`."""

    targets: tuple[Target, ...]
    scale: float
    dropout: float
    adapter_down: nn.Parameter
    """(adapted parts x rank, in)"""
    adapter_up: nn.Parameter
    """(rows of the adapted parts, rank)"""
    adapter_length: nn.Parameter | None
    """(rows of the adapted parts,): DoRA's m."""

    def forward(self, x: Tensor) -> Tensor:
        """As a linear map."""
        result = F.linear(x, self.weight) + self.scale * self._turn(x)
        if self.adapter_length is not None:
            result = result * self._stretch()
        return result if self.bias is None else result + self.bias

    def _turn(self, x: Tensor) -> Tensor:
        """B A x, zero for the parts that are not adapted."""
        dropped = F.dropout(x, self.dropout) if self.training and self.dropout else x
        thin = F.linear(dropped, self.adapter_down)
        adapted = [target for target in self.targets if target.adapted]
        ups = iter(torch.split(self.adapter_up, [_height(target) for target in adapted]))
        thins = iter(thin.chunk(len(adapted), dim=-1))
        pieces = [
            F.linear(next(thins), next(ups)) if target.adapted else thin.new_zeros(*thin.shape[:-1], _height(target))
            for target in self.targets
        ]
        return torch.cat(pieces, dim=-1)

    def _stretch(self) -> Tensor:
        """m / |W + s B A| for each row; 1 for the parts that are not adapted."""
        assert self.adapter_length is not None
        lengths = self.turned(self.weight, self.adapter_down.detach(), self.adapter_up.detach()).float().norm(dim=1)
        factors = torch.ones_like(lengths)
        factors[self.adapted_rows()] = self.adapter_length.float() / lengths[self.adapted_rows()]
        return factors.to(self.weight.dtype)

    def turned(self, weight: Tensor, down: Tensor, up: Tensor) -> Tensor:
        """W + s B A."""
        adapted = [target for target in self.targets if target.adapted]
        ups = torch.split(up, [_height(target) for target in adapted])
        whole = weight.clone()
        for target, thin, wide in zip(adapted, down.chunk(len(adapted)), ups, strict=True):
            whole[target.rows] += self.scale * (wide @ thin)
        return whole

    def adapted_rows(self) -> Tensor:
        """Numbers of the rows that have an adapter."""
        rows = [torch.arange(target.rows.start, target.rows.stop) for target in self.targets if target.adapted]
        return torch.cat(rows).to(self.weight.device)


def adapt(network: Network, mapping: Mapping[str, Stored], config: LoraConfig | DoraConfig) -> list[str]:
    """Give the chosen matrices of the layers their adapters; gives the names of the new parameters.

    Args:
        network: changed in place; A is drawn from torch's default generator.
        mapping: its parameters' names on disk.
        config: which matrices, and how thin.

    Raises:
        TrainingError: when a target is no matrix of the layers.
    """
    linears = {f"{name}.weight": module for name, module in network.named_modules() if type(module) is nn.Linear}
    in_layers = {ours: module for ours, module in linears.items() if ours in mapping and layer_number(ours) is not None}
    stored = {ours: (module, mapping[ours]) for ours, module in in_layers.items()}
    known = {_last(name) for _, disk in stored.values() for name in disk.names}
    if unknown := sorted(set(config.targets) - known):
        raise TrainingError(
            f"no layer has a matrix called '{unknown[0]}'",
            where="adapter.targets",
            expected=f"some of: {', '.join(sorted(known))}",
        )
    if not stored:
        raise TrainingError(
            "no matrix in the layers of this model can have an adapter",
            where="adapter",
            expected="plain linear maps (torch.nn.Linear); GPT-2 as Transformers computes it has none",
            fix="leave the adapter out, or take a model of one of our families",
        )
    added = []
    for ours, (module, disk) in stored.items():
        targets = _targets(len(module.weight), disk, config.targets)
        if any(target.adapted for target in targets):
            _adapt_one(module, targets, config)
            prefix = ours.removesuffix("weight")
            added += [prefix + name for name, _ in module.named_parameters() if name.startswith("adapter_")]
    return added


def merged(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with their adapters worked in, under the names of a network without any."""
    result = {name: tensor for name, tensor in state.items() if ".adapter_" not in name}
    for name, module in network.named_modules():
        if isinstance(module, AdaptedLinear):
            down, up = state[f"{name}.{DOWN}"], state[f"{name}.{UP}"]
            whole = module.turned(state[f"{name}.weight"], down, up)
            if module.adapter_length is not None:
                rows = module.adapted_rows()
                whole[rows] *= (state[f"{name}.{LENGTH}"] / whole[rows].norm(dim=1))[:, None]
            result[f"{name}.weight"] = whole
    return result


def _adapt_one(linear: nn.Linear, targets: tuple[Target, ...], config: LoraConfig) -> None:
    parts = sum(target.adapted for target in targets)
    rows = sum(_height(target) for target in targets if target.adapted)
    weight = linear.weight
    down = weight.new_empty(parts * config.rank, weight.shape[1])
    for part in down.chunk(parts):
        nn.init.kaiming_uniform_(part, a=math.sqrt(5))  # as PEFT
    linear.__class__ = AdaptedLinear  # the module keeps its place, its weight and the weight's name
    assert isinstance(linear, AdaptedLinear)
    linear.targets, linear.scale, linear.dropout = targets, config.alpha / config.rank, config.dropout
    linear.adapter_down = nn.Parameter(down)
    linear.adapter_up = nn.Parameter(weight.new_zeros(rows, config.rank))
    linear.adapter_length = None
    if isinstance(config, DoraConfig):
        lengths = weight.detach().norm(dim=1)
        linear.adapter_length = nn.Parameter(lengths[linear.adapted_rows()].clone())


def _targets(rows: int, disk: Stored, wanted: tuple[str, ...]) -> tuple[Target, ...]:
    heights = disk.rows or (rows // len(disk.names),) * len(disk.names)
    found, start = [], 0
    for name, height in zip(disk.names, heights, strict=True):
        adapted = not wanted or _last(name) in wanted
        found.append(Target(name.removesuffix(".weight"), slice(start, start + height), adapted))
        start += height
    return tuple(found)


def _height(target: Target) -> int:
    return int(target.rows.stop - target.rows.start)


def _last(name: str) -> str:
    """`model.layers.0.self_attn.q_proj.weight` -> `q_proj`."""
    return name.removesuffix(".weight").rpartition(".")[2]
