"""Distillation: the divergence is torch's, a pupil comes nearer to its teacher, and another tokenizer is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import training_example as example

from lmpipe.base.errors import ModelError, SourceError
from lmpipe.base.progress import Silent
from lmpipe.base.runtime import Runtime
from lmpipe.models import families
from lmpipe.models.loading import load_network
from lmpipe.recipes.project import open_project
from lmpipe.recipes.running import run
from lmpipe.tokens.config import BpeConfig
from lmpipe.tokens.loader import Loader
from lmpipe.tokens.shards import open_shards
from lmpipe.tokens.training import train_on_texts
from lmpipe.training.distillation import softened_divergence
from lmpipe.training.loop import train
from lmpipe.training.materials import Materials


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_on_texts(["a b c"] * 9, BpeConfig(vocab_size=270, train_on="c"), folder, progress=Silent())
    return folder


@pytest.fixture(scope="module")
def teacher(corpus: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned to count, in a folder with its tokenizer."""
    folder = tmp_path_factory.mktemp("teacher")
    phase = example.tiny_phase(tokens=100 * 256, batch_tokens=256, optimizer={"kind": "adamw", "lr": 1e-2})
    example.run_training(corpus, folder, phase=phase)
    for path in tokenizer.iterdir():
        shutil.copy(path, folder / "output" / "last")
    return folder / "output" / "last"


def learn(corpus: Path, folder: Path, teacher: Path, tokenizer: Path, stopping: Any = example.never, **options: Any) -> None:
    objective = {"kind": "distillation", "teacher": "teacher", **options.pop("objective", {})}
    phase = example.tiny_phase(objective=objective, **options)
    (folder / "observed").mkdir(parents=True, exist_ok=True)
    (folder / "output").mkdir(exist_ok=True)
    train(
        corpus,
        folder / "output",
        model=example.tiny_model(layers=1, width=16),
        phase=phase,
        seed=7,
        device=example.Device("cpu", 1, False),
        scratch=folder / "scratch",
        observed=folder / "observed",
        progress=Silent(),
        stopping=stopping,
        materials=Materials(tokenizer=tokenizer, teacher=teacher),
    )


def test_the_divergence_is_torchs() -> None:
    torch.manual_seed(1)
    student, teacher = torch.randn(2, 5, 7), torch.randn(2, 5, 7)
    asked = torch.rand(2, 5) > 0.3
    rows = [F.log_softmax(one[asked] / 1.7, dim=-1) for one in (student, teacher)]
    expected = F.kl_div(*rows, log_target=True, reduction="sum")
    assert softened_divergence(student, teacher, asked, 1.7).item() == pytest.approx(expected.item(), rel=1e-5)
    assert softened_divergence(teacher, teacher, asked, 1.7).item() == pytest.approx(0, abs=1e-5)


def test_a_pupil_comes_nearer_to_its_teacher(corpus: Path, teacher: Path, tokenizer: Path, tmp_path: Path) -> None:
    options = {"tokens": 60 * 256, "batch_tokens": 256, "optimizer": {"kind": "adamw", "lr": 1e-2}}
    learn(corpus, tmp_path, teacher, tokenizer, objective={"weight": 1.0, "temperature": 1.0}, **options)
    curve = [json.loads(row) for row in (tmp_path / "output" / "curve.jsonl").read_text().splitlines()]
    apart = [row["validation_divergence"] for row in curve if "validation_loss" in row]
    assert apart[-1] < 0.75 * apart[0]
    batch = Loader(open_shards(corpus / "validation"), context_length=32, batch_size=4, seed=0).batch(0)
    ids, _, segments = (torch.from_numpy(array) for array in batch)
    found = []
    for folder in (teacher, tmp_path / "output" / "last"):
        with torch.no_grad():
            found.append(F.log_softmax(load_network(folder)(ids, segments), dim=-1))
    fresh = families.build(example.tiny_model(layers=1, width=16), example.VOCABULARY).eval()
    with torch.no_grad():
        before = F.kl_div(F.log_softmax(fresh(ids, segments), dim=-1), found[0], log_target=True, reduction="sum")
    after = F.kl_div(found[1], found[0], log_target=True, reduction="sum")
    assert after < 0.8 * before


def test_stopped_and_resumed_is_the_same_run(corpus: Path, teacher: Path, tokenizer: Path, tmp_path: Path) -> None:
    learn(corpus, tmp_path / "whole", teacher, tokenizer, micro_batch_tokens=64)
    calls = iter(range(100))
    learn(corpus, tmp_path / "stopped", teacher, tokenizer, lambda: next(calls) >= 5, micro_batch_tokens=64)
    learn(corpus, tmp_path / "stopped", teacher, tokenizer, micro_batch_tokens=64)
    assert example.result(tmp_path / "whole") == example.result(tmp_path / "stopped")


def test_another_tokenizer_is_refused_with_numbers(corpus: Path, teacher: Path, tokenizer: Path, tmp_path: Path) -> None:
    train_on_texts(["a b c d e f"] * 9, BpeConfig(vocab_size=266, train_on="c"), tmp_path, progress=Silent())
    with pytest.raises(ModelError, match=r"another tokenizer: \d+ tokens, here \d+; \d+ have the same id"):
        learn(corpus, tmp_path / "run", teacher, tmp_path)
    shorter = tmp_path / "shorter"
    families.save(families.build(example.tiny_model(context=16), example.VOCABULARY), shorter, end_of_text_id=0)
    for path in tokenizer.iterdir():
        shutil.copy(path, shorter)
    with pytest.raises(ModelError, match="the teacher sees 16 tokens, and rows have 32"):
        learn(corpus, tmp_path / "run", shorter, tokenizer)


def test_the_teacher_enters_identities_by_its_bytes(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text(f"the number {number} stands in a book that is read. " * 12)
    sizes = {"tokens": 512, "batch_tokens": 256, "validation": {"every_tokens": 512, "tokens": 128}}
    recipe: dict[str, Any] = {
        "name": "base",
        "data": {"books": {"read": [{"kind": "text", "paths": [str(tmp_path / "*.txt")]}]}},
        "tokenizer": {"kind": "bpe", "vocab_size": 280, "train_on": "books"},
        "model": {"layers": 1, "width": 32, "heads": 2, "context": 64},
        "train": [{"name": "main", "on": "books", **sizes}],
    }
    runtime = Runtime(store=str(tmp_path / "store"), device="cpu", threads=1, workers=1, compile=False, isolate=False)
    base = run(recipe, runtime=runtime)
    shutil.copytree(str(base.bundle), tmp_path / "elsewhere")

    def distilled(teacher: str) -> dict[str, Any]:
        phase = {**recipe["train"][0], "objective": {"kind": "distillation", "teacher": teacher}}
        return {**recipe, "name": "pupil", "model": {**recipe["model"], "width": 16}, "train": [phase]}

    first = run(distilled(str(base.bundle)), runtime=runtime)
    assert first.status == "finished"
    again = run(distilled(str(tmp_path / "elsewhere")), runtime=runtime)
    assert again.folder("train-main") == first.folder("train-main"), "wherever the teacher lies"
    with pytest.raises(SourceError, match="no model 'nowhere'"):
        open_project(distilled("nowhere")).stages(runtime)
