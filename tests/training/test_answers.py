"""Learning from examples with answers: the losses are those of Transformers' models, and what can be learned is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import training_example as example
from pydantic import TypeAdapter
from transformers import BertForSequenceClassification, BertForTokenClassification, T5ForConditionalGeneration

from lmpipe.base.progress import Silent
from lmpipe.data.holding import ExamplesConfig, LabelsConfig, PairsConfig, ScoresConfig, TagsConfig
from lmpipe.models import families
from lmpipe.models.config import ModelConfig
from lmpipe.tokens.config import BpeConfig
from lmpipe.tokens.examples import ExampleShards, tokenize_examples
from lmpipe.tokens.packing import PackedLoader
from lmpipe.tokens.training import train_on_texts
from lmpipe.training.answers import Classification, class_weights
from lmpipe.training.config import PhaseConfig
from lmpipe.training.lessons import open_lessons
from lmpipe.training.objective_config import ClassificationConfig
from lmpipe.training.starting import starting_network
from lmpipe.training.step import parts_of

ENCODER = {"kind": "bert", "layers": 1, "width": 32, "heads": 2, "context": 64, "dropout": 0.0}
T5 = {"kind": "t5", "layers": 1, "width": 32, "heads": 2, "context": 64, "dropout": 0.0}
WORDS = ("red", "green", "blue", "tall", "short", "old", "new")


def sentences(count: int, seed: int = 1) -> list[list[str]]:
    generator = np.random.default_rng(seed)
    return [[str(word) for word in generator.choice(WORDS, generator.integers(2, 9))] for _ in range(count)]


HELD: dict[str, tuple[ExamplesConfig, Any]] = {
    "classes": (LabelsConfig(), lambda words: words[0]),
    "several": (LabelsConfig(several=True), lambda words: sorted({"red", "blue"} & {*words[:3]})),
    "scores": (ScoresConfig(), lambda words: words.count("red") - words.count("blue")),
    "tags": (TagsConfig(), lambda words: [word[0].upper() for word in words]),
    "pairs": (PairsConfig(), lambda words: " ".join(words[:3])),
}
OBJECTIVES = {"tags": "tagging", "pairs": "seq2seq"}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tokenize folders by what they hold: 120 sentences of seven words to learn from, 40 held out."""
    root = tmp_path_factory.mktemp("examples")
    (root / "tokenizer").mkdir()
    train_on_texts([" ".join(WORDS)] * 9, BpeConfig(vocab_size=290, train_on="c"), root / "tokenizer", progress=Silent())
    folders = {}
    for name, (holds, answer) in HELD.items():
        for side, count, seed in (("train", 120, 1), ("validation", 40, 2), ("test", 40, 3)):
            rows = sentences(count, seed)
            (root / name / "documents" / side).mkdir(parents=True)
            columns = {
                "id": [f"{side}-{n}" for n in range(count)],
                "text": [" ".join(words) for words in rows],
                "meta": [json.dumps({holds.column: answer(words)}) for words in rows],
            }
            pq.write_table(pa.table(columns), root / name / "documents" / side / "part-00000.parquet")
        folders[name] = root / name / "tokens"
        folders[name].mkdir()
        documents = root / name / "documents"
        tokenize_examples(documents, root / "tokenizer", folders[name], holds=holds, progress=Silent(), threads=1)
    return folders


def phase_of(held: str, **options: Any) -> PhaseConfig:
    objective = {"kind": OBJECTIVES.get(held, "classification"), **options.pop("objective", {})}
    values = {"name": "main", "on": "web", "epochs": 1, "batch_tokens": 256, "precision": "fp32", "objective": objective}
    return PhaseConfig.model_validate({**values, "validation": {"every_tokens": 1000}, **options})


def model_of(held: str, **options: Any) -> ModelConfig:
    return TypeAdapter(ModelConfig).validate_python({**(T5 if held == "pairs" else ENCODER), **options})


@pytest.mark.parametrize("held", ["classes", "several", "scores", "tags", "pairs"])
def test_by_length_or_packed_an_epoch_has_the_same_loss(held: str, examples: dict[str, Path]) -> None:
    model, shards = model_of(held), ExampleShards(examples[held] / "train")
    lessons = open_lessons(examples[held], model, phase_of(held, bucket_by_length=True), 1, Silent())
    torch.manual_seed(1)
    network = starting_network(model, lessons.vocab_size, None, lessons.head).eval()
    objective, found = lessons.objective_for(network), []
    for loader in (lessons.loader, PackedLoader(shards, row_tokens=64, batch_size=4, seed=None)):
        batches = [objective.prepare(loader.batch(number), number) for number in range(loader.batches(1))]
        with torch.no_grad():
            sums = [objective.losses(network, *parts_of(arrays, len(arrays[0]), "cpu")[0]).nats.item() for arrays in batches]
        found.append((sum(sums), sum(objective.supervised(arrays) for arrays in batches)))
    assert found[0][1] == found[1][1]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)


@pytest.mark.parametrize("held", ["classes", "several", "scores", "tags", "pairs"])
def test_packed_losses_are_those_of_transformers_one_text_at_a_time(
    held: str, examples: dict[str, Path], tmp_path: Path
) -> None:
    phase, model = phase_of(held), model_of(held)
    lessons = open_lessons(examples[held], model, phase, 1, Silent())
    torch.manual_seed(1)
    network = starting_network(model, lessons.vocab_size, None, lessons.head).eval()
    objective = lessons.objective_for(network)
    arrays = objective.prepare(lessons.loader.batch(0), 0)
    (part,) = parts_of(arrays, len(arrays[0]), "cpu")
    with torch.inference_mode():
        found = objective.losses(network, *part)
    families.save(network, tmp_path, end_of_text_id=lessons.end_of_text_id)
    shards, batch = ExampleShards(examples[held] / "train"), lessons.loader.batch(0)
    numbers = [int(number) for number in batch.examples_BK.flatten() if number >= 0]
    expected = sum(one_by_transformers(held, tmp_path, shards, number) for number in numbers)
    assert float(found.nats) == pytest.approx(expected, rel=1e-4)
    if held != "tags" and held != "pairs":
        assert objective.supervised(arrays) == len(numbers)


def one_by_transformers(held: str, folder: Path, shards: ExampleShards, number: int) -> float:
    """The sum of the loss of one example, by Transformers' own model and loss."""
    ids = torch.from_numpy(shards.inputs.document(number).astype(np.int64))[None]
    with torch.inference_mode():
        if held == "pairs":
            model = T5ForConditionalGeneration.from_pretrained(folder).eval()
            labels = torch.from_numpy(shards.targets.document(number).astype(np.int64))[None]
            return float(model(input_ids=ids, labels=labels).loss) * labels.shape[1]
        if held == "tags":
            model = BertForTokenClassification.from_pretrained(folder).eval()
            labels = torch.from_numpy(shards.targets.document(number).astype(np.int64) - 1)[None]
            labels[labels < 0] = -100
            return float(model(input_ids=ids, labels=labels).loss) * int((labels >= 0).sum())
        answer = torch.from_numpy(np.array(shards.answers[number]))[None]
        kinds = {"classes": "single_label_classification", "several": "multi_label_classification", "scores": "regression"}
        model = BertForSequenceClassification.from_pretrained(folder, problem_type=kinds[held]).eval()
        if held == "classes":
            return float(model(input_ids=ids, labels=answer.long()).loss)
        loss = float(model(input_ids=ids, labels=answer.float()).loss)  # a mean over the labels
        return loss * (len(shards.names) if held == "several" else 1)


@pytest.mark.parametrize("held", ["classes", "several", "scores", "tags"])
def test_what_can_be_learned_is_learned(held: str, examples: dict[str, Path], tmp_path: Path) -> None:
    by = {"best_by": "accuracy"} if held != "scores" else {}
    phase = phase_of(
        held, epochs=30, optimizer={"kind": "adamw", "lr": 5e-3}, validation={"every_tokens": 20_000, **by}, precision="bf16"
    )
    example.run_training(examples[held], tmp_path, model=model_of(held), phase=phase)
    totals = json.loads((tmp_path / "output/training.json").read_text())
    if held == "scores":
        assert totals["best_validation_loss"] < 0.5, "the variance is over 1"
    else:
        assert totals["best_validation_accuracy"] > (0.8 if held == "several" else 0.95)
    assert totals["epochs"] == pytest.approx(30, rel=0.05)


@pytest.mark.parametrize("held", ["classes", "pairs"])
def test_stopped_and_resumed_is_the_same_run(held: str, examples: dict[str, Path], tmp_path: Path) -> None:
    phase, model = phase_of(held, epochs=3, micro_batch_tokens=128), model_of(held, dropout=0.1)
    example.run_training(examples[held], tmp_path / "whole", model=model, phase=phase)
    for stop_after in (1, 5):
        calls = iter(range(1000))
        example.run_training(
            examples[held],
            tmp_path / "stopped",
            model=model,
            phase=phase,
            stopping=lambda calls=calls, stop_after=stop_after: next(calls) >= stop_after,
        )
    example.run_training(examples[held], tmp_path / "stopped", model=model, phase=phase)
    assert example.result(tmp_path / "stopped") == example.result(tmp_path / "whole")


def test_balanced_weights_are_scikit_learns_formula(examples: dict[str, Path]) -> None:
    shards = ExampleShards(examples["classes"] / "train")
    counts = np.bincount(shards.answers)
    expected = len(shards) / (len(counts) * counts)  # n_samples / (n_classes * np.bincount(y))
    assert class_weights(ClassificationConfig(class_weights="balanced"), shards) == pytest.approx(expected)


def test_a_weight_for_each_class_scales_what_its_examples_cost(examples: dict[str, Path]) -> None:
    shards = ExampleShards(examples["classes"] / "train")
    lessons = open_lessons(examples["classes"], model_of("classes"), phase_of("classes"), 1, Silent())
    torch.manual_seed(1)
    network = starting_network(model_of("classes"), lessons.vocab_size, None, lessons.head).eval()
    found = {}
    for weights in ("equal", dict.fromkeys(WORDS, 3.0)):
        objective = Classification(ClassificationConfig(class_weights=weights), shards)
        (part,) = parts_of(objective.prepare(lessons.loader.batch(0), 0), lessons.plan.rows, "cpu")
        with torch.inference_mode():
            found[str(weights)] = objective.losses(network, *part)
    equal, tripled = found.values()
    assert float(tripled.minimised) == pytest.approx(3 * float(equal.minimised), rel=1e-5)
    assert float(tripled.nats) == pytest.approx(float(equal.nats), rel=1e-5), "what is reported stays the plain loss"


def test_a_trained_body_takes_a_fresh_head(examples: dict[str, Path], tmp_path: Path) -> None:
    masked = TypeAdapter(ModelConfig).validate_python(ENCODER)
    torch.manual_seed(1)
    body = families.build(masked, 290)
    families.save(body, tmp_path, end_of_text_id=0)
    lessons = open_lessons(examples["classes"], masked, phase_of("classes"), 1, Silent())
    network = starting_network(masked, 290, tmp_path, lessons.head)
    assert torch.equal(
        network.state_dict()["blocks.0.attention.qkv.weight"], body.state_dict()["blocks.0.attention.qkv.weight"]
    )
    assert network.head_config.labels == tuple(sorted(WORDS))
