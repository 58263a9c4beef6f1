"""Writes the target of a source with an encoder-decoder: drawing token by token, or searching with beams.

Promises: equal arguments give equal ids; a source is read once. Knows tokens, no text. Beam search ends and ranks as
Transformers' does (`early_stopping=False`): a finished target counts sum of log-probabilities / length ** length_penalty, and
the search ends when the best unfinished one, judged at its present length, is no better than the worst of as many finished ones
as there are beams.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmpipe.base.errors import ModelError
from lmpipe.models.generate import Sampler, check_ids, check_settings
from lmpipe.models.network import EncoderDecoder


@dataclass(frozen=True)
class Hypothesis:
    """A target, whole or in the making."""

    ids: tuple[int, ...]
    score: float
    """Sum of log-probabilities; of a finished one, over length ** length_penalty."""


class TargetGenerator:
    """An encoder-decoder as `models.api.Generator`, whose prompt is the source.

    Example:
        `TargetGenerator(model).beam_search([5, 9, 0], beams=4, max_new_tokens=20, stop_ids=(0,))` gives the ids of the best
        target.
    """

    def __init__(self, model: EncoderDecoder) -> None:
        self.model = model

    @property
    def vocab_size(self) -> int:
        """Ids lie in [0, vocab_size)."""
        return self.model.vocab_size

    @property
    def context_length(self) -> int:
        """How many tokens a source, and a target, should have at most: there is no table that ends there."""
        return self.model.context_length

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
        """As `models.api.Generator.generate`; `prompt_ids` is the source.

        Raises:
            ModelError: at once, for an id outside the vocabulary, an empty source, or a setting out of range.
        """
        check_settings(max_new_tokens, temperature, top_k, top_p)
        source_1S = self._source(prompt_ids)
        return self._draw(source_1S, max_new_tokens, Sampler(temperature, top_k, top_p, seed), frozenset(stop_ids))

    def beam_search(
        self,
        source_ids: Sequence[int],
        *,
        beams: int,
        max_new_tokens: int,
        stop_ids: Collection[int],
        length_penalty: float = 1.0,
        no_repeat_ngram: int = 0,
    ) -> list[int]:
        """The ids of the best target found, its stop id included.

        Args:
            source_ids: what to read.
            beams: targets that are followed at once; 1: greedy.
            max_new_tokens: how long a target may be.
            stop_ids: ids that end a target.
            length_penalty: above 0 longer targets are preferred, below 0 shorter ones; 0: plain sums.
            no_repeat_ngram: no so many ids in a row occur twice in a target; 0: no rule.

        Raises:
            ModelError: for an id outside the vocabulary, an empty source, or a setting out of range.
        """
        if beams < 1 or max_new_tokens < 1 or no_repeat_ngram < 0:
            raise ModelError(
                f"{beams} beams, {max_new_tokens} tokens and no_repeat_ngram {no_repeat_ngram} cannot be searched",
                expected="at least 1 beam, 1 token and no_repeat_ngram 0",
            )
        search = _Search(beams, max_new_tokens, frozenset(stop_ids), length_penalty, no_repeat_ngram)
        return list(self._search(self._source(source_ids), search).ids)

    @torch.inference_mode()
    def _search(self, source_1S: Tensor, search: _Search) -> Hypothesis:
        memory_1SC = self.model.encode(source_1S)
        cache: Sequence[Any] = self.model.new_cache(memory_1SC, search.longest)
        running, finished = [Hypothesis((), 0.0)], list[Hypothesis]()
        for length in range(1, search.longest + 1):
            inputs = [[hypothesis.ids[-1] if hypothesis.ids else self.model.start_id] for hypothesis in running]
            last_B1 = torch.tensor(inputs, device=source_1S.device)
            memory_BSC = memory_1SC.expand(len(running), -1, -1)
            logits_BV = self.model.head(self.model.hidden(last_B1, memory_BSC, cache=cache)[:, -1]).float().cpu()
            candidates, rows = search.extend(running, torch.log_softmax(logits_BV, dim=-1), self.model.start_id)
            ended = [length == search.longest or one.ids[-1] in search.stop_ids for one in candidates]
            for rank, (one, ends) in enumerate(zip(candidates, ended, strict=True)):
                if ends and rank < search.beams:
                    finished.append(Hypothesis(one.ids, one.score / length**search.length_penalty))
            finished = sorted(finished, key=lambda one: -one.score)[: search.beams]
            alive = [number for number, ends in enumerate(ended) if not ends][: search.beams]
            if not alive or search.is_over(finished, candidates[alive[0]].score, length):
                break
            running = [candidates[number] for number in alive]
            kept = torch.tensor([rows[number] for number in alive], device=source_1S.device)
            cache = [layer.select(kept) for layer in cache]
        return finished[0]

    def _draw(self, source_1S: Tensor, max_new_tokens: int, choose: Sampler, stop_ids: frozenset[int]) -> Iterator[int]:
        with torch.inference_mode():
            memory_1SC = self.model.encode(source_1S)
            cache = self.model.new_cache(memory_1SC, max(1, max_new_tokens))
        token = self.model.start_id
        for _ in range(max_new_tokens):
            token = choose(self._next_logits(token, memory_1SC, cache))
            yield token
            if token in stop_ids:
                return

    @torch.inference_mode()
    def _next_logits(self, token: int, memory_1SC: Tensor, cache: Sequence[Any]) -> Tensor:
        last_11 = torch.tensor([[token]], device=memory_1SC.device)
        logits: Tensor = self.model.head(self.model.hidden(last_11, memory_1SC, cache=cache)[:, -1])[0].double().cpu()
        return logits

    def _source(self, ids: Sequence[int]) -> Tensor:
        check_ids(ids, self.vocab_size)
        if not len(ids):
            raise ModelError("there is nothing to read", expected="a source of at least one token")
        return torch.tensor([list(ids)], dtype=torch.long, device=next(self.model.parameters()).device)


@dataclass(frozen=True)
class _Search:
    beams: int
    longest: int
    stop_ids: frozenset[int]
    length_penalty: float
    no_repeat_ngram: int

    def extend(
        self, running: Sequence[Hypothesis], log_probability_BV: Tensor, start_id: int
    ) -> tuple[list[Hypothesis], list[int]]:
        """The best continuations, twice as many as beams, so that enough go on where some end; and what each one continues."""
        for row, hypothesis in enumerate(running):
            log_probability_BV[row, self._banned((start_id, *hypothesis.ids))] = -torch.inf
        totals_BV = log_probability_BV + torch.tensor([[hypothesis.score] for hypothesis in running])
        count = min(2 * self.beams, totals_BV.numel())
        scores, places = torch.topk(totals_BV.flatten(), count)
        vocab_size = log_probability_BV.shape[1]
        rows = [place // vocab_size for place in places.tolist()]
        tokens = [place % vocab_size for place in places.tolist()]
        found = [
            Hypothesis((*running[row].ids, token), score)
            for row, token, score in zip(rows, tokens, scores.tolist(), strict=True)
        ]
        return found, rows

    def _banned(self, ids: tuple[int, ...]) -> list[int]:
        """Ids that would end an n-gram which is there already."""
        n = self.no_repeat_ngram
        if not n or len(ids) + 1 < n:
            return []
        last = ids[len(ids) - n + 1 :]
        return [ids[end] for end in range(n - 1, len(ids)) if ids[end - n + 1 : end] == last]

    def is_over(self, finished: Sequence[Hypothesis], best_running: float, length: int) -> bool:
        """Whether nothing that goes on can be among the best."""
        return len(finished) == self.beams and best_running / length**self.length_penalty <= finished[-1].score
