"""Is a model as sure as it is right, and what to do with an answer that it is not sure of.

Three things are chosen on validation data and then hold for test data and serving: a temperature (Guo et al. 2017), a
confidence below which the model abstains (Geifman and El-Yaniv 2017), and one below which a text counts as out of scope
(Larson et al. 2019). Legend of shape suffixes: N examples, C classes, R rows of weights.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmpipe.base.config import Config
from lmpipe.base.errors import SourceError
from lmpipe.base.measures import Interval
from lmpipe.evaluation.bootstrap import Floats
from lmpipe.evaluation.intervals import wilson
from lmpipe.evaluation.weighting import Booleans, Integers, group_sums, ratio

TEMPERATURES = (0.01, 100.0)
"""Where the temperature is looked for."""
UNSEEN = 2
"""Examples that stand for what was not seen; as many as in Laplace's rule of succession."""


def equal_width_bins(confidence_N: Floats, bins: int) -> Integers:
    """The bin of each confidence among `bins` of equal width, open below and closed above (Guo et al. 2017, equation 3)."""
    return np.clip(np.ceil(confidence_N * bins).astype(np.int64) - 1, 0, bins - 1)


def equal_mass_bins(confidence_N: Floats, bins: int) -> Integers:
    """The bin of each confidence among at most `bins` that hold about as many examples each (Nguyen and O'Connor 2015).

    Equal confidences share a bin, so that the order of examples does not matter.
    """
    if len(confidence_N) == 0:
        return np.zeros(0, dtype=np.int64)
    inner = np.unique(np.quantile(confidence_N, np.arange(1, bins) / bins, method="inverted_cdf"))
    return np.searchsorted(inner, confidence_N, side="left").astype(np.int64)


def calibration_error(weights_RN: Floats, bin_N: Integers, excess_N: Floats) -> Floats:
    """Expected calibration error: mean over examples of |mean confidence - accuracy| of their bin.

    Args:
        weights_RN: rows of weights.
        bin_N: the bin of each example; bins do not move with the weights.
        excess_N: confidence minus 1 where the answer is right, confidence where it is wrong.
    """
    bins = int(bin_N.max(initial=0)) + 1
    gaps = np.stack([(weights_RN[:, bin_N == b] * excess_N[bin_N == b]).sum(axis=1) for b in range(bins)], axis=1)
    return ratio(np.abs(gaps).sum(axis=1), weights_RN.sum(axis=1))


class ReliabilityBin(Config):
    """One bar of a reliability diagram."""

    low: float
    """The smallest confidence in it."""
    high: float
    """The largest."""
    confidence: float
    """The mean."""
    accuracy: float
    interval: Interval
    """Of the accuracy."""
    count: int


def reliability(confidence_N: Floats, right_N: Booleans, bins: int = 15) -> list[ReliabilityBin]:
    """The bars of a reliability diagram, over bins of equal mass: empty bars would say nothing."""
    bin_N = equal_mass_bins(confidence_N, bins)
    counts = group_sums(np.ones((1, len(bin_N))), bin_N, bins)[0].astype(int)
    bars = []
    for position in np.flatnonzero(counts):
        inside, right = confidence_N[bin_N == position], right_N[bin_N == position]
        hits, trials = int(right.sum()), int(counts[position])
        bars.append(
            ReliabilityBin(
                low=float(inside.min()),
                high=float(inside.max()),
                confidence=float(inside.mean()),
                accuracy=hits / trials,
                interval=wilson(hits, trials),
                count=trials,
            )
        )
    return bars


class Temperature(Config):
    """By what to divide logits before the softmax."""

    value: float
    """Above 1 where the model was too sure."""
    nats_before: float
    """Mean log loss on the validation data as it was."""
    nats_after: float
    """The same at this temperature."""
    count: int
    """Validation examples it was chosen on."""


def choose_temperature(logits_NC: npt.ArrayLike, labels_N: npt.ArrayLike) -> Temperature:
    """The temperature with the least log loss on validation data (Guo et al. 2017, section 4.2).

    Beside the n examples, two stand for what was not seen: their classes are drawn from the model's own probabilities. Else the
    best temperature of data without an error would be 0, and every answer, to other questions too, would count as certain. Of
    those two the loss is least at temperature 1 (Gibbs' inequality), so that the loss of the n examples never rises. Platt's
    smoothed targets (1999, section 2.2) also bound the temperature, but make a model that is right and surer than they are
    less sure: .0024 nats became .0177. The loss is convex in 1 / temperature: bisection of its slope finds the one minimum. The
    decision for the most probable class does not change.

    Args:
        logits_NC: or log-probabilities, which differ by a constant for each example that does not matter.
        labels_N: the true class of each example.

    Raises:
        SourceError: when there is no example.
    """
    logits, labels = np.asarray(logits_NC, dtype=np.float64), np.asarray(labels_N, dtype=np.int64)
    if len(labels) == 0:
        raise SourceError("there is no validation example to choose a temperature on", expected="at least one")
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    for _ in range(100):
        middle = np.sqrt(low * high)
        low, high = (low, middle) if _slope(logits, labels, middle) > 0 else (middle, high)
    inverse = float(np.sqrt(low * high))
    return Temperature(
        value=1 / inverse,
        nats_before=_nats(logits, labels, 1.0),
        nats_after=_nats(logits, labels, inverse),
        count=len(labels),
    )


def at_temperature(logits_NC: npt.ArrayLike, temperature: float) -> Floats:
    """Probabilities: the softmax of logits divided by the temperature."""
    return np.exp(_log_softmax(np.asarray(logits_NC, dtype=np.float64) / temperature))


def _log_softmax(logits_NC: Floats) -> Floats:
    shifted = logits_NC - logits_NC.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _nats(logits: Floats, labels: Integers, inverse: float) -> float:
    return float(-_log_softmax(logits * inverse)[np.arange(len(labels)), labels].mean())


def _slope(logits: Floats, labels: Integers, inverse: float) -> float:
    """The derivative of the mean log loss by 1 / temperature: expected logit minus the wanted one."""
    count = len(labels)
    wanted = count * logits[np.arange(count), labels] + UNSEEN * _expected(logits, 1.0)
    return float((_expected(logits, inverse) - wanted / (count + UNSEEN)).mean())


def _expected(logits: Floats, inverse: float) -> Floats:
    """The mean logit of each example under its probabilities."""
    result: Floats = (np.exp(_log_softmax(logits * inverse)) * logits).sum(axis=1)
    return result


class Abstention(Config):
    """A confidence below which the model does not answer, and what that bought where it was measured."""

    threshold: float
    """Answers of at least this confidence are given."""
    coverage: float
    """Share of examples that are answered."""
    selective_accuracy: float | None
    """Share of the answers that are right; none where nothing is answered."""
    interval: Interval | None
    """Of the selective accuracy."""
    count: int
    """Examples it was measured on."""


def choose_abstention(
    confidence_N: npt.ArrayLike, right_N: npt.ArrayLike, *, accuracy: float, level: float = 0.95
) -> Abstention:
    """The threshold that answers most while the answers are right often enough, chosen on validation data.

    "Often enough" is judged by the lower end of Wilson's interval: a threshold that happened to look good on 20 examples is
    not taken. Where none is good enough, the threshold lies above every confidence seen, and nothing is answered.

    Args:
        confidence_N: of the chosen answers.
        right_N: whether they are right.
        accuracy: wanted of the answers that are given.
        level: of the interval.
    """
    confidence, right = np.asarray(confidence_N, dtype=np.float64), np.asarray(right_N, dtype=np.bool_)
    if len(confidence) == 0:
        raise SourceError("there is no validation example to choose a threshold on", expected="at least one")
    order = np.argsort(-confidence, kind="stable")
    hits, ordered = np.cumsum(right[order]), confidence[order]
    last_of_tie = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    good = [i for i in last_of_tie if wilson(int(hits[i]), int(i) + 1, level).low >= accuracy]
    threshold = float(ordered[good[-1]]) if good else float(np.nextafter(ordered[0], np.inf))
    return measure_abstention(threshold, confidence, right, level=level)


def measure_abstention(
    threshold: float, confidence_N: npt.ArrayLike, right_N: npt.ArrayLike, *, level: float = 0.95
) -> Abstention:
    """What a threshold gives on data that it was not chosen on."""
    answered = np.asarray(confidence_N, dtype=np.float64) >= threshold
    hits, trials = int((answered & np.asarray(right_N, dtype=np.bool_)).sum()), int(answered.sum())
    return Abstention(
        threshold=threshold,
        coverage=trials / len(answered),
        selective_accuracy=hits / trials if trials else None,
        interval=wilson(hits, trials, level) if trials else None,
        count=len(answered),
    )


class ScopeThreshold(Config):
    """A confidence below which a text counts as out of scope, and how often that was right where it was measured."""

    threshold: float
    """Texts of at least this confidence count as in scope."""
    kept: float
    """Share of in-scope texts that count as such."""
    kept_interval: Interval
    refused: float
    """Share of out-of-scope texts that count as such: out-of-scope recall."""
    refused_interval: Interval


def choose_scope_threshold(in_scope_N: npt.ArrayLike, out_of_scope_M: npt.ArrayLike) -> ScopeThreshold:
    """The threshold with the highest mean of `kept` and `refused` (balanced accuracy, Youden 1950) on validation data.

    Args:
        in_scope_N: confidences of the chosen answers for texts that belong to a class.
        out_of_scope_M: the same for texts that belong to none.

    Raises:
        SourceError: when one of the two is empty.
    """
    inside, outside = (np.sort(np.asarray(values, dtype=np.float64)) for values in (in_scope_N, out_of_scope_M))
    if len(inside) == 0 or len(outside) == 0:
        raise SourceError("a threshold needs validation texts of both sorts", expected="texts in scope and texts out of scope")
    seen = np.unique(np.concatenate([inside, outside]))
    candidates = np.append(seen, np.nextafter(seen[-1], np.inf))
    kept = 1 - np.searchsorted(inside, candidates, side="left") / len(inside)
    refused = np.searchsorted(outside, candidates, side="left") / len(outside)
    return measure_scope_threshold(float(candidates[int(np.argmax(kept + refused))]), inside, outside)


def measure_scope_threshold(threshold: float, in_scope_N: npt.ArrayLike, out_of_scope_M: npt.ArrayLike) -> ScopeThreshold:
    """What a threshold gives on data that it was not chosen on."""
    inside, outside = (np.asarray(values, dtype=np.float64) for values in (in_scope_N, out_of_scope_M))
    kept, refused = int((inside >= threshold).sum()), int((outside < threshold).sum())
    return ScopeThreshold(
        threshold=threshold,
        kept=kept / len(inside),
        kept_interval=wilson(kept, len(inside)),
        refused=refused / len(outside),
        refused_interval=wilson(refused, len(outside)),
    )
