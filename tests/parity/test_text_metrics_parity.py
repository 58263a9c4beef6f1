"""BLEU, chrF and ROUGE are the numbers that sacreBLEU and rouge-score give, entities those that seqeval finds, on any text."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.evaluation.generation import SCHEMA, Generation, generated
from lmpipe.evaluation.tagging import Tagging
from lmpipe.evaluation.weighting import ones

sacrebleu = pytest.importorskip("sacrebleu")
scoring = pytest.importorskip("rouge_score.rouge_scorer")
seqeval = pytest.importorskip("seqeval.metrics")

QUICK = settings(max_examples=60, deadline=None)
WORDS = st.sampled_from(["the", "cat", "sat", "on", "a", "mat", "naïve", "日本", "3.5", "don't", "x", "Über", ",", "."])
TEXTS = st.lists(WORDS, max_size=14).map(" ".join)
PAIRS = st.lists(st.tuples(TEXTS, st.tuples(TEXTS, TEXTS)), min_size=1, max_size=6)


def measured(columns: dict) -> Generation:
    count = len(columns["prediction"])
    table = pa.table({name: pa.array(columns.get(name, [None] * count), kind) for name, kind in SCHEMA.items()})
    return Generation.from_table(table)


@QUICK
@given(PAIRS)
def test_corpus_scores(pairs: list[tuple[str, tuple[str, str]]]) -> None:
    predictions, references = [p for p, _ in pairs], [list(r) for _, r in pairs]
    everything = measured(generated(predictions, references=references))
    ours = {name: float(value[0]) for name, value in everything.values(ones(everything.count)).items()}
    streams = [list(stream) for stream in zip(*references, strict=True)]
    assert ours["bleu"] == pytest.approx(sacrebleu.BLEU(force=True).corpus_score(predictions, streams).score, abs=1e-9)
    assert ours["chrf"] == pytest.approx(sacrebleu.CHRF().corpus_score(predictions, streams).score, abs=1e-9)
    scorer = scoring.RougeScorer(["rouge1", "rouge2", "rougeL"])
    each = [scorer.score_multi(r, p) for p, r in zip(predictions, references, strict=True)]
    for name in ("rouge1", "rouge2", "rougeL"):
        assert ours[name] == pytest.approx(np.mean([scores[name].fmeasure for scores in each]))


@QUICK
@given(PAIRS, st.integers(0, 2**32 - 1))
def test_a_resample_has_the_corpus_score_of_its_texts(pairs: list[tuple[str, tuple[str, str]]], seed: int) -> None:
    predictions, references = [p for p, _ in pairs], [list(r) for _, r in pairs]
    drawn = np.random.default_rng(seed).integers(0, len(pairs), len(pairs))
    weights = np.bincount(drawn, minlength=len(pairs)).astype(float)[None]
    ours = measured(generated(predictions, references=references)).values(weights)
    texts, streams = [predictions[i] for i in drawn], [[references[i][r] for i in drawn] for r in range(2)]
    assert float(ours["bleu"][0]) == pytest.approx(sacrebleu.BLEU(force=True).corpus_score(texts, streams).score, abs=1e-9)
    assert float(ours["chrf"][0]) == pytest.approx(sacrebleu.CHRF().corpus_score(texts, streams).score, abs=1e-9)


TAGS = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "E-PER", "S-LOC", "E-LOC", "S-PER"])
SENTENCES = st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=10), min_size=1, max_size=6)


@QUICK
@pytest.mark.filterwarnings("ignore")  # of scores that have no denominator
@given(SENTENCES)
def test_entities(sentences: list[list[tuple[str, str]]]) -> None:
    true, predicted = ([[pair[side] for pair in sentence] for sentence in sentences] for side in (0, 1))
    ours = {name: float(value[0]) for name, value in Tagging(true, predicted).values(ones(len(true))).items()}
    assert ours["token_accuracy"] == pytest.approx(seqeval.accuracy_score(true, predicted))
    for name in ("precision", "recall", "f1"):
        theirs = getattr(seqeval, f"{name}_score")(true, predicted, zero_division=0)
        assert ours[f"entity_{name}"] == pytest.approx(theirs)
    if any(tag != "O" for sentence in sentences for pair in sentence for tag in pair):
        theirs = seqeval.f1_score(true, predicted, average="macro", zero_division=0)
        assert ours["macro_entity_f1"] == pytest.approx(theirs)
