"""Preferences: the losses are their papers' formulas, rows hold what was said, and what is preferred is learned."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import training_example as example
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from lmpipe.base.errors import RecipeError, SourceError
from lmpipe.base.progress import Silent
from lmpipe.base.runtime import Runtime
from lmpipe.data.holding import PreferencesConfig
from lmpipe.models.describing import describe
from lmpipe.models.network import Network
from lmpipe.recipes.project import open_project
from lmpipe.recipes.reporting import build_report
from lmpipe.recipes.running import run
from lmpipe.tokens.chat import CHAT_TEMPLATE, render
from lmpipe.tokens.config import BpeConfig
from lmpipe.tokens.packing import ExampleBatch
from lmpipe.tokens.preferences import PreferenceShards, tokenize_preferences
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.training import train_on_texts
from lmpipe.training.config import PhaseConfig
from lmpipe.training.kto import kto_losses
from lmpipe.training.lessons import open_lessons
from lmpipe.training.objectives import IGNORED
from lmpipe.training.preference_config import DpoConfig, IpoConfig, KtoConfig, OrpoConfig, PreferenceConfig, SimpoConfig
from lmpipe.training.preferences import Preference, preference_losses
from lmpipe.training.starting import starting_network
from lmpipe.training.step import parts_of

MODEL = {"context": 64, "dropout": 0.0}
COLOURS = ("red", "green", "blue")


def rows(count: int) -> list[dict[str, Any]]:
    """The polite answer is preferred, whatever was asked."""
    generator = np.random.default_rng(1)
    found = []
    for number in range(count):
        one, other = generator.choice(COLOURS, 2)
        texts = {"prompt": f"is {one} {other} {number % 7}?", "chosen": f"yes {one} please", "rejected": f"no {other}"}
        found.append(texts)
    return found


def write(folder: Path, found: list[dict[str, Any]]) -> Path:
    """The splits of such rows."""
    for side, part in (("train", found[: -len(found) // 4]), ("validation", found[-len(found) // 4 :]), ("test", found[:0])):
        (folder / side).mkdir(parents=True)
        columns = {
            "id": [f"{side}-{n}" for n in range(len(part))],
            "text": [row["prompt"] for row in part],
            "meta": [json.dumps({key: row[key] for key in ("chosen", "rejected")}) for row in part],
        }
        pq.write_table(pa.table(columns), folder / side / "part-00000.parquet")
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_on_texts(
        [f"is yes no please {' '.join(COLOURS)}"] * 9, BpeConfig(vocab_size=290, train_on="c"), folder, progress=Silent()
    )
    return folder


@pytest.fixture(scope="module")
def corpora(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tokenize folders by how they are rendered."""
    root = tmp_path_factory.mktemp("preferences")
    splits, folders = write(root / "documents", rows(80)), {}
    for rendered in ("chat", "text"):
        folders[rendered] = root / rendered
        folders[rendered].mkdir()
        holds = PreferencesConfig(rendered=rendered)
        tokenize_preferences(splits, tokenizer, folders[rendered], holds=holds, progress=Silent(), threads=1)
    return folders


def phase_of(loss: str = "dpo", **options: Any) -> PhaseConfig:
    objective = {"kind": "preference", "loss": {"kind": loss, **options.pop("loss", {})}}
    values = {"name": "main", "on": "web", "epochs": 1, "batch_tokens": 512, "precision": "fp32", "objective": objective}
    return PhaseConfig.model_validate({**values, "validation": {"every_tokens": 1000}, **options})


# ----------------------------------------------------------------------------------------------------------------- formulas


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("seed", range(5))
def test_losses_are_the_formulas_of_the_papers(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    p, q, p0, q0 = (-5 * torch.rand(4, generator=generator)).tolist()
    m, n = (1 + torch.randint(9, (2,), generator=generator)).tolist()
    arrays = torch.tensor([[[p], [q]]]), torch.tensor([[[p0], [q0]]]), torch.tensor([[[float(m)], [float(n)]]])
    h = (p - p0) - (q - q0)
    odds = [math.exp(x) / (1 - math.exp(x)) for x in (p / m, q / n)]
    expected = {
        DpoConfig(beta=0.3): -math.log(logistic(0.3 * h)),
        DpoConfig(beta=0.3, label_smoothing=0.1): -0.9 * math.log(logistic(0.3 * h)) - 0.1 * math.log(logistic(-0.3 * h)),
        IpoConfig(beta=0.3): (h - 1 / 0.6) ** 2,
        SimpoConfig(beta=2.5, margin=0.7): -math.log(logistic(2.5 * p / m - 2.5 * q / n - 0.7)),
        OrpoConfig(weight=0.2): -p / m - 0.2 * math.log(logistic(math.log(odds[0] / odds[1]))),
    }
    for config, value in expected.items():
        losses, rewards = preference_losses(config, *arrays)
        assert losses.item() == pytest.approx(value, rel=1e-4), config.kind
        assert rewards.shape == (1, 2, 1)


@pytest.mark.parametrize("seed", range(3))
def test_kto_is_the_formula_of_its_paper(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    p, q, p0, q0, z = (-5 * torch.rand(5, generator=generator)).tolist()
    config = KtoConfig(beta=0.3, desirable_weight=1.5, undesirable_weight=0.5)
    losses, gains = kto_losses(config, torch.tensor([[[p], [q]]]), torch.tensor([[[p0], [q0]]]), torch.tensor([-z]))
    expected = [1.5 * (1 - logistic(0.3 * ((p - p0) + z))), 0.5 * (1 - logistic(0.3 * (-z - (q - q0))))]
    assert losses.flatten().tolist() == pytest.approx(expected, rel=1e-4)
    assert (gains.flatten() > 0).tolist() == [p - p0 > -z, q - q0 < -z]


class TwoTokens(Network):
    """Two tokens, the same logits everywhere: everything can be worked out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.logit = torch.nn.Parameter(torch.tensor([0.5, -0.2]))

    def forward(self, ids_BT: torch.Tensor, segments_BT: torch.Tensor) -> torch.Tensor:
        return self.logit.expand(*ids_BT.shape, 2)


def test_the_gradient_of_dpo_by_hand() -> None:
    network = TwoTokens()
    objective = Preference(PreferenceConfig(loss=DpoConfig(beta=0.5)), network, "fp32")
    chosen, rejected = np.array([[0, 0, 0, 1]]), np.array([[0, 1, 1, 1]])  # after a prompt of two: (0, 1) over (1, 1)
    batch = ExampleBatch(
        chosen, np.zeros((1, 4), np.int64), np.array([[0]]), np.array([[0]]), np.array([[2]]), None, rejected,
        np.zeros((1, 4), np.int64),
    )  # fmt: skip
    with torch.no_grad():
        network.logit += torch.tensor([0.3, 0.0])
    arrays = objective.prepare(batch, 0)
    assert arrays.lengths_B2K.tolist() == [[[2.0], [2.0]]]
    found = objective.losses(network, *(torch.from_numpy(array) for array in arrays))
    found.minimised.backward()
    # p - q = ln p(0) - ln p(1) = x0 - x1, so the loss is -ln s(0.5 (x0 - x1 - reference)), and its slope in x0
    # -0.5 (1 - s(0.5 * 0.3))
    assert found.nats.item() == pytest.approx(-math.log(logistic(0.15)), rel=1e-5)
    slope = -0.5 * (1 - logistic(0.15))
    assert network.logit.grad.tolist() == pytest.approx([slope, -slope], rel=1e-5)
    assert found.measured["reward_margin"].item() == pytest.approx(0.15, rel=1e-4)
    assert found.right.item() == 1.0


# --------------------------------------------------------------------------------------------------------------------- rows


@pytest.mark.parametrize("rendered", ["chat", "text"])
def test_answers_are_scored_as_if_each_stood_alone(rendered: str, corpora: dict[str, Path], tokenizer: Path) -> None:
    loaded = load_tokenizer(tokenizer)
    lessons = open_lessons(corpora[rendered], example.tiny_model(**MODEL), phase_of("simpo"), 1, Silent())
    torch.manual_seed(1)
    network = starting_network(example.tiny_model(**MODEL), lessons.vocab_size, None, lessons.head).eval()
    batch = lessons.loader.batch(0)
    arrays = lessons.objective_for(network).prepare(batch, 0)
    shards = PreferenceShards(corpora[rendered] / "train")
    checked = 0
    for row, examples in enumerate(batch.examples_BK):
        for place, number in enumerate(examples.tolist()):
            for which, shown in enumerate((shards.inputs, shards.targets)):
                asked = arrays.targets_B2T[row, which][arrays.segments_B2T[row, which] == place]
                if number < 0:
                    assert not len(asked)
                    continue
                said = rows(80)[number]
                text, prompt = said["chosen" if which == 0 else "rejected"], said["prompt"]
                alone = (
                    render([{"role": "user", "content": prompt}], loaded, chat_template=CHAT_TEMPLATE)
                    if rendered == "chat"
                    else loaded.encode_prompt(prompt)
                )
                answer = [*loaded.encode(text), loaded.special_ids["<|end|>"] if rendered == "chat" else 0]
                assert shown.document(number).tolist() == [*alone, *answer]
                assert asked[asked != IGNORED].tolist() == answer
                assert arrays.lengths_B2K[row, which, place] == len(answer)
                checked += 1
    assert checked > 10


@pytest.mark.parametrize("loss", ["dpo", "orpo"])
def test_a_batch_gives_the_sums_of_its_examples(loss: str, corpora: dict[str, Path]) -> None:
    lessons = open_lessons(corpora["chat"], example.tiny_model(**MODEL), phase_of(loss), 1, Silent())
    torch.manual_seed(1)
    network = starting_network(example.tiny_model(**MODEL), lessons.vocab_size, None, lessons.head).eval()
    objective = lessons.objective_for(network)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.02 * torch.randn_like(weight)
    batch = lessons.loader.batch(0)
    arrays = objective.prepare(batch, 0)
    with torch.no_grad():
        found = objective.losses(network, *parts_of(arrays, len(arrays[0]), "cpu")[0])
        shards = PreferenceShards(corpora["chat"] / "train")
        expected = 0.0
        for number in (int(one) for one in batch.examples_BK.flatten() if one >= 0):
            start = int(shards.answers[number])
            sums, lengths = [], []
            for model in (network, objective.reference):
                for side in (shards.inputs, shards.targets):
                    ids = torch.from_numpy(side.document(number))
                    if model is None:
                        sums.append(0.0)
                        continue
                    log_p = torch.log_softmax(model(ids[None, :-1]), -1)[0].gather(1, ids[1:, None])[start - 1 :]
                    sums.append(log_p.sum().item())
                    lengths.append(len(log_p))
            p, q, p0, q0 = sums
            if loss == "dpo":
                expected += -math.log(logistic(0.1 * ((p - p0) - (q - q0))))
            else:
                odds = [math.exp(x) / (1 - math.exp(x)) for x in (p / lengths[0], q / lengths[1])]
                expected += -p / lengths[0] - 0.1 * math.log(logistic(math.log(odds[0] / odds[1])))
    assert found.nats.item() == pytest.approx(expected, rel=1e-4)


def test_kto_of_a_batch_is_that_of_its_answers_one_by_one(corpora: dict[str, Path]) -> None:
    lessons = open_lessons(corpora["text"], example.tiny_model(**MODEL), phase_of("kto"), 1, Silent())
    torch.manual_seed(1)
    network = starting_network(example.tiny_model(**MODEL), lessons.vocab_size, None, lessons.head)
    objective = lessons.objective_for(network)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.05 * torch.randn_like(weight)
    batch = lessons.loader.batch(0)
    arrays = objective.prepare(batch, 0)
    assert network.training
    network.eval()
    shards = PreferenceShards(corpora["text"] / "train")

    def moved(prompt: list[int], answer: list[int]) -> float:
        """ln p / p0 of an answer after a prompt."""
        ids, sums = torch.tensor([[*prompt, *answer]]), []
        for model in (network, objective.reference):
            log_p = torch.log_softmax(model(ids[:, :-1]), -1)[0].gather(1, ids[0, 1:, None])
            sums.append(log_p[len(prompt) - 1 :].sum().item())
        return sums[0] - sums[1]

    with torch.no_grad():
        said = []
        for number in (int(one) for row in batch.examples_BK for one in row if one >= 0):
            start = int(shards.answers[number])
            said += [
                (ids[:start], ids[start:]) for ids in (s.document(number).tolist() for s in (shards.inputs, shards.targets))
            ]
        others = [answer for _, answer in said[1:] + said[:1]]
        z = max(0.0, sum(moved(prompt, answer) for (prompt, _), answer in zip(said, others, strict=True)) / len(said))
        ratios = [moved(*pair) for pair in said]
        found = objective.losses(network, *parts_of(arrays, len(arrays[0]), "cpu")[0])
    signs = [1, -1] * (len(said) // 2)
    expected = sum(1 - logistic(0.1 * sign * (ratio - z)) for sign, ratio in zip(signs, ratios, strict=True))
    assert arrays.divergence_B.tolist() == pytest.approx([z] * len(arrays[0]), rel=1e-3, abs=1e-5)
    assert objective.supervised(arrays) == len(said)
    assert found.nats.item() == pytest.approx(expected, rel=1e-4)


# ----------------------------------------------------------------------------------------------------------------- training


def test_what_is_preferred_is_learned(corpora: dict[str, Path], tmp_path: Path) -> None:
    options = {"epochs": 12, "optimizer": {"kind": "adamw", "lr": 3e-3}, "micro_batch_tokens": 256}
    example.run_training(corpora["chat"], tmp_path, model=example.tiny_model(**MODEL), phase=phase_of(**options))
    curve = [json.loads(row) for row in (tmp_path / "output" / "curve.jsonl").read_text().splitlines()]
    steps, validations = [row for row in curve if "loss" in row], [row for row in curve if "validation_loss" in row]
    assert steps[0]["loss"] == pytest.approx(math.log(2), rel=1e-3), "at the start the model is its reference"
    assert steps[0]["reward_margin"] == pytest.approx(0, abs=1e-4)
    assert validations[-1]["validation_accuracy"] > 0.9
    assert validations[-1]["validation_reward_margin"] > 0.1


@pytest.mark.parametrize(
    ("loss", "options"), [("dpo", {}), ("dpo", {"adapter": {"kind": "lora", "rank": 2}}), ("kto", {"average": {"decay": 0.9}})]
)
def test_stopped_and_resumed_is_the_same_run(
    loss: str, options: dict[str, Any], corpora: dict[str, Path], tmp_path: Path
) -> None:
    phase, model = phase_of(loss, epochs=3, micro_batch_tokens=256, **options), example.tiny_model(context=64, dropout=0.1)
    example.run_training(corpora["chat"], tmp_path / "whole", model=model, phase=phase)
    for stop_at in (1, 2):
        calls = iter(range(100))
        example.run_training(
            corpora["chat"],
            tmp_path / "stopped",
            model=model,
            phase=phase,
            stopping=lambda calls=calls, stop_at=stop_at: next(calls) >= stop_at,
        )
    example.run_training(corpora["chat"], tmp_path / "stopped", model=model, phase=phase)
    assert example.result(tmp_path / "stopped") == example.result(tmp_path / "whole")


def test_a_model_that_transformers_computes_learns_them_too(corpora: dict[str, Path], tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(1)
    GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=290, max_position_embeddings=64, **sizes)).save_pretrained(tmp_path / "start")
    model, phase = describe(tmp_path / "start"), phase_of(epochs=2, optimizer={"kind": "adamw", "lr": 3e-3})
    example.run_training(corpora["chat"], tmp_path, model=model, phase=phase, start=tmp_path / "start")
    rows = [json.loads(row) for row in (tmp_path / "output" / "curve.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[0] == pytest.approx(math.log(2), rel=1e-4)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rejected": ""}, "has no text in 'rejected'"),
        ({"prompt": " "}, "no text in the prompt"),
        ({"rejected": "yes"}, "twice"),
    ],
)
def test_what_is_no_preference_is_refused(changes: dict[str, str], said: str, tokenizer: Path, tmp_path: Path) -> None:
    splits = write(tmp_path / "documents", [{**row, "chosen": "yes", **changes} for row in rows(8)])
    (tmp_path / "tokens").mkdir()
    with pytest.raises(SourceError, match=said):
        tokenize_preferences(splits, tokenizer, tmp_path / "tokens", holds=PreferencesConfig(), progress=Silent(), threads=1)


def test_answers_by_themselves_are_learned_by_kto(tokenizer: Path, tmp_path: Path) -> None:
    single = [{**row, ("rejected", "chosen")[n % 3 == 0]: ""} for n, row in enumerate(rows(120))]  # a third without a liked one
    splits = write(tmp_path / "documents", single)
    for rendered in ("chat", "text"):
        (tmp_path / rendered).mkdir()
        holds = PreferencesConfig(unpaired=True, rendered=rendered)
        tokenize_preferences(splits, tokenizer, tmp_path / rendered, holds=holds, progress=Silent(), threads=1)
        lessons = open_lessons(tmp_path / rendered, example.tiny_model(**MODEL), phase_of("kto"), 1, Silent())
        network = starting_network(example.tiny_model(**MODEL), lessons.vocab_size, None, lessons.head)
        objective, batch = lessons.objective_for(network), lessons.loader.batch(0)
        arrays = objective.prepare(batch, 0)
        assert (arrays.lengths_B2K > 0).sum() == (batch.examples_BK >= 0).sum(), "one answer to each"
        for row, place in zip(*np.nonzero(batch.examples_BK >= 0), strict=True):
            number = int(batch.examples_BK[row, place])
            assert (arrays.lengths_B2K[row, :, place] > 0).tolist() == [bool(single[number][s]) for s in ("chosen", "rejected")]
    options = {"epochs": 12, "optimizer": {"kind": "adamw", "lr": 3e-3}, "micro_batch_tokens": 256}
    example.run_training(tmp_path / "chat", tmp_path, model=example.tiny_model(**MODEL), phase=phase_of("kto", **options))
    curve = [json.loads(row) for row in (tmp_path / "output" / "curve.jsonl").read_text().splitlines()]
    steps, validations = [row for row in curve if "loss" in row], [row for row in curve if "validation_loss" in row]
    assert steps[0]["loss"] == pytest.approx(0.5, rel=1e-3), "at the start the model is its reference"
    assert validations[-1]["validation_loss"] < 0.48
    assert validations[-1]["validation_accuracy"] > 0.9


def test_a_recipe_that_prefers(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows(80)))
    read = {"kind": "jsonl", "paths": [str(tmp_path / "rows.jsonl")], "text_column": "prompt"}
    sizes = {"batch_tokens": 512, "validation": {"every_tokens": 1024, "tokens": 256}}
    recipe = {
        "name": "prefers",
        "data": {
            "liked": {
                "read": [read],
                "holds": {"kind": "preferences"},
                "split": {"train": 0.7, "validation": 0.2, "test": 0.1},
            }
        },
        "tokenizer": {"kind": "bpe", "vocab_size": 300, "train_on": "liked"},
        "model": {"layers": 1, "width": 32, "heads": 2, "context": 64},
        "train": [{"name": "prefer", "on": "liked", "objective": {"kind": "preference"}, "epochs": 2, **sizes}],
    }
    runtime = Runtime(store=str(tmp_path / "store"), device="cpu", threads=1, workers=1, compile=False, isolate=False)
    done = run(recipe, runtime=runtime)
    assert done.status == "finished"
    assert build_report(done).phases[0].validation_loss.unit == "per pair of answers"
    assert load_tokenizer(Path(str(done.bundle))).chat_template == CHAT_TEMPLATE
    with pytest.raises(RecipeError, match=r"objective is causal, which learns from text, and data\.liked holds preferences"):
        open_project(recipe, {"train.0.objective": {"kind": "causal"}})
    with pytest.raises(RecipeError, match=r"unpaired is true, and train\.0\.objective\.loss compares two answers"):
        open_project(recipe, {"data.liked.holds.unpaired": True})
    open_project(recipe, {"data.liked.holds.unpaired": True, "train.0.objective.loss": {"kind": "kto"}})
    with pytest.raises(RecipeError, match=r"objective is preference, which the encoder 'bert' cannot learn"):
        open_project(recipe, {"model.kind": "bert"})
    with pytest.raises(RecipeError, match=r"audit\.0 \(memorization\) needs text that was trained on"):
        open_project(recipe, {"audit": [{"kind": "memorization"}]})
