"""Writes the target of a source with an encoder-decoder: drawing token by token, or searching with beams.

Promises: equal arguments give equal ids; a source is read once. Knows tokens, no text. Beam search ends and ranks as
Transformers' does (`early_stopping=False`): a finished target counts sum of log-probabilities / length ** length_penalty, and
the search ends when the best unfinished one, judged at its present length, is no better than the worst of as many finished ones
as there are beams.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmpipe.base.errors import ModelError
from lmpipe.models.drawing import Sampler, check_ids, check_settings
from lmpipe.models.network import EncoderDecoder

POSITIONS_AT_ONCE = 32_768
"""Positions of sources and targets, times beams, that are searched together."""


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
        (found,) = self.beam_searches(
            [source_ids],
            beams=beams,
            max_new_tokens=max_new_tokens,
            stop_ids=stop_ids,
            length_penalty=length_penalty,
            no_repeat_ngram=no_repeat_ngram,
        )
        return found

    def beam_searches(
        self,
        sources: Sequence[Sequence[int]],
        *,
        beams: int,
        max_new_tokens: int,
        stop_ids: Collection[int],
        length_penalty: float = 1.0,
        no_repeat_ngram: int = 0,
    ) -> list[list[int]]:
        """As `beam_search`, for several sources at once, padded to the longest: those of like length belong together."""
        if beams < 1 or max_new_tokens < 1 or no_repeat_ngram < 0:
            raise ModelError(
                f"{beams} beams, {max_new_tokens} tokens and no_repeat_ngram {no_repeat_ngram} cannot be searched",
                expected="at least 1 beam, 1 token and no_repeat_ngram 0",
            )
        if not sources:
            return []
        search = _Search(beams, max_new_tokens, frozenset(stop_ids), length_penalty, no_repeat_ngram, self.model.start_id)
        return [list(hypothesis.ids) for hypothesis in self._search(*self._padded(sources), search)]

    def beam_search_all(
        self,
        sources: Sequence[Sequence[int]],
        *,
        beams: int,
        max_new_tokens: int,
        stop_ids: Collection[int],
        length_penalty: float = 1.0,
        no_repeat_ngram: int = 0,
        told: Callable[[int], None] = lambda done: None,
    ) -> list[list[int]]:
        """As `beam_searches`, for any number of sources of any lengths: those of like length go together.

        A source longer than the context is cut, its last id kept. `told` hears how many are done.
        """
        context = self.context_length
        cut = [ids if len(ids) <= context else [*ids[: context - 1], ids[-1]] for ids in sources]
        waiting = sorted(range(len(cut)), key=lambda number: -len(cut[number]))
        found: list[list[int]] = [[] for _ in cut]
        while waiting:
            count = max(1, POSITIONS_AT_ONCE // (beams * (len(cut[waiting[0]]) + max_new_tokens)))
            numbers, waiting = waiting[:count], waiting[count:]
            targets = self.beam_searches(
                [cut[number] for number in numbers],
                beams=beams,
                max_new_tokens=max_new_tokens,
                stop_ids=stop_ids,
                length_penalty=length_penalty,
                no_repeat_ngram=no_repeat_ngram,
            )
            for number, target in zip(numbers, targets, strict=True):
                found[number] = target
            told(len(cut) - len(waiting))
        return found

    @torch.inference_mode()
    def _search(self, source_NS: Tensor, segments_NS: Tensor, search: _Search) -> list[Hypothesis]:
        """A source that is done leaves the batch; its beams never do before."""
        memory_NSC = self.model.encode(source_NS, segments_NS)
        cache: Sequence[Any] = self.model.new_cache(memory_NSC, search.longest, search.beams)
        targets = [_Target(search) for _ in source_NS]
        active = list(targets)
        for _ in range(search.longest):
            last_R1 = torch.tensor([[one] for target in active for one in target.last_ids()], device=source_NS.device)
            hidden_RC = self.model.hidden(last_R1, memory_NSC, segments_NS, cache=cache)[:, -1]
            log_probability_RV = torch.log_softmax(self.model.head(hidden_RC).float(), dim=-1).cpu()
            if not torch.isfinite(log_probability_RV[:, 0]).all():  # one bad logit makes its whole row NaN
                raise ModelError(
                    "the model gives scores that are not finite", expected="finite weights", fix="train or export again"
                )
            parts = log_probability_RV.view(len(active), search.beams, -1)
            rows = [target.extend(part_BV) for target, part_BV in zip(active, parts, strict=True)]
            going = [number for number, found in enumerate(rows) if found]
            if not going:
                break
            kept = [number * search.beams + row for number in going for row in rows[number]]
            stay = None if len(going) == len(active) else torch.tensor(going, device=source_NS.device)
            cache = [layer.select(torch.tensor(kept, device=source_NS.device), stay) for layer in cache]
            if stay is not None:
                active = [active[number] for number in going]
                memory_NSC, segments_NS = memory_NSC[stay], segments_NS[stay]
        return [target.finished[0] for target in targets]

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
        return self._padded([ids])[0]

    def _padded(self, sources: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Ids and segments (N, S)."""
        for ids in sources:
            check_ids(ids, self.vocab_size)
            if not len(ids):
                raise ModelError("there is nothing to read", expected="a source of at least one token")
        shape = (len(sources), max(len(ids) for ids in sources))
        padded, segments = torch.zeros(shape, dtype=torch.long), torch.full(shape, -1)
        for row, ids in enumerate(sources):
            padded[row, : len(ids)] = torch.tensor(list(ids))
            segments[row, : len(ids)] = 0
        device = next(self.model.parameters()).device
        return padded.to(device), segments.to(device)


@dataclass(frozen=True)
class _Search:
    beams: int
    longest: int
    stop_ids: frozenset[int]
    length_penalty: float
    no_repeat_ngram: int
    start_id: int

    def banned(self, ids: tuple[int, ...]) -> list[int]:
        """Ids that would end an n-gram which is there already."""
        n = self.no_repeat_ngram
        if not n or len(ids) + 1 < n:
            return []
        last = ids[len(ids) - n + 1 :]
        return [ids[end] for end in range(n - 1, len(ids)) if ids[end - n + 1 : end] == last]


class _Target:
    """The search for the target of one source."""

    def __init__(self, search: _Search) -> None:
        self.search = search
        self.finished: list[Hypothesis] = []
        self.running = [Hypothesis((), 0.0 if beam == 0 else -math.inf) for beam in range(search.beams)]
        """One for each beam; those with the score -inf only fill their rows."""

    def last_ids(self) -> list[int]:
        """The decoder's next inputs."""
        return [one.ids[-1] if one.ids else self.search.start_id for one in self.running]

    def extend(self, log_probability_BV: Tensor) -> list[int]:
        """One token further; gives the row that each beam continues, or nothing where the search is over.

        Twice as many continuations as beams are looked at, so that enough go on where some end.
        """
        search, length = self.search, len(self.running[0].ids) + 1
        for row, hypothesis in enumerate(self.running):
            log_probability_BV[row, search.banned((search.start_id, *hypothesis.ids))] = -torch.inf
        totals_BV = log_probability_BV + torch.tensor([[hypothesis.score] for hypothesis in self.running])
        scores, places = torch.topk(totals_BV.flatten(), min(2 * search.beams, totals_BV.numel()))
        vocab_size = totals_BV.shape[1]
        alive: list[tuple[Hypothesis, int]] = []
        for rank, (score, place) in enumerate(zip(scores.tolist(), places.tolist(), strict=True)):
            row, token = divmod(place, vocab_size)
            one = Hypothesis((*self.running[row].ids, token), score)
            if length == search.longest or token in search.stop_ids:
                if rank < search.beams:
                    self.finished.append(Hypothesis(one.ids, score / length**search.length_penalty))
            elif len(alive) < search.beams:
                alive.append((one, row))
        self.finished = sorted(self.finished, key=lambda one: -one.score)[: search.beams]
        if not alive or self._is_over(alive[0][0].score, length):
            return []
        alive += [(Hypothesis(alive[0][0].ids, -math.inf), alive[0][1])] * (search.beams - len(alive))
        self.running = [one for one, _ in alive]
        return [row for _, row in alive]

    def _is_over(self, best_running: float, length: int) -> bool:
        """Whether nothing that goes on can be among the best."""
        full = len(self.finished) == self.search.beams
        return full and best_running / length**self.search.length_penalty <= self.finished[-1].score
