"""Contrastive learning: the loss is InfoNCE over a batch's pairs, what belongs together is found, and a stopped run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import training_example as example
from numpy.typing import NDArray
from pydantic import TypeAdapter
from transformers import BertModel

from lmpipe.base.errors import SourceError, TrainingError
from lmpipe.base.progress import Silent
from lmpipe.data.holding import MatchesConfig
from lmpipe.models import families
from lmpipe.models.config import ModelConfig
from lmpipe.models.layers.encoder_heads import embeddings
from lmpipe.models.loading import load_network
from lmpipe.models.network import Encoder
from lmpipe.tokens.config import BpeConfig
from lmpipe.tokens.examples import ExampleShards, tokenize_examples
from lmpipe.tokens.training import train_on_texts
from lmpipe.training.config import PhaseConfig
from lmpipe.training.contrastive import match_losses
from lmpipe.training.lessons import open_lessons
from lmpipe.training.starting import starting_network
from lmpipe.training.step import parts_of

ENGLISH = ("red", "green", "blue", "tall", "short", "old", "new", "loud")
GERMAN = ("rot", "gruen", "blau", "gross", "klein", "alt", "neu", "laut")
MODEL = {"kind": "bert", "layers": 1, "width": 32, "heads": 2, "context": 64, "dropout": 0.1}


def some_pairs(count: int, seed: int) -> list[dict[str, Any]]:
    """Three words, and their translations in another order."""
    generator = np.random.default_rng(seed)
    chosen = [generator.choice(len(ENGLISH), 3, replace=False) for _ in range(count)]
    return [
        {"text": " ".join(ENGLISH[n] for n in words), "passage": " ".join(GERMAN[n] for n in words[::-1])} for words in chosen
    ]


def tokenized(root: Path, sides: dict[str, list[dict[str, Any]]]) -> Path:
    (root / "tokenizer").mkdir(parents=True)
    train_on_texts(
        [" ".join(ENGLISH + GERMAN)] * 9, BpeConfig(vocab_size=320, train_on="c"), root / "tokenizer", progress=Silent()
    )
    for side, found in sides.items():
        (root / "documents" / side).mkdir(parents=True)
        columns = {
            "id": [f"{side}-{n}" for n in range(len(found))],
            "text": [row["text"] for row in found],
            "meta": [json.dumps({key: value for key, value in row.items() if key != "text"}) for row in found],
        }
        pq.write_table(pa.table(columns), root / "documents" / side / "part-00000.parquet")
    (root / "tokens").mkdir()
    tokenize_examples(
        root / "documents", root / "tokenizer", root / "tokens", holds=MatchesConfig(), progress=Silent(), threads=1
    )
    return root / "tokens"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sides = {"train": some_pairs(150, 1), "validation": some_pairs(40, 2), "test": some_pairs(40, 3)}
    return tokenized(tmp_path_factory.mktemp("pairs"), sides)


def model_of(**options: Any) -> ModelConfig:
    return TypeAdapter(ModelConfig).validate_python({**MODEL, **options})


def phase_of(**options: Any) -> PhaseConfig:
    objective = {"kind": "contrastive", **options.pop("objective", {})}
    values = {"name": "main", "on": "web", "epochs": 1, "batch_tokens": 512, "precision": "fp32", "objective": objective}
    return PhaseConfig.model_validate({**values, "validation": {"every_tokens": 5000}, **options})


def info_nce(queries: NDArray[np.float64], passages: NDArray[np.float64], temperature: float) -> float:
    """The sum over pairs of both directions' mean, from its definition, one pair at a time."""
    total = 0.0
    for one, other in ((queries, passages), (passages, queries)):
        for number, vector in enumerate(one):
            scores = np.array([vector @ against / temperature for against in other])
            total += -np.log(np.exp(scores[number]) / np.exp(scores).sum()) / 2
    return total


def vectors(seed: int, count: int = 5) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_loss_is_info_nce_both_ways() -> None:
    queries, passages, numbers = vectors(1), vectors(2), torch.arange(5)
    found = match_losses(queries, passages, numbers, numbers, 0.1)
    assert float(found.nats) == pytest.approx(info_nce(queries.double().numpy(), passages.double().numpy(), 0.1), rel=1e-5)
    assert float(found.right) == int(((queries @ passages.T).argmax(1) == numbers).sum())


def test_empty_places_count_for_nothing_and_give_no_gradient() -> None:
    queries, passages = vectors(1).requires_grad_(), vectors(2)
    numbers = torch.tensor([0, -1, 1, 2, -1])
    there = [0, 2, 3]
    found = match_losses(queries, passages, numbers, numbers, 0.1)
    expected = info_nce(queries.detach().double().numpy()[there], passages.double().numpy()[there], 0.1)
    assert float(found.nats.detach()) == pytest.approx(expected, rel=1e-5)
    found.nats.backward()
    assert not queries.grad[[1, 4]].any()
    assert torch.isfinite(queries.grad).all()


def test_equal_passages_are_not_held_against_each_other() -> None:
    """Of queries 0 and 3, whose passage is the same, each is compared as if the other were not there."""
    queries, passages = vectors(1), vectors(2)
    passages[3] = passages[0]
    found = match_losses(queries, passages, torch.arange(5), torch.tensor([0, 1, 2, 0, 4]), 0.1)
    q, p = queries.double().numpy(), passages.double().numpy()
    expected = 0.0
    for number in range(5):
        others = [n for n in range(5) if n == number or {n, number} != {0, 3}]
        for one, other in ((q, p), (p, q)):
            scores = {n: np.exp(one[number] @ other[n] / 0.1) for n in others}
            expected += -np.log(scores[number] / sum(scores.values())) / 2
    assert float(found.nats) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_packed_rows_have_the_loss_of_transformers_vectors_one_text_at_a_time(
    pooling: str, pairs: Path, tmp_path: Path
) -> None:
    model, phase = model_of(dropout=0.0), phase_of(objective={"pooling": pooling, "temperature": 0.2})
    lessons = open_lessons(pairs, model, phase, 1, Silent())
    torch.manual_seed(1)
    network = starting_network(model, lessons.vocab_size, None, lessons.head).eval()
    families.save(network, tmp_path, end_of_text_id=0)
    objective, batch = lessons.objective_for(network), lessons.loader.batch(0)
    arrays = objective.prepare(batch, 0)
    (part,) = parts_of(arrays, len(arrays[0]), "cpu")
    with torch.inference_mode():
        found = objective.losses(network, *part)
    shards, theirs = ExampleShards(pairs / "train"), BertModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()

    def vector(ids: NDArray[Any]) -> NDArray[np.float64]:
        with torch.inference_mode():
            states = theirs(torch.from_numpy(ids.astype(np.int64))[None]).last_hidden_state[0].double().numpy()
        one = states.mean(0) if pooling == "mean" else states[0]
        return one / np.linalg.norm(one)

    numbers = [int(number) for number in batch.examples_BK.flatten() if number >= 0]
    texts = [shards.inputs.document(number).tobytes() for number in numbers]
    firsts = [place for place, text in enumerate(texts) if text not in texts[:place]]
    assert objective.supervised(arrays) == len(numbers) > 30
    queries, passages = (np.stack([vector(s.document(n)) for n in numbers]) for s in (shards.inputs, shards.targets))
    if len(firsts) == len(numbers):
        assert float(found.nats) == pytest.approx(info_nce(queries, passages, 0.2), rel=1e-4)
    else:  # equal pairs are left out of each other's sums
        same = np.array([[one == other for other in texts] for one in texts]) & ~np.eye(len(texts), dtype=bool)
        scores = np.where(same, -np.inf, queries @ passages.T / 0.2)
        both = np.log(np.exp(scores).sum(1)) + np.log(np.exp(scores).sum(0))
        assert float(found.nats) == pytest.approx((both / 2 - scores.diagonal()).sum(), rel=1e-4)


def recall_at_1(network: Encoder, folder: Path) -> float:
    """The share of held-out queries whose passage is the nearest of all passages, texts one at a time."""
    shards = ExampleShards(folder)
    assert shards.targets is not None

    def of(documents: Any) -> torch.Tensor:
        ids = [torch.from_numpy(documents.document(n).astype(np.int64))[None] for n in range(len(shards))]
        with torch.inference_mode():
            return torch.cat([embeddings(network, one, torch.zeros_like(one), 1)[:, 0] for one in ids])

    names = [shards.targets.document(n).tobytes() for n in range(len(shards))]
    best = (of(shards.inputs) @ of(shards.targets).T).argmax(1).tolist()
    return sum(names[found] == names[number] for number, found in enumerate(best)) / len(names)


def test_what_belongs_together_is_found_among_unseen_texts(pairs: Path, tmp_path: Path) -> None:
    model = model_of(dropout=0.0)
    phase = phase_of(
        epochs=60, optimizer={"kind": "adamw", "lr": 5e-3}, validation={"every_tokens": 20_000, "best_by": "accuracy"}
    )
    example.run_training(pairs, tmp_path, model=model, phase=phase)
    torch.manual_seed(1)
    fresh = families.build(model, ExampleShards(pairs / "test").vocab_size, load_network(tmp_path / "output/best").head_config)
    assert recall_at_1(fresh.eval(), pairs / "test") < 0.4
    assert recall_at_1(load_network(tmp_path / "output/best"), pairs / "test") > 0.9


def test_stopped_and_resumed_is_the_same_run(pairs: Path, tmp_path: Path) -> None:
    phase = phase_of(epochs=3)
    example.run_training(pairs, tmp_path / "whole", model=model_of(), phase=phase)
    calls = iter(range(1000))
    example.run_training(pairs, tmp_path / "stopped", model=model_of(), phase=phase, stopping=lambda: next(calls) >= 4)
    example.run_training(pairs, tmp_path / "stopped", model=model_of(), phase=phase)
    assert example.result(tmp_path / "stopped") == example.result(tmp_path / "whole")


def test_long_passages_have_rows_of_their_own(tmp_path: Path) -> None:
    found = [{"text": f"red {n}", "passage": " ".join([f"{n}"] * 40)} for n in range(30)]
    tokens = tokenized(tmp_path, {"train": found, "validation": found[:10], "test": found[:0]})
    free = open_lessons(tokens, model_of(context=256), phase_of(), 1, Silent()).loader.batch(0)
    given = phase_of(row_tokens=32, objective={"passage_tokens": 128})
    batch = open_lessons(tokens, model_of(context=256), given, 1, Silent()).loader.batch(0)
    assert free.inputs_BT.shape[1] == free.targets_BS.shape[1] >= 128, "rows that hold the longest passage"
    assert (batch.inputs_BT.shape[1], batch.targets_BS.shape[1]) == (32, 128)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "red"}, "document train-1 .* has no answer"),
        ({"text": "red", "passage": " "}, "has no answer"),
        ({"text": "red", "passage": ["", "rot"]}, "has a passage without text"),
        ({"text": " ", "passage": "rot"}, "has no text for its query"),
        ({"text": "red", "passage": "red "}, "has its query for a passage"),
    ],
)
def test_a_pair_that_teaches_nothing_is_named(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    good = some_pairs(3, 1)
    with pytest.raises(SourceError, match=message):
        tokenized(tmp_path, {"train": [good[0], row, good[1]], "validation": good, "test": good})


def test_a_single_passage_is_refused(tmp_path: Path) -> None:
    one = [{"text": f"red {n}", "passage": "rot"} for n in range(5)]
    with pytest.raises(SourceError, match="all training queries have the same passage: 'rot'"):
        tokenized(tmp_path, {"train": one, "validation": one, "test": one})


def test_batches_must_hold_pairs_to_compare(tmp_path: Path) -> None:
    found = [{"text": f"red {n}", "passage": " ".join([f"{n}"] * 70)} for n in range(10)]
    tokens = tokenized(tmp_path, {"train": found, "validation": found, "test": found})
    with pytest.raises(TrainingError, match=r"holds 1\.0 pairs on average"):
        open_lessons(tokens, model_of(context=128), phase_of(batch_tokens=128), 1, Silent())
    with pytest.raises(ValueError, match="compares all pairs of a batch with each other, so they go through the model at once"):
        phase_of(batch_tokens=16_384)
