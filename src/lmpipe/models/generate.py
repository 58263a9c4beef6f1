"""Draws text from a decoder, token by token, with a cache of keys and values; and scores text, in the same windows.

Promises: equal arguments give equal ids, whatever else draws random numbers at the time; between two ids nothing runs, so that
dropping the iterator stops the work within one step. Knows tokens, no text.

Where prompt and answer outgrow the context, the last half of it is read again and drawing goes on from there:

    context 8:  p p p a a a a a | > a a a a | > a a a a ...    one step in context/2 costs a reading of half a context

What came before that half is forgotten. A prompt longer than the context is cut to its last `context` tokens. A recurrent
network carries its state instead, and forgets nothing. A prefix language model (`Decoder.reads_prefix`) reads both ways what it
reads at once: the prompt, and each last half. Scores are those of one token after the other, for it, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmpipe.base.errors import ModelError
from lmpipe.models.network import CacheEntry, Decoder


class TextGenerator:
    """A decoder as `models.api.Generator` and `models.api.Scorer`.

    Example:
        `list(TextGenerator(model).generate([0, 17], max_new_tokens=3, temperature=0, top_k=0, top_p=1, seed=0, stop_ids=()))`
        gives the three most probable ids in a row.
    """

    def __init__(self, model: Decoder, *, start_id: int = 0, known_ids: int | None = None) -> None:
        self.model = model
        self.start_id = start_id
        """Opens every document: end-of-text, the first id of every tokenizer of ours."""
        self.known_ids = known_ids
        """Only ids below this are drawn: a vocabulary may be rounded up beyond its tokenizer's. None: all."""

    @property
    def vocab_size(self) -> int:
        """Ids lie in [0, vocab_size)."""
        return self.model.vocab_size

    @property
    def context_length(self) -> int:
        """Tokens that a prediction can see."""
        return self.model.context_length

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def generate(
        self,
        prompt_ids: Sequence[int],
        *,
        max_new_tokens: int,
        temperature: float,
        top_k: int,
        top_p: float,
        seed: int,
        stop_ids: Collection[int],
    ) -> Iterator[int]:
        """As `models.api.Generator.generate`.

        Raises:
            ModelError: at once, for an id outside the vocabulary or a setting out of range.
        """
        self._check_ids(prompt_ids)
        check_settings(max_new_tokens, temperature, top_k, top_p)
        choose = Sampler(temperature, top_k, top_p, seed)
        return self._draw(list(prompt_ids) or [self.start_id], max_new_tokens, choose, frozenset(stop_ids))

    def _draw(self, ids: list[int], max_new_tokens: int, choose: Sampler, stop_ids: frozenset[int]) -> Iterator[int]:
        pending = list(ids) if self.model.carries_state else ids[-self.context_length :]
        cache: Sequence[CacheEntry] = ()
        for _ in range(max_new_tokens):
            if cache and not self.model.carries_state and cache[0].length + len(pending) > self.context_length:
                cache, pending = (), ids[-max(1, self.context_length // 2) :]
            cache = cache or self.model.new_cache(1, self.context_length)
            token = choose(self._next_logits(pending, cache))
            ids.append(token)
            pending = [token]
            yield token
            if token in stop_ids:
                return

    @torch.inference_mode()
    def _next_logits(self, pending: Sequence[int], cache: Sequence[CacheEntry]) -> Tensor:
        """Logits (V,) after `pending`, in float64 on the CPU, so that drawing does not depend on the device."""
        ids_BT = torch.tensor([list(pending)], dtype=torch.long, device=self._device)
        both_ways = self.model.reads_prefix and cache[0].length == 0
        prefix_BT = torch.ones_like(ids_BT, dtype=torch.bool) if both_ways else None
        last_BC = self.model.hidden(ids_BT, cache=cache, prefix_BT=prefix_BT)[
            :, -1
        ]  # of a prompt, only the last position needs logits
        logits: Tensor = self.model.head(last_BC)[0, : self.known_ids].double().cpu()
        return logits

    @torch.inference_mode()
    def log_probabilities(self, ids: NDArray[np.integer]) -> NDArray[np.float64]:
        """As `models.api.Scorer.log_probabilities`: every token sees at least half a context, where the text is long enough."""
        tokens = [int(token) for token in ids]
        self._check_ids(tokens)
        stream = torch.tensor([self.start_id, *tokens], dtype=torch.long, device=self._device)
        found = np.empty(len(tokens), dtype=np.float64)
        state = self.model.new_cache(1, self.context_length) if self.model.carries_state else None
        done = 0
        while done < len(tokens):
            start = done if done == 0 or state is not None else done - self.context_length // 2
            window = stream[start : start + self.context_length + 1]
            logits_TV = self.model(window[None, :-1], cache=state)[0].double()
            scores_T = torch.log_softmax(logits_TV, dim=-1).gather(1, window[1:, None])[:, 0].cpu().numpy()
            found[done : start + len(scores_T)] = scores_T[done - start :]
            done = start + len(scores_T)
        return found

    def _check_ids(self, ids: Sequence[int]) -> None:
        check_ids(ids, self.vocab_size)


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

    def __call__(self, logits_V: Tensor) -> int:
        """The drawn id.

        Raises:
            ModelError: when a logit is not a number: the weights are broken.
        """
        if not torch.isfinite(logits_V).all():
            raise ModelError(
                "the model gives scores that are not finite", expected="finite weights", fix="train or export again"
            )
        if self.temperature == 0:
            return int(logits_V.argmax())
        ordered_V, ids_V = torch.sort(logits_V, descending=True, stable=True)
        if self.top_k:
            ordered_V, ids_V = ordered_V[: self.top_k], ids_V[: self.top_k]
        # Shifted before dividing, so that a tiny temperature gives zeros and minus infinities, never infinity minus infinity.
        cumulative_V = torch.softmax((ordered_V - ordered_V[0]) / self.temperature, dim=0).cumsum(0)
        kept = int((cumulative_V < self.top_p).sum()) + 1 if self.top_p < 1 else len(cumulative_V)
        kept = min(kept, len(cumulative_V))
        point = torch.rand(1, generator=self.chance, dtype=torch.float64) * cumulative_V[kept - 1]
        position = int(torch.searchsorted(cumulative_V[:kept], point, right=True))
        return int(ids_V[min(position, kept - 1)])
