"""Search by meaning: the cosine between the embedding of a question and those of the texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import ServingError

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Texts to vectors: near texts of like meaning. What a bundle for embeddings will be."""

    @property
    def name(self) -> str:
        """What tells it from others: an index made by one is not searched by another."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.floating]:
        """Shape (texts, dimensions)."""


def unit_vectors(texts: Sequence[str], embedder: Embedder) -> Vectors:
    """Embeddings of length one; of length zero where the embedder gave zeros.

    Raises:
        ServingError: when the embedder does not give one finite vector for each text.
    """
    vectors_ND = np.asarray(embedder.embed(texts), np.float64)
    if vectors_ND.ndim != 2 or len(vectors_ND) != len(texts) or not np.isfinite(vectors_ND).all():
        raise ServingError(
            f"the embedder '{embedder.name}' gave an array of shape {vectors_ND.shape} for {len(texts)} texts",
            expected="one vector of finite numbers for each text",
        )
    lengths_N = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return (vectors_ND / np.where(lengths_N == 0, 1, lengths_N)).astype(np.float32)
