"""An n-gram model over the bytes of text: needs no tokenizer, so that it can judge text before there is one.

Vocabulary: 256 bytes and end-of-text. Knows nothing of documents on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.progress import Progress
from lmpipe.models.ngram.config import NgramConfig
from lmpipe.models.ngram.model import NgramModel, load
from lmpipe.models.ngram.training import train

END_OF_TEXT = 256
BYTES_AT_ONCE = 1 << 20


def train_on_text(texts: Iterable[str], *, order: int, max_bytes: int, progress: Progress) -> NgramModel:
    """Estimate a model of the bytes of texts.

    Raises:
        TrainingError: when there are none.
    """
    config = NgramConfig(order=order, max_tokens=max_bytes)
    return train(map(ids_of, texts), config, vocab_size=END_OF_TEXT + 1, end_of_text_id=END_OF_TEXT, progress=progress)


def ids_of(text: str) -> NDArray[np.int64]:
    """The bytes of a text, closed by end-of-text."""
    return np.append(np.frombuffer(text.encode("utf-8", "replace"), np.uint8), [END_OF_TEXT]).astype(np.int64)


@dataclass(frozen=True)
class ByteScorer:
    """Bits per byte of texts under a saved model, which is opened on first use: so that the scorer can be sent to a worker."""

    folder: Path

    @cached_property
    def _model(self) -> NgramModel:
        return load(self.folder)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Bits by bytes of each text; its end counts as a byte, so that an empty one has a value, too."""
        found, waiting, size = [], [], 0
        for text in texts:
            waiting.append(ids_of(text))
            size += len(waiting[-1])
            if size >= BYTES_AT_ONCE:
                found.append(self._bits(waiting))
                waiting, size = [], 0
        found.append(self._bits(waiting))
        return np.concatenate(found)

    def _bits(self, documents: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
        if not documents:
            return np.empty(0)
        lengths = np.array([len(ids) for ids in documents])
        ends = np.cumsum(lengths)
        total = np.concatenate([[0.0], np.cumsum(self._model.log_probabilities(np.concatenate(documents)))])
        return np.asarray(-(total[ends] - total[ends - lengths]) / np.log(2) / lengths)
