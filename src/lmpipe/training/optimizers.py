"""Optimisers over fp32 masters: the model may compute in bf16, the weights that learn never do.

    model's bf16 weights --backward--> bf16 gradients --to fp32, clip--> update of the masters --round--> model's weights

In fp32 the model's own parameters are the masters. Frozen parameters have no gradient, no state and no place in a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lmpipe.training.lion import Lion
from lmpipe.training.optimizer_config import (
    AdafactorConfig,
    AdamWConfig,
    LionConfig,
    MuonConfig,
    OptimizerConfig,
    SgdConfig,
)
from lmpipe.training.parameters import Treatment, token_tables, treatments
from lmpipe.training.ranks import Ranks

if TYPE_CHECKING:
    from lmpipe.training.sharding import Shards

NARROW = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""What the model computes in, by precision; else fp32, in which the masters always are."""
PRUNED = "pruned."
SCALE = "lr_factor"
"""Key of a parameter group's learning rate over the schedule's."""


class MasterOptimizer:
    """An optimiser on fp32 copies of a model's parameters."""

    def __init__(
        self,
        model: nn.Module,
        config: OptimizerConfig,
        precision: str,
        treated: Mapping[str, Treatment] | None = None,
        shards_of: Ranks | None = None,
    ) -> None:
        """Freeze what is not `treated`, and copy the rest where the model computes in bf16.

        Args:
            model: changed in place.
            config: how weights follow gradients.
            precision: `bf16` or `fp32`.
            treated: what learns, by name, and how; everything that learns in the model when None.
            shards_of: the processes to divide parameters and masters among; None: each has all.
        """
        treated = treatments(model, weight_decay=config.weight_decay) if treated is None else treated
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in treated)
        parameters = dict(model.named_parameters())
        tables = token_tables(model)
        self.peak_rate = config.lr
        if precision in NARROW:
            wide = {name: parameter.detach().clone() for name, parameter in parameters.items()}
            model.to(NARROW[precision])
        else:
            wide = {name: parameter.data for name, parameter in parameters.items()}
        self.shards: Shards | None = None
        if shards_of:
            from lmpipe.training.sharding import Shards  # loads torch.distributed's tensors, which one process does not need

            self.shards = shards = Shards(model, shards_of)
            parameters = dict(model.named_parameters())
            if precision == "fp32":
                wide = {name: shards.place(parameter) for name, parameter in parameters.items()}
            else:
                wide = {name: shards.mine(tensor) for name, tensor in wide.items()}
        self.parameters = {name: parameters[name] for name in treated}
        self.masters = {name: wide.pop(name) for name in treated}
        self.frozen = wide
        self.loss_scale = 1.0
        """By how much gradients are too large when they are taken: a power of two, 1 but for fp16."""
        self.pruned: dict[str, Tensor] = {}
        """Where masters are zero and stay so, by name."""
        self.rules = make_rules(self.masters, config, treated, tables)
        self._rule_of = {p: rule for rule in self.rules for group in rule.param_groups for p in group["params"]}
        self._norm: Tensor | None = None

    def take_gradients(self) -> None:
        """Take the gradients that the model holds, in fp32."""
        for name, parameter in self.parameters.items():
            gradient = self.shards.gradient(parameter) if self.shards else parameter.grad
            self.masters[name].grad = None if gradient is None else gradient.float()
            if gradient is not None and self.loss_scale != 1:
                self.masters[name].grad = gradient.float() / self.loss_scale
            parameter.grad = None
        for name, where in self.pruned.items():
            if (gradient := self.masters[name].grad) is not None:
                gradient.masked_fill_(where, 0.0)

    def add_gradients(self, ranks: Ranks) -> None:
        """Add up what the processes have taken. A weight without a gradient here may have one elsewhere: an expert, say."""
        if self.shards:
            return  # the backward pass has done it
        masters = list(self.masters.values())
        found = ranks.totals([float(master.grad is not None) for master in masters]) if ranks.count > 1 else []
        for master, somewhere in zip(masters, found, strict=False):
            if somewhere and master.grad is None:
                master.grad = torch.zeros_like(master)
        ranks.add_up([master.grad for master in masters if master.grad is not None])

    def norm(self) -> Tensor:
        """Of all gradients taken, together."""
        if self._norm is None:
            norm = torch.nn.utils.get_total_norm(m.grad for m in self.masters.values() if m.grad is not None)
            if self.shards:
                norm = norm.new_tensor(math.sqrt(self.shards.ranks.totals([float(norm) ** 2])[0]))
            self._norm = norm
        return self._norm

    def update(self, rate_fraction: float, clip_norm: float | None) -> None:
        """One update from the gradients taken, which are then released."""
        if clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.masters.values(), clip_norm, self.norm())
        for rule in self.rules:
            for group in rule.param_groups:
                group["lr"] = self.peak_rate * rate_fraction * group[SCALE]
            rule.step()
        self.discard()
        self.hold()

    def discard(self) -> None:
        """Let go of the gradients, taken or not."""
        self._norm = None
        for name, parameter in self.parameters.items():
            parameter.grad = self.masters[name].grad = None

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint needs: masters, where they are pruned, and what the rules remember of each, by name."""
        saved = {f"master.{name}": self.whole(name, master) for name, master in self.masters.items()}
        saved |= {PRUNED + name: where for name, where in self.pruned.items()}
        for name, master in self.masters.items():
            for key, value in self._rule_of[master].state[master].items():
                saved[f"state.{key}.{name}"] = self.whole(name, value)
        return saved

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`; before its first step a rule remembers nothing."""
        self.pruned = {key.removeprefix(PRUNED): tensor for key, tensor in tensors.items() if key.startswith(PRUNED)}
        for name, master in self.masters.items():
            master.copy_(self.mine(tensors[f"master.{name}"]))
            self._rule_of[master].state[master] = {
                key.split(".")[1]: self.mine(tensor).clone()
                for key, tensor in tensors.items()
                if key.startswith("state.") and key.split(".", 2)[2] == name
            }
        self.publish()

    def whole(self, name: str, tensor: Tensor) -> Tensor:
        """What belongs to the master `name` and has its shape, in one piece: see `Shards.whole`. All else as it is."""
        master = self.masters.get(name, self.frozen.get(name))
        divided = self.shards and master is not None and tensor.shape == master.shape
        return self.shards.whole(name, tensor) if self.shards and divided else tensor

    def mine(self, tensor: Tensor) -> Tensor:
        """The inverse of `whole`."""
        return self.shards.mine(tensor) if self.shards and tensor.ndim else tensor

    def weights(self) -> dict[str, Tensor]:
        """All weights in fp32 under the model's names, those that learn and the frozen ones: what is saved as the model."""
        return {**self.frozen, **self.masters}

    @torch.no_grad()
    def hold(self) -> None:
        """Set what is pruned to zero, in the masters and in the model."""
        for name, where in self.pruned.items():
            self.masters[name].masked_fill_(where, 0.0)
        self.publish()

    @torch.no_grad()
    def publish(self) -> None:
        """Round the masters into the model's weights, where those are others."""
        places = {name: self.shards.place(p) if self.shards else p for name, p in self.parameters.items()}
        for name, place in places.items():
            if place.data_ptr() != self.masters[name].data_ptr():
                place.copy_(self.masters[name])
        if self.shards:
            self.shards.forget_whole()


def make_rules(
    masters: dict[str, Tensor], config: OptimizerConfig, treated: Mapping[str, Treatment], tables: set[str]
) -> list[torch.optim.Optimizer]:
    """The update rules that `config` names, each with its share of the masters."""
    if isinstance(config, MuonConfig):
        hidden = {name: master for name, master in masters.items() if master.ndim == 2 and name not in tables}
        rest = {name: master for name, master in masters.items() if name not in hidden}
        muon = [_muon(hidden, config, treated)] if hidden else []
        return [*muon, _adamw(rest, config, treated)] if rest else muon
    groups = _groups(masters, treated)
    if isinstance(config, LionConfig):
        return [Lion(groups, lr=config.lr, betas=config.betas)]
    if isinstance(config, AdafactorConfig):
        return [torch.optim.Adafactor(groups, lr=config.lr, beta2_decay=config.beta2_decay, d=config.clip_threshold)]
    if isinstance(config, SgdConfig):
        return [torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)]
    return [_adamw(masters, config, treated)]


def _adamw(
    masters: dict[str, Tensor], config: AdamWConfig | MuonConfig, treated: Mapping[str, Treatment]
) -> torch.optim.Optimizer:
    return torch.optim.AdamW(_groups(masters, treated), lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def _muon(masters: dict[str, Tensor], config: MuonConfig, treated: Mapping[str, Treatment]) -> torch.optim.Optimizer:
    groups: Any = _groups(masters, treated)
    return torch.optim.Muon(groups, lr=config.lr, momentum=config.momentum, adjust_lr_fn="match_rms_adamw")


def _groups(masters: dict[str, Tensor], treated: Mapping[str, Treatment]) -> list[dict[str, Any]]:
    """Masters with an equal treatment together: a fused update takes a group at once."""
    by_treatment: dict[Treatment, list[Tensor]] = {}
    for name, master in masters.items():
        by_treatment.setdefault(treated[name], []).append(master)
    return [
        {"params": members, "weight_decay": treatment.weight_decay, SCALE: treatment.lr_factor}
        for treatment, members in by_treatment.items()
    ]


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no tensor holds NaN or infinity."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
