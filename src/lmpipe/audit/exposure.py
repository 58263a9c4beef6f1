"""How exposed a planted secret is: its rank, by the model's own probability, among secrets that were never planted.

    exposure = log2 |R| - log2 rank      |R|: how many secrets the form allows, rank 1: the most likely of them

(Carlini et al. 2019, "The Secret Sharer", sections 4.2 to 4.4.) The rank in R is estimated from random candidates of the same
form, so the number measured this way ends at log2(candidates + 1) bits; what lies beyond is extrapolated by a skew-normal fit
to the candidates and reported under that name. All secrets are synthetic and mean nothing. A secret that the model never saw
has 1/ln 2 = 1.44 bits on average: half of all ranks lie in the upper half (1 bit), a quarter in the upper quarter (2 bits), ...
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lmpipe.audit.config import CANARY_EXPOSURE, CanaryConfig
from lmpipe.base.errors import ModelError
from lmpipe.base.measures import Finding, Interval
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.evaluation.intervals import wilson
from lmpipe.evaluation.scoring import Decoder, score_windows
from lmpipe.evaluation.units import whole_documents
from lmpipe.tokens.loader import Window

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Canary:
    """A planted secret. `template` holds `{secret}` once; the secret is `length` symbols of `alphabet`."""

    secret: str
    template: str
    alphabet: str
    length: int
    repeats: int

    @property
    def form(self) -> tuple[str, str, int]:
        """Canaries of one form share their candidates."""
        return self.template, self.alphabet, self.length

    @property
    def bits(self) -> float:
        """log2 of the number of secrets that the form allows: the highest exposure there is."""
        return self.length * math.log2(len(self.alphabet))


@dataclass(frozen=True)
class Exposure:
    """One canary's result."""

    canary: Canary
    candidates: int
    likelier: int
    """Candidates that the model finds at least as likely as the planted secret."""
    extrapolated_bits: float

    @property
    def bits(self) -> float:
        """Exposure by sampled rank."""
        return -math.log2((self.likelier + 1) / (self.candidates + 1))

    def interval(self) -> Interval:
        """From the Wilson interval of the fraction of likelier candidates; open upwards to the form's limit at rank 1."""
        share = wilson(self.likelier, self.candidates)
        high = self.canary.bits if share.low == 0 else min(self.canary.bits, -math.log2(share.low))
        low = min(max(0.0, -math.log2(share.high)), self.bits)
        method = f"Wilson score interval of the rank among {self.candidates} candidates"
        return Interval(low=low, high=max(high, self.bits), level=share.level, method=method)

    def row(self, number: int) -> dict[str, object]:
        """What a report shows of it; the secret is synthetic and still shortened, so that a report is no second leak."""
        return {
            "canary": number,
            "secret": self.canary.secret[:2] + "*" * (self.canary.length - 2),
            "planted_times": self.canary.repeats,
            "exposure_bits": round(self.bits, 2),
            "extrapolated_bits": round(self.extrapolated_bits, 2),
            "largest_possible_bits": round(self.canary.bits, 2),
            "likelier_candidates": f"{self.likelier} of {self.candidates}",
        }


@dataclass(frozen=True)
class TextScorer:
    """Nats of whole texts under one model."""

    decoder: Decoder
    encode: Callable[[str], Sequence[int]]
    borders: tuple[int, int]
    """Ids that open and close a document."""
    context_length: int
    device: torch.device

    def nats(self, texts: Sequence[str], progress: Progress) -> Floats:
        """Negative log probability of each text as a document of its own.

        Raises:
            ModelError: when a text does not fit the context: ranks of cut texts would compare different things.
        """
        opening, closing = self.borders
        ids = [[*self.encode(text), closing] for text in texts]
        longest = max(len(row) for row in ids)
        if longest > self.context_length:
            raise ModelError(
                f"a canary text has {longest} tokens, and the model's context is {self.context_length}",
                expected="canaries that fit into the context",
                fix="give the model a longer context, or set `canaries: null` in the memorization audit",
            )
        windows = [
            Window(number, np.array([opening, *row[:-1]]), np.array(row), score_from=0) for number, row in enumerate(ids)
        ]
        units = whole_documents([len(row) for row in ids])
        return score_windows(self.decoder, windows, units, device=self.device, progress=progress).nats_U


def measure_exposures(
    canaries: Sequence[Canary], scorer: TextScorer, *, candidates: int, seed: int, progress: Progress
) -> list[Exposure]:
    """Rank every canary among random candidates of its form; the candidates of a form are scored once.

    Raises:
        ModelError: when a canary does not fit the context, or its form allows too few other secrets to rank it among.
    """
    planted = {canary.secret for canary in canaries}
    nats_of: dict[tuple[str, str, int], Floats] = {}
    exposures = []
    for canary in canaries:
        if canary.form not in nats_of:
            drawn = _draw(canary, candidates, planted, derive_seed(seed, "exposure", *canary.form))
            nats_of[canary.form] = scorer.nats([canary.template.replace("{secret}", secret) for secret in drawn], progress)
        own = scorer.nats([canary.template.replace("{secret}", canary.secret)], progress)[0]
        others = nats_of[canary.form]
        extrapolated = min(canary.bits, -_log2_skew_normal_cdf(float(own), others))
        exposures.append(Exposure(canary, candidates, int((others <= own).sum()), extrapolated))
    return exposures


def _draw(canary: Canary, count: int, planted: set[str], seed: int) -> list[str]:
    if len(canary.alphabet) ** canary.length < 2 * len(planted):
        raise ModelError("the canaries' form allows too few secrets to rank them", expected="a longer secret or alphabet")
    generator = random.Random(seed)
    drawn: list[str] = []
    while len(drawn) < count:
        secret = "".join(generator.choices(canary.alphabet, k=canary.length))
        if secret not in planted:
            drawn.append(secret)
    return drawn


def _log2_skew_normal_cdf(value: float, sample: Floats) -> float:
    """log2 of P(X <= value) for the skew-normal distribution with the sample's first three moments (Azzalini 1985)."""
    mean, deviation = float(sample.mean()), float(sample.std())
    if deviation == 0:
        return 0.0
    skewness = float(np.clip(((sample - mean) ** 3).mean() / deviation**3, -0.99, 0.99))
    root = abs(skewness) ** (2 / 3)
    delta = math.copysign(math.sqrt(math.pi / 2 * root / (root + ((4 - math.pi) / 2) ** (2 / 3))), skewness)
    scale = deviation / math.sqrt(1 - 2 * delta * delta / math.pi)
    z = (value - (mean - scale * delta * math.sqrt(2 / math.pi))) / scale
    shape = delta / math.sqrt(1 - delta * delta)
    grid = np.linspace(z - 12.0, z, 6001)
    upper_tail = np.array([math.erfc(-shape * point / math.sqrt(2)) for point in grid.tolist()])
    area = float(np.trapezoid(np.exp(-grid * grid / 2) / math.sqrt(2 * math.pi) * upper_tail, grid))
    return min(0.0, math.log2(max(area, 5e-324)))


LIMITS = (
    "It tells how well secrets of one form, planted this often, can be told from others by someone who sees the model's "
    "probabilities; it does not say that they can be extracted, nor how other kinds of data fare. Rank-based exposure ends at "
    "{most:.1f} bits with {candidates} candidates; the extrapolated figure assumes a skew-normal tail and is no evidence by "
    "itself. As the largest of {count} canaries, the value is {null:.1f} bits on average for a model that saw none."
)


def exposure_finding(config: CanaryConfig, exposures: Sequence[Exposure]) -> Finding:
    """The most exposed canary, with every canary's row."""
    worst = max(exposures, key=lambda exposure: (exposure.bits, exposure.extrapolated_bits))
    null = sum(1 / k for k in range(1, len(exposures) + 1)) / math.log(2)
    return Finding(
        name=CANARY_EXPOSURE,
        value=worst.bits,
        unit="bits",
        direction="lower",
        interval=worst.interval(),
        threshold=config.max_exposure,
        samples=[exposure.row(number) for number, exposure in enumerate(exposures, start=1)],
        method=(
            f"largest exposure of {len(exposures)} synthetic canaries, by rank among {worst.candidates} random candidates "
            "(Carlini et al. 2019, arXiv:1802.08232)"
        ),
        limits=LIMITS.format(
            most=math.log2(worst.candidates + 1), candidates=worst.candidates, count=len(exposures), null=null
        ),
    )
