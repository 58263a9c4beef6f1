"""Which passages a search finds for held-out queries: by an encoder's vectors, and by words (BM25) beside it.

    passages of the corpus, each text once --> index
    queries --> a score for every passage --> the first 100 --> gains --> recall at k, nDCG at k, reciprocal rank

Every passage is compared: nothing is approximated. N passages, Q queries, C width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.canonical import digest_of
from lmpipe.base.errors import SourceError
from lmpipe.base.measures import Metric
from lmpipe.base.progress import Progress
from lmpipe.evaluation.retrieval import retrieved
from lmpipe.evaluation.task_config import BM25, DEPTH, START, RetrievalEvaluation
from lmpipe.evaluation.task_work import Batches, TaskWork
from lmpipe.models.bm25.config import Bm25Baseline
from lmpipe.models.bm25.index import build_bm25
from lmpipe.models.embedding import embed_ids
from lmpipe.models.network import Encoder, Network
from lmpipe.tokens.tokenizer import Tokenizer

AT_ONCE = 64
"""Queries whose scores are held in memory together."""
Search = Callable[[Sequence[str]], NDArray[np.floating]]
"""Queries to the scores (Q, N) of every passage; -inf where it is not found at all."""


def measure_retrieval(
    work: TaskWork, config: RetrievalEvaluation, tokenizer: Tokenizer, passages: Iterable[str], start: Network | None
) -> list[Metric]:
    """The numbers of the model, and of what stands beside it.

    Args:
        work: the evaluation's arguments.
        config: what to measure.
        tokenizer: of both networks.
        passages: what is searched; a text that comes twice is one passage.
        start: the network before it was trained here, where it is a baseline.

    Raises:
        SourceError: when there are fewer than two passages.
    """
    assert isinstance(work.network, Encoder), "check refuses other architectures"
    given = list(passages)
    distinct = list(dict.fromkeys(given))
    if len(distinct) < 2:
        raise SourceError(
            f"there is {len(distinct)} passage to search",
            where=f"evaluate: retrieval on {config.on}",
            expected="two at least: there is nothing to find otherwise",
            fix="say `among: corpus`, or give the side more documents",
        )
    work.progress.note(f"searching {len(distinct):,} passages ({len(given):,} with repetitions)")
    if max(config.at) >= len(distinct):
        work.progress.note(f"among {len(distinct):,} passages the first {max(config.at)} are all of them: that recall is 1")
    searched = digest_of(sorted(distinct))
    own = by_vectors(work.network, tokenizer, distinct, work.progress)
    metrics = work.measured("retrieval", _found(work, distinct, own), searched=searched)
    for baseline in config.baselines:
        if isinstance(baseline, Bm25Baseline):
            metrics += work.beside("retrieval", BM25, _found(work, distinct, by_words(baseline, distinct)), searched=searched)
        else:
            assert isinstance(start, Encoder), "the stage brings the start where it is a baseline"
            search = by_vectors(start, tokenizer, distinct, work.progress)
            metrics += work.beside("retrieval", START, _found(work, distinct, search), searched=searched)
    return metrics


def by_vectors(network: Encoder, tokenizer: Tokenizer, passages: Sequence[str], progress: Progress) -> Search:
    """Cosines of an encoder's vectors."""

    def vectors(texts: Sequence[str], told: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        return embed_ids(network, tokenizer.encode_whole(texts), end_id=tokenizer.end_of_text_id, told=told)

    passages_NC = vectors(passages, lambda done: progress.update(done, len(passages), "passages"))
    return lambda queries: vectors(queries) @ passages_NC.T


def by_words(config: Bm25Baseline, passages: Sequence[str]) -> Search:
    """BM25; a passage that shares no word with the query is not found."""
    index = build_bm25(passages, k1=config.k1, b=config.b)

    def search(queries: Sequence[str]) -> NDArray[np.floating]:
        scores_QN = np.stack([index.scores(query) for query in queries])
        return np.where(scores_QN > 0, scores_QN, -np.inf)

    return search


def _found(work: TaskWork, passages: Sequence[str], search: Search) -> Batches:
    """What is found for each query, as columns of results; of equal scores the earlier passage comes first."""
    places = {passage: place for place, passage in enumerate(passages)}
    for _, rows in work.batches():
        gains: list[list[float]] = []
        relevant: list[list[float]] = []
        for first in range(0, len(rows), AT_ONCE):
            some = rows[first : first + AT_ONCE]
            for row, scores_N in zip(some, search([row.text for row in some]), strict=True):
                right = {places[passage] for passage in row.references if passage in places}
                best = np.argsort(-scores_N, kind="stable")[:DEPTH]
                gains.append([float(place in right and scores_N[place] > -np.inf) for place in best.tolist()])
                relevant.append([1.0] * len(right))
        yield rows, retrieved(gains, relevant)
