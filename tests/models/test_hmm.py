"""Hidden Markov models against sums over every path, and the tagger against sentences that can be counted by hand."""

from __future__ import annotations

import gzip
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lmpipe.base.errors import DamagedError, ModelError, TrainingError
from lmpipe.base.progress import Silent
from lmpipe.models.api import Scorer
from lmpipe.models.hmm.config import HmmConfig, TaggerConfig
from lmpipe.models.hmm.model import HmmModel, load, save
from lmpipe.models.hmm.tagger import Tagger, load_tagger, save_tagger, train_tagger
from lmpipe.models.hmm.training import _batches, expect, maximise, train

STATES, VOCABULARY = 3, 7
DATA = os.environ.get("LMPIPE_TEST_DATA")


def some_model(seed: int = 0) -> HmmModel:
    generator = np.random.default_rng(seed)
    arrays = (generator.dirichlet(np.ones(size), shape) for size, shape in ((3, None), (3, 3), (7, 3)))
    return HmmModel(*arrays)


def some_documents(seed: int = 0, count: int = 12) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, VOCABULARY, generator.integers(1, 7)) for _ in range(count)]


def paths(model: HmmModel, ids: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of every path through the states together with the tokens."""
    found = {}
    for path in itertools.product(range(STATES), repeat=len(ids)):
        chance = model.initial_K[path[0]] * model.emission_KV[path[0], ids[0]]
        for before, here, token in zip(path, path[1:], ids[1:], strict=False):
            chance *= model.transition_KK[before, here] * model.emission_KV[here, token]
        found[path] = float(chance)
    return found


def test_scores_are_sums_over_all_paths() -> None:
    model = some_model()
    assert isinstance(model, Scorer)
    for ids in some_documents():
        assert model.log_probabilities(ids).sum() == pytest.approx(np.log(sum(paths(model, ids).values())), rel=1e-12)
    assert model.log_probabilities(np.empty(0, np.int64)).shape == (0,)


def test_the_probabilities_of_all_next_tokens_sum_to_one() -> None:
    model, ids = some_model(), some_documents()[0]
    chances = [np.exp(model.log_probabilities(np.append(ids, token))[-1]) for token in range(VOCABULARY)]
    assert sum(chances) == pytest.approx(1.0)


def test_the_most_likely_states_are_the_best_of_all_paths() -> None:
    model = some_model()
    for ids in some_documents():
        chances = paths(model, ids)
        assert tuple(model.most_likely_states(ids)) == max(chances, key=lambda path: chances[path])


def test_expected_counts_are_those_of_all_paths() -> None:
    model, documents = some_model(), some_documents()
    initial, transition = np.zeros(STATES), np.zeros((STATES, STATES))
    emission = np.zeros((STATES, VOCABULARY))
    for ids in documents:
        chances = paths(model, ids)
        total = sum(chances.values())
        for path, chance in chances.items():
            initial[path[0]] += chance / total
            np.add.at(transition, (path[:-1], path[1:]), chance / total)
            np.add.at(emission, (path, ids), chance / total)
    counts = expect(model, _batches(documents, STATES))
    for found, expected in ((counts.initial_K, initial), (counts.transition_KK, transition), (counts.emission_KV, emission)):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert counts.log_probability == pytest.approx(sum(model.log_probabilities(ids).sum() for ids in documents))


def test_no_pass_lowers_the_likelihood() -> None:
    model, documents = some_model(3), some_documents(3, 40)
    likelihoods = []
    for _ in range(30):
        counts = expect(model, _batches(documents, STATES))
        likelihoods.append(counts.log_probability)
        model = maximise(counts, 0.0)
    assert np.all(np.diff(likelihoods) >= -1e-9)


def test_it_finds_the_states_of_text_that_alternates() -> None:
    documents = [np.array([0, 3, 1, 2, 0, 2, 1, 3] * 10)[start:] for start in range(8)]
    config = HmmConfig(states=2, iterations=60, tolerance=0, pseudo_count=0.0, window=64)
    model = train(documents, config, vocab_size=4, seed=0, progress=Silent())
    assert np.allclose(np.sort(model.transition_KK.ravel()), [0, 0, 1, 1], atol=1e-3)
    assert model.log_probabilities(documents[0])[1:].mean() == pytest.approx(np.log(0.5), abs=0.01)


def test_training_is_repeatable_and_stops_when_nothing_is_gained() -> None:
    config = HmmConfig(states=4, iterations=200, tolerance=1e-3)
    one, two = (train(some_documents(1, 30), config, vocab_size=VOCABULARY, seed=5, progress=Silent()) for _ in range(2))
    assert np.array_equal(one.emission_KV, two.emission_KV)
    assert len(one.facts["log_probability_per_token"]) < 200
    assert (one.emission_KV > 0).all()


@pytest.mark.parametrize("passes", [1, 4])
def test_an_estimation_that_was_killed_goes_on_to_the_same_model(passes: int, tmp_path: Path) -> None:
    """Also where the newest pass that was kept is damaged, and where all passes were done."""
    documents, whole, notes = some_documents(1, 30), HmmConfig(states=4, iterations=4, tolerance=0), Notes()

    def estimated(config: HmmConfig, scratch: Path | None = None) -> HmmModel:
        return train(documents, config, vocab_size=VOCABULARY, seed=5, progress=notes, scratch=scratch)

    estimated(whole.model_copy(update={"iterations": passes}), tmp_path)
    (tmp_path / "pass-00099").mkdir()
    resumed, uninterrupted = estimated(whole, tmp_path), estimated(whole)
    assert np.array_equal(resumed.emission_KV, uninterrupted.emission_KV)
    assert np.array_equal(resumed.transition_KK, uninterrupted.transition_KK)
    assert resumed.facts == uninterrupted.facts
    assert "pass-00099 is passed over" in notes.notes[0]


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_saved_and_read_it_is_the_same(tmp_path: Path) -> None:
    model = some_model()
    save(model, tmp_path)
    again = load(tmp_path)
    assert np.array_equal(again.log_probabilities(some_documents()[0]), model.log_probabilities(some_documents()[0]))
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-9])
    with pytest.raises(DamagedError, match="cannot be used"):
        load(tmp_path)
    with pytest.raises(ModelError, match="no hidden Markov model"):
        load(tmp_path / "nowhere")


def test_ids_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(ModelError, match="7"):
        some_model().log_probabilities(np.array([0, VOCABULARY]))


def test_no_text_is_refused() -> None:
    with pytest.raises(TrainingError, match="no tokens"):
        train([], HmmConfig(), vocab_size=VOCABULARY, seed=0, progress=Silent())


SENTENCES = [
    [("the", "DET"), ("old", "ADJ"), ("man", "NOUN"), ("walked", "VERB")],
    [("a", "DET"), ("walk", "NOUN"), ("ended", "VERB")],
    [("they", "PRON"), ("walk", "VERB"), ("quickly", "ADV")],
    [("they", "PRON"), ("man", "VERB"), ("the", "DET"), ("boats", "NOUN")],
    [("she", "PRON"), ("walked", "VERB"), ("slowly", "ADV")],
]


def small_tagger(smoothing: str = "deleted_interpolation") -> Tagger:
    return train_tagger(SENTENCES, TaggerConfig.model_validate({"smoothing": smoothing}))


@pytest.mark.parametrize("smoothing", ["deleted_interpolation", "witten_bell"])
def test_words_are_tagged_by_what_stands_around_them(smoothing: str) -> None:
    tagger = small_tagger(smoothing)
    assert tagger.tag(["the", "walk", "ended"]) == ["DET", "NOUN", "VERB"]
    assert tagger.tag(["they", "walk", "slowly"]) == ["PRON", "VERB", "ADV"]
    assert tagger.tag([]) == []
    probabilities = np.exp(tagger._log_transition_BBB)
    seen = tagger.trigrams_BBB.sum(axis=2) > 0
    assert np.allclose(probabilities.sum(axis=2)[seen], 1.0)


def test_unknown_words_are_tagged_by_their_endings() -> None:
    tagger = small_tagger()
    assert tagger.tag(["they", "jumped", "happily"]) == ["PRON", "VERB", "ADV"]


def test_the_best_tags_are_the_best_of_all() -> None:
    tagger = small_tagger()
    words, border = ["they", "man", "walk", "walked"], len(tagger.tags)
    scores = {}
    for path in itertools.product(range(border), repeat=len(words)):
        padded = [border, border, *path, border]
        score = sum(tagger._log_transition_BBB[three] for three in zip(padded, padded[1:], padded[2:], strict=False))
        scores[path] = score + sum(tagger._log_emission_K(word)[tag] for word, tag in zip(words, path, strict=True))
    best = max(scores, key=lambda path: scores[path])
    assert tagger.tag(words) == [tagger.tags[tag] for tag in best]


def test_a_saved_tagger_is_the_same(tmp_path: Path) -> None:
    tagger = small_tagger()
    save_tagger(tagger, tmp_path)
    assert load_tagger(tmp_path).tag(["they", "man", "boats"]) == tagger.tag(["they", "man", "boats"])
    (tmp_path / "words.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DamagedError, match="cannot be used"):
        load_tagger(tmp_path)
    with pytest.raises(TrainingError, match="no tagged words"):
        train_tagger([], TaggerConfig())


def conllu(path: Path) -> Iterator[list[tuple[str, str]]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for block in file.read().split("\n\n"):
            rows = [line.split("\t") for line in block.splitlines() if line and not line.startswith("#")]
            sentence = [(row[1], row[3]) for row in rows if row[0].isdigit()]
            if sentence:
                yield sentence


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="LMPIPE_TEST_DATA is not set")
def test_english_is_tagged_as_well_as_published() -> None:
    folder = Path(str(DATA)) / "ud_english_ewt"
    tagger = train_tagger(conllu(folder / "train.conllu.gz"), TaggerConfig())
    right = total = 0
    for sentence in conllu(folder / "test.conllu.gz"):
        found = tagger.tag([word for word, _ in sentence])
        right += sum(tag == gold for tag, (_, gold) in zip(found, sentence, strict=True))
        total += len(sentence)
    assert total == 25_094
    assert right / total > 0.92
