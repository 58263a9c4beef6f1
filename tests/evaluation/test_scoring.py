"""The streaming scorer against Transformers on the same windows, and against a model whose every probability is known."""

import math

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lmpipe.base.errors import ModelError, SourceError
from lmpipe.base.progress import Silent
from lmpipe.evaluation.scoring import score_scorer, score_windows
from lmpipe.evaluation.units import lay_out, read_table, write_table
from lmpipe.tokens.controls import Controls
from lmpipe.tokens.loader import evaluation_windows

VOCAB = 40
END = 0
SPELLING = [b""] + [bytes([64 + i]) * (1 + i % 3) for i in range(1, VOCAB)]


class Folder:
    """Token shards held in memory."""

    end_of_text_id = END
    controls = Controls.ours()

    def __init__(self, lengths, seed=0):
        rng = np.random.default_rng(seed)
        self._documents = [np.append(rng.integers(1, VOCAB, n - 1), END).astype(np.uint16) for n in lengths]

    @property
    def documents(self):
        return len(self._documents)

    def document(self, index):
        return self._documents[index]

    def document_bytes(self, index):
        return sum(len(SPELLING[i]) for i in self._documents[index])

    def comes_back(self, index):
        return True


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def scores(folder, model, context=16, stride=8, **options):
    units = lay_out(folder, SPELLING)
    windows = evaluation_windows(folder, context, stride=stride)
    device = torch.device("cpu")
    return units, score_windows(lambda ids: model(ids).logits, windows, units, device=device, progress=Silent(), **options)


def test_agrees_with_transformers_loss_on_the_same_windows(reference):
    folder = Folder([5, 16, 17, 40, 1] * 5)
    units, result = scores(folder, reference)
    for document in range(folder.documents):
        sequence = torch.tensor([END, *folder.document(document).tolist()])
        expected = right = 0.0
        for start in [0, *range(8, max(len(sequence) - 1 - 16, 0) + 8, 8)]:
            window = sequence[start : start + 17]
            labels = window.clone()
            labels[: 1 if start == 0 else 9] = -100
            with torch.no_grad():
                output = reference(window[None], labels=labels[None])
            scored = int((labels[1:] != -100).sum())
            expected += float(output.loss) * scored
            guesses = output.logits[0, :-1].argmax(-1)
            right += float((guesses == window[1:])[labels[1:] != -100].sum())
        assert result.nats_U[document] == pytest.approx(expected, rel=1e-5)
        assert result.correct_U[document] == right
    assert units.tokens_U.sum() == sum(len(folder.document(i)) for i in range(folder.documents))


def test_sums_do_not_depend_on_how_windows_are_batched(reference):
    folder = Folder([3, 30, 50, 7] * 6)
    _, one = scores(folder, reference, tokens_at_once=1)
    _, many = scores(folder, reference, tokens_at_once=500)
    np.testing.assert_allclose(one.nats_U, many.nats_U, rtol=1e-5)
    np.testing.assert_array_equal(one.correct_U, many.correct_U)


def test_equal_runs_give_equal_bytes(reference, tmp_path):
    folder = Folder([30, 50, 7] * 8)
    for name in ("a", "b"):
        units, result = scores(folder, reference)
        (tmp_path / name).mkdir()
        write_table(tmp_path / name, units, {"nats": result.nats_U, "correct": result.correct_U})
    assert (tmp_path / "a/per_document.parquet").read_bytes() == (tmp_path / "b/per_document.parquet").read_bytes()


def test_documents_do_not_see_each_other(reference):
    alone, together = Folder([20] * 20), Folder([20] * 20)
    together._documents[1:] = Folder([33] * 19, seed=9)._documents
    assert scores(alone, reference)[1].nats_U[0] == pytest.approx(scores(together, reference)[1].nats_U[0], rel=1e-6)


def test_few_documents_are_scored_in_blocks_that_add_up(reference, tmp_path):
    folder = Folder([700, 300])
    units, result = scores(folder, reference)
    assert units.block_tokens == 128
    assert units.tokens_U.tolist() == [128] * 5 + [60] + [128, 128, 44]
    many = Folder([10] * 20)
    many._documents[:2] = folder._documents
    _, whole = scores(many, reference)
    write_table(tmp_path, units, {"nats": result.nats_U})
    assert result.nats_U[:6].sum() == pytest.approx(whole.nats_U[0])
    assert units.bytes_U[:6].sum() == folder.document_bytes(0)
    table = read_table(tmp_path)
    assert table.unit == "blocks"
    assert len(table.text_digest_D) == 2


class Uniform:
    vocab_size = VOCAB
    context_length = 1

    def log_probabilities(self, ids):
        return np.full(len(ids), -math.log(VOCAB))


def test_scorer_of_known_probabilities():
    folder = Folder([11] * 25)
    units = lay_out(folder, SPELLING)
    np.testing.assert_allclose(score_scorer(Uniform(), folder, units, progress=Silent()), 11 * math.log(VOCAB))


def test_non_finite_model_is_refused():
    folder = Folder([11] * 25)
    with pytest.raises(ModelError, match="not a number"):
        scores(folder, lambda ids: type("Output", (), {"logits": torch.full((*ids.shape, VOCAB), math.nan)}))


def test_tokens_that_spell_other_bytes_are_refused():
    with pytest.raises(ModelError, match="shards record"):
        lay_out(Folder([11]), [b"xx"] * VOCAB)


def test_no_document_is_refused():
    with pytest.raises(SourceError, match="no document"):
        lay_out(Folder([]), SPELLING)
