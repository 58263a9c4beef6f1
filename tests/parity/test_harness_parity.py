"""lm-evaluation-harness gives our model the scores that its own backend gives the exported one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from pyarrow.parquet import read_table

from lmpipe.base.errors import SourceError
from lmpipe.base.progress import Silent
from lmpipe.evaluation.comparison import compare
from lmpipe.evaluation.suite_config import SuiteConfig
from lmpipe.evaluation.suites import evaluate_suite
from lmpipe.models.families import save
from lmpipe.models.llama.config import LlamaConfig
from lmpipe.models.llama.model import Llama
from lmpipe.tokens.config import BpeConfig
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.training import train_on_texts

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))  # for `harness_tasks`
from harness_tasks import write_tasks

TASKS = ("choice", "rolling", "written")


def exported(folder: Path, seed: int) -> Llama:
    folder.mkdir()
    texts = ["It is said that the market of day 1 is in Arden. Bell, Corin and more, Dale: long days."] * 3
    train_on_texts(texts, BpeConfig(vocab_size=300, train_on="x"), folder, progress=Silent())
    torch.manual_seed(seed)
    model = Llama(LlamaConfig(layers=2, width=32, heads=2, context=48), 300).eval()
    for parameter in model.parameters():
        parameter.data.mul_(3)  # fresh weights find everything equally probable
    save(model, folder, end_of_text_id=0)
    return model


def ours(model: Llama, folder: Path, tasks: Path, output: Path, names: tuple[str, ...] = TASKS) -> dict[str, float]:
    output.mkdir()
    config = SuiteConfig(tasks=names)
    tokenizer = load_tokenizer(folder)
    found = evaluate_suite(config, model, tokenizer=tokenizer, folder=tasks, output=output, seed=1, progress=Silent())
    assert all(metric.interval for metric in found)
    assert all(metric.interval.low <= metric.value <= metric.interval.high for metric in found if metric.interval)
    return {metric.name: metric.value for metric in found}


def test_scores_are_those_of_its_own_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = write_tasks(tmp_path / "tasks")
    model = exported(tmp_path / "model", seed=1)
    values = ours(model, tmp_path / "model", tasks, tmp_path / "first")
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    monkeypatch.chdir(tasks)
    theirs = HFLM(pretrained=str(tmp_path / "model"), device="cpu", batch_size=4, dtype="float32")
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    expected = simple_evaluate(model=theirs, tasks=list(TASKS), task_manager=manager, bootstrap_iters=0)
    for name, value in values.items():
        _, task, metric = name.split(".")
        assert value == pytest.approx(expected["results"][task][f"{metric},none"], rel=1e-5), name
    assert len(values) == 5
    rows = {(row["task"], row["item"], row["metric"]): row for row in read_table(tmp_path / "first/items.parquet").to_pylist()}
    for task in TASKS:
        for sample in expected["samples"][task]:
            for metric in sample["metrics"]:
                value = sample[metric][0] if isinstance(sample[metric], tuple) else sample[metric]
                assert rows[task, sample["doc_id"], metric]["value"] == pytest.approx(value, abs=1e-3)


def test_two_models_are_set_against_each_other_item_by_item(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks")
    for seed, name in ((1, "first"), (2, "second")):
        ours(
            exported(tmp_path / f"model-{name}", seed),
            tmp_path / f"model-{name}",
            tasks,
            tmp_path / name,
            ("choice", "rolling"),
        )
    found = {one.name: one for one in compare(tmp_path / "first", tmp_path / "second")}
    assert found["suite.choice.acc"].test is not None
    bits = found["suite.rolling.bits_per_byte"]
    assert bits.interval is not None
    assert bits.interval.low <= bits.difference <= bits.interval.high
    assert all(one.verdict == "no difference" for one in compare(tmp_path / "first", tmp_path / "first"))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks")
    model = exported(tmp_path / "model", seed=1)

    def run(*names: str) -> None:
        config, tokenizer = SuiteConfig(tasks=names), load_tokenizer(tmp_path / "model")
        evaluate_suite(config, model, tokenizer=tokenizer, folder=tasks, output=tmp_path, seed=1, progress=Silent())

    with pytest.raises(SourceError, match="no task 'choise'") as raised:
        run("choise")
    assert "choice" in (raised.value.expected or "")
    (tasks / "data" / "items.jsonl").unlink()
    with pytest.raises(SourceError, match="could not read its tasks"):
        run("choice")
    assert not (tmp_path / "metrics.json").exists()
