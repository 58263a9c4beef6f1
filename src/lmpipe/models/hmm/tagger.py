"""A part-of-speech tagger: the trigram hidden Markov model of TnT (Brants 2000), in numpy.

    P(tags, words) = product of P(tag | the two before) P(word | tag)

Only counts are stored (tags in threes, words with their tags); every probability follows from them when the model is made. A
word that was never seen is judged by its longest known ending, endings of capitalised words apart from others. Nothing is
pickled.

K tags, and one more, the border, before and after every sentence: B = K + 1.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lmpipe.base.errors import DamagedError, ModelError, TrainingError
from lmpipe.base.files import read_json, share, storing, sync_folder, write_json
from lmpipe.models.hmm.config import TaggerConfig

MODEL_TYPE, FORMAT_VERSION = "tnt", 1
Floats = NDArray[np.float64]
Sentence = Sequence[tuple[str, str]]
"""Words with their tags."""


@dataclass(frozen=True)
class Tagger:
    """Counts of tagged sentences, and the most likely tags of new ones."""

    config: TaggerConfig
    tags: tuple[str, ...]
    words: tuple[str, ...]
    trigrams_BBB: NDArray[np.int64]
    """How often each three tags in a row occur, borders included."""
    entries_E3: NDArray[np.int64]
    """(word, tag, count), in order: the lexicon."""

    def tag(self, words: Sequence[str]) -> list[str]:
        """The most likely tags (Viterbi over pairs of tags; a word is tried with the tags that it can have)."""
        if not words:
            return []
        border, log_transition = len(self.tags), self._log_transition_BBB
        before = here = np.array([border])
        best = np.zeros((1, 1))  # over the tags of the last two words
        back: list[NDArray[np.int64]] = []
        possible: list[NDArray[np.int64]] = []
        for word in words:
            tags, log_emission = self._possible(word)
            through = best[:, :, None] + log_transition[before[:, None, None], here[:, None], tags]
            back.append(through.argmax(axis=0))
            best = through.max(axis=0) + log_emission
            before, here = here, tags
            possible.append(tags)
        last = best + log_transition[before[:, None], here, border]
        first, second = (int(place) for place in np.unravel_index(int(last.argmax()), last.shape))
        path = [second]
        for pointers in reversed(back[1:]):
            first, second = int(pointers[first, second]), first
            path.append(second)
        return [self.tags[tags[place]] for tags, place in zip(possible, reversed(path), strict=True)]

    def _possible(self, word: str) -> tuple[NDArray[np.int64], Floats]:
        """The tags that a word can have, and the logarithm of P(word | tag) for each."""
        known = self._candidates.get(word)
        if known is None:
            log_emission_K = self._log_emission_K(word)
            tags = np.flatnonzero(log_emission_K > -np.inf)
            known = tags, log_emission_K[tags]
            if word in self._lexicon:
                self._candidates[word] = known
        return known

    @cached_property
    def _candidates(self) -> dict[str, tuple[NDArray[np.int64], Floats]]:
        return {}

    @cached_property
    def _log_transition_BBB(self) -> Floats:
        """log P(third | first, second), smoothed."""
        smoothed = _witten_bell if self.config.smoothing == "witten_bell" else _deleted_interpolation
        with np.errstate(divide="ignore"):
            return np.log(smoothed(self.trigrams_BBB.astype(np.float64)))

    @cached_property
    def _tag_counts_K(self) -> Floats:
        counted = np.zeros(len(self.tags))
        np.add.at(counted, self.entries_E3[:, 1], self.entries_E3[:, 2])
        return counted

    @cached_property
    def _lexicon(self) -> dict[str, Floats]:
        """P(word | tag) of every known word."""
        found: dict[str, Floats] = {word: np.zeros(len(self.tags)) for word in self.words}
        for word, tag, count in self.entries_E3.tolist():
            found[self.words[word]][tag] = count / self._tag_counts_K[tag]
        return found

    def _log_emission_K(self, word: str) -> Floats:
        known = self._lexicon.get(word)
        with np.errstate(divide="ignore"):
            return np.log(known if known is not None else self._unknown_K(word))

    def _unknown_K(self, word: str) -> Floats:
        """P(word | tag) up to a factor: P(tag | ending) / P(tag)."""
        endings = self._endings[word[:1].isupper()]
        length = min(self.config.suffix_length, len(word))
        ending = next((word[-n:] for n in range(length, 0, -1) if word[-n:] in endings), "")
        found: Floats = endings[ending] / self._tag_counts_K
        return found

    @cached_property
    def _endings(self) -> dict[bool, dict[str, Floats]]:
        """P(tag | ending) by whether words are capitalised; longer endings lean on shorter ones (Brants 2000, equation 7)."""
        share_K = self._tag_counts_K / self._tag_counts_K.sum()
        theta = float(share_K.std(ddof=1)) if len(share_K) > 1 else 0.0
        frequency = np.bincount(self.entries_E3[:, 0], self.entries_E3[:, 2], len(self.words))
        counts: dict[bool, dict[str, Floats]] = {False: defaultdict(self._no_tags), True: defaultdict(self._no_tags)}
        for word, tag, count in self.entries_E3.tolist():
            if frequency[word] > self.config.rare_below:
                continue
            text = self.words[word]
            for length in range(min(self.config.suffix_length, len(text)) + 1):
                counts[text[:1].isupper()][text[len(text) - length :]][tag] += count
        return {upper: _lean(found, share_K, theta) for upper, found in counts.items()}

    def _no_tags(self) -> Floats:
        return np.zeros(len(self.tags))


def _lean(counts: dict[str, Floats], share_K: Floats, theta: float) -> dict[str, Floats]:
    found = {"": share_K}
    for ending in sorted(counts, key=len):
        own = counts[ending] / counts[ending].sum()
        shorter = found[ending[1:]] if ending else share_K
        found[ending] = (own + theta * shorter) / (1 + theta)
    return found


def _orders(trigrams_BBB: Floats) -> tuple[Floats, Floats, Floats]:
    """Relative frequencies of the third tag: after two tags, after one, after none."""
    bigrams_BB = trigrams_BBB.sum(axis=0)
    unigrams_B = bigrams_BB.sum(axis=0)
    after_two = trigrams_BBB / np.maximum(trigrams_BBB.sum(axis=2, keepdims=True), 1)
    after_one = bigrams_BB / np.maximum(bigrams_BB.sum(axis=1, keepdims=True), 1)
    return after_two, after_one, unigrams_B / unigrams_B.sum()


def _deleted_interpolation(trigrams_BBB: Floats) -> Floats:
    """One weight per order, from what each predicts of a trigram left out (Brants 2000, figure 1)."""
    bigrams_BB = trigrams_BBB.sum(axis=0)
    unigrams_B = bigrams_BB.sum(axis=0)
    histories_BB = trigrams_BBB.sum(axis=2)

    def without_one(counted: Floats, total: Floats) -> Floats:
        return np.where(total > 1, (counted - 1) / np.maximum(total - 1, 1), 0.0)

    votes = np.stack(
        [
            np.broadcast_to(without_one(unigrams_B, unigrams_B.sum()), trigrams_BBB.shape),
            np.broadcast_to(without_one(bigrams_BB, bigrams_BB.sum(axis=1, keepdims=True)), trigrams_BBB.shape),
            without_one(trigrams_BBB, histories_BB[:, :, None]),
        ]
    )
    winner_BBB = 2 - votes[::-1].argmax(axis=0)  # the longest of equals
    weights = np.array([trigrams_BBB[winner_BBB == order].sum() for order in range(3)]) / trigrams_BBB.sum()
    after_two, after_one, alone = _orders(trigrams_BBB)
    found: Floats = weights[2] * after_two + weights[1] * after_one + weights[0] * alone
    return found


def _witten_bell(trigrams_BBB: Floats) -> Floats:
    """A history is believed as far as its followers repeat: n / (n + different followers)."""
    after_two, after_one, alone = _orders(trigrams_BBB)
    bigrams_BB = trigrams_BBB.sum(axis=0)

    def trust(counts: Floats) -> Floats:
        seen: Floats = counts.sum(axis=-1, keepdims=True)
        share: Floats = seen / np.maximum(seen + (counts > 0).sum(axis=-1, keepdims=True), 1)
        return share

    lower = trust(bigrams_BB) * after_one + (1 - trust(bigrams_BB)) * alone
    found: Floats = trust(trigrams_BBB) * after_two + (1 - trust(trigrams_BBB)) * lower
    return found


def train_tagger(sentences: Iterable[Sentence], config: TaggerConfig) -> Tagger:
    """Count tagged sentences; equal sentences give equal models.

    Raises:
        TrainingError: when there are none.
    """
    lexicon: Counter[tuple[str, str]] = Counter()
    threes: Counter[tuple[str, ...]] = Counter()
    for sentence in sentences:
        lexicon.update((word, tag) for word, tag in sentence)
        padded = ["", "", *(tag for _, tag in sentence), ""]
        threes.update(zip(padded, padded[1:], padded[2:], strict=False))
    if not lexicon:
        raise TrainingError("there are no tagged words to learn from", expected="sentences of words with their tags")
    tags, words = tuple(sorted({tag for _, tag in lexicon})), tuple(sorted({word for word, _ in lexicon}))
    number = {**{tag: place for place, tag in enumerate(tags)}, "": len(tags)}
    place = {word: position for position, word in enumerate(words)}
    trigrams_BBB = np.zeros((len(tags) + 1,) * 3, np.int64)
    for three, count in threes.items():
        trigrams_BBB[tuple(number[tag] for tag in three)] = count
    entries = sorted((place[word], number[tag], count) for (word, tag), count in lexicon.items())
    return Tagger(config, tags, words, trigrams_BBB, np.array(entries, np.int64))


def save_tagger(tagger: Tagger, folder: Path) -> None:
    """Write `config.json`, `words.json` and `model.safetensors`. Equal taggers give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    header = {"model_type": MODEL_TYPE, "format_version": FORMAT_VERSION, "tags": list(tagger.tags)}
    write_json(folder / "config.json", {**header, "settings": tagger.config.model_dump(mode="json")})
    write_json(folder / "words.json", list(tagger.words))
    with storing(folder / "model.safetensors"):
        save_file({"trigrams": tagger.trigrams_BBB, "entries": tagger.entries_E3}, folder / "model.safetensors")
        share(folder / "model.safetensors")
    sync_folder(folder)


def load_tagger(folder: Path) -> Tagger:
    """Read a saved tagger.

    Raises:
        ModelError: when the folder holds none, or one of another version.
        DamagedError: when its files are cut off or do not fit each other.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError("there is no tagger", where=str(path), expected="config.json, words.json and model.safetensors")
    try:
        header, words = read_json(path), read_json(folder / "words.json")
        arrays = load_file(folder / "model.safetensors")
        kind = header["model_type"], header["format_version"]
        tags, settings = tuple(header.get("tags", ())), header.get("settings", {})
        trigrams, entries = arrays["trigrams"], arrays["entries"]
        fits = trigrams.shape == (len(tags) + 1,) * 3 and entries.shape[1] == 3
        fits = fits and int(entries[:, 0].max()) < len(words) and int(entries[:, 1].max()) < len(tags)
    except (OSError, ValueError, KeyError, IndexError, SafetensorError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from None
    if kind != (MODEL_TYPE, FORMAT_VERSION):
        raise ModelError(f"the header says {kind[0]} {kind[1]}", where=str(path), expected=f"{MODEL_TYPE} {FORMAT_VERSION}")
    if not fits:
        raise _damaged(folder, "the counts have other shapes than config.json says")
    return Tagger(TaggerConfig.model_validate(settings), tags, tuple(words), trigrams, entries)


def _damaged(folder: Path, what: str) -> DamagedError:
    return DamagedError(
        f"the tagger cannot be used: {what}",
        where=str(folder),
        expected="the files that were written together",
        fix="train again",
    )
