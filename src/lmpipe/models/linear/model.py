"""A linear text classifier: the probability of each label, what speaks for it, and how it lies in a folder.

Needs numpy alone. Nothing is pickled. A text without any known feature gets the labels' base rates as far as the bias says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import DamagedError, ModelError
from lmpipe.base.files import read_json, share, storing, sync_folder, write_json
from lmpipe.models.linear.config import LinearConfig
from lmpipe.models.linear.features import Floats, Vocabulary

MODEL_TYPE, FORMAT_VERSION = "linear_text", 1
TEXTS_AT_ONCE = 1024


@dataclass(frozen=True)
class LinearClassifier:
    """A trained one: V features, K labels."""

    vocabulary: Vocabulary
    labels: tuple[str, ...]
    weights_VK: NDArray[np.float32]
    bias_K: NDArray[np.float32]

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """Shape (texts, labels); each row sums to 1."""
        return np.exp(log_softmax(self.scores(texts)))

    def scores(self, texts: Sequence[str]) -> Floats:
        """What the probabilities are the softmax of; shape (texts, labels)."""
        parts = [np.empty((0, len(self.labels)))]
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            rows = self.vocabulary.rows(texts[start : start + TEXTS_AT_ONCE])
            scores_NK = np.zeros((len(rows), len(self.labels)))
            filled = np.flatnonzero(np.diff(rows.borders))
            if len(filled):
                weighted_ZK = self.weights_VK[rows.columns_Z] * rows.values_Z[:, None]
                scores_NK[filled] = np.add.reduceat(weighted_ZK, rows.borders[filled], axis=0)
            parts.append(scores_NK + self.bias_K)
        return np.concatenate(parts)

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The most probable label of each text; of equals the first in alphabetical order."""
        return [self.labels[place] for place in self.scores(texts).argmax(axis=1)]

    def reasons(self, text: str, label: str, count: int = 5) -> list[tuple[str, float]]:
        """The features of a text that speak most for a label, with their share of its score above the mean of all labels.

        Raises:
            ModelError: when there is no such label.
        """
        if label not in self.labels:
            raise ModelError(f"the classifier does not know the label '{label}'", expected=f"one of {', '.join(self.labels)}")
        rows = self.vocabulary.rows([text])
        weights_ZK = self.weights_VK[rows.columns_Z].astype(np.float64)
        lead_Z = rows.values_Z * (weights_ZK[:, self.labels.index(label)] - weights_ZK.mean(axis=1))
        order = np.argsort(-lead_Z, kind="stable")[:count]
        return [(self.vocabulary.terms[rows.columns_Z[place]], float(lead_Z[place])) for place in order if lead_Z[place] > 0]


def log_softmax(scores_NK: Floats) -> Floats:
    """Natural logarithms of the softmax of each row."""
    shifted_NK = scores_NK - scores_NK.max(axis=1, keepdims=True)
    return np.asarray(shifted_NK - np.log(np.exp(shifted_NK).sum(axis=1, keepdims=True)))


def save_linear(classifier: LinearClassifier, folder: Path) -> None:
    """Write `config.json`, `terms.json` and `model.safetensors`. Equal classifiers give equal bytes."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = classifier.vocabulary
    header = {"model_type": MODEL_TYPE, "format_version": FORMAT_VERSION, "labels": list(classifier.labels)}
    write_json(folder / "config.json", {**header, "settings": vocabulary.config.model_dump(mode="json")})
    write_json(folder / "terms.json", list(vocabulary.terms))
    arrays = {"weights": classifier.weights_VK, "bias": classifier.bias_K, "idf": vocabulary.idf_V}
    with storing(folder / "model.safetensors"):
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "model.safetensors")
        share(folder / "model.safetensors")
    sync_folder(folder)


def load_linear(folder: Path) -> LinearClassifier:
    """The inverse of `save_linear`.

    Raises:
        ModelError: when the folder holds none, or one of another version.
        DamagedError: when its files are cut off or do not fit each other.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / "config.json"
    if not path.is_file():
        expected = "config.json, terms.json and model.safetensors"
        raise ModelError("there is no linear classifier", where=str(path), expected=expected)
    try:
        header, terms = read_json(path), tuple(read_json(folder / "terms.json"))
        kind = header["model_type"], header["format_version"]
        arrays = load_file(folder / "model.safetensors")
        labels, settings = tuple(header.get("labels", ())), header.get("settings", {})
        weights, bias, idf = arrays["weights"], arrays["bias"], arrays["idf"]
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from None
    if kind != (MODEL_TYPE, FORMAT_VERSION):
        raise ModelError(f"the header says {kind[0]} {kind[1]}", where=str(path), expected=f"{MODEL_TYPE} {FORMAT_VERSION}")
    if weights.shape != (len(terms), len(labels)) or bias.shape != (len(labels),) or idf.shape != (len(terms),):
        raise _damaged(folder, "weights, terms and labels have different lengths")
    return LinearClassifier(Vocabulary(LinearConfig.model_validate(settings), terms, idf), labels, weights, bias)


def _damaged(folder: Path, what: str) -> DamagedError:
    return DamagedError(
        f"the linear classifier cannot be used: {what}",
        where=str(folder),
        expected="the files that were written together",
        fix="train again",
    )
