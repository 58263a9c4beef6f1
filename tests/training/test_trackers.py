"""Trackers, read back by their own packages: MLflow's client, and the file that Weights & Biases keeps offline."""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import training_example as example

from lmpipe.base.errors import MissingExtraError, RecipeError
from lmpipe.training import trackers
from lmpipe.training.trackers import check_trackers

if TYPE_CHECKING:
    from wandb.proto.wandb_internal_pb2 import Record  # seconds to import, like MLflow: in the tests that need it


class Notes:
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def update(self, done: float, total: float | None, unit: str, **values: float | str) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Keep."""
        self.notes.append(text)


def twice(corpus: Path, folder: Path, *names: str) -> list[dict[str, Any]]:
    """A run that is stopped after five steps and goes on; gives its curve."""
    asked, notes = iter(range(100)), Notes()
    example.run_training(corpus, folder, stopping=lambda: next(asked) >= 5, trackers=names, progress=notes)
    example.run_training(corpus, folder, trackers=names, progress=notes)
    assert not [note for note in notes.notes if " fails" in note]
    return [json.loads(line) for line in (folder / "output" / "curve.jsonl").read_text().splitlines()]


def series(curve: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(row["step"], row[name]) for row in curve if name in row]


@pytest.fixture
def in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow keeps files: its database takes seconds to make."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())


def check_mlflow(uri: str, curve: list[dict[str, Any]]) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("lmpipe")
    assert experiment
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "main"
    assert run.info.status == "FINISHED"
    assert {name: run.data.params[name] for name in ("model.width", "phase.optimizer.kind", "seed")} == {
        "model.width": "32",
        "phase.optimizer.kind": "adamw",
        "seed": "7",
    }
    for name in ("loss", "learning_rate", "validation_loss"):
        found = client.get_metric_history(run.info.run_id, name)
        assert [(metric.step, metric.value) for metric in found] == series(curve, name)
    assert run.data.metrics["final.best_validation_loss"] == min(value for _, value in series(curve, "validation_loss"))


@pytest.mark.usefixtures("in_files")
def test_mlflow_has_one_run_with_each_row_once(corpus: Path, tmp_path: Path) -> None:
    curve = twice(corpus, tmp_path, "mlflow")
    check_mlflow((tmp_path / "mlruns").as_uri(), curve)


@pytest.mark.slow
def test_mlflow_by_default_is_a_database_here(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    curve = twice(corpus, tmp_path, "mlflow")
    check_mlflow(f"sqlite:///{tmp_path / 'mlflow.db'}", curve)


def test_wandb_keeps_the_same_run_offline(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    curve = twice(corpus, tmp_path, "wandb")
    import wandb

    wandb.teardown()  # its own process writes the files, and may still hold some of the last one when a run is over
    found, summary, config = defaultdict(list), {}, {}
    ids = set()
    for file in sorted(tmp_path.glob("wandb/offline-run-*/run-*.wandb")):
        for record in records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                ids.add(record.run.run_id)
                config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            if kind == "config":
                config |= {item.key: json.loads(item.value_json) for item in record.config.update}
            if kind == "summary":
                summary |= {item.key: json.loads(item.value_json) for item in record.summary.update}
            if kind == "history":
                row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                for name, value in row.items():
                    found[name].append((record.history.step.num, value))
    assert len(ids) == 1
    for name in ("loss", "validation_loss"):
        assert found[name] == series(curve, name)
    assert config["model.width"] == 32
    assert summary["final.steps"] == 12


def records(file: Path) -> list[Record]:
    """Every record of a file in LevelDB's log format: blocks of 32 KiB, in them pieces (checksum, length, type) of records."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, found, piece, at = file.read_bytes(), [], b"", 7  # behind the header ":W&B", magic, version
    while at < len(data):
        if 32_768 - at % 32_768 < 7:
            at += 32_768 - at % 32_768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        piece += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            found.append(Record.FromString(piece))
            piece = b""
    return found


def test_a_tracker_that_fails_is_told_and_left(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "a-file" / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    notes = Notes()
    example.run_training(corpus, tmp_path, trackers=("mlflow",), progress=notes)
    assert [note for note in notes.notes if note.startswith("mlflow fails")]
    example.run_training(corpus, tmp_path / "plain")
    assert example.result(tmp_path) == example.result(tmp_path / "plain")


def test_trackers_are_checked_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    check_trackers("mlflow, wandb")
    with pytest.raises(RecipeError, match="no tracker 'mlflwo'"):
        check_trackers("mlflwo")
    monkeypatch.setattr(trackers, "find_spec", lambda module: None)
    with pytest.raises(MissingExtraError, match="needs 'wandb'") as raised:
        check_trackers("wandb")
    assert "lmpipe[wandb]" in str(raised.value)
