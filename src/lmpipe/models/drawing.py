"""What is asked of a generator, and how one id is drawn from logits.

R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmpipe.base.errors import ModelError


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A prompt, and how to go on with it; as the arguments of `models.api.Generator.generate`."""

    prompt_ids: Sequence[int]
    max_new_tokens: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop_ids: Collection[int] = ()
    goes_on: Callable[[int], bool] = lambda token: True
    """Hears each new id; False ends the text after it, as a string to stop at does."""


def check_ids(ids: Sequence[int], vocab_size: int) -> None:
    """Refuse ids that a model does not have.

    Raises:
        ModelError: naming the first one.
    """
    for token in ids:
        if not 0 <= token < vocab_size:
            raise ModelError(f"the id {token} is not in the model", expected=f"an id below {vocab_size}")


def check_settings(max_new_tokens: int, temperature: float, top_k: int, top_p: float) -> None:
    """Refuse settings of drawing that are out of range.

    Raises:
        ModelError: naming them all.
    """
    if max_new_tokens < 0 or not temperature >= 0 or not 0 < top_p <= 1 or top_k < 0:
        raise ModelError(
            f"{max_new_tokens} tokens at temperature {temperature}, top_p {top_p} and top_k {top_k} cannot be drawn",
            expected="tokens, temperature and top_k of at least 0, and 0 < top_p <= 1",
        )


class Sampler:
    """Logits to one id. Temperature, then top-k, then top-p, as in Transformers; then one uniform number decides."""

    def __init__(self, temperature: float, top_k: int, top_p: float, seed: int) -> None:
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.chance = torch.Generator().manual_seed(seed)

    @property
    def is_plain(self) -> bool:
        """Whether every id may be drawn: they need not be sorted then."""
        return self.temperature > 0 and self.top_k == 0 and self.top_p == 1

    def point(self) -> Tensor:
        """The next uniform number in [0, 1), shape (1,)."""
        return torch.rand(1, generator=self.chance, dtype=torch.float64)

    def __call__(self, logits_V: Tensor) -> int:
        """The drawn id.

        Raises:
            ModelError: when a logit is not a number: the weights are broken.
        """
        return draw(logits_V[None], [self])[0]

    def among_the_best(self, logits_V: Tensor) -> int:
        """The drawn id, from logits in float64 on the CPU."""
        ordered_V, ids_V = torch.sort(logits_V, descending=True, stable=True)
        if self.top_k:
            ordered_V, ids_V = ordered_V[: self.top_k], ids_V[: self.top_k]
        # Shifted before dividing, so that a tiny temperature gives zeros and minus infinities, never infinity minus infinity.
        cumulative_V = torch.softmax((ordered_V - ordered_V[0]) / self.temperature, dim=0).cumsum(0)
        kept = int((cumulative_V < self.top_p).sum()) + 1 if self.top_p < 1 else len(cumulative_V)
        kept = min(kept, len(cumulative_V))
        point = self.point() * cumulative_V[kept - 1]
        position = int(torch.searchsorted(cumulative_V[:kept], point, right=True))
        return int(ids_V[min(position, kept - 1)])


def draw(logits_RV: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """One id for each row by its own sampler, in float64 on the CPU, so that it depends neither on the device nor on the rows
    beside it.

    Raises:
        ModelError: when a logit is not a number: the weights are broken.
    """
    if not torch.isfinite(logits_RV).all():
        raise ModelError("the model gives scores that are not finite", expected="finite weights", fix="train or export again")
    drawn = [0] * len(samplers)
    greedy = [row for row, sampler in enumerate(samplers) if sampler.temperature == 0]
    if greedy:
        for row, token in zip(greedy, logits_RV[greedy].argmax(dim=-1).tolist(), strict=True):
            drawn[row] = token
    plain = [row for row, sampler in enumerate(samplers) if sampler.is_plain]
    if plain:
        chosen = [samplers[row] for row in plain]
        for row, token in zip(plain, _draw_plain(logits_RV[plain].double().cpu(), chosen), strict=True):
            drawn[row] = token
    for row, sampler in enumerate(samplers):
        if sampler.temperature > 0 and not sampler.is_plain:
            drawn[row] = sampler.among_the_best(logits_RV[row].double().cpu())
    return drawn


def _draw_plain(logits_RV: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    temperature_R1 = torch.tensor([[sampler.temperature] for sampler in samplers], dtype=torch.float64)
    shifted_RV = (logits_RV - logits_RV.amax(dim=-1, keepdim=True)) / temperature_R1  # shifted first: as above
    cumulative_RV = torch.softmax(shifted_RV, dim=-1).cumsum(dim=-1)
    point_R1 = torch.stack([sampler.point() for sampler in samplers]) * cumulative_RV[:, -1:]
    place_R1 = torch.searchsorted(cumulative_RV, point_R1, right=True)
    found: list[int] = place_R1[:, 0].clamp(max=logits_RV.shape[-1] - 1).tolist()
    return found
