"""Reinforcement: the paper's formulas, answers that are drawn the same way again, and a reward that rises."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import training_example as example

from lmpipe.base.errors import RecipeError, TrainingError
from lmpipe.base.progress import Silent
from lmpipe.base.runtime import Runtime
from lmpipe.data.holding import PairsConfig
from lmpipe.models import families
from lmpipe.models.drawing import Drawing
from lmpipe.models.generate import TextGenerator
from lmpipe.recipes.project import open_project
from lmpipe.recipes.rewarding import by_function, by_tests, exact
from lmpipe.recipes.running import run
from lmpipe.tokens.config import BpeConfig
from lmpipe.tokens.examples import tokenize_examples
from lmpipe.tokens.training import train_on_texts
from lmpipe.training.config import PhaseConfig
from lmpipe.training.grpo import advantages, clipped_losses, laid_out, token_log_probabilities, token_weights
from lmpipe.training.grpo_config import GrpoConfig, ProgramReward
from lmpipe.training.lessons import open_lessons
from lmpipe.training.loop import train
from lmpipe.training.materials import Attempt, Materials
from lmpipe.training.objectives import IGNORED
from lmpipe.training.starting import starting_network
from lmpipe.training.step import parts_of

MODEL = {"layers": 1, "width": 32, "context": 32, "dropout": 0.0}


def rewarded(attempts: Sequence[Attempt]) -> list[float]:
    """For the letter `a` in the answer."""
    return [float("a" in one.answer) for one in attempts]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_on_texts(["a b"] * 9, BpeConfig(vocab_size=262, train_on="c"), folder, progress=Silent())
    return folder


@pytest.fixture(scope="module")
def prompts(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some prompts and targets."""
    root = tmp_path_factory.mktemp("prompts")
    for side, count in (("train", 10), ("validation", 4), ("test", 1)):
        (root / "documents" / side).mkdir(parents=True)
        columns = {
            "id": [f"{side}-{n}" for n in range(count)],
            "text": [f"p{n}" for n in range(count)],
            "meta": [json.dumps({"target": f"t{n}"}) for n in range(count)],
        }
        pq.write_table(pa.table(columns), root / "documents" / side / "part-00000.parquet")
    (root / "tokens").mkdir()
    tokenize_examples(root / "documents", tokenizer, root / "tokens", holds=PairsConfig(), progress=Silent(), threads=1)
    return root / "tokens"


def phase_of(**options: Any) -> PhaseConfig:
    objective = {"kind": "grpo", "reward": {"kind": "exact"}, "group": 4, "answer_tokens": 3, **options.pop("objective", {})}
    values = {"name": "main", "on": "web", "tokens": 12 * 512, "batch_tokens": 512, "precision": "fp32", "row_tokens": 16}
    watched = {"validation": {"every_tokens": 2048, "tokens": 256}}
    return PhaseConfig.model_validate({**values, **watched, "objective": objective, **options})


def learn(
    prompts: Path,
    folder: Path,
    tokenizer: Path,
    *,
    judge: Callable[..., Any] = rewarded,
    stopping: Any = example.never,
    seed: int = 7,
    model: dict[str, Any] | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """The curve."""
    (folder / "output" / "observed").mkdir(parents=True, exist_ok=True)
    train(
        prompts,
        folder / "output",
        model=example.tiny_model(**{**MODEL, **(model or {})}),
        phase=phase_of(**options),
        seed=seed,
        device=example.Device("cpu", 1, False),
        scratch=folder / "scratch",
        observed=folder / "output" / "observed",
        progress=Silent(),
        stopping=stopping,
        materials=Materials(tokenizer=tokenizer, judge=judge),
    )
    path = folder / "output" / "curve.jsonl"
    return [json.loads(row) for row in path.read_text().splitlines()] if path.is_file() else []


# ----------------------------------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize("seed", range(4))
def test_a_tokens_loss_is_the_papers(seed: int) -> None:
    generator = np.random.default_rng(seed)
    p, drawn, q = np.log(generator.uniform(0.05, 0.95, 3))
    advantage = generator.normal()
    config = GrpoConfig(reward={"kind": "exact"}, clip=0.1, clip_higher=0.3, beta=0.5)
    arrays = (torch.tensor([[value]]) for value in (p, drawn, q, advantage))
    loss, divergence, clipped = clipped_losses(config, *arrays)
    ratio, k3 = math.exp(p - drawn), math.exp(q - p) - (q - p) - 1
    surrogate = min(ratio * advantage, max(0.9, min(1.3, ratio)) * advantage)
    assert loss.item() == pytest.approx(-surrogate + 0.5 * k3, rel=1e-6)
    assert divergence.item() == pytest.approx(k3, rel=1e-6)
    assert bool(clipped.item()) == ((ratio > 1.3 and advantage > 0) or (ratio < 0.9 and advantage < 0))


def test_groups_are_normalised_each_by_itself() -> None:
    rewards = np.array([0, 0, 1, 3, 5, 5, 5, 5], np.float32)
    first = rewards[:4]
    found = advantages(rewards, 4)
    assert found[:4] == pytest.approx((first - first.mean()) / first.std(), rel=1e-3)
    assert found[4:].tolist() == [0] * 4
    lengths = np.array([1, 3, 4])
    assert token_weights(lengths, "answer") == pytest.approx([1, 1 / 3, 1 / 4])
    assert token_weights(lengths, "tokens") == pytest.approx([3 / 8] * 3)


def test_answers_are_drawn_from_the_distribution_and_told_as_drawn() -> None:
    torch.manual_seed(1)
    network = families.build(example.tiny_model(**MODEL), 12).eval()
    with torch.no_grad():
        network.head.weight.mul_(20)
    asked = Drawing(prompt_ids=[0, 5], max_new_tokens=2, temperature=0.7, stop_ids=(3,), seed=1)
    (_, drawn), (_, again) = (next(TextGenerator(network, known_ids=10).answers([asked], 2000)) for _ in range(2))
    assert drawn == again
    assert all(3 not in answer[:-1] for answer in drawn)
    assert all(len(answer) == 2 for answer in drawn if answer[0] != 3)
    with torch.no_grad():
        wanted = torch.softmax(network(torch.tensor([[0, 5]]))[0, -1, :10] / 0.7, -1).numpy()
    found = np.bincount([answer[0] for answer in drawn], minlength=10) / 2000
    assert found == pytest.approx(wanted, abs=0.04)
    ids, targets, segments = laid_out([([0, 5], [7, 3]), ([0, 5, 6], [8])], 8, 0)
    assert targets.tolist() == [[-100, 7, 3, *[-100] * 5], [-100, -100, 8, *[-100] * 5]]
    told = token_log_probabilities(network, *(torch.from_numpy(array) for array in (ids, targets, segments)), 0.7)
    with torch.no_grad():
        alone = torch.log_softmax(network(torch.tensor([[0, 5, 7]]))[0] / 0.7, -1)
    assert told[0].tolist() == pytest.approx([0, alone[1, 7].item(), alone[2, 3].item(), *[0] * 5], abs=1e-5)


def test_the_gradient_is_the_policy_gradient_when_answers_are_fresh(prompts: Path, tokenizer: Path) -> None:
    model, materials = (
        example.tiny_model(**MODEL),
        Materials(tokenizer=tokenizer, judge=lambda some: [len(a.answer) for a in some]),
    )
    lessons = open_lessons(prompts, model, phase_of(objective={"beta": 0.1}), 1, Silent(), materials)
    torch.manual_seed(1)
    network = starting_network(model, lessons.vocab_size, None, lessons.head)
    objective = lessons.objective_for(network)
    arrays = objective.prepare(lessons.loader.batch(0), 0)
    (part,) = parts_of(arrays, len(arrays[0]), "cpu")
    objective.losses(network, *part).minimised.backward()
    found = network.embedding.weight.grad.clone()
    network.zero_grad()
    log_p = token_log_probabilities(network, *part[:3], 1.0)  # D has no slope where the weights are the reference's
    asked = (part[1] != IGNORED).float()
    (-(part[3][:, None] * log_p * asked / asked.sum(1, keepdim=True)).sum()).backward()
    assert torch.allclose(found, network.embedding.weight.grad, atol=1e-5)


# ----------------------------------------------------------------------------------------------------------------- training


def _reached(calls: Iterator[int], stop_at: int) -> bool:
    return next(calls) >= stop_at


def test_stopped_and_resumed_is_the_same_run(prompts: Path, tokenizer: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"micro_batch_tokens": 128, "model": {"dropout": 0.1}}
    learn(prompts, tmp_path / "whole", tokenizer, **options)
    for stop_at in (3, 5):
        calls = iter(range(100))
        learn(prompts, tmp_path / "stopped", tokenizer, stopping=partial(_reached, calls, stop_at), **options)
    learn(prompts, tmp_path / "stopped", tokenizer, **options)
    assert example.result(tmp_path / "whole") == example.result(tmp_path / "stopped")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_reward_rises(seed: int, prompts: Path, tokenizer: Path, tmp_path: Path) -> None:
    options = {"tokens": 80 * 1024, "batch_tokens": 1024, "optimizer": {"kind": "adamw", "lr": 1e-2}}
    curve = learn(prompts, tmp_path, tokenizer, seed=seed, objective={"group": 16, "clip_higher": 0.28}, **options)
    rewards = [row["reward"] for row in curve if "loss" in row]
    assert np.mean(rewards[:5]) < 0.2
    assert np.mean(rewards[-5:]) > 0.9
    held_out = [-row["validation_loss"] for row in curve if "validation_loss" in row]
    assert held_out[-1] > 0.9
    assert all(row["divergence"] >= 0 for row in curve if "loss" in row)


def test_what_cannot_be_rewarded_is_refused(prompts: Path, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="of 32 answers 0 have a reward that is a finite number"):
        learn(prompts, tmp_path / "a", tokenizer, judge=lambda some: [math.nan] * len(some))
    with pytest.raises(TrainingError, match="an answer of 30 tokens take 32 positions, and a row has 16"):
        learn(prompts, tmp_path / "b", tokenizer, objective={"answer_tokens": 30})
    with pytest.raises(TrainingError, match="has room for 2 rows of 16"):
        learn(prompts, tmp_path / "c", tokenizer, batch_tokens=32)


# ------------------------------------------------------------------------------------------------------------------ rewards


def test_rewards(tmp_path: Path) -> None:
    assert exact([Attempt("1 + 1 =", " 2\n", "2"), Attempt("1 + 1 =", "3", "2")]) == [1.0, 0.0]
    path = tmp_path / "mine.py"
    path.write_text("def length(prompt, answer, target):\n    return len(answer) - len(target)\n")
    assert by_function(path, "length")([Attempt("p", "abc", "a")]) == [2.0]
    with pytest.raises(RecipeError, match=r"mine\.py has no function 'size'"):
        by_function(path, "size")
    with pytest.raises(TrainingError, match="failed: TypeError"):
        by_function(path, "length")([Attempt("p", "abc", None)])


def test_tests_are_a_reward() -> None:
    judge = by_tests(ProgramReward(), workers=2)
    prompt, target = "def double(x):\n", "assert double(4) == 8\n"
    answers = ("    return 2 * x\n", "    return x\n", "    return 2 * x\n\nimport nothing_there\n", "    return 2 * x\n")
    assert judge([Attempt(prompt, answer, target) for answer in answers]) == [1.0, 0.0, 0.0, 1.0]


def test_a_recipe_with_a_function_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": f"p{n}", "target": f"t{n}"}) for n in range(40)))
    (tmp_path / "mine.py").write_text("def reward(prompt, answer, target):\n    return float('a' in answer)\n")
    reward = {"kind": "function", "function": f"{tmp_path}/mine.py:reward"}
    objective = {"kind": "grpo", "reward": reward, "group": 4, "answer_tokens": 4, "rendered": "chat"}
    sizes = {"tokens": 2048, "batch_tokens": 1024, "validation": {"every_tokens": 2048, "tokens": 256}}
    recipe = {
        "name": "rewarded",
        "data": {
            "asked": {
                "read": [{"kind": "jsonl", "paths": [str(tmp_path / "rows.jsonl")]}],
                "holds": {"kind": "pairs"},
                "split": {"train": 0.7, "validation": 0.2, "test": 0.1},
            }
        },
        "tokenizer": {"kind": "byte"},
        "model": {"layers": 1, "width": 16, "heads": 2, "context": 64},
        "train": [{"name": "learn", "on": "asked", "objective": objective, **sizes}],
    }
    runtime = Runtime(store=str(tmp_path / "store"), device="cpu", threads=1, workers=1, compile=False, isolate=False)
    first = run(recipe, runtime=runtime)
    assert first.status == "finished"
    (tmp_path / "there").mkdir()
    (tmp_path / "mine.py").rename(tmp_path / "there" / "mine.py")
    moved = {"train.0.objective.reward.function": f"{tmp_path}/there/mine.py:reward"}
    assert run(recipe, moved, runtime=runtime).folder("train-learn") == first.folder("train-learn"), "wherever it lies"
    (tmp_path / "there" / "mine.py").write_text("def reward(prompt, answer, target):\n    return float('b' in answer)\n")
    assert run(recipe, moved, runtime=runtime).folder("train-learn") != first.folder("train-learn"), "another judge"
    with pytest.raises(RecipeError, match=r"there is no file 'nowhere\.py'"):
        open_project(recipe, {"train.0.objective.reward.function": "nowhere.py:reward"}).stages(runtime)
    with pytest.raises(RecipeError, match=r"objective is grpo, which the encoder-decoder 't5' cannot learn"):
        open_project(recipe, {"model.kind": "t5"})
    with pytest.raises(RecipeError, match=r"clip_higher 0\.1 is below clip 0\.2"):
        open_project(recipe, {"train.0.objective.clip_higher": 0.1})
