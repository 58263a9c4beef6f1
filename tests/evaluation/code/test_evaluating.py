"""Programs drawn from a model, counted and chosen; a model that writes what the test tells it to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from lmpipe.base.errors import ModelError, SourceError
from lmpipe.base.progress import Silent
from lmpipe.evaluation.code.config import ProgramsConfig
from lmpipe.evaluation.code.evaluating import PROBLEMS, evaluate_programs
from lmpipe.evaluation.code.passing import pass_at
from lmpipe.evaluation.code.sandbox import strongest_walls
from lmpipe.evaluation.comparison import compare
from lmpipe.evaluation.measuring import evaluate_examples
from lmpipe.models.network import Decoder
from lmpipe.tokens.config import ByteConfig
from lmpipe.tokens.tokenizer import Tokenizer, load_tokenizer
from lmpipe.tokens.training import train_on_texts

pytestmark = pytest.mark.skipif(strongest_walls() is None, reason="this system offers no walls for model-written programs")

PROBLEM = {
    "task_id": "made/0",
    "prompt": 'def add(a, b):\n    """Add.\n    >>> add(2, 2)\n    4\n    """\n',
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n",
}
OTHER = {
    **PROBLEM,
    "task_id": "made/1",
    "prompt": PROBLEM["prompt"].replace("4", "0"),
    "test": "def check(f):\n    assert f(2, 3) == -1\n",
}
WRITTEN = ("    return a + b\n", "    return a * b\n", "    return b + a\n", "    return a -\n")


@dataclass
class Scripts:
    """Which text each row follows; None: a prompt was read, and all texts begin alike."""

    of_row: list[int | None]
    length: int = 0
    padding_B: Tensor | None = None

    def take(self, rows: Tensor, drop: int, room: int) -> Scripts:
        followed = [self.of_row[row] for row in rows.tolist()]
        places = [place % len(WRITTEN) if one is None else one for place, one in enumerate(followed)]
        return Scripts([*places], self.length - drop)

    def join(self, others: Sequence[Scripts], room: int) -> Scripts:
        raise AssertionError("prompts of one length are read together")


class Scripted(Decoder):
    """The i-th answer to every prompt is the i-th text, whatever is asked; then end-of-text."""

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
        super().__init__()
        self.config = SimpleNamespace(context=256)
        self.vocab_size = tokenizer.vocab_size
        self.head = nn.Identity()
        self.weight = nn.Parameter(torch.zeros(1))
        self.rows = [[*tokenizer.encode(text), tokenizer.end_of_text_id] for text in texts]

    def new_cache(self, rows: int, length: int) -> list[Any]:
        return [Scripts([None] * rows)]

    def hidden(
        self,
        ids_BT: Tensor,
        segments_BT: Tensor | None = None,
        cache: Sequence[Any] | None = None,
        prefix_BT: Tensor | None = None,
    ) -> Tensor:
        assert cache is not None
        logits_BTV = torch.full((len(ids_BT), 1, self.vocab_size), -1e9)
        for row in range(len(ids_BT)):
            script = self.rows[cache[0].of_row[row] or 0]
            logits_BTV[row, 0, script[min(cache[0].length, len(script) - 1)]] = 0.0
        cache[0].length += 1
        return logits_BTV


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("bytes")
    train_on_texts([], ByteConfig(), folder, progress=Silent())
    return load_tokenizer(folder)


def config(**changes: Any) -> ProgramsConfig:
    asked = {"name": "made", "file": "p.jsonl", "format": "humaneval", "samples": 4, "at": [1, 2], "submissions": 1}
    return ProgramsConfig.model_validate_json(json.dumps({**asked, "max_new_tokens": 24, **changes}))


def evaluate(folder: Path, model: Decoder, tokenizer: Tokenizer, **changes: Any) -> dict[str, float]:
    folder.mkdir(exist_ok=True)
    (folder / "p.jsonl").write_text(json.dumps(PROBLEM) + "\n" + json.dumps(OTHER) + "\n", encoding="utf-8")
    (folder / "scratch").mkdir(exist_ok=True)
    given = {"file": folder / "p.jsonl", "output": folder, "scratch": folder / "scratch", "seed": 1, "workers": 2}
    found = evaluate_programs(config(**changes), model, tokenizer=tokenizer, progress=Silent(), **given)
    return {metric.name: metric.value for metric in found}


def test_right_ones_are_counted_and_few_are_handed_in(tmp_path: Path, tokenizer: Tokenizer) -> None:
    values = evaluate(tmp_path / "run", Scripted(tokenizer, WRITTEN), tokenizer)
    assert list(values) == config().metric_names()
    assert values["programs.made.pass_at_1"] == pytest.approx((pass_at(4, 2, 1) + 0) / 2)
    assert values["programs.made.pass_at_2"] == pytest.approx((pass_at(4, 2, 2) + 0) / 2)
    assert values["programs.made.submitted_1"] == 0.5, "two programs behave alike, so they are handed in before a * b"
    rows = [json.loads(line) for line in (tmp_path / "run" / PROBLEMS).read_text(encoding="utf-8").splitlines()]
    assert rows[0]["ended"] == {"error": 1, "passed": 2, "wrong": 1}
    assert (rows[0]["passed_shown"], rows[0]["clusters"], rows[0]["solved"]) == (3, [2, 1], True)
    assert rows[0]["right_program"].endswith("return a + b\n")
    assert (rows[1]["right"], rows[1]["right_program"], rows[1]["submitted"]) == (0, None, [])


def test_what_was_drawn_before_a_kill_is_not_drawn_again(tmp_path: Path, tokenizer: Tokenizer) -> None:
    whole = evaluate(tmp_path / "run", Scripted(tokenizer, WRITTEN), tokenizer)
    (tmp_path / "run" / "scratch" / "00001.json").unlink()
    for file in ("metrics.json", "examples.parquet", PROBLEMS):
        (tmp_path / "run" / file).unlink()
    worse = Scripted(tokenizer, ["    return 0\n"] * 4)  # would lower the first problem's count
    assert evaluate(tmp_path / "run", worse, tokenizer) == whole


def test_none_solved_has_an_interval_with_width(tmp_path: Path, tokenizer: Tokenizer) -> None:
    evaluate(tmp_path / "none", Scripted(tokenizer, ["    return 0\n"] * 4), tokenizer)
    for metric in evaluate_examples(tmp_path / "none"):
        assert metric.interval is not None
        assert (metric.value, metric.interval.low) == (0.0, 0.0)
        assert metric.interval.high == pytest.approx(binomtest(0, 2).proportion_ci(method="wilson").high)


def test_two_models_are_compared_problem_by_problem(tmp_path: Path, tokenizer: Tokenizer) -> None:
    evaluate(tmp_path / "first", Scripted(tokenizer, ["    return 0\n"] * 4), tokenizer)
    evaluate(tmp_path / "second", Scripted(tokenizer, WRITTEN), tokenizer)
    found = {one.name: one for one in compare(tmp_path / "first", tmp_path / "second")}
    assert found["programs.made.pass_at_1"].difference == pytest.approx(0.25)
    assert found["programs.made.pass_at_1"].interval is not None


def test_what_cannot_be_asked_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = Scripted(tokenizer, WRITTEN)
    with pytest.raises(ModelError, match="context has 256"):
        evaluate(tmp_path / "run", model, tokenizer, max_new_tokens=256)
    with pytest.raises(SourceError, match=r"line 1 has no .*text"):
        evaluate(tmp_path / "run", model, tokenizer, format="mbpp")
    with pytest.raises(ValueError, match="expected samples: 10 at least"):
        config(submissions=10)
