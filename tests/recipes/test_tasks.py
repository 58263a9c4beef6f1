"""The whole life of models that answer: examples in, bundle out, which gives what was measured; and so does Transformers."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.recipes.task_runs import held_out, metric
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer, pipeline
from typer.testing import CliRunner

import lmpipe
from lmpipe.base.errors import ModelError, RecipeError, ServingError, SourceError
from lmpipe.base.progress import Silent
from lmpipe.base.runtime import Runtime
from lmpipe.cli.main import app
from lmpipe.evaluation.mauve import GENERATED, REFERENCE, area_under_curve
from lmpipe.evaluation.predicting import class_logits, targets, word_tags
from lmpipe.evaluation.task_config import GenerationEvaluation
from lmpipe.models.loading import load_network
from lmpipe.recipes.reporting import build_report
from lmpipe.recipes.results import Run
from lmpipe.recipes.task_stages import asked
from lmpipe.serving.asking import ask
from lmpipe.tokens.examples import ExampleShards
from lmpipe.tokens.tokenizer import load_tokenizer

COLOURS, SIZES, THINGS = ("red", "green", "blue"), ("tall", "short", "wide"), ("cat", "house", "river", "song")
HELD: dict[str, Any] = {
    "classes": {"kind": "labels", "column": "colour"},
    "several": {"kind": "labels", "column": "kinds", "several": True},
    "scores": {"kind": "scores", "column": "length"},
    "tags": {"kind": "tags", "column": "tags"},
    "pairs": {"kind": "pairs", "column": "first"},
}
OBJECTIVES = {"tags": "tagging", "pairs": "seq2seq"}
EVALUATIONS = {"scores": "regression", "tags": "tagging", "pairs": "generation"}


def rows(count: int) -> list[dict[str, Any]]:
    generator = random.Random(3)
    found = []
    for number in range(count):
        colour, size = generator.choice(COLOURS), generator.choice(SIZES)
        words = [colour, size, *generator.choices(THINGS, k=generator.randint(1, 4))]
        if number % 15 == 0:
            words = generator.choices(THINGS, k=4)
        generator.shuffle(words)
        tags = ["COLOUR" if word in COLOURS else "SIZE" if word in SIZES else "THING" for word in words]
        found.append(
            {
                "text": " ".join(words),
                "colour": colour if number % 15 else "nothing",
                "kinds": [size, colour],
                "length": len(words) - 4,
                "tags": tags,
                "first": [words[0], words[0].upper()],
                "half": "left" if number % 2 else "right",
                "source": "shop" if number % 3 else "forum",
            }
        )
    return found


def recipe(folder: Path, held: str) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(360)))
    model = {"kind": "t5" if held == "pairs" else "bert", "layers": 1, "width": 32, "heads": 2, "context": 64, "dropout": 0.0}
    source = {"kind": "jsonl", "paths": [str(folder / "rows.jsonl")], "meta_columns": ["half", "source"]}
    if held == "tags":
        source["meta_columns"] = ["half", "source"]
    holds = {**HELD[held], **({"none_of_them": "nothing"} if held == "classes" else {})}
    evaluation: dict[str, Any] = {"kind": EVALUATIONS.get(held, "classification"), "on": "things", "slices": ["half", "source"]}
    evaluation |= {"selective_accuracy": 0.8} if held == "classes" else {}
    evaluation |= {"beams": 2, "max_new_tokens": 8, "limit": 20} if held == "pairs" else {}
    return {
        "name": held,
        "data": {
            "things": {"read": [source], "holds": holds, "split": {"train": 0.6, "validation": 0.2, "test": 0.2}},
        },
        "tokenizer": {"kind": "bpe", "vocab_size": 290, "train_on": "things"},
        "model": model,
        "train": [
            {
                "name": "learn",
                "on": "things",
                "objective": {"kind": OBJECTIVES.get(held, "classification")},
                "epochs": 20,
                "batch_tokens": 256,
                "optimizer": {"kind": "adamw", "lr": 5e-3},
                "precision": "fp32",
            }
        ],
        "evaluate": [evaluation],
    }


RUNTIME = {"device": "cpu", "threads": 1, "workers": 1, "compile": False, "isolate": False}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A finished run of every kind of example."""
    root = tmp_path_factory.mktemp("tasks")
    runtime = Runtime(store=str(root / "store"), **RUNTIME)
    return {held: lmpipe.run(recipe(root / held, held), runtime=runtime) for held in HELD}


def test_what_was_measured_is_what_the_bundle_answers(runs: dict[str, Run]) -> None:
    run = runs["classes"]
    bundle = lmpipe.load(run.bundle)
    rows = [row for row in held_out(run) if row["colour"] != "nothing"]
    answers = bundle.classify([row["text"] for row in rows])
    right = [max(a.probabilities, key=a.probabilities.get) == row["colour"] for a, row in zip(answers, rows, strict=True)]
    assert np.mean(right) == pytest.approx(metric(run, "accuracy"))
    assert metric(run, "accuracy") > 0.9, "the colour stands in the text"
    nats = [-np.log(a.probabilities[row["colour"]]) for a, row in zip(answers, rows, strict=True)]
    assert np.mean(nats) == pytest.approx(metric(run, "log_loss"), rel=1e-3), "at the temperature chosen on validation"
    outside = bundle.classify([row["text"] for row in held_out(run) if row["colour"] == "nothing"])
    assert np.mean([answer.label is None for answer in outside]) == pytest.approx(metric(run, "out_of_scope_recall"))


def test_transformers_gives_the_same_from_the_folder_alone(runs: dict[str, Run]) -> None:
    run = runs["classes"]
    texts = [row["text"] for row in held_out(run)][:10]
    model = AutoModelForSequenceClassification.from_pretrained(run.bundle)
    tokenizer = AutoTokenizer.from_pretrained(run.bundle)
    theirs = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None)
    temperature = json.loads((run.bundle / "decision.json").read_text())["temperature"]["value"]
    for text, answer in zip(texts, lmpipe.load(run.bundle).classify(texts), strict=True):
        found = {one["label"]: one["score"] ** (1 / temperature) for one in theirs([text])[0]}
        total = sum(found.values())
        assert {name: value / total for name, value in found.items()} == pytest.approx(dict(answer.probabilities), abs=1e-4)


def test_several_classes(runs: dict[str, Run]) -> None:
    run = runs["several"]
    rows = held_out(run)
    found = lmpipe.load(run.bundle).label([row["text"] for row in rows])
    right = [set(one) == set(row["kinds"]) for one, row in zip(found, rows, strict=True)]
    assert np.mean(right) == pytest.approx(metric(run, "subset_accuracy"))
    assert np.mean(right) > 0.2, "by chance one in nine"
    config = json.loads((run.bundle / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"


def test_scores(runs: dict[str, Run]) -> None:
    run = runs["scores"]
    rows = held_out(run)
    found = lmpipe.load(run.bundle).score([row["text"] for row in rows])
    errors = np.array(found) - np.array([row["length"] for row in rows])
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(metric(run, "rmse"), rel=1e-4)
    assert metric(run, "pearson") > 0.5


def test_tags(runs: dict[str, Run]) -> None:
    run = runs["tags"]
    rows = held_out(run)
    found = lmpipe.load(run.bundle).tag([row["text"] for row in rows])
    assert [[word for word, _ in row] for row in found] == [row["text"].split() for row in rows]
    right = [tag == true for one, row in zip(found, rows, strict=True) for (_, tag), true in zip(one, row["tags"], strict=True)]
    assert np.mean(right) == pytest.approx(metric(run, "token_accuracy"))
    assert np.mean(right) > 0.9
    theirs = pipeline(
        "token-classification",
        model=AutoModelForTokenClassification.from_pretrained(run.bundle),
        tokenizer=AutoTokenizer.from_pretrained(run.bundle),
    )
    assert {one["entity"] for one in theirs(rows[0]["text"])} >= {"THING"}


def test_targets(runs: dict[str, Run]) -> None:
    run = runs["pairs"]
    examples = pq.read_table(run.folder("evaluate-things-test") / "examples.parquet").to_pylist()
    assert len(examples) == 20
    again = lmpipe.load(run.bundle).transform([one["source"] for one in examples], beams=2, max_tokens=8)
    assert again == [one["prediction"] for one in examples]
    assert all(len(one["references"]) == 2 for one in examples), "every target counts"
    assert metric(run, "exact_match") > 0.3


def test_written_texts_beside_references_as_distributions(runs: dict[str, Run], tmp_path: Path) -> None:
    """The encoder may lie anywhere, and the number can be made again from the clusters that are kept."""
    plain = runs["pairs"]
    runtime = Runtime(store=str(plain.folder("evaluate-things-test").parents[1]), **RUNTIME)
    encoder = shutil.copytree(runs["classes"].bundle, tmp_path / "encoder")
    wanted = {"evaluate.0.mauve": {"encoder": str(encoder), "clusters": 3}}
    run = lmpipe.run(recipe(tmp_path, "pairs"), set=wanted, runtime=runtime)
    found = next(one for one in run.metrics if one.name == "things.test.mauve")
    table = pq.read_table(run.folder("evaluate-things-test") / "examples.parquet").to_pydict()
    counts = [np.bincount(table[name], minlength=3)[None].astype(float) for name in (GENERATED, REFERENCE)]
    assert counts[0].sum() == counts[1].sum() == 20
    assert found.value == pytest.approx(area_under_curve(*counts)[0])
    assert found.interval.low <= found.value <= found.interval.high
    moved = shutil.move(encoder, tmp_path / "elsewhere")
    again = lmpipe.run(
        recipe(tmp_path, "pairs"),
        set={"evaluate.0.mauve": {**wanted["evaluate.0.mauve"], "encoder": str(moved)}},
        runtime=runtime,
    )
    assert again.folder("evaluate-things-test") == run.folder("evaluate-things-test")
    assert "things.test.mauve" not in {one.name for one in plain.metrics}


def test_slices_by_a_column_that_no_example_has_are_refused(runs: dict[str, Run]) -> None:
    documents = runs["classes"].folder("split-things") / "test"
    with pytest.raises(SourceError, match=r"no example has a 'hlaf'.*half"):
        next(asked(documents, "text", ("source", "hlaf")))


@pytest.mark.parametrize("held", HELD)
def test_every_evaluation_says_how_it_does_on_slices_and_keeps_its_examples(runs: dict[str, Run], held: str) -> None:
    folder = runs[held].folder("evaluate-things-test")
    slices = json.loads((folder / "slices.json").read_text())
    assert {one["value"] for one in slices if one["by"] == "half"} == {"left", "right"}
    assert {one["value"] for one in slices if one["by"] == "source"} == {"shop", "forum"}  # the data's, not the file's name
    assert (folder / "examples.parquet").is_file()


@pytest.mark.parametrize("held", list(HELD))
def test_the_page_has_the_task_with_its_texts_and_a_verdict_on_the_fit(runs: dict[str, Run], held: str) -> None:
    report = build_report(runs[held])
    task = report.tasks[0]
    recorded = {metric.name.rsplit(".", 1)[-1]: metric.value for metric in runs[held].metrics}
    assert all(score.value == recorded[score.statistic] for score in task.scores if not task.baselines)
    assert task.slices
    assert (task.confusion is not None) == (held == "classes")
    assert report.fits[0].evidence
    documents = {row["text"] for row in held_out(runs[held])}
    assert {one.text for one in task.examples} <= documents
    if held in ("scores", "pairs"):
        assert task.examples
        assert all(one.answer for one in task.examples)
    if held == "classes":
        assert next(choice.name for choice in task.choices) == "temperature"
        assert sum(map(sum, task.confusion.counts)) == task.count
        assert sum(bar.count for bar in task.reliability) == task.count
        assert task.wrong == task.count - sum(row[n] for n, row in enumerate(task.confusion.counts))
        assert next(one for one in task.baselines if one.name == "linear").scores


def test_two_runs_are_compared_example_by_example(runs: dict[str, Run], tmp_path: Path) -> None:
    store = runs["classes"].store.url
    short = recipe(tmp_path / "classes", "classes")
    short["name"], short["train"][0]["epochs"] = "briefly", 1
    lmpipe.run(short, runtime=Runtime(store=store, **RUNTIME))
    told = CliRunner().invoke(app, ["compare", "briefly", runs["classes"].id, "--store", store, "--json"])
    rows = {row["name"]: row for row in json.loads(told.output)["metrics"]}
    row = rows["things.test.log_loss"]
    assert row["answer"] == "second is better"
    assert row["values"]["test"]["adjusted_p"] < 0.05
    assert row["values"]["interval"]["high"] < 0
    shown = CliRunner().invoke(app, ["compare", runs["classes"].id, "briefly", "--store", store])
    assert "first is better" in shown.output
    assert f"of {len(rows)}" in shown.output
    refused = CliRunner().invoke(app, ["compare", "briefly", runs["several"].id, "--store", store])
    assert isinstance(refused.exception, RecipeError)
    assert "different texts" in str(refused.exception)


def test_a_bundle_refuses_what_it_was_not_trained_for(runs: dict[str, Run]) -> None:
    bundle = lmpipe.load(runs["tags"].bundle)
    with pytest.raises(ServingError, match="was not trained to classify texts"):
        bundle.classify(["a"])


def test_asking_line_by_line(runs: dict[str, Run]) -> None:
    for held, expected in (("classes", "green"), ("tags", "green/COLOUR"), ("scores", "")):
        lines, written = iter(["green tall cat", ""]), []

        def read(prompt: str, lines: Any = lines) -> str:
            try:
                return next(lines)
            except StopIteration:
                raise EOFError from None

        ask(lmpipe.load(runs[held].bundle), read=read, write=written.append)
        assert expected in "".join(written[1:])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"evaluate": [{"kind": "tagging", "on": "things"}]},
            "evaluate.0 measures tagging, and the model learns classification",
        ),
        ({"evaluate": [{"kind": "perplexity", "on": "things"}]}, "the encoder 'bert' does not say"),
        ({"train.0.objective": {"kind": "tagging"}}, "train.0.objective is tagging, which learns from tags"),
        ({"model.kind": "llama"}, "train.0.objective is classification, which the decoder 'llama' cannot learn"),
        ({"train.0.tokens": 1000}, "a phase takes `tokens` or `epochs`"),
        ({"train.0.objective": {"kind": "seq2seq"}}, "seq2seq"),
        ({"data.things.holds": {"kind": "labels", "colum": "x"}}, "did you mean 'column'"),
        ({"data.things.holds": "label"}, "'data.things.holds' is \"label\"; expected 'text' or 'conversations'"),
        ({"data.things.read.0.kind": "text"}, "meta_columns"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        lmpipe.check(recipe(tmp_path, "classes"), changes)


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    values = recipe(tmp_path / "data", "classes")
    values["data"]["things"]["holds"]["column"] = "color"
    with pytest.raises(SourceError, match=r"rows.jsonl' has no column 'color' \(did you mean 'colour'\?\)") as error:
        lmpipe.run(values, runtime=Runtime(store=str(tmp_path / "store"), **RUNTIME))
    assert "colour, first, half" in error.value.expected
    assert error.value.exit_code == 1
    assert not list((tmp_path / "store").glob("read-things/*"))


def test_empty_texts_and_texts_beyond_the_context_are_told_and_not_lost(tmp_path: Path) -> None:
    values = recipe(tmp_path / "data", "classes")
    found = rows(120)
    found[4]["text"], found[5]["text"] = "", "red cat " * 100
    (tmp_path / "data" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    values["train"][0]["epochs"] = 1
    run = lmpipe.run(values, runtime=Runtime(store=str(tmp_path / "store"), **RUNTIME))
    ledger = json.loads((run.folder("read-things") / "record.json").read_text())["facts"]["ledger"]
    assert (ledger["rows_in"], ledger["rows_kept"], ledger["dropped"]) == (120, 119, {"empty": 1})
    tokenized = json.loads((run.folder("tokenize-things") / "examples.json").read_text())["sides"]
    assert sum(side["examples"] for side in tokenized.values()) + ledger["dropped"]["empty"] >= 120 - 8, "but for no class"
    assert max(side["longest"] for side in tokenized.values()) > 64, "stored whole, cut where it is read"


@pytest.mark.parametrize("held", ["classes", "scores", "tags", "pairs"])
def test_weights_that_give_no_numbers_are_named(runs: dict[str, Run], tmp_path: Path, held: str) -> None:
    run = runs[held]
    network = load_network(run.folder("train-learn") / "best")
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(float("nan"))
    examples, told = ExampleShards(run.folder("tokenize-things") / "test"), {"device": "cpu", "progress": Silent()}
    tokenizer, config = load_tokenizer(run.bundle), GenerationEvaluation(on="things", max_new_tokens=4)
    answer = {
        "tags": lambda: word_tags(network, examples, **told),
        "pairs": lambda: targets(network, tokenizer, ["red cat"], config, prefix="", progress=Silent()),
    }.get(held, lambda: class_logits(network, examples, **told))
    with pytest.raises(ModelError, match="not finite") as error:
        answer()
    assert error.value.expected
    assert error.value.fix
