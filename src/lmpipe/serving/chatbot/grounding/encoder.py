"""An encoder in a folder as what gives snippets and questions their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.canonical import digest_of_file
from lmpipe.base.errors import ModelError
from lmpipe.models.embedding import embed_ids
from lmpipe.models.heads import EmbeddingHead, LanguageHead
from lmpipe.models.loading import load_network
from lmpipe.models.network import Encoder
from lmpipe.models.published import WEIGHTS, head_of
from lmpipe.tokens.tokenizer import load_tokenizer


class EncoderVectors:
    """Texts to vectors of length 1; see `embedding.Embedder`."""

    def __init__(self, folder: Path) -> None:
        """Open the encoder in `folder`. One that was not made for vectors gives the mean of its hidden states.

        Raises:
            ModelError: when there is none.
        """
        saved = head_of(folder) or LanguageHead()
        network = load_network(folder, head=saved if isinstance(saved, EmbeddingHead) else EmbeddingHead())
        if not isinstance(network, Encoder):
            raise ModelError("the model is no encoder", where=str(folder), expected="a BERT, RoBERTa or ModernBERT")
        self.network, self.tokenizer = network, load_tokenizer(folder)
        self.name = digest_of_file(folder / WEIGHTS)
        """Of its weights: an index made by others is not searched by them."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (texts, width)."""
        return embed_ids(self.network, self.tokenizer.encode_whole(texts), end_id=self.tokenizer.end_of_text_id)
