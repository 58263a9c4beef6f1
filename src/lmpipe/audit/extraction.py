"""Does the model continue its training text word for word, more than it continues text it never saw?

    training document   ... [ prefix_tokens ][ suffix_tokens ] ...
                             given            extractable if greedy decoding gives exactly these
    held-out document   the same test: what is predictable without having been seen (licence headers, tables)

The measure of Carlini et al. 2022, "Quantifying Memorization Across Neural Language Models". Greedy decoding gives the true
suffix exactly when the most likely token is the true one at each of its positions given the true tokens before it (induction
over the positions), so one forward pass per passage decides and nothing is generated; a test compares with real decoding.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lmpipe.audit.config import EXTRACTABLE, EXTRACTABLE_EXCESS, EXTRACTABLE_HELDOUT, MemorizationConfig
from lmpipe.base.errors import RecipeError
from lmpipe.base.measures import Finding
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.evaluation.intervals import newcombe, wilson
from lmpipe.evaluation.scoring import Decoder
from lmpipe.evaluation.units import Documents

PASSAGES_AT_ONCE = 32
SHOWN_CHARACTERS = 48
SOURCE = "Carlini et al. 2022, arXiv:2202.07646"


@dataclass(frozen=True)
class Passages:
    """Sampled passages and what the model did with them; N passages, L = prefix + suffix tokens."""

    ids_NL: npt.NDArray[np.int64]
    matched_N: npt.NDArray[np.int64]
    """How many suffix tokens greedy decoding gets right before its first error."""
    suffix_tokens: int

    @property
    def extracted_N(self) -> npt.NDArray[np.bool_]:
        """Which passages came out word for word."""
        return np.equal(self.matched_N, self.suffix_tokens)

    @property
    def hits(self) -> int:
        """How many did."""
        return int(self.extracted_N.sum())


def check_fits(config: MemorizationConfig, context_length: int) -> None:
    """Prefix and suffix must fit into the model's context.

    Raises:
        RecipeError: when they do not.
    """
    wanted = config.prefix_tokens + config.suffix_tokens
    if wanted > context_length:
        raise RecipeError(
            f"the memorization audit needs passages of {wanted} tokens, and the model's context is {context_length}",
            where="audit.memorization.prefix_tokens and suffix_tokens",
            expected=f"together at most {context_length}",
            fix=f"set both to {context_length // 2} or less, or give the model a longer context",
        )


def sample_passages(documents: Documents, length: int, samples: int, seed: int) -> npt.NDArray[np.int64]:
    """Distinct passages, uniform over all places where `length` tokens of one document stand together.

    Returns:
        ids_NL: fewer than `samples` rows where there are not so many places; the closing end-of-text is never part of one.
    """
    sizes = np.array([len(documents.document(i)) - 1 for i in range(documents.documents)], dtype=np.int64)
    places_D = np.maximum(sizes - length + 1, 0)
    ends_D = np.cumsum(places_D)
    total = int(ends_D[-1]) if len(ends_D) else 0
    chosen = sorted(random.Random(seed).sample(range(total), min(samples, total)))
    ids_NL = np.empty((len(chosen), length), dtype=np.int64)
    for row, place in enumerate(chosen):
        document = int(np.searchsorted(ends_D, place, side="right"))
        start = place - int(ends_D[document] - places_D[document])
        ids_NL[row] = documents.document(document)[start : start + length]
    return ids_NL


@torch.inference_mode()
def extract(
    decoder: Decoder, ids_NL: npt.NDArray[np.int64], prefix_tokens: int, *, device: torch.device, progress: Progress
) -> Passages:
    """How far greedy decoding from each passage's prefix follows the passage."""
    suffix_tokens = ids_NL.shape[1] - prefix_tokens
    matched = []
    read: Any = decoder
    if getattr(decoder, "reads_prefix", False):  # as its prompts are read
        given_1T = (torch.arange(ids_NL.shape[1] - 1, device=device) < prefix_tokens)[None]
        read = partial(read, prefix_BT=given_1T)
    for start in range(0, len(ids_NL), PASSAGES_AT_ONCE):
        batch = torch.from_numpy(ids_NL[start : start + PASSAGES_AT_ONCE]).to(device)
        guesses = read(batch[:, :-1])[:, prefix_tokens - 1 :].argmax(dim=-1)
        right = (guesses == batch[:, prefix_tokens:]).long()
        matched.append(right.cumprod(dim=1).sum(dim=1).cpu().numpy())
        progress.update(min(start + PASSAGES_AT_ONCE, len(ids_NL)), len(ids_NL), "passages")
    return Passages(ids_NL, np.concatenate(matched) if matched else np.zeros(0, dtype=np.int64), suffix_tokens)


def extraction_findings(
    config: MemorizationConfig,
    decoder: Decoder,
    *,
    train: Documents,
    heldout: Documents,
    decode: Callable[[Sequence[int]], str],
    epochs: float | None,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> list[Finding]:
    """Findings on extractable passages: of training text, of held-out text, and the excess of the first over the second.

    Args:
        config: passage lengths, sample size and threshold.
        decoder: ids_BT -> logits_BTV.
        train: the training shards.
        heldout: shards of a split that was never trained on.
        decode: ids -> text, for the passages shown.
        epochs: how often training saw its text on average, for the limits; None: not known.
        seed: which passages are drawn.
        device: where the decoder is.
        progress: told after each batch.

    Returns:
        Fewer findings where a side has no passage long enough: what was not measured is absent, not zero.
    """
    length = config.prefix_tokens + config.suffix_tokens
    sides = {}
    for name, documents in (("train", train), ("heldout", heldout)):
        ids_NL = sample_passages(documents, length, config.samples, derive_seed(seed, "extraction", name))
        sides[name] = extract(decoder, ids_NL, config.prefix_tokens, device=device, progress=progress)
    limits = _limits(config, epochs)
    findings = []
    if len(sides["train"].ids_NL):
        findings.append(_fraction(EXTRACTABLE, config, sides["train"], _shown(config, sides["train"], decode), limits))
    if len(sides["heldout"].ids_NL):
        findings.append(_fraction(EXTRACTABLE_HELDOUT, config, sides["heldout"], [], HELDOUT_LIMITS))
    if len(findings) == 2:
        findings.append(_excess(config, sides["train"], sides["heldout"], limits))
    return findings


HELDOUT_LIMITS = (
    "A control, not a risk: text that comes out word for word although it was not trained on is either predictable by itself "
    "or has a near-duplicate in the training text."
)


def _limits(config: MemorizationConfig, epochs: float | None) -> str:
    seen = "" if epochs is None else f" Training saw its text {epochs:.2g} times on average."
    return (
        f"Greedy decoding from exactly {config.prefix_tokens} true tokens is one attack: longer prefixes, sampling many times, "
        "or searching for a prompt extract more. Near-verbatim copies are not counted. Passages are drawn evenly from the "
        "training text, so rare kinds of text are hardly tried, and passages that training did not reach count as not "
        f"extractable.{seen}"
    )


def _fraction(
    name: str, config: MemorizationConfig, passages: Passages, samples: list[dict[str, object]], limits: str
) -> Finding:
    trials = len(passages.ids_NL)
    return Finding(
        name=name,
        value=passages.hits / trials,
        unit="fraction of passages",
        direction="none" if name == EXTRACTABLE_HELDOUT else "lower",
        interval=wilson(passages.hits, trials),
        threshold=None if name == EXTRACTABLE_HELDOUT else config.max_extractable,
        samples=samples,
        method=(
            f"greedy continuation of {config.prefix_tokens} tokens equals the next {config.suffix_tokens}, {passages.hits} of "
            f"{trials} passages; on average {passages.matched_N.mean():.1f} tokens are right before the first error ({SOURCE})"
        ),
        limits=limits,
    )


def _excess(config: MemorizationConfig, train: Passages, heldout: Passages, limits: str) -> Finding:
    trials, other = len(train.ids_NL), len(heldout.ids_NL)
    return Finding(
        name=EXTRACTABLE_EXCESS,
        value=train.hits / trials - heldout.hits / other,
        unit="fraction of passages",
        direction="lower",
        interval=newcombe(train.hits, trials, heldout.hits, other),
        threshold=config.max_extractable,
        method=f"{EXTRACTABLE} minus {EXTRACTABLE_HELDOUT}: what predictable text alone does not explain",
        limits=limits,
    )


def _shown(config: MemorizationConfig, passages: Passages, decode: Callable[[Sequence[int]], str]) -> list[dict[str, object]]:
    rows = np.flatnonzero(passages.extracted_N)[: config.shown]
    return [
        {
            "given": "..." + redact(decode(passages.ids_NL[row, : config.prefix_tokens].tolist()))[-SHOWN_CHARACTERS:],
            "extracted": redact(decode(passages.ids_NL[row, config.prefix_tokens :].tolist()))[:SHOWN_CHARACTERS] + "...",
        }
        for row in rows
    ]


def redact(text: str) -> str:
    """One line, with digits hidden and addresses taken out: enough to recognise a kind of passage, too little to leak one.

    >>> redact("call 555-0100\\nor a@b.org")
    'call ###-#### or [address]'
    """
    without_addresses = re.sub(r"\S+@\S+", "[address]", text)
    return re.sub(r"\d", "#", " ".join(without_addresses.split()))
