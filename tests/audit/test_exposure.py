import math
import random

import numpy as np
import pytest
import torch

from lmpipe.audit.config import CanaryConfig
from lmpipe.audit.exposure import Canary, TextScorer, _log2_skew_normal_cdf, exposure_finding, measure_exposures
from lmpipe.base.errors import ModelError
from lmpipe.base.progress import Silent
from lmpipe.data.canaries import make_canaries

TEMPLATE = "the code is {secret} today"
END = 0


def scorer(known=(), gain=2.0, context=64):
    """A character model that likes the next character of the texts it knows, given the four characters before it."""
    following = {}
    for text in known:
        padded = [END] * 4 + [ord(c) for c in text]
        following |= {tuple(padded[i : i + 4]): padded[i + 4] for i in range(len(padded) - 4)}
    noise = torch.randn(128, generator=torch.Generator().manual_seed(0)) * 0.3

    def decoder(ids):
        logits = noise.expand(*ids.shape, 128).clone()
        for b, row in enumerate(ids.tolist()):
            padded = [END] * 3 + row
            for t in range(len(row)):
                if (liked := following.get(tuple(padded[t : t + 4]))) is not None:
                    logits[b, t, liked] += gain
        return logits

    return TextScorer(decoder, lambda text: [ord(c) for c in text], (END, END), context, torch.device("cpu"))


def canary(secret):
    return Canary(secret=secret, template=TEMPLATE, alphabet="0123456789", length=len(secret), repeats=8)


def test_a_memorized_secret_is_exposed_and_another_is_not():
    known, unknown = canary("4815162342"), canary("9038271650")
    text = TEMPLATE.replace("{secret}", known.secret)
    exposures = measure_exposures([known, unknown], scorer([text]), candidates=300, seed=1, progress=Silent())
    assert exposures[0].bits == pytest.approx(math.log2(301))
    assert exposures[0].extrapolated_bits > exposures[0].bits
    assert exposures[1].bits < 6
    finding = exposure_finding(CanaryConfig(candidates=300), exposures)
    assert finding.value == exposures[0].bits
    assert finding.interval.high == pytest.approx(10 * math.log2(10))
    assert finding.interval.low < finding.value
    assert finding.samples[0]["secret"] == "48********"
    assert "2.2 bits on average" in finding.limits


def test_unseen_secrets_have_the_exposure_that_chance_gives():
    generator = random.Random(5)
    canaries = [canary("".join(generator.choices("0123456789", k=8))) for _ in range(150)]
    exposures = measure_exposures(canaries, scorer(), candidates=200, seed=2, progress=Silent())
    ranked = np.array([exposure.bits for exposure in exposures])
    extrapolated = np.array([exposure.extrapolated_bits for exposure in exposures])
    assert ranked.mean() == pytest.approx(1 / math.log(2), abs=0.35)
    assert extrapolated.mean() == pytest.approx(1 / math.log(2), abs=0.35)


def test_equal_seeds_give_equal_exposures():
    runs = [measure_exposures([canary("12345678")], scorer(), candidates=150, seed=3, progress=Silent()) for _ in "ab"]
    assert runs[0] == runs[1]


def test_ties_count_against_exposure():
    flat = TextScorer(
        lambda ids: torch.zeros(*ids.shape, 128), lambda text: [ord(c) for c in text], (END, END), 64, torch.device("cpu")
    )
    (exposure,) = measure_exposures([canary("12345678")], flat, candidates=100, seed=3, progress=Silent())
    assert exposure.bits == 0.0


def test_canary_longer_than_the_context_is_refused():
    with pytest.raises(ModelError, match="context is 10"):
        measure_exposures([canary("12345678")], scorer(context=10), candidates=100, seed=1, progress=Silent())


def test_planted_documents_are_the_canaries_that_are_looked_for():
    documents, secrets = make_canaries(seed=1, count=5, repeats=2)
    canaries = [Canary(**secret) for secret in secrets]
    texts = {canary.template.replace("{secret}", canary.secret) for canary in canaries}
    assert {document.text for document in documents} == texts
    assert all(len(canary.secret) == canary.length for canary in canaries)
    measured = measure_exposures(canaries, scorer(texts), candidates=100, seed=1, progress=Silent())
    assert all(exposure.bits == math.log2(101) for exposure in measured)


def test_skew_normal_tail_against_samples_and_the_normal_limit():
    rng = np.random.default_rng(0)
    delta = 0.9
    sample = 3 + 2 * (delta * np.abs(rng.standard_normal(400_000)) + math.sqrt(1 - delta**2) * rng.standard_normal(400_000))
    for quantile in (0.5, 0.1, 0.01, 0.001):
        assert _log2_skew_normal_cdf(float(np.quantile(sample, quantile)), sample) == pytest.approx(
            math.log2(quantile), abs=0.2
        )
    normal = np.concatenate([rng.standard_normal(200_000)] * 2)
    normal[200_000:] *= -1  # no skewness at all
    expected = math.log2(math.erfc(5 / math.sqrt(2)) / 2)
    assert _log2_skew_normal_cdf(-5 * float(normal.std()), normal) == pytest.approx(expected, abs=0.02)
