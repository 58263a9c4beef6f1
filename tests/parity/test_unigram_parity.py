"""Our Unigram trainer beside the library's: on text that neither saw, no more tokens."""

import json
import sysconfig
from pathlib import Path

import numpy as np
import tokenizers
from scipy.special import digamma
from tokenizers import decoders, models, pre_tokenizers, trainers

from lmpipe.base.progress import Silent
from lmpipe.tokens.config import UnigramConfig
from lmpipe.tokens.special import SPECIAL_TOKENS
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.training import train_on_texts
from lmpipe.tokens.unigram import _digamma

SIZE = 1500
SOURCES = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
TRAINING, HELD_OUT = ([path.read_text(encoding="utf-8") for path in SOURCES[first:60:2]] for first in (0, 1))


def theirs() -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer(models.Unigram())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.UnigramTrainer(
        vocab_size=SIZE, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(TRAINING, trainer)
    return library


def test_it_cuts_as_well_as_the_librarys(tmp_path):
    train_on_texts(TRAINING, UnigramConfig(vocab_size=SIZE, train_on="c"), tmp_path, progress=Silent())
    ours, library = load_tokenizer(tmp_path), theirs()
    assert ours.vocab_size == library.get_vocab_size() == SIZE
    for texts in (TRAINING, HELD_OUT):
        assert sum(map(len, ours.encode_batch(texts))) <= 1.01 * sum(len(library.encode(text).ids) for text in texts)


def test_probabilities_add_up(tmp_path):
    train_on_texts(TRAINING, UnigramConfig(vocab_size=SIZE, train_on="c"), tmp_path, progress=Silent())
    vocabulary = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    scores = np.array([score for _, score in vocabulary[len(SPECIAL_TOKENS) :]])
    assert 0.8 < np.exp(scores).sum() <= 1.001  # what the last selection left out had some


def test_digamma_is_scipys():
    x = np.concatenate([np.linspace(0.5, 10, 200), [1e3, 1e7]])
    np.testing.assert_allclose(_digamma(x), digamma(x), rtol=1e-9, atol=1e-9)
