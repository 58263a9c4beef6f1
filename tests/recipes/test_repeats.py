"""Repeated trainings as settings of a recipe: shared data, honest plans, hits the second time, numbers everywhere."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import lmpipe
from lmpipe.base.errors import RecipeError, SourceError
from lmpipe.base.runtime import Runtime
from lmpipe.cli.main import app
from lmpipe.evaluation.bootstrap import Resampling
from lmpipe.evaluation.classification import classified
from lmpipe.evaluation.examples import ExampleLayout, ExampleWriter
from lmpipe.evaluation.measuring import evaluate_examples
from lmpipe.evaluation.out_of_fold import join_folds
from lmpipe.recipes.reporting import build_report
from lmpipe.recipes.results import Run
from lmpipe.report.page import render

COLOURS = ("red", "green")


def rows(count: int) -> list[dict[str, Any]]:
    generator = random.Random(1)
    found = []
    for number in range(count):
        colour = generator.choice(COLOURS)
        words = [colour, *generator.choices(["cat", "house", "river", "song"], k=3)]
        generator.shuffle(words)
        found.append({"text": " ".join(words), "colour": colour, "writer": f"w{number % 17}"})
    return found


def recipe(folder: Path, **more: Any) -> dict[str, Any]:
    """Two colours told apart by a very small encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(160)))
    source = {"kind": "jsonl", "paths": [str(folder / "rows.jsonl")], "meta_columns": ["writer"]}
    return {
        "name": "colours",
        "data": {
            "things": {
                "read": [source],
                "holds": {"kind": "labels", "column": "colour"},
                "split": {"train": 0.6, "validation": 0.2, "test": 0.2},
            }
        },
        "tokenizer": {"kind": "bpe", "vocab_size": 290, "train_on": "things"},
        "model": {"kind": "bert", "layers": 1, "width": 16, "heads": 2, "context": 64, "dropout": 0.0},
        "train": [
            {
                "name": "learn",
                "on": "things",
                "objective": {"kind": "classification"},
                "epochs": 2,
                "batch_tokens": 512,
                "row_tokens": 64,
                "optimizer": {"kind": "adamw", "lr": 1e-2},
                "precision": "fp32",
            }
        ],
        "evaluate": [{"kind": "classification", "on": "things", "resamples": 100}],
        **more,
    }


def runtime(folder: Path) -> Runtime:
    return Runtime(store=str(folder / "store"), device="cpu", threads=1, workers=1, compile=False, isolate=False)


def value(run: Run, name: str) -> float:
    return next(metric.value for metric in run.metrics if metric.name == name)


GATED = {"goal": {"task": "classify", "metric": "seeds.accuracy", "at_least": 0.1}, "gate": {}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of this file are; they share a store."""
    return tmp_path_factory.mktemp("repeats")


@pytest.fixture(scope="module")
def seeded(folder: Path) -> Run:
    """A run with three seeds."""
    return lmpipe.run(recipe(folder, seeds=3, **GATED), runtime=runtime(folder))


def test_seeds_share_the_data_and_the_bundle_is_the_first(folder: Path, seeded: Run) -> None:
    names = [stage.name for stage in seeded.entry.stages]
    trainings = [name for name in names if "train-" in name]
    assert trainings == ["train-learn", "seed-2-train-learn", "seed-3-train-learn"]
    assert sum("tokenize" in name for name in names) == 2, "the tokenizer and its shards, once"
    alone = lmpipe.run(recipe(folder), runtime=runtime(folder))
    computed = [stage.name for stage in alone.entry.stages if stage.status == "computed"]
    assert computed == ["bundle"], "a run without seeds is the first member; only its recipe is another"
    assert value(alone, "things.test.accuracy") == value(seeded, "things.test.accuracy")
    weights = [run.bundle / "model.safetensors" for run in (alone, seeded)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_seeds_are_reported_with_their_spread(seeded: Run) -> None:
    found = seeded.read("seeds-things-test", "seeds.json")
    spread = next(one for one in found["statistics"] if one["statistic"] == "log_loss")
    members = [seeded.read(stage, "metrics.json") for stage in found["stages"]]
    assert spread["values"] == [next(m["value"] for m in one if m["name"] == "things.test.log_loss") for one in members]
    assert len(set(spread["values"])) == 3, "other seeds are other models"
    assert value(seeded, "things.test.seeds.log_loss") == pytest.approx(sum(spread["values"]) / 3)
    assert seeded.verdict is not None
    assert [one.subject for one in seeded.verdict.requirements] == ["things.test.seeds.accuracy"]
    page = render(build_report(seeded))
    assert "3 training seeds" in page
    shown = CliRunner().invoke(app, ["show", seeded.id, "--store", seeded.store.url, "--json"])
    assert json.loads(shown.stdout)["repeats"][0]["title"] == "3 training seeds"
    assert CliRunner().invoke(app, ["show", seeded.id, "--store", seeded.store.url]).exit_code == 0


def test_a_second_run_computes_nothing_and_a_lost_member_is_computed_alone(folder: Path, seeded: Run) -> None:
    given = recipe(folder, seeds=3, **GATED)
    again = lmpipe.run(given, runtime=runtime(folder))
    assert {stage.status for stage in again.entry.stages} == {"hit"}
    more = lmpipe.run({**given, "seeds": 4}, runtime=runtime(folder))
    computed = [stage.name for stage in more.entry.stages if stage.status == "computed"]
    assert computed[:2] == ["seed-4-train-learn", "seed-4-evaluate-things-test"]
    assert not [name for name in computed if "seed-2" in name or "seed-3" in name]


def test_plan_counts_every_training(folder: Path, seeded: Run) -> None:
    planned = lmpipe.plan(recipe(folder, seeds=[1, 2, 3, 4, 5]), runtime=runtime(folder))
    assert planned.estimates["trainings"] == 5
    assert sum("train-learn" in row.name for row in planned.rows) == 5


def test_runs_with_seeds_are_compared_over_them(folder: Path, seeded: Run) -> None:
    other = lmpipe.run(recipe(folder, seeds=3, **GATED), {"train.0.epochs": 1}, runtime=runtime(folder))
    result = CliRunner().invoke(app, ["compare", seeded.id, other.id, "--store", seeded.store.url, "--json"])
    rows = {row["name"]: row for row in json.loads(result.stdout)["metrics"]}
    row = rows["things.test.seeds.accuracy"]
    assert "paired by seed" in row["values"]["interval"]["method"]
    expected = value(other, "things.test.seeds.accuracy") - value(seeded, "things.test.seeds.accuracy")
    assert row["values"]["difference"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"seeds": [3]}, "two or more"),
        ({"seeds": [3, 3]}, "each once"),
        ({"seeds": 1}, "seeds"),
        ({"seeds": 3, "evaluate": []}, "nothing is evaluated"),
        ({"goal": {"task": "classify", "metric": "seeds.accuracy", "at_least": 0.1}, "gate": {}}, "does not measure"),
    ],
)
def test_what_cannot_be_meant_is_said(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        lmpipe.check(recipe(tmp_path, **more))


@pytest.fixture(scope="module")
def folded(folder: Path) -> Run:
    """A run with three folds, by writer."""
    given = recipe(folder, cross_validation={"folds": 3, "group": "writer"})
    return lmpipe.run(given, runtime=runtime(folder))


def test_folds_hold_every_example_out_once(folder: Path, folded: Run) -> None:
    answers = pq.read_table(folded.folder("folds-things-test") / "repeat-1" / "examples.parquet")
    assert len(set(answers["id"].to_pylist())) == answers.num_rows == 160
    right = [one == two for one, two in zip(answers["label"].to_pylist(), answers["prediction"].to_pylist(), strict=True)]
    assert value(folded, "things.test.folds.accuracy") == pytest.approx(sum(right) / 160)
    linear = value(folded, "things.test.folds.linear.accuracy")
    assert value(folded, "things.test.folds.accuracy_over_linear") == pytest.approx(sum(right) / 160 - linear)
    for fold in (1, 2, 3):
        sides = folded.read(f"fold-1-{fold}-fold-things", "splits.json")
        assert sum(side["documents"] for side in sides.values()) == 160
    assert "3 folds" in render(build_report(folded))
    again = lmpipe.run(recipe(folder, cross_validation={"folds": 3, "group": "writer"}), runtime=runtime(folder))
    assert {stage.status for stage in again.entry.stages} == {"hit"}


def test_folds_train_a_tokenizer_of_their_own_and_a_repeat_deals_anew(folder: Path) -> None:
    given = recipe(folder, cross_validation={"folds": 4, "repeats": 2})
    planned = lmpipe.plan(given, runtime=runtime(folder))
    names = [row.name for row in planned.rows]
    assert planned.estimates["trainings"] == 9
    assert sum(name.endswith("-tokenizer") for name in names) == 8, "the run's own has seen every fold's test text"
    assert {"fold-1-1-train-learn", "fold-2-4-train-learn"} <= set(names)
    known = {**given, "goal": {"task": "classify", "metric": "folds.accuracy", "at_least": 0.1}, "gate": {}}
    assert lmpipe.check(known)["stages"] == len(names) + 1
    tied = {**given["data"]["things"], "decontaminate": {}}
    other = {**given["data"]["things"], "decontaminate": None}
    part = given["evaluate"][0]
    both = {**given, "data": {"things": tied, "other": other}, "evaluate": [part, {**part, "on": "other"}]}
    with pytest.raises(RecipeError, match="one division only"):
        lmpipe.check(both)


def test_repeated_folds_have_an_interval_over_repeats_too(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    truth = generator.choice(["no", "yes"], 60).tolist()
    folders = []
    for name, fold in (("even", range(0, 60, 2)), ("odd", range(1, 60, 2)), ("first", range(30)), ("last", range(30, 60))):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        given = ExampleLayout(kind="classification", subject="x.test", classes=("no", "yes"))
        with ExampleWriter(folders[-1], given) as writer:
            said = generator.choice(["no", "yes"], 30).tolist()
            writer.add([f"{n:03d}" for n in fold], classified(given.classes, [truth[n] for n in fold], predictions=said))
        evaluate_examples(folders[-1])
    resampling = Resampling(resamples=100)
    found = join_folds([folders[:2], folders[2:]], tmp_path, subject="x.test", resampling=resampling)
    accuracy = next(metric for metric in found if metric.name == "x.test.folds.accuracy")
    assert accuracy.interval is not None
    assert "2 repeats" in accuracy.interval.method
    (tmp_path / "twice").mkdir()
    with pytest.raises(SourceError, match="held out in two folds"):
        join_folds([[folders[0], folders[0]]], tmp_path / "twice", subject="x.test", resampling=resampling)


def test_learning_curve_takes_nested_parts_and_says_whether_more_helps(folder: Path) -> None:
    given = recipe(folder, learning_curve={"shares": [0.25, 0.5, 1.0]})
    run = lmpipe.run(given, runtime=runtime(folder))
    stages = ("share-0_25-share-things", "share-0_5-share-things", "split-things")
    sides = [{side: ids_of(run.folder(stage) / side) for side in ("train", "validation", "test")} for stage in stages]
    assert sides[0]["train"] < sides[1]["train"] < sides[2]["train"]
    assert sides[0]["test"] == sides[1]["test"] == sides[2]["test"]
    found = run.read("learning-things-test", "learning.json")
    assert found["documents"] == [len(side["train"]) for side in sides]
    assert all(
        abs(size - share * found["documents"][2]) <= 2 for share, size in zip((0.25, 0.5), found["documents"], strict=False)
    )
    accuracy = next(one for one in found["statistics"] if one["statistic"] == "accuracy")
    assert accuracy["values"][2] == value(run, "things.test.accuracy"), "the whole is the run's own training"
    page = render(build_report(run))
    assert "Does more data help?" in page
    assert "by size of the training text" in page
    assert sum("train-" in stage.name for stage in run.entry.stages) == 3
    assert sum("tokenizer" in stage.name for stage in run.entry.stages) == 1
    assert lmpipe.plan(given, runtime=runtime(folder)).estimates["trainings"] == 3


def ids_of(folder: Path) -> set[str]:
    return {identity for part in folder.glob("*.parquet") for identity in pq.read_table(part)["id"].to_pylist()}


@pytest.mark.parametrize("shares", [[0.5], [0.5, 0.5], [0.5, 1.0], [0.2, 1.5]])
def test_a_curve_needs_points(tmp_path: Path, shares: list[float]) -> None:
    with pytest.raises(RecipeError, match="shares"):
        lmpipe.check(recipe(tmp_path, learning_curve={"shares": shares}))


def test_changed_test_text_costs_what_the_pairs_say(folder: Path) -> None:
    given = recipe(folder)
    given["evaluate"] = [{**given["evaluate"][0], "robustness": ["keyboard", "case"]}]
    require = [{"metric": "things.test.keyboard.accuracy_drop", "at_most": 1.0}]
    run = lmpipe.run({**given, "gate": {"require": require}}, runtime=runtime(folder))
    assert sum("train-" in stage.name for stage in run.entry.stages) == 1, "nothing is trained again"
    plain, changed = run.folder("split-things"), run.folder("changed-keyboard-change-things")
    for side in ("train", "validation"):
        parts = [sorted((folder / side).glob("*.parquet")) for folder in (plain, changed)]
        assert [part.read_bytes() for part in parts[0]] == [part.read_bytes() for part in parts[1]]
    assert ids_of(plain / "test") == ids_of(changed / "test")
    counted = run.read("changed-keyboard-change-things", "changes.json")
    assert 0 < counted["unchanged"] < counted["documents"]
    before, after = (value(run, f"things.test.{name}log_loss") for name in ("", "keyboard."))
    assert value(run, "things.test.keyboard.log_loss_drop") == pytest.approx(after - before)
    drop = next(metric for metric in run.metrics if metric.name == "things.test.keyboard.log_loss_drop")
    assert drop.interval is not None
    assert drop.interval.low <= drop.value <= drop.interval.high
    assert "pairs of examples" in drop.interval.method
    assert run.verdict is not None
    assert run.verdict.verdict == "GO"
    assert "Changed test text: keyboard, case" in render(build_report(run))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"robustness": ["keyboard", "keyboard"]}, "twice"),
        ({"robustness": ["case"], "split": "validation"}, "split: test"),
        ({"robustness": ["typos"]}, "keyboard"),
    ],
)
def test_changes_that_cannot_be_meant_are_said(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    given = recipe(tmp_path)
    with pytest.raises(RecipeError, match=words):
        lmpipe.check({**given, "evaluate": [{**given["evaluate"][0], **more}]})
