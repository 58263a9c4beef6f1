"""A bundle that answers instead of going on with text: classes, numbers, tags, targets, vectors.

    bundle = lmpipe.load("path/to/bundle")
    bundle.classify(["a fine film", "two wasted hours"])[0].label
    bundle.tag(["Anna lives in Oslo"])
    bundle.transform(["A long report ..."])
    bundle.embed(["a query", "a passage"])

What was chosen on validation text (temperature, thresholds) is in the bundle's `decision.json` and used here, so that what is
served is what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmpipe.base.errors import ServingError
from lmpipe.models.embedding import embed_ids, padded
from lmpipe.models.generate_target import TargetGenerator
from lmpipe.models.heads import LanguageHead
from lmpipe.models.layers.encoder_heads import at_places
from lmpipe.models.network import Encoder, EncoderDecoder, Network
from lmpipe.models.passes import positions_at_once
from lmpipe.tokens.long_texts import LongTexts, transform_long
from lmpipe.tokens.tokenizer import Tokenizer

UNMEASURED: dict[str, Any] = {
    "prefix": "",
    "beams": 4,
    "max_new_tokens": 128,
    "length_penalty": 1.0,
    "no_repeat_ngram": 0,
    "long_texts": "cut",
}
"""How targets are written where no evaluation said it."""


@dataclass(frozen=True)
class Answer:
    """The class of one text."""

    label: str | None
    """The most probable class; None where the text belongs to none, by the threshold chosen on validation text."""
    probability: float
    """Of the most probable class, at the temperature chosen on validation text."""
    sure: bool
    """Whether that is at least the confidence from which answers were right often enough (true where none was chosen)."""
    probabilities: Mapping[str, float]
    """Of every class."""


class TaskBundle:
    """An encoder with a head, or an encoder-decoder, with its tokenizer and what was decided on validation text."""

    def __init__(
        self, folder: Path, name: str, verdict: str, network: Network, tokenizer: Tokenizer, decision: Mapping[str, Any]
    ) -> None:
        self.folder, self.name, self.verdict = folder, name, verdict
        self.network, self.tokenizer, self.decision = network, tokenizer, decision
        self.head = getattr(network, "head_config", None) or LanguageHead()

    def __repr__(self) -> str:
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        return f"TaskBundle({self.name!r}, {self.purpose}, {parameters:,} parameters, {self.verdict or 'no gate'})"

    @property
    def purpose(self) -> str:
        """What it was trained for, in a word: classify, label, score, tag, transform or embed."""
        if isinstance(self.network, EncoderDecoder):
            return "transform"
        if self.head.kind == "token":
            return "tag"
        if self.head.kind in ("language", "embedding"):
            return "embed"
        return {"multilabel": "label", "regression": "score"}.get(self.decision.get("kind", ""), "classify")

    @property
    def labels(self) -> tuple[str, ...]:
        """Its classes or tags."""
        return tuple(getattr(self.head, "labels", ()))

    def classify(self, texts: Sequence[str]) -> list[Answer]:
        """The class of each text.

        Raises:
            ServingError: when it was not trained to classify.
        """
        self._check("classify")
        logits_NL = self._sequence_logits(texts).astype(np.float64)
        scaled = logits_NL / float((self.decision.get("temperature") or {}).get("value", 1.0))
        exp = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return [self._answer(row) for row in exp / exp.sum(axis=1, keepdims=True)]

    def _answer(self, probabilities_L: NDArray[np.float64]) -> Answer:
        best = int(probabilities_L.argmax())
        sure = float(probabilities_L[best])
        named = dict(zip(self.labels, probabilities_L.tolist(), strict=True))
        return Answer(
            self.labels[best] if sure >= self._threshold("scope") else None, sure, sure >= self._threshold("abstention"), named
        )

    def _threshold(self, which: str) -> float:
        return float(((self.decision.get(which) or {}).get("chosen") or {}).get("threshold", 0.0))

    def label(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """The classes of each text with their probabilities, of a model that gives any number of them."""
        self._check("label")
        probabilities_NL = 1 / (1 + np.exp(-self._sequence_logits(texts).astype(np.float64)))
        least = float(self.decision.get("threshold", 0.5))
        named = (zip(self.labels, row.tolist(), strict=True) for row in probabilities_NL)
        return [{name: value for name, value in row if value >= least} for row in named]

    def score(self, texts: Sequence[str]) -> list[float]:
        """A number for each text."""
        self._check("score")
        return [float(value) for value in self._sequence_logits(texts)[:, 0]]

    def tag(self, texts: Sequence[str]) -> list[list[tuple[str, str]]]:
        """The words of each text (what stands between white space) with a tag each; beyond the context there is none: ""."""
        self._check("tag")
        words = [text.split() for text in texts]
        rows = [self._words(of_text) for of_text in words]
        found: list[list[tuple[str, str]]] = [[] for _ in texts]
        for numbers, ids_BT, segments_BT in self._batches([ids for ids, _ in rows]):
            with torch.inference_mode():
                best_BT = self.network(ids_BT, segments_BT).argmax(-1).tolist()
            for row, number in enumerate(numbers):
                firsts = rows[number][1]
                tags = [self.labels[best_BT[row][at]] if at < len(best_BT[row]) - 1 else "" for at in firsts]
                found[number] = list(zip(words[number], tags, strict=True))
        return found

    def transform(
        self,
        texts: Sequence[str],
        *,
        beams: int | None = None,
        max_tokens: int | None = None,
        length_penalty: float | None = None,
        no_repeat_ngram: int | None = None,
        long_texts: LongTexts | None = None,
    ) -> list[str]:
        """The target of each text (a summary, a translation), by beam search; settings not given are those that were measured.

        Args:
            texts: of any length.
            beams: targets that are followed at once.
            max_tokens: how long a target may be.
            length_penalty: above 0 longer targets are preferred.
            no_repeat_ngram: no so many tokens in a row occur twice.
            long_texts: what becomes of a text longer than the context: `cut`, `join` or `reduce`.
        """
        self._check("transform")
        assert isinstance(self.network, EncoderDecoder)
        generator, end = TargetGenerator(self.network), self.tokenizer.end_of_text_id
        measured = {**UNMEASURED, **self.decision}
        how: LongTexts = long_texts or measured["long_texts"]

        def encoded(text: str) -> list[int]:
            return [*self.tokenizer.start_ids, *self.tokenizer.encode(str(measured["prefix"]) + text), end]

        def write(some: list[str]) -> list[str]:
            found = generator.beam_search_all(
                [encoded(text) for text in some],
                beams=measured["beams"] if beams is None else beams,
                max_new_tokens=measured["max_new_tokens"] if max_tokens is None else max_tokens,
                stop_ids=(end,),
                length_penalty=measured["length_penalty"] if length_penalty is None else length_penalty,
                no_repeat_ngram=measured["no_repeat_ngram"] if no_repeat_ngram is None else no_repeat_ngram,
            )
            return [self.tokenizer.decode([one for one in ids if one != end]).strip() for ids in found]

        return transform_long(texts, write, lambda text: len(encoded(text)), self.network.context_length, how)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector of length 1 for each text, shape (texts, width): as it was learned, or, of an encoder that was trained for
        something else, the mean of its hidden states."""
        if not isinstance(self.network, Encoder):
            raise self._cannot("embed")
        return embed_ids(self.network, self.tokenizer.encode_whole(texts), end_id=self.tokenizer.end_of_text_id)

    def _check(self, wanted: str) -> None:
        if self.purpose != wanted:
            raise self._cannot(wanted)

    def _cannot(self, wanted: str) -> ServingError:
        return ServingError(
            f"'{self.name}' was not trained to {wanted} texts",
            where=str(self.folder),
            expected=f"`{self.purpose}`, which it was trained for",
        )

    def _sequence_logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        found = np.zeros((len(texts), max(1, len(self.labels))), np.float32)
        for numbers, ids_BT, segments_BT in self._batches(self.tokenizer.encode_whole(texts)):
            assert isinstance(self.network, Encoder)
            with torch.inference_mode():
                places_B1 = torch.zeros(len(numbers), 1, dtype=torch.long)
                found[numbers] = at_places(self.network, ids_BT, segments_BT, places_B1)[:, 0].float().cpu().numpy()
        return found

    def _words(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        """The ids of a text, and where each of its words begins."""
        ids, firsts = [*(self.tokenizer.start_ids or [self.tokenizer.end_of_text_id])], []
        for number, word in enumerate(words):
            firsts.append(len(ids))
            ids += self.tokenizer.encode(word if number == 0 else " " + word) or [self.tokenizer.pad_id]
        return [*ids, self.tokenizer.end_of_text_id], firsts

    def _batches(self, rows: Sequence[list[int]]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Texts of like length together: their numbers, ids and segments, padded."""
        at_once = positions_at_once(next(self.network.parameters()).device.type)
        return padded(rows, self.network.context_length, self.tokenizer.end_of_text_id, at_once)
