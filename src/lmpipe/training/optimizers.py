"""Optimisers over fp32 masters: the model may compute in bf16, the weights that learn never do.

    model's bf16 weights --backward--> bf16 gradients --to fp32, clip--> AdamW on masters --round--> model's weights

In fp32 the model's own parameters are the masters.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lmpipe.training.config import AdamWConfig


class MasterAdamW:
    """AdamW on fp32 copies of a model's parameters; matrices decay, norms do not."""

    def __init__(self, model: nn.Module, config: AdamWConfig, precision: str) -> None:
        self.parameters = dict(model.named_parameters())
        self.peak_rate = config.lr
        if precision == "bf16":
            self.masters = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
            model.to(torch.bfloat16)
        else:
            self.masters = {name: parameter.data for name, parameter in self.parameters.items()}
        decayed = [master for master in self.masters.values() if master.ndim >= 2]
        others = [master for master in self.masters.values() if master.ndim < 2]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=config.lr, betas=config.betas, eps=config.eps, fused=True
        )

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
        for group in self.adamw.param_groups:
            group["lr"] = self.peak_rate * rate_fraction
        self.adamw.step()
        self.adamw.zero_grad()
        self._publish()
        return float(norm)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint needs: masters and both running means, by name."""
        saved = {f"master.{name}": master for name, master in self.masters.items()}
        for name, master in self.masters.items():
            for key, value in self.adamw.state[master].items():
                saved[f"adamw.{key}.{name}"] = value
        return saved

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`; before its first step AdamW has no means yet."""
        for name, master in self.masters.items():
            master.copy_(tensors[f"master.{name}"])
            saved = {key: tensors.get(f"adamw.{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
            self.adamw.state[master] = {key: tensor.clone() for key, tensor in saved.items() if tensor is not None}
        self._publish()

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


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no tensor holds NaN or infinity."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
