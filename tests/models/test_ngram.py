import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import DamagedError, ModelError, TrainingError
from lmpipe.base.progress import Silent
from lmpipe.models.api import Scorer
from lmpipe.models.ngram.arpa import write_arpa
from lmpipe.models.ngram.config import NgramConfig
from lmpipe.models.ngram.discounts import FALLBACK, discounts_of
from lmpipe.models.ngram.model import load, save
from lmpipe.models.ngram.reference import ReferenceNgram
from lmpipe.models.ngram.training import train

END = 0
VOCABULARY = 6
DOCUMENT = st.lists(st.integers(1, VOCABULARY - 1), max_size=25).map(lambda ids: [*ids, END])
CONFIG = st.builds(NgramConfig, order=st.integers(1, 5), prune=st.sampled_from([(), (0, 0, 1), (0, 1), (0, 1, 1, 3), (0, 100)]))


def trained(documents, config=None, vocab_size=VOCABULARY, progress=None):
    arrays = (np.array(ids, np.uint16) for ids in documents)
    config = config or NgramConfig()
    return train(arrays, config, vocab_size=vocab_size, end_of_text_id=END, progress=progress or Silent())


def text(seed, count=40, vocab_size=VOCABULARY):
    """Documents in which some tokens follow others more often than chance."""
    rng = np.random.default_rng(seed)
    return [[*np.cumsum(rng.integers(0, 3, rng.integers(0, 40))) % (vocab_size - 1) + 1, END] for _ in range(count)]


@settings(deadline=None, max_examples=150)
@given(st.lists(DOCUMENT, min_size=1, max_size=12), CONFIG, DOCUMENT)
def test_equals_the_reference(documents, config, new):
    model = trained(documents, config)
    reference = ReferenceNgram(documents, config.order, VOCABULARY, config.prune)
    assert model.facts["discounts"] == [pytest.approx(found) for found in reference.discounts]
    np.testing.assert_allclose(np.exp(model.log_probabilities(np.array(new))), reference.probabilities(new), rtol=2e-6)


@pytest.mark.parametrize("config", [NgramConfig(order=5), NgramConfig(order=3, prune=(0, 0, 1)), NgramConfig(order=7)])
def test_equals_the_reference_where_discounts_are_estimated(config):
    documents = text(1, count=60, vocab_size=20)
    model = trained(documents, config, vocab_size=20)
    assert sum(found != FALLBACK for found in map(tuple, model.facts["discounts"])) >= 2
    reference = ReferenceNgram([[int(i) for i in ids] for ids in documents], config.order, 20, config.prune)
    for new in text(2, count=5, vocab_size=20):
        np.testing.assert_allclose(np.exp(model.log_probabilities(np.array(new))), reference.probabilities(new), rtol=2e-6)


@settings(deadline=None, max_examples=150)
@given(st.lists(DOCUMENT, min_size=1, max_size=12), CONFIG, st.lists(st.integers(0, VOCABULARY - 1), max_size=8))
def test_probabilities_after_any_context_sum_to_one(documents, config, context):
    found = trained(documents, config).next_log_probabilities(context)
    assert found.shape == (VOCABULARY,)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-6)


@settings(deadline=None, max_examples=100)
@given(st.lists(DOCUMENT, min_size=1, max_size=12), CONFIG, DOCUMENT)
def test_the_next_token_and_a_whole_document_agree(documents, config, new):
    model = trained(documents, config)
    step_by_step = [model.next_log_probabilities(new[:i])[token] for i, token in enumerate(new)]
    np.testing.assert_allclose(model.log_probabilities(np.array(new)), step_by_step, atol=1e-5)


def test_a_stream_of_documents_is_scored_like_each_of_them():
    model = trained(text(1))
    documents = [np.array(ids) for ids in text(3)]
    each = np.concatenate([model.log_probabilities(ids) for ids in documents])
    assert np.array_equal(model.log_probabilities(np.concatenate(documents)), each)


def test_a_document_that_was_seen_is_more_probable():
    documents = text(1, vocab_size=50)
    model = trained(documents, vocab_size=50)
    seen = np.mean(model.log_probabilities(np.array(documents[3])))
    unseen = np.mean(model.log_probabilities(np.array([*np.random.default_rng(5).integers(1, 50, 40), END])))
    assert seen > unseen + 1


def test_an_example_by_hand():
    # Order 2, one document "1 1 2": bigrams (begin 1) (1 1) (1 2) (2 end), once each. Counts of counts lack 2, 3 and 4, so the
    # discounts fall back to 0.5, 1, 1.5. As followers of different tokens: 1 twice, 2 once, end once.
    model = trained([[1, 1, 2, END]], NgramConfig(order=2), vocab_size=4)
    unigram_2 = (1 - 0.5) / 4 + (1 + 0.5 + 0.5) / 4 / 4
    assert np.exp(model.next_log_probabilities([1])[2]) == pytest.approx((1 - 0.5) / 2 + 1 / 2 * unigram_2)
    assert np.exp(model.next_log_probabilities([3])[2]) == pytest.approx(unigram_2)


def test_documents_without_end_of_text_are_still_apart():
    apart = trained([[1, 2], [3, 4]], NgramConfig(order=2))
    assert apart.next_log_probabilities([2])[3] == pytest.approx(apart.next_log_probabilities([5])[3])


def test_satisfies_the_scorer_protocol():
    model = trained(text(1))
    assert isinstance(model, Scorer)
    assert (model.vocab_size, model.order, model.context_length) == (VOCABULARY, 5, 4)
    assert model.log_probabilities(np.array([], np.int64)).shape == (0,)


@pytest.mark.parametrize("config", [NgramConfig(order=1), NgramConfig(order=4, prune=(0, 0, 1))])
def test_a_saved_model_is_the_same_and_stays_on_disk(tmp_path, config):
    model = trained(text(1), config)
    save(model, tmp_path)
    again = load(tmp_path)
    new = np.array(text(2, count=1)[0])
    assert np.array_equal(again.log_probabilities(new), model.log_probabilities(new))
    assert again.facts == json.loads(json.dumps(model.facts))
    assert again.facts["training_documents"] == 40
    # The arrays are views of memory maps, not copies.
    assert all(isinstance(table.log_probability.base, np.memmap) for table in again.tables)
    assert not list(tmp_path.glob("*.pkl"))


def test_equal_text_gives_equal_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(trained(text(1)), tmp_path / name)
    assert digests_of_folder(tmp_path / "a") == digests_of_folder(tmp_path / "b")


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b[:5], lambda b: b""])
@pytest.mark.parametrize("name", ["order-3.keys.npy", "order-5.log_probability.npy", "order-1.log_backoff.npy"])
def test_a_cut_off_array_is_damaged(tmp_path, name, change):
    save(trained(text(1)), tmp_path)
    path = tmp_path / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DamagedError, match="cannot be used"):
        load(tmp_path)


def test_an_array_of_another_size_or_kind_is_damaged(tmp_path):
    save(trained(text(1)), tmp_path)
    for wrong in (np.zeros(3, np.float32), np.load(tmp_path / "order-3.keys.npy").astype(np.float64), np.array([{}], object)):
        np.save(tmp_path / "order-3.keys.npy", wrong, allow_pickle=True)
        with pytest.raises(DamagedError, match="cannot be used"):
            load(tmp_path)


def test_another_version_and_no_model_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no n-gram model"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DamagedError, match="cannot be used"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match="llama"):
        load(tmp_path)


@pytest.mark.parametrize("ids", [[VOCABULARY], [-1], [1, 2, 99]])
def test_ids_of_another_tokenizer_are_refused(ids):
    model = trained(text(1))
    with pytest.raises(ModelError, match="n-gram model"):
        model.log_probabilities(np.array(ids))
    with pytest.raises(ModelError, match="n-gram model"):
        model.next_log_probabilities(ids)


@pytest.mark.parametrize("documents", [[], [[]], [[], []]])
def test_no_tokens_is_one_clear_error(documents):
    with pytest.raises(TrainingError, match="no tokens"):
        trained(documents)


def test_pruning_keeps_what_occurs_more_often():
    documents = [[1, 2, 3, END]] * 3 + [[1, 2, 4, END]]
    whole = trained(documents, NgramConfig(order=3))
    pruned = trained(documents, NgramConfig(order=3, prune=(0, 0, 1)))
    assert len(pruned.tables[1].keys) == len(whole.tables[1].keys)
    assert len(pruned.tables[2].keys) == len(whole.tables[2].keys) - 2  # 1 2 4 and 2 4 end


def test_a_large_text_is_sampled_over_all_of_it():
    class Notes(Silent):
        notes: tuple[str, ...] = ()

        def note(self, text):
            self.notes += (text,)

    progress = Notes()
    documents = [[number % 5 + 1] * 99 + [END] for number in range(100)]
    model = trained(documents, NgramConfig(order=2, max_tokens=3000), progress=progress)
    assert model.facts["training_documents"] == 25  # every 4th of 100
    assert model.facts["training_tokens"] == 2500
    assert any("every 4th" in note for note in progress.notes)
    one = trained([[1] * 5000], NgramConfig(order=2, max_tokens=3000))
    assert one.facts["training_tokens"] == 3000


def test_discounts_fall_back_where_there_is_no_estimate():
    assert discounts_of({1: 1000, 2: 300, 3: 150, 4: 90}) == (0.625, 1.0625, 1.5)
    assert discounts_of({1: 10, 2: 3, 3: 1}) == FALLBACK
    assert discounts_of({}) == FALLBACK
    assert discounts_of({1: 1, 2: 1, 3: 100, 4: 1}) == FALLBACK  # D2 would be negative


@pytest.mark.parametrize("prune", [(1,), (0, 2, 1), (0, -1)])
def test_prune_must_start_with_nought_and_never_decrease(prune):
    with pytest.raises(ValidationError, match="never decrease"):
        NgramConfig(prune=prune)


def arpa_scorer(path):
    """An independent reader of ARPA text: the backoff recursion over dictionaries of words."""
    probabilities, backoffs = {}, {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")
        if len(fields) > 1:
            gram = tuple(fields[1].split(" "))
            probabilities[gram] = float(fields[0])
            backoffs[gram] = float(fields[2]) if len(fields) > 2 else 0.0

    def score(context, word):
        if (*context, word) in probabilities:
            return probabilities[(*context, word)]
        return backoffs.get(context, 0.0) + score(context[1:], word)

    return score, probabilities


@settings(deadline=None, max_examples=50)
@given(st.lists(DOCUMENT, min_size=1, max_size=12), CONFIG, DOCUMENT)
def test_arpa_text_read_by_its_definition_gives_the_same_scores(documents, config, new):
    model = trained(documents, config)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.arpa"
        write_arpa(model, path)
        score, _ = arpa_scorer(path)
    words = ["<s>", *(str(token) if token != END else "</s>" for token in new)]
    span = config.order - 1
    found = [score(tuple(words[max(0, i - span) : i]), words[i]) for i in range(1, len(words))]
    np.testing.assert_allclose(np.array(found) * np.log(10), model.log_probabilities(np.array(new)), atol=1e-5)


def test_arpa_text_counts_and_names(tmp_path):
    model = trained([[1, 2, END]], NgramConfig(order=2), vocab_size=3)
    write_arpa(model, tmp_path / "model.arpa", ["", "one", "two"])
    lines = (tmp_path / "model.arpa").read_text().splitlines()
    assert lines[:3] == ["\\data\\", "ngram 1=5", "ngram 2=3"]  # three tokens, <s>, <unk>
    assert lines[-1] == "\\end\\"
    _, grams = arpa_scorer(tmp_path / "model.arpa")
    assert {gram for gram in grams if len(gram) == 2} == {("<s>", "one"), ("one", "two"), ("two", "</s>")}
