"""Optimisers over fp32 masters: the model may compute in bf16, the weights that learn never do.

    model's bf16 weights --backward--> bf16 gradients --to fp32, clip--> update of the masters --round--> model's weights

In fp32 the model's own parameters are the masters.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lmpipe.training.config import AdamWConfig, MuonConfig, OptimizerConfig


class MasterOptimizer:
    """An optimiser on fp32 copies of a model's parameters; matrices decay, norms do not."""

    def __init__(self, model: nn.Module, config: OptimizerConfig, precision: str) -> None:
        self.parameters = dict(model.named_parameters())
        self.peak_rate = config.lr
        if precision == "bf16":
            self.masters = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
            model.to(torch.bfloat16)
        else:
            self.masters = {name: parameter.data for name, parameter in self.parameters.items()}
        self.rules = make_rules(self.masters, config, token_tables(model))

    def step(self, rate_fraction: float, clip_norm: float | None) -> float:
        """One update from the gradients that the model holds, which are then released.

        Returns:
            The norm of the whole gradient before clipping. Where it is not finite, nothing was updated.
        """
        for name, parameter in self.parameters.items():
            gradient = parameter.grad
            self.masters[name].grad = None if gradient is None else gradient.float()
            parameter.grad = None
        masters = list(self.masters.values())
        norm = torch.nn.utils.get_total_norm(master.grad for master in masters if master.grad is not None)
        if not torch.isfinite(norm):
            return float(norm)
        if clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(masters, clip_norm, norm)
        for rule in self.rules:
            for group in rule.param_groups:
                group["lr"] = self.peak_rate * rate_fraction
            rule.step()
            rule.zero_grad()
        self._publish()
        return float(norm)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint needs: masters, and what the rules remember of each, by name."""
        saved = {f"master.{name}": master for name, master in self.masters.items()}
        for name, master in self.masters.items():
            for key, value in self._rule_of(master).state[master].items():
                saved[f"state.{key}.{name}"] = value
        return saved

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`; before its first step a rule remembers nothing."""
        for name, master in self.masters.items():
            master.copy_(tensors[f"master.{name}"])
            self._rule_of(master).state[master] = {
                key.split(".")[1]: tensor.clone()
                for key, tensor in tensors.items()
                if key.startswith("state.") and key.split(".", 2)[2] == name
            }
        self._publish()

    def _rule_of(self, master: Tensor) -> torch.optim.Optimizer:
        return next(rule for rule in self.rules if any(master is p for group in rule.param_groups for p in group["params"]))

    def weights(self) -> dict[str, Tensor]:
        """The masters under the model's names: what is saved as the model."""
        return dict(self.masters)

    @torch.no_grad()
    def _publish(self) -> None:
        """Round the masters into the model's weights, where those are others."""
        pairs = [
            (p, self.masters[name]) for name, p in self.parameters.items() if p.data_ptr() != self.masters[name].data_ptr()
        ]
        for parameter, master in pairs:
            parameter.copy_(master)


def token_tables(model: nn.Module) -> set[str]:
    """Names of the matrices with a row per token (embedding, head): their rows are vectors of their own, not one map."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    head = getattr(model, "head", None)
    tables |= {id(head.weight)} if isinstance(head, nn.Linear) else set()
    return {name for name, parameter in model.named_parameters() if id(parameter) in tables}


def make_rules(masters: dict[str, Tensor], config: OptimizerConfig, tables: set[str]) -> list[torch.optim.Optimizer]:
    """The update rules that `config` names, each with its share of the masters."""
    if isinstance(config, MuonConfig):
        hidden = [master for name, master in masters.items() if master.ndim == 2 and name not in tables]
        rest = {name: master for name, master in masters.items() if master.ndim != 2 or name in tables}
        muon = torch.optim.Muon(
            hidden,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        return [muon, _adamw(rest, config)] if hidden else [_adamw(rest, config)]
    return [_adamw(masters, config)]


def _adamw(masters: dict[str, Tensor], config: AdamWConfig | MuonConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        _groups(masters, config.weight_decay), lr=config.lr, betas=config.betas, eps=config.eps, fused=True
    )


def _groups(masters: dict[str, Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay, norms and biases do not."""
    decayed = [master for master in masters.values() if master.ndim >= 2]
    others = [master for master in masters.values() if master.ndim < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no tensor holds NaN or infinity."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
