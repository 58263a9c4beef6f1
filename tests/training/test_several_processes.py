"""Two real processes (gloo) train what one trains: the same rows of the same batches, added up.

All runs of two processes are made by one pair, one run after the other: starting a pair takes longer than all of them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import training_example as example

from lmpipe.base.errors import RecipeError, TrainingError
from lmpipe.base.progress import Silent
from lmpipe.base.runtime import Runtime
from lmpipe.recipes.project import check_processes, open_project
from lmpipe.training.checkpoint import newest_step
from lmpipe.training.config import why_not_sharded
from lmpipe.training.job import TrainingJob
from lmpipe.training.launching import Where, train_in_processes
from lmpipe.training.ranks import Ranks

DRIVER = Path(__file__).parent / "training_example.py"
PLAIN = {"dropout": 0.0}
FEW: dict[str, dict[str, Any]] = {
    "whole rows": {"model": PLAIN},
    "five rows": {"model": PLAIN, "phase": {"batch_tokens": 160, "micro_batch_tokens": 64}},
}
MORE: dict[str, dict[str, Any]] = {
    "experts": {"model": {"kind": "mixtral", "experts": 4, **PLAIN}, "phase": {"micro_batch_tokens": 64}},
    "masked": {"model": {"kind": "bert", **PLAIN}, "phase": {"objective": {"kind": "masked"}}},
    "muon, averaged": {  # it turns matrices in bf16, which magnifies roundings: compared in the same parts
        "model": PLAIN,
        "phase": {"optimizer": {"kind": "muon"}, "average": {"decay": 0.9}, "micro_batch_tokens": 64},
    },
    "lora": {"model": PLAIN, "phase": {"adapter": {"kind": "lora", "rank": 4}}},
    "pruned": {"model": PLAIN, "phase": {"sparsity": {"kind": "magnitude", "share": 0.5}}},
    "ended early": {"model": PLAIN, "phase": {"early_stopping": {"patience": 1, "min_delta": 100.0}}},
    "skipped": {"model": PLAIN, "phase": {"tokens": 24 * 128, "on_spike": {"window": 8, "deviations": 1.01}}},
    "rolled back": {
        "model": PLAIN,
        "phase": {"tokens": 24 * 128, "on_spike": {"window": 8, "deviations": 1.01, "action": "roll_back"}},
    },
}
IN_PARTS: dict[str, dict[str, Any]] = {
    "llama": {"model": PLAIN, "phase": {"micro_batch_tokens": 32}},
    "untied": {
        "model": {"tie_embeddings": False, **PLAIN},
        "phase": {"average": {"decay": 0.9}, "optimizer": {"kind": "lion"}},
    },
    "experts": MORE["experts"],
    "masked": MORE["masked"],
    "lora": MORE["lora"],
    "rolled back": MORE["rolled back"],
    "recomputed": {"model": PLAIN, "phase": {"checkpoint_activations": True}},
}
SHARD = {"device": {"shard": True}}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


def in_two_processes(corpus: Path, folder: Path, cases: list[dict[str, Any]]) -> None:
    port = str(free_port())
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    command = [sys.executable, str(DRIVER), str(corpus), str(folder), json.dumps(cases)]
    pair = [subprocess.Popen(command, env={**environment, "RANK": rank}) for rank in ("0", "1")]
    assert [process.wait(timeout=120) for process in pair] == [0, 0]


def named(cases: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, **case} for name, case in cases.items()]


@pytest.fixture(scope="module")
def few(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders with the runs of one process, and of two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for case in named(FEW):
        example.run_case(corpus, one, case)
    example.run_case(corpus, two, {"name": "begun in one", "model": PLAIN, "stop_after": 5})
    resumed = {"begun in one": {"model": PLAIN}, "begun in two": {"model": PLAIN, "stop_after": 5}}
    in_two_processes(corpus, two, named({**FEW, **resumed}))
    return one, two


@pytest.fixture(scope="module")
def more(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """As `few`, of the longer list."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for case in named(MORE):
        example.run_case(corpus, one, case)
    dropout = [{"name": "dropout"}, {"name": "dropout, stopped", "stop_after": 5}, {"name": "dropout, stopped"}]
    in_two_processes(corpus, two, [*named(MORE), *dropout])
    return one, two


@pytest.fixture(scope="module")
def in_parts(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """As `few`, of weights that are divided among the two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for case in named(IN_PARTS):
        example.run_case(corpus, one, case)
    example.run_case(corpus, two, {"name": "begun whole", **IN_PARTS["llama"], "stop_after": 5})
    resumed = {"begun whole": IN_PARTS["llama"], "begun in parts": {**IN_PARTS["llama"], "stop_after": 5}}
    in_two_processes(corpus, two, named({name: {**case, **SHARD} for name, case in {**IN_PARTS, **resumed}.items()}))
    return one, two


def assert_agree(one: Path, two: Path) -> None:
    """Losses and weights within 1e-5 of one another, and the same steps taken."""
    rows, others = (example.curve(folder) for folder in (one, two))
    assert [(row["step"], row.keys()) for row in rows] == [(row["step"], row.keys()) for row in others]
    for row, other in zip(rows, others, strict=True):
        losses = {key: value for key, value in row.items() if "loss" in key}
        assert {key: other[key] for key in losses} == pytest.approx(losses, rel=1e-5)
        assert other.get("gradient_norm", 0.0) == pytest.approx(row.get("gradient_norm", 0.0), rel=1e-5)
    expected, found = example.weights(one), example.weights(two)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        about_zero = 1e-6 * tensor.numel() ** 0.5  # a key's bias has no gradient but rounding
        assert (found[name] - tensor).norm() <= 1e-5 * tensor.norm() + about_zero, name


@pytest.mark.parametrize("name", FEW)
def test_two_processes_agree_with_one(name: str, few: tuple[Path, Path]) -> None:
    one, two = few
    assert_agree(one / name, two / name)


def test_a_run_goes_on_in_two_processes(few: tuple[Path, Path]) -> None:
    one, two = few
    assert_agree(one / "whole rows", two / "begun in one")


def test_a_run_goes_on_in_one_process(corpus: Path, few: tuple[Path, Path]) -> None:
    one, two = few
    example.run_case(corpus, two, {"name": "begun in two", "model": PLAIN})
    assert_agree(one / "whole rows", two / "begun in two")


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_whatever_is_trained_two_processes_agree_with_one(name: str, more: tuple[Path, Path]) -> None:
    one, two = more
    assert_agree(one / name, two / name)


@pytest.mark.slow
def test_incidents_are_met_by_both(more: tuple[Path, Path]) -> None:
    _, two = more
    for name, key in (("skipped", "skipped"), ("rolled back", "rolled_back_from")):
        assert any(key in row for row in example.curve(two / name))


@pytest.mark.slow
def test_each_process_draws_its_own_dropout_and_resumes_it(more: tuple[Path, Path]) -> None:
    _, two = more
    assert example.result(two / "dropout, stopped") == example.result(two / "dropout")


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_PARTS)
def test_weights_in_parts_learn_what_whole_ones_learn(name: str, in_parts: tuple[Path, Path]) -> None:
    one, two = in_parts
    assert_agree(one / name, two / name)
    rows, others = (example.lines(folder, "statistics.jsonl") for folder in (one / name, two / name))
    for row, other in zip(rows, others, strict=True):
        assert {key: other[key] for key in row} == {key: pytest.approx(value, rel=1e-4) for key, value in row.items()}


@pytest.mark.slow
def test_a_checkpoint_of_parts_is_one_of_whole_weights(corpus: Path, in_parts: tuple[Path, Path]) -> None:
    one, two = in_parts
    example.run_case(corpus, two, {"name": "begun in parts", **IN_PARTS["llama"]})
    for name in ("begun whole", "begun in parts"):
        assert_agree(one / "llama", two / name)


# -------------------------------------------------------------------------------------------- started, stopped and killed


class Watching:
    """Does something once the first figures come; keeps what a user would be told."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.notes: list[str] = []
        self.then, self.came = then, False

    def update(self, done: float, total: float | None, unit: str, **values: float | str) -> None:
        """Act once."""
        if not self.came:
            self.came = True
            self.then()

    def note(self, text: str) -> None:
        """Keep."""
        self.notes.append(text)


def job(corpus: Path, folder: Path, **phase: Any) -> TrainingJob:
    for part in ("scratch", "output/observed"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    return TrainingJob(
        tokens=corpus,
        output=folder / "output",
        model=example.tiny_model(dropout=0.0),
        phase=example.tiny_phase(**{"tokens": LONG * 128, "validation": {"every_tokens": 128 * 100, "tokens": 256}, **phase}),
        seed=7,
        device=example.Device("cpu", 1, False),
        scratch=folder / "scratch",
        observed=folder / "output" / "observed",
    )


LONG = 400
"""Steps: enough to be killed among."""


def process_number(folder: Path, rank: int) -> int:
    """Of the process of a rank, which was started for this folder."""
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            ours = process.name.isdigit() and str(folder).encode() in (process / "cmdline").read_bytes()
            if ours and f"RANK={rank}".encode() in (process / "environ").read_bytes().split(b"\0"):
                return int(process.name)
    raise AssertionError("there is no such process")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_a_killed_process_is_named_and_the_run_goes_on(corpus: Path, tmp_path: Path) -> None:
    training = job(corpus, tmp_path)
    killing = Watching(lambda: os.kill(process_number(tmp_path, 1), signal.SIGKILL))
    with pytest.raises(TrainingError) as error:
        train_in_processes(training, Where(2), progress=killing, stopping=example.never)
    assert error.value.what.startswith("process 1 of 2 (numbered from 0) was killed by SIGKILL")
    assert "goes on from step" in error.value.fix or "starts anew" in error.value.fix
    assert example.result(tmp_path) == {}
    with pytest.raises(AssertionError):
        process_number(tmp_path, 0)
    facts = train_in_processes(training, Where(2), progress=Watching(lambda: None), stopping=example.never)
    assert (facts["steps"], facts["processes"], len(facts["peak_memory_bytes_by_process"])) == (LONG, 2, 2)
    job(corpus, tmp_path / "one").run(progress=Silent(), stopping=example.never)
    assert_agree(tmp_path / "one", tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_killed_processes_are_started_again(corpus: Path, tmp_path: Path) -> None:
    killing = Watching(lambda: os.kill(process_number(tmp_path, 1), signal.SIGKILL))
    facts = train_in_processes(job(corpus, tmp_path), Where(2, restarts=1), progress=killing, stopping=example.never)
    assert (facts["steps"], facts["processes"]) == (LONG, 2)
    assert killing.notes[0] == "a process died; all were started again (1 of 1 times)"
    job(corpus, tmp_path / "one").run(progress=Silent(), stopping=example.never)
    assert_agree(tmp_path / "one", tmp_path)


@pytest.mark.slow
def test_processes_that_are_asked_to_stop_save_and_go_on(corpus: Path, tmp_path: Path) -> None:
    training, asked = job(corpus, tmp_path), Event()
    assert train_in_processes(training, Where(2), progress=Watching(asked.set), stopping=asked.is_set) == {}
    step = newest_step(training.scratch)
    assert step
    told = Watching(lambda: None)
    training.run(progress=told, stopping=example.never)
    assert told.notes == [f"going on from step {step} of {LONG}"]


@pytest.mark.slow
def test_an_error_of_training_is_the_same_as_in_one_process(corpus: Path, tmp_path: Path) -> None:
    training = job(corpus, tmp_path, optimizer={"kind": "sgd", "lr": 1e9}, clip_norm=None)
    with pytest.raises(TrainingError) as one:
        training.run(progress=Silent(), stopping=example.never)
    with pytest.raises(TrainingError) as two:
        train_in_processes(training, Where(2), progress=Silent(), stopping=example.never)
    assert str(two.value) == str(one.value)


class Joining:
    """The other machine: types what it is told."""

    def __init__(self) -> None:
        self.joined: list[subprocess.Popen[bytes]] = []

    def update(self, done: float, total: float | None, unit: str, **values: float | str) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Do as the first note says."""
        if "torchrun" in text:
            words = text.partition("torchrun ")[2].split()
            self.joined.append(subprocess.Popen([sys.executable, "-m", "torch.distributed.run", *words]))


@pytest.mark.slow
def test_another_machine_joins(corpus: Path, tmp_path: Path) -> None:
    other = Joining()
    where = Where(1, machines=2, rendezvous=f"localhost:{free_port()}")
    facts = train_in_processes(job(corpus, tmp_path), where, progress=other, stopping=example.never)
    assert [machine.wait(timeout=60) for machine in other.joined] == [0]
    assert (facts["steps"], facts["processes"]) == (LONG, 2)
    job(corpus, tmp_path / "one").run(progress=Silent(), stopping=example.never)
    assert_agree(tmp_path / "one", tmp_path)


def test_fewer_rows_than_processes_are_refused() -> None:
    with pytest.raises(TrainingError, match="a batch has 4 rows, and 5 processes are to share them"):
        Ranks(0, 5).share(4)


def test_rewarded_answers_are_not_divided() -> None:
    answers = {"kind": "grpo", "reward": {"kind": "exact"}}
    recipe = {
        "name": "x",
        "data": {"sums": {"read": [{"kind": "jsonl", "paths": ["sums.jsonl"]}], "holds": {"kind": "pairs"}}},
        "tokenizer": {"kind": "byte"},
        "model": {"kind": "llama", "layers": 1, "width": 32, "heads": 4, "context": 32},
        "train": [{"name": "answer", "on": "sums", "objective": answers, "epochs": 1}],
    }
    with pytest.raises(RecipeError, match="grpo learns from what the model itself has just written"):
        check_processes(open_project(recipe).recipe, Runtime(processes=2))


@pytest.mark.parametrize(
    ("phase", "model", "reason"),
    [
        ({"optimizer": {"kind": "muon"}}, "llama", "muon needs whole matrices"),
        ({"sparsity": {"kind": "2:4"}}, "llama", "sparsity compares all weights of a matrix"),
        ({"samples": {"prompts": ["a"]}}, "llama", "samples are written by one process"),
        ({"objective": {"kind": "preference", "loss": {"kind": "kto"}}}, "llama", "kto asks the whole model"),
        ({}, "lstm", "a model of the kind lstm has no layers"),
        ({}, "llama", ""),
    ],
)
def test_what_cannot_be_divided_is_said(phase: dict[str, Any], model: str, reason: str) -> None:
    assert why_not_sharded(example.tiny_phase(**phase), model).startswith(reason)


def test_parts_are_of_one_size() -> None:
    with pytest.raises(TrainingError, match="must have equally many"):
        Ranks(0, 2).share(5, evenly=True)
