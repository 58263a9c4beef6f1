"""What answers are worth, for `objective: {kind: grpo}`: training may not know evaluation, so its judge is made here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lmpipe.base.errors import RecipeError, TrainingError
from lmpipe.evaluation.code.problems import first_function, judge_all
from lmpipe.evaluation.code.sandbox import Limits
from lmpipe.training.grpo_config import FunctionReward, ProgramReward, Reward
from lmpipe.training.materials import Attempt, Judge


def judge_of(reward: Reward, file: Path | None, workers: int) -> Judge:
    """What judges as `reward` says.

    Args:
        reward: the recipe's.
        file: of a user's function.
        workers: programs that run at a time.

    Raises:
        RecipeError: when the file has no such function.
    """
    if isinstance(reward, FunctionReward):
        assert file is not None, "the graph hands in the file"
        return by_function(file, reward.function.rpartition(":")[2])
    return by_tests(reward, workers) if isinstance(reward, ProgramReward) else exact


def exact(attempts: Sequence[Attempt]) -> list[float]:
    """1 where the answer is the target.

    >>> exact([Attempt("1 + 1 =", " 2", "2"), Attempt("1 + 1 =", "3", "2")])
    [1.0, 0.0]
    """
    return [float(one.answer.strip() == one.target.strip()) for one in attempts]


def by_tests(reward: ProgramReward, workers: int) -> Judge:
    """1 where the program passes; the limits keep what it does inside the sandbox."""
    limits = Limits(wall_seconds=reward.wall_seconds, cpu_seconds=reward.cpu_seconds)

    def judge(attempts: Sequence[Attempt]) -> list[float]:
        programs = [one.prompt + first_function(one.answer) if reward.continues else one.answer for one in attempts]
        pairs = [(program, one.target) for program, one in zip(programs, attempts, strict=True)]
        unique = list(dict.fromkeys(pairs))  # equal answers to a prompt are run once
        passed = {
            pair: verdict.passed
            for pair, verdict in zip(unique, judge_all(unique, limits=limits, workers=workers), strict=True)
        }
        return [float(passed[pair]) for pair in pairs]

    return judge


def by_function(file: Path, name: str) -> Judge:
    """What a user's function says; it runs in this process, as any code of the user's.

    Raises:
        RecipeError: when the file has no such function.
    """
    spec = importlib.util.spec_from_file_location(f"reward_{file.stem}", file)
    assert spec is not None, "the name ends in .py"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(function):
        known = ", ".join(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise RecipeError(
            f"{file.name} has no function '{name}'",
            where="objective.reward.function",
            expected=f"one of: {known or 'none'}",
            fix="def reward(prompt: str, answer: str, target: str) -> float",
        )

    def judge(attempts: Sequence[Attempt]) -> list[float]:
        return [_called(function, one, name) for one in attempts]

    return judge


def _called(function: Callable[..., Any], attempt: Attempt, name: str) -> float:
    try:
        return float(function(*attempt))
    except Exception as error:
        raise TrainingError(
            f"the reward {name}({attempt.prompt[:40]!r}, {attempt.answer[:40]!r}, ...) failed: {type(error).__name__}: {error}",
            where="objective.reward.function",
            expected="a number for every answer, whatever it is",
        ) from error
