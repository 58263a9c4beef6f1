"""The snippets of a chatbot, searchable: by words, by meaning, or by both joined.

    question --> BM25 -----> ranking, share of the highest score --+
             --> embedder -> ranking, cosine ----------------------+--> fused ranking --> hits above a threshold of their own

A fused score says who comes first, not whether anyone is good: what counts as found is decided by each search's own threshold.
On disk: `snippets.json` and `index.safetensors`. Equal snippets give equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import DamagedError, ModelError, ServingError
from lmpipe.base.files import read_json, share, storing, sync_folder, write_json
from lmpipe.models.bm25.index import Bm25Index, build_bm25
from lmpipe.serving.chatbot.grounding.config import SnippetConfig, SnippetsConfig
from lmpipe.serving.chatbot.grounding.embedding import Embedder, Vectors, unit_vectors
from lmpipe.serving.chatbot.grounding.fusion import fuse

FORMAT_VERSION = 1
SNIPPETS, ARRAYS = "snippets.json", "index.safetensors"


@dataclass(frozen=True)
class Hit:
    """A snippet that was found."""

    snippet: SnippetConfig
    score: float
    """Of the joined ranking; the search's own where there is only one."""
    words: float | None
    """Its BM25 score as a share of the highest that the question allows."""
    cosine: float | None
    """Of the embeddings."""
    found: bool
    """Whether one of the two reaches its threshold."""


@dataclass(frozen=True)
class SnippetIndex:
    """Snippets and how they are searched."""

    config: SnippetsConfig
    snippets: tuple[SnippetConfig, ...]
    bm25: Bm25Index | None
    vectors_ND: Vectors | None
    embedder: Embedder | None = None

    def search(self, question: str) -> list[Hit]:
        """The best snippets, best first, those that do not reach a threshold included: `Hit.found` tells them apart."""
        if not self.snippets:
            return []
        rankings, words_N, cosine_N = [], None, None
        if self.bm25 is not None:
            words_N = self.bm25.shares(question)
            rankings.append(_best(self.bm25.scores(question), self.config.candidates, above=0.0))
        if self.vectors_ND is not None and self.embedder is not None:
            cosine_N = self.vectors_ND @ unit_vectors([question], self.embedder)[0]
            rankings.append(_best(cosine_N, self.config.candidates, above=-2.0))
        fused = fuse(rankings, self.config.fusion)[: self.config.results]
        return [self._hit(place, score, words_N, cosine_N, single=len(rankings) == 1) for place, score in fused]

    def found(self, question: str) -> list[Hit]:
        """The snippets that answer a question, best first; often none."""
        return [hit for hit in self.search(question) if hit.found]

    def _hit(
        self, place: int, fused: float, words_N: NDArray[Any] | None, cosine_N: NDArray[Any] | None, *, single: bool
    ) -> Hit:
        words = None if words_N is None else float(words_N[place])
        cosine = None if cosine_N is None else float(cosine_N[place])
        own = words if words is not None else cosine
        by_words = words is not None and self.config.bm25 is not None and words >= self.config.bm25.threshold
        by_meaning = cosine is not None and self.config.embedding is not None and cosine >= self.config.embedding.threshold
        score = own if single and own is not None else fused
        return Hit(self.snippets[place], score, words, cosine, by_words or by_meaning)


def _best(scores_N: NDArray[np.floating], count: int, *, above: float) -> list[int]:
    order = np.argsort(-scores_N, kind="stable")[:count]
    return [int(place) for place in order if scores_N[place] > above]


def build_index(
    config: SnippetsConfig, snippets: Sequence[SnippetConfig] = (), *, embedder: Embedder | None = None
) -> SnippetIndex:
    """Index the snippets of a config, and more of them.

    Raises:
        ServingError: when two have one id, or `embedding` is wanted and there is no embedder.
    """
    everything = (*config.items, *snippets)
    ids = [snippet.id for snippet in everything]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise ServingError(f"two snippets are called '{twice}'", expected="each id once")
    texts = [searched_text(snippet) for snippet in everything]
    words = config.bm25
    bm25 = build_bm25(texts, k1=words.k1, b=words.b, ignored=words.ignored) if words else None
    vectors = unit_vectors(texts, _needed(embedder)) if config.embedding and texts else None
    return SnippetIndex(config, everything, bm25, vectors, embedder if config.embedding else None)


def searched_text(snippet: SnippetConfig) -> str:
    """Everything about a snippet that is searched."""
    return "\n".join(part for part in (snippet.title, *snippet.questions, snippet.text) if part)


def _needed(embedder: Embedder | None) -> Embedder:
    if embedder is None:
        raise ServingError(
            "snippets are to be searched by meaning, and there is no embedder",
            expected="an embedder beside the chatbot",
            fix="give one, or set `snippets: {embedding: null}`",
        )
    return embedder


def save_index(index: SnippetIndex, folder: Path) -> None:
    """Write `snippets.json` and `index.safetensors`."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, NDArray[Any]] = {}
    if index.bm25 is not None:
        names = {"borders": index.bm25.borders_T1, "texts": index.bm25.texts_P, "counts": index.bm25.counts_P}
        arrays |= {name: np.ascontiguousarray(array) for name, array in (names | {"lengths": index.bm25.lengths_N}).items()}
    if index.vectors_ND is not None:
        arrays["vectors"] = np.ascontiguousarray(index.vectors_ND)
    header = {
        "format_version": FORMAT_VERSION,
        "embedder": index.embedder.name if index.embedder else "",
        "config": index.config.model_copy(update={"items": ()}).model_dump(mode="json"),
        "terms": list(index.bm25.terms) if index.bm25 else [],
        "snippets": [snippet.model_dump(mode="json") for snippet in index.snippets],
    }
    write_json(folder / SNIPPETS, header)
    with storing(folder / ARRAYS):
        save_file(arrays or {"empty": np.zeros(0, np.int64)}, folder / ARRAYS)
        share(folder / ARRAYS)
    sync_folder(folder)


def load_index(folder: Path, *, embedder: Embedder | None = None) -> SnippetIndex:
    """The inverse of `save_index`.

    Raises:
        ModelError: when there is no index, one of another version, or one made by another embedder.
        DamagedError: when its files do not fit each other.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / SNIPPETS
    if not path.is_file():
        raise ModelError("there is no index of snippets", where=str(path), expected=f"{SNIPPETS} and {ARRAYS}")
    try:
        header, arrays = read_json(path), load_file(folder / ARRAYS)
        version = header["format_version"]
        config = SnippetsConfig.model_validate(header["config"])
        snippets = tuple(SnippetConfig.model_validate(snippet) for snippet in header["snippets"])
        bm25 = _bm25(config, tuple(header["terms"]), arrays)
        vectors, maker = arrays.get("vectors"), header["embedder"]
        fits = bm25 is None or (len(bm25.lengths_N) == len(snippets) and len(bm25.borders_T1) == len(bm25.terms) + 1)
        fits = fits and (vectors is None or len(vectors) == len(snippets))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {str(error)[:200]}") from None
    if version != FORMAT_VERSION:
        raise ModelError(f"the index has format {version}", where=str(path), expected=f"format {FORMAT_VERSION}")
    if not fits:
        raise _damaged(folder, "snippets and index have different lengths")
    if vectors is not None and (embedder is None or embedder.name != maker):
        given = f"'{embedder.name}'" if embedder else "none"
        raise ModelError(f"the index was made by the embedder '{maker}', and {given} was given", expected="the same embedder")
    return SnippetIndex(config, snippets, bm25, vectors, embedder if vectors is not None else None)


def _bm25(config: SnippetsConfig, terms: tuple[str, ...], arrays: dict[str, NDArray[Any]]) -> Bm25Index | None:
    if config.bm25 is None:
        return None
    return Bm25Index(
        config.bm25.k1,
        config.bm25.b,
        frozenset(config.bm25.ignored),
        terms,
        arrays["borders"],
        arrays["texts"],
        arrays["counts"],
        arrays["lengths"],
    )


def _damaged(folder: Path, what: str) -> DamagedError:
    return DamagedError(
        f"the index of snippets cannot be used: {what}",
        where=str(folder),
        expected="the files that were written together",
        fix="build it again",
    )
