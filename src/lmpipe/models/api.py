"""What evaluation, audits and serving need from a model: two protocols, and nothing of any family.

`Scorer` tells how probable given text is; `Generator` goes on with it. The n-gram model satisfies the first without torch,
which keeps the protocol honest. Ids and results are plain numpy; devices, caches and batching stay inside the family.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Scorer(Protocol):
    """Gives every token of a document its probability."""

    @property
    def vocab_size(self) -> int:
        """Ids lie in [0, vocab_size)."""

    @property
    def context_length(self) -> int:
        """How many preceding tokens a prediction can depend on, at most."""

    def log_probabilities(self, ids: NDArray[np.integer]) -> NDArray[np.floating]:
        """Natural-log probability of every token given those before it, for one document.

        Args:
            ids: shape (tokens,), the document's ids; the closing end-of-text id is scored when it is part of them.

        Returns:
            Shape (tokens,). The first token is predicted from the end-of-text id, which opens every document.

        Example:
            A uniform model over 4 ids gives `[-1.386, -1.386]` for `[2, 0]`.
        """


@runtime_checkable
class Generator(Protocol):
    """Goes on with a prompt, token by token."""

    @property
    def vocab_size(self) -> int:
        """Ids lie in [0, vocab_size)."""

    @property
    def context_length(self) -> int:
        """How many tokens prompt and answer may have together."""

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
        """Yield new ids as they are drawn, up to `max_new_tokens`; the first id in `stop_ids` is yielded and is the last.

        Args:
            prompt_ids: what to go on with; empty means: begin a document.
            max_new_tokens: how many ids to draw, at most.
            temperature: 0 takes the most probable id every time.
            top_k: draw among this many most probable ids; 0: among all.
            top_p: draw among the fewest most probable ids that together reach this probability; 1: among all.
            seed: equal seeds and arguments give equal ids.
            stop_ids: ids that end the text, such as end-of-text.
        """
