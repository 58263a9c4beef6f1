"""Generated texts beside references and sources: exact match, token F1, BLEU, chrF, ROUGE, novelty, repetition, support.

BLEU is sacreBLEU's (Post 2018: 13a tokens, exponential smoothing) and ROUGE that of Google's rouge-score: the libraries that
papers name, from the extra `[eval]`. Everything is kept as sums for each text, so a corpus score is resampled without a
second look at a text. Legend of shape suffixes: N examples, R rows of weights, K parts of a sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from lmpipe.base.errors import SourceError
from lmpipe.base.extras import require
from lmpipe.evaluation.bootstrap import Floats
from lmpipe.evaluation.lengths import check_lengths
from lmpipe.evaluation.mauve import GENERATED, REFERENCE
from lmpipe.evaluation.overlap import (
    chrf_counts,
    chrf_score,
    exact_match,
    new_ngrams,
    ngrams,
    repeated_ngrams,
    token_f1,
    unsupported_facts,
    words,
)
from lmpipe.evaluation.weighting import ratio, weighted_mean, weighted_sum

REPEATED_ORDER = 4
"""Welleck et al. 2020 measure repetition by 4-grams."""
ROUGES = ("rouge1", "rouge2", "rougeL")

_REFERENCE_COLUMNS = {
    "exact_match": pa.float64(),
    "token_f1": pa.float64(),
    "bleu_counts": pa.list_(pa.int64()),
    "chrf_counts": pa.list_(pa.int64()),
    **{name: pa.float64() for name in ROUGES},
    "reference_words": pa.float64(),
}
_SOURCE_COLUMNS = {name: pa.int64() for name in ("new_1", "new_2", "facts", "unsupported_facts")}
_OWN_COLUMNS = {name: pa.int64() for name in ("prediction_words", "grams_1", "grams_2", "repeated", "repeatable")}
_CLUSTERS = dict.fromkeys((GENERATED, REFERENCE), pa.int64())
SCHEMA: dict[str, pa.DataType] = {
    "prediction": pa.string(),
    "references": pa.list_(pa.string()),
    "source": pa.string(),
    **_OWN_COLUMNS,
    **_REFERENCE_COLUMNS,
    **_SOURCE_COLUMNS,
    **_CLUSTERS,
}
TEXTS = ("prediction", "references", "source")
"""The columns that no number needs once the sums are there, but from which the sums can be made again."""


def generated(
    predictions: Sequence[str],
    *,
    references: Sequence[Sequence[str]] | None = None,
    sources: Sequence[str] | None = None,
) -> dict[str, Sequence[object]]:
    """Columns for a batch of per-example results.

    Args:
        predictions: the texts that the model wrote.
        references: one or more right texts for each; without them only what needs none is measured.
        sources: what the model was given (the article, the passage); needed for novelty and unsupported facts.

    Raises:
        SourceError: when an example has an empty list of references, or there are more or fewer lists than predictions.
        MissingExtraError: when references are given and the extra `[eval]` is not installed.
    """
    check_lengths(predictions, references=references, sources=sources)
    columns: dict[str, Sequence[object]] = {"prediction": predictions}
    rows = [_own_sums(prediction) for prediction in predictions]
    columns |= _columns(_OWN_COLUMNS, rows)
    if references is not None:
        empty = [position for position, texts in enumerate(references) if not texts]
        if empty:
            raise SourceError(
                f"{len(empty):,} of {len(references):,} examples have no reference",
                where=f"example {empty[0]} of the batch",
                expected="at least one right text for each prediction",
                fix="leave such examples out, or measure without references",
            )
        columns["references"] = [list(texts) for texts in references]
        against = [_reference_sums(p, list(r)) for p, r in zip(predictions, references, strict=True)]
        columns |= _columns(_REFERENCE_COLUMNS, against)
    if sources is not None:
        columns["source"] = sources
        columns |= _columns(_SOURCE_COLUMNS, [_source_sums(p, s) for p, s in zip(predictions, sources, strict=True)])
    return columns


def _columns(names: Iterable[str], rows: Sequence[dict[str, object]]) -> dict[str, Sequence[object]]:
    return {name: [row[name] for row in rows] for name in names}


def _own_sums(prediction: str) -> dict[str, object]:
    count = len(words(prediction))
    repeated, repeatable = repeated_ngrams(prediction, REPEATED_ORDER)
    return {
        "prediction_words": count,
        "grams_1": count,
        "grams_2": max(0, count - 1),
        "repeated": repeated,
        "repeatable": repeatable,
    }


def _reference_sums(prediction: str, references: list[str]) -> dict[str, object]:
    # counts do not depend on effective_order, and without it sacreBLEU warns of sentence scores, which are not used here
    bleu = _bleu().sentence_score(prediction, references)
    rouge = _rouge().score_multi(references, prediction)
    return {
        "exact_match": exact_match(prediction, references),
        "token_f1": token_f1(prediction, references),
        "bleu_counts": [bleu.sys_len, bleu.ref_len, *bleu.counts, *bleu.totals],
        "chrf_counts": chrf_counts(prediction, references),
        **{name: rouge[name].fmeasure for name in ROUGES},
        "reference_words": float(np.mean([len(words(reference)) for reference in references])),
    }


def _source_sums(prediction: str, source: str) -> dict[str, object]:
    missing, found = unsupported_facts(prediction, source)
    return {
        "new_1": new_ngrams(prediction, source, 1)[0],
        "new_2": new_ngrams(prediction, source, 2)[0],
        "facts": found,
        "unsupported_facts": missing,
    }


@cache
def _bleu() -> Any:
    return require("sacrebleu", extra="eval", purpose="BLEU").BLEU(effective_order=True)


@cache
def _rouge() -> Any:
    scorer = require("rouge_score.rouge_scorer", extra="eval", purpose="ROUGE")
    return scorer.RougeScorer(list(ROUGES), use_stemmer=False)


def _corpus_bleu(totals_RK: Floats) -> Floats:
    compute = require("sacrebleu", extra="eval", purpose="BLEU").BLEU.compute_bleu
    scores = []
    for row in totals_RK.astype(np.int64).tolist():
        scores.append(compute(row[2:6], row[6:10], row[0], row[1], smooth_method="exp", effective_order=False).score)
    return np.array(scores, dtype=np.float64)


class Generation:
    """The sums of N generated texts."""

    def __init__(self, columns: dict[str, Floats]) -> None:
        self._columns = columns

    @classmethod
    def from_table(cls, table: pa.Table, classes: Sequence[str] = ()) -> Generation:
        """From the columns that `generated` gave; the texts themselves are not needed."""
        columns = {}
        for name in (*_OWN_COLUMNS, *_REFERENCE_COLUMNS, *_SOURCE_COLUMNS):
            column = table[name].combine_chunks()
            if column.null_count:
                continue
            parts = isinstance(column, pa.ListArray)
            values = (column.flatten() if parts else column).to_numpy(zero_copy_only=False).astype(np.float64)
            columns[name] = values.reshape(len(column), -1) if parts else values
        return cls(columns)

    @property
    def count(self) -> int:
        """How many texts there are."""
        return len(self._columns["prediction_words"])

    def zero_one(self) -> dict[str, Floats]:
        """Which texts match a reference exactly."""
        return {"exact_match": self._columns["exact_match"]} if "exact_match" in self._columns else {}

    def values(self, weights_RN: Floats) -> dict[str, Floats]:
        """Every statistic for each row of weights."""
        values = self._from_references(weights_RN) if "exact_match" in self._columns else {}
        values["length"] = weighted_mean(weights_RN, self._columns["prediction_words"])
        values["repetition"] = self._share(weights_RN, "repeated", "repeatable")
        if "new_1" in self._columns:
            for order in (1, 2):
                values[f"novelty_{order}"] = self._share(weights_RN, f"new_{order}", f"grams_{order}")
            values["unsupported_facts"] = self._share(weights_RN, "unsupported_facts", "facts")
        return values

    def _share(self, weights_RN: Floats, part: str, whole: str) -> Floats:
        return ratio(weighted_sum(weights_RN, self._columns[part]), weighted_sum(weights_RN, self._columns[whole]))

    def _from_references(self, weights_RN: Floats) -> dict[str, Floats]:
        means = {name: weighted_mean(weights_RN, self._columns[name]) for name in ("exact_match", "token_f1", *ROUGES)}
        totals = {name: _totals(weights_RN, self._columns[name]) for name in ("bleu_counts", "chrf_counts")}
        means["bleu"] = _corpus_bleu(totals["bleu_counts"])
        means["chrf"] = chrf_score(totals["chrf_counts"])
        means["length_ratio"] = self._share(weights_RN, "prediction_words", "reference_words")
        return means


def _totals(weights_RN: Floats, parts_NK: Floats) -> Floats:
    return np.stack([weighted_sum(weights_RN, column_N) for column_N in parts_NK.T], axis=1)


def distinct(predictions: Iterable[str], order: int) -> float | None:
    """Different n-grams of all texts together, divided by all n-grams (Li et al. 2016); none where there is no n-gram.

    It falls with the amount of text, so it compares only test sets of one size, and no interval can be made by drawing texts
    again: a text that is drawn twice adds nothing new. Memory: eight bytes and a set's overhead for each different n-gram.
    """
    seen: set[int] = set()
    total = 0
    for prediction in predictions:
        grams = ngrams(words(prediction), order)
        total += len(grams)
        seen.update(_digest(gram) for gram in grams)
    return len(seen) / total if total else None


def _digest(gram: tuple[str, ...]) -> int:
    return int.from_bytes(hashlib.blake2b("\x1f".join(gram).encode(), digest_size=8).digest(), "big")
