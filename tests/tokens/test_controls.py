"""Control ids that are not ours: from the tokenizer through the shards to batches and objectives."""

import numpy as np
import pytest

from lmpipe.base.errors import ModelError
from lmpipe.tokens.controls import Controls
from lmpipe.tokens.loader import Loader, evaluation_windows
from lmpipe.tokens.mixture import training_loader
from lmpipe.tokens.shards import ShardWriter, open_shards
from lmpipe.training.objective_config import MaskedConfig
from lmpipe.training.objectives import IGNORED, Masked

END, START, MASK, UNKNOWN = 2, 1, 4, 3
CONTROLS = Controls(start_of_text_id=START, mask_id=MASK, special_ids=(0, START, END, UNKNOWN, MASK))


@pytest.fixture
def shards(tmp_path):
    generator = np.random.default_rng(0)
    with ShardWriter(tmp_path, vocab_size=60, end_of_text_id=END, controls=CONTROLS) as writer:
        for length in generator.integers(3, 20, 40):
            writer.append(np.where(generator.random(length) < 0.1, UNKNOWN, generator.integers(5, 60, length)), 100)
    return open_shards(tmp_path)


def test_shards_tell_them(shards):
    assert shards.controls == CONTROLS


def test_documents_open_with_the_token_for_it_and_close_with_theirs(shards):
    batch = Loader(shards, context_length=32, batch_size=4, seed=1).batch(0)
    borders = batch.targets_BT[:, :-1] == END
    assert borders.any()
    assert (batch.inputs_BT[:, 1:][borders] == START).all()
    assert not (batch.inputs_BT == END).any()
    assert np.array_equal(np.diff(batch.segments_BT, axis=1) == 1, batch.inputs_BT[:, 1:] == START)
    assert np.array_equal(training_loader(shards, context_length=32, batch_size=4, seed=1).batch(0).inputs_BT, batch.inputs_BT)


def test_evaluation_opens_documents_with_it_too(shards):
    windows = [window for window in evaluation_windows(shards, 64) if window.score_from == 0]
    assert len(windows) == shards.documents
    assert all(window.inputs[0] == START and window.targets[-1] == END for window in windows)


def test_control_tokens_are_never_hidden_and_never_made_up(shards):
    batch = Loader(shards, context_length=32, batch_size=8, seed=1).batch(0)
    config = MaskedConfig(rate=0.5, mask_fraction=0.5, random_fraction=0.5)
    hidden = Masked(config, vocab_size=60, controls=CONTROLS, seed=1).prepare(batch, 0)
    special = np.isin(batch.inputs_BT, CONTROLS.special_ids)
    assert np.array_equal(hidden.inputs_BT[special], batch.inputs_BT[special])
    assert set(np.unique(hidden.inputs_BT[~special])) & set(CONTROLS.special_ids) == {MASK}
    assert not np.isin(hidden.targets_BK[hidden.targets_BK != IGNORED], CONTROLS.special_ids).any()


def test_nothing_can_be_hidden_without_a_mask_token():
    with pytest.raises(ModelError, match="no mask token"):
        Masked(MaskedConfig(), vocab_size=60, controls=Controls(START, None, (START, END)), seed=1)
