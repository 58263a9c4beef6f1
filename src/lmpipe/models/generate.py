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
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from lmpipe.base.randomness import derive_seed
from lmpipe.models.drawing import Drawing, check_ids, check_settings
from lmpipe.models.network import Decoder
from lmpipe.models.writing import Text, Writing


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
        (text,) = self._texts(
            [
                Drawing(
                    prompt_ids=prompt_ids,
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    top_k=top_k,
                    top_p=top_p,
                    seed=seed,
                    stop_ids=stop_ids,
                )
            ]
        )
        return (text.drawn[-1] for _ in self._writing([text]).steps())

    def generate_all(self, asked: Sequence[Drawing]) -> Iterator[tuple[int, list[int]]]:
        """Several texts side by side: the number of each in `asked` and its ids, as one after the other ends.

        A text is what `generate` gives for its arguments alone, whatever stands beside it.

        Raises:
            ModelError: at once, as `generate`.

        Example:
            `dict(generator.generate_all([Drawing(prompt_ids=[0, 17], max_new_tokens=3)]))` gives `{0: [..., ..., ...]}`.
        """
        return self._as_they_end(self._texts(asked))

    def answers(self, asked: Sequence[Drawing], count: int) -> Iterator[tuple[int, list[list[int]]]]:
        """`count` texts for each prompt, which is read once: its number in `asked`, and the texts, once all of them ended.

        Each text has a seed of its own, made from that of its prompt.
        """
        drawings = [replace(one, seed=derive_seed(one.seed, place)) for one in asked for place in range(count)]
        found: dict[int, dict[int, list[int]]] = {}
        for drawing, ids in self.generate_all(drawings):
            number, place = divmod(drawing, count)
            texts = found.setdefault(number, {})
            texts[place] = ids
            if len(texts) == count:
                yield number, [texts[place] for place in range(count)]

    def _as_they_end(self, texts: Sequence[Text]) -> Iterator[tuple[int, list[int]]]:
        number = {id(text): place for place, text in enumerate(texts)}
        yield from ((number[id(text)], text.drawn) for text in texts if text.ended)
        for grown in self._writing(texts).steps():
            yield from ((number[id(text)], text.drawn) for text in grown if text.ended)

    def _texts(self, asked: Sequence[Drawing]) -> list[Text]:
        for one in asked:
            self._check_ids(one.prompt_ids)
            check_settings(one.max_new_tokens, one.temperature, one.top_k, one.top_p)
        return [Text(one, self.start_id) for one in asked]

    def _writing(self, texts: Sequence[Text]) -> Writing:
        return Writing(self.model, texts, known_ids=self.known_ids)

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
