"""What a user may ask of hidden Markov models. Knows no library."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lmpipe.base.config import Config


class HmmConfig(Config):
    """A language model with hidden states, estimated by expectation-maximisation (Baum et al. 1970; Rabiner 1989)."""

    kind: Literal["hmm"] = "hmm"
    states: int = Field(default=32, ge=1, le=1024)
    """Hidden states: each has its own probabilities of tokens and of what state comes next."""
    iterations: int = Field(default=20, ge=1, le=1000)
    """Passes over the training text, at most."""
    tolerance: float = Field(default=1e-4, ge=0)
    """Estimation stops when a pass raises the mean log-probability of a token by less than this share of it."""
    pseudo_count: float = Field(default=0.01, ge=0)
    """Added to every expected count, so that no token and no change of state is impossible. 0: maximum likelihood."""
    window: int = Field(default=256, ge=2)
    """Longer documents are cut into pieces of so many tokens while estimating; scoring sees whole documents."""
    max_tokens: int = Field(default=5_000_000, ge=1000)
    """Of a larger training text an even sample of documents is used."""


class TaggerConfig(Config):
    """A part-of-speech tagger: the second-order hidden Markov model of TnT (Brants 2000), counted from tagged sentences."""

    kind: Literal["tnt"] = "tnt"
    smoothing: Literal["deleted_interpolation", "witten_bell"] = "deleted_interpolation"
    """How trigrams of tags lean on bigrams and unigrams: with one weight for all (Brants 2000, section 2.2), or with one for
    each history, by how many different tags followed it (Witten and Bell 1991)."""
    suffix_length: int = Field(default=10, ge=0, le=20)
    """Unknown words are judged by their last letters, at most so many (Brants 2000, section 2.3)."""
    rare_below: int = Field(default=10, ge=1)
    """Words that occur at most so often teach what endings mean."""
