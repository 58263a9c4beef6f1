"""Models that Transformers computes, taught to answer: from their folder to a bundle that gives what was measured."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import load_file
from tests.recipes.task_runs import held_out, metric
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers
from typer.testing import CliRunner

import lmpipe
from lmpipe.base.errors import RecipeError
from lmpipe.base.runtime import Runtime
from lmpipe.cli.main import app
from lmpipe.models.auto.model import AutoEncoder
from lmpipe.models.loading import load_network
from lmpipe.recipes.project import open_project
from lmpipe.recipes.results import Run

COLOURS, THINGS = ("red", "green", "blue"), ("cat", "house", "river", "song", "the", "a")
SMALL = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 48, "pad_token_id": 0}
RUNTIME = {"device": "cpu", "threads": 1, "workers": 1, "compile": True, "isolate": False}
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def rows(count: int) -> list[dict[str, Any]]:
    generator, found = random.Random(3), []
    for _ in range(count):
        colours = generator.sample(COLOURS, k=generator.randint(1, 2))
        words = [*colours, *generator.choices(THINGS, k=generator.randint(1, 6))]
        generator.shuffle(words)
        first = next(word for word in words if word in COLOURS)
        tags = ["COLOUR" if word in COLOURS else "THING" for word in words]
        found.append({"text": " ".join(words), "first": first, "colours": colours, "length": len(words) - 4, "tags": tags})
    return found


def write_tokenizer(folder: Path) -> None:
    """WordPiece between [CLS] and [SEP]."""
    library = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer, library.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=list(SPECIAL), show_progress=False)
    library.train_from_iterator([row["text"] for row in rows(100)], trainer)
    library.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    names = {f"{token.strip('[]').lower()}_token": token for token in SPECIAL}
    transformers.PreTrainedTokenizerFast(tokenizer_object=library, **names).save_pretrained(folder)


def distilbert(folder: Path) -> None:
    config = transformers.DistilBertConfig(
        vocab_size=90, dim=32, n_heads=2, n_layers=1, hidden_dim=48, max_position_embeddings=48
    )
    transformers.DistilBertForMaskedLM(config).save_pretrained(folder)


def electra(folder: Path) -> None:
    config = transformers.ElectraConfig(**SMALL, vocab_size=90, embedding_size=32, max_position_embeddings=48)
    transformers.ElectraForPreTraining(config).save_pretrained(folder)


def deberta(folder: Path) -> None:
    """With an adapter's usual targets, and positions that are relative."""
    config = transformers.DebertaV2Config(
        **SMALL, vocab_size=90, relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"], type_vocab_size=0,
        max_position_embeddings=48,
    )  # fmt: skip
    transformers.DebertaV2Model(config).save_pretrained(folder)


def xlm_roberta(folder: Path) -> None:
    config = transformers.XLMRobertaConfig(**SMALL, vocab_size=90, max_position_embeddings=49)
    transformers.XLMRobertaForMaskedLM(config).save_pretrained(folder)


def bart(folder: Path) -> None:
    """Its files ask for a first token that no target here has."""
    config = transformers.BartConfig(
        vocab_size=90, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=48, pad_token_id=0, bos_token_id=2, eos_token_id=3,
        decoder_start_token_id=3, forced_eos_token_id=None, dropout=0.0, init_std=0.1,
    )  # fmt: skip
    model = transformers.BartForConditionalGeneration(config)
    model.generation_config.forced_bos_token_id = 2
    model.save_pretrained(folder)


HELD: dict[str, tuple[Any, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "classes": (
        distilbert,
        {"kind": "labels", "column": "first"},
        {"kind": "classification"},
        {"kind": "classification"},
    ),
    "several": (
        electra,
        {"kind": "labels", "column": "colours", "several": True},
        {"kind": "classification"},
        {"kind": "classification"},
    ),
    "scores": (xlm_roberta, {"kind": "scores", "column": "length"}, {"kind": "classification"}, {"kind": "regression"}),
    "pairs": (
        bart,
        {"kind": "pairs", "column": "first"},
        {"kind": "seq2seq"},
        {"kind": "generation", "beams": 2, "max_new_tokens": 4, "limit": 20},
    ),
    "tags": (deberta, {"kind": "tags", "column": "tags"}, {"kind": "tagging"}, {"kind": "tagging"}),
}
"""What the corpus holds: whose model learns it, how it is held, learned and measured."""


def recipe(folder: Path, held: str, **phase: Any) -> dict[str, Any]:
    make, holds, objective, evaluation = HELD[held]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(300)))
    if not (folder / "theirs").is_dir():
        torch.manual_seed(0)
        make(folder / "theirs")
        write_tokenizer(folder / "theirs")
    source = {"kind": "jsonl", "paths": [str(folder / "rows.jsonl")]}
    learn = {"name": "learn", "on": "things", "objective": objective, "epochs": 10, "batch_tokens": 256, "precision": "fp32"}
    return {
        "name": held,
        "data": {"things": {"read": [source], "holds": holds, "split": {"train": 0.6, "validation": 0.2, "test": 0.2}}},
        "model": {"from": str(folder / "theirs")},
        "train": [{**learn, "optimizer": {"kind": "adamw", "lr": 1e-2}, **phase}],
        "evaluate": [{"on": "things", **evaluation}],
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A finished run of every kind of example."""
    root = tmp_path_factory.mktemp("tasks")
    runtime = Runtime(store=str(root / "store"), **RUNTIME)
    for held in HELD:
        given = json.dumps(recipe(root / held, held))
        (root / held / "recipe.yaml").write_text(given, encoding="utf-8")
    return {held: lmpipe.run(root / held / "recipe.yaml", runtime=runtime) for held in HELD}


def transformers_logits(run: Run, texts: list[str], loader: str) -> list[torch.Tensor]:
    """From the folder alone, one text at a time."""
    model = getattr(transformers, loader).from_pretrained(run.bundle).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(run.bundle)
    with torch.inference_mode():
        return [model(tokenizer(text, return_tensors="pt")["input_ids"]).logits[0] for text in texts]


def test_classes_are_learned_and_what_was_measured_is_what_the_bundle_answers(runs: dict[str, Run]) -> None:
    run, texts = runs["classes"], held_out(runs["classes"])
    bundle = lmpipe.load(run.bundle)
    assert isinstance(bundle.network, AutoEncoder)
    answers = bundle.classify([row["text"] for row in texts])
    right = [max(a.probabilities, key=a.probabilities.get) == row["first"] for a, row in zip(answers, texts, strict=True)]
    assert np.mean(right) == pytest.approx(metric(run, "accuracy"))
    assert metric(run, "accuracy") > 0.8
    theirs = torch.stack(transformers_logits(run, [row["text"] for row in texts], "AutoModelForSequenceClassification"))
    assert np.abs(bundle._sequence_logits([row["text"] for row in texts]) - theirs.numpy()).max() <= 1e-5
    stated = json.loads((run.bundle / "config.json").read_text())
    assert stated["architectures"] == ["DistilBertForSequenceClassification"]
    assert set(stated["id2label"].values()) == set(COLOURS)
    assert stated["problem_type"] == "single_label_classification"


def test_several_classes_and_numbers(runs: dict[str, Run]) -> None:
    several, scores = runs["several"], runs["scores"]
    texts = held_out(several)
    found = lmpipe.load(several.bundle).label([row["text"] for row in texts])
    right = [set(one) == set(row["colours"]) for one, row in zip(found, texts, strict=True)]
    assert np.mean(right) == pytest.approx(metric(several, "subset_accuracy"))
    assert np.mean(right) > 0.3, "by chance one in six"
    texts = held_out(scores)
    found = lmpipe.load(scores.bundle).score([row["text"] for row in texts])
    errors = np.array(found) - np.array([row["length"] for row in texts])
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(metric(scores, "rmse"), rel=1e-4)
    assert metric(scores, "pearson") > 0.5
    theirs = transformers_logits(scores, [row["text"] for row in texts], "AutoModelForSequenceClassification")
    assert np.abs(np.array(found) - torch.cat(theirs).numpy()).max() <= 1e-5


def test_tags_are_learned_and_are_those_of_transformers(runs: dict[str, Run]) -> None:
    run, texts = runs["tags"], held_out(runs["tags"])
    found = lmpipe.load(run.bundle).tag([row["text"] for row in texts])
    right = [
        tag == true for one, row in zip(found, texts, strict=True) for (_, tag), true in zip(one, row["tags"], strict=True)
    ]
    assert np.mean(right) == pytest.approx(metric(run, "token_accuracy"))
    assert np.mean(right) > 0.9
    model = transformers.AutoModelForTokenClassification.from_pretrained(run.bundle)
    tokenizer = transformers.AutoTokenizer.from_pretrained(run.bundle)
    theirs = transformers.pipeline("token-classification", model=model, tokenizer=tokenizer)
    for row, ours in zip(texts[:10], found, strict=False):
        said = {one["start"]: one["entity"] for one in theirs(row["text"])}
        starts = np.cumsum([0, *(len(word) + 1 for word in row["text"].split()[:-1])]).tolist()
        assert [said[start] for start in starts] == [tag for _, tag in ours]


def test_targets_are_learned_and_are_those_of_transformers(runs: dict[str, Run]) -> None:
    run = runs["pairs"]
    examples = pq.read_table(run.folder("evaluate-things-test") / "examples.parquet").to_pylist()
    sources, written = [one["source"] for one in examples], [one["prediction"] for one in examples]
    assert lmpipe.load(run.bundle).transform(sources, beams=2, max_tokens=4) == written
    assert metric(run, "exact_match") > 0.5, "by chance one in three"
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(run.bundle).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(run.bundle)
    for source, ours in zip(sources, written, strict=True):
        asked = tokenizer(source, return_tensors="pt", return_token_type_ids=False)
        found = model.generate(**asked, num_beams=2, max_new_tokens=4, do_sample=False, early_stopping=False)
        assert tokenizer.decode(found[0], skip_special_tokens=True).strip() == ours
    stated = json.loads((run.bundle / "generation_config.json").read_text())
    assert (stated["decoder_start_token_id"], stated.get("forced_bos_token_id")) == (3, None)


@pytest.mark.slow
def test_its_weights_are_verified_shown_and_gone_on_from(runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs["classes"]
    store = str(run.folder("train-learn").parents[1])
    done = CliRunner().invoke(app, ["verify", str(run.bundle), "--store", store, "--recompute", "train-learn"])
    assert done.exit_code == 0, done.output
    card = (run.bundle / "README.md").read_text()
    assert "AutoModelForSequenceClassification" in card
    given = recipe(tmp_path, "classes", epochs=1, optimizer={"kind": "adamw", "lr": 1e-5})
    again = lmpipe.run({**given, "model": {"from": str(run.bundle)}}, runtime=Runtime(store=str(tmp_path / "store"), **RUNTIME))
    assert metric(again, "accuracy") > 0.8, "the head goes on, too"


def test_texts_by_length_learn_as_well_as_several_to_a_row(runs: dict[str, Run], tmp_path: Path) -> None:
    given = recipe(tmp_path, "classes", bucket_by_length=True, epochs=20)
    run = lmpipe.run(given, runtime=Runtime(store=str(tmp_path / "store"), **RUNTIME))
    assert metric(run, "accuracy") > 0.8


def test_a_head_on_an_adapted_body(tmp_path: Path) -> None:
    given = recipe(tmp_path, "classes", adapter={"kind": "lora", "rank": 4, "targets": ["q_lin", "v_lin"]})
    run = lmpipe.run(given, runtime=Runtime(store=str(tmp_path / "store"), **RUNTIME))
    texts = [row["text"] for row in held_out(run)]
    theirs = torch.stack(transformers_logits(run, texts, "AutoModelForSequenceClassification"))
    assert np.abs(lmpipe.load(run.bundle)._sequence_logits(texts) - theirs.numpy()).max() <= 1e-5
    before, after = (load_file(folder / "model.safetensors") for folder in (tmp_path / "theirs", run.bundle))
    same = {name for name, tensor in after.items() if name in before and torch.equal(tensor, before[name])}
    assert "distilbert.transformer.layer.0.ffn.lin1.weight" in same
    assert "distilbert.transformer.layer.0.attention.q_lin.weight" not in same


def test_what_cannot_be_learned_is_said_before_anything_is_spent(tmp_path: Path) -> None:
    given = recipe(tmp_path, "classes")
    neox = transformers.GPTNeoXConfig(**SMALL, vocab_size=90)
    transformers.GPTNeoXForCausalLM(neox).save_pretrained(tmp_path / "decoder")
    tapas = transformers.TapasConfig(**SMALL, vocab_size=90)
    transformers.TapasForMaskedLM(tapas).save_pretrained(tmp_path / "tapas")
    for name in ("decoder", "tapas"):
        write_tokenizer(tmp_path / name)
    with pytest.raises(RecipeError, match="the decoder 'auto' cannot learn: a class is read off what an encoder"):
        open_project({**given, "model": {"from": str(tmp_path / "decoder")}})
    tags = {"kind": "tags", "column": "tags"}
    given["data"]["things"]["holds"] = tags
    given["train"][0]["objective"] = {"kind": "tagging"}
    given["evaluate"] = []
    with pytest.raises(RecipeError, match=r"Transformers has no token head for a tapas model.*such as .*distilbert"):
        open_project({**given, "model": {"from": str(tmp_path / "tapas")}})


def test_pickles_are_refused(tmp_path: Path) -> None:
    given = recipe(tmp_path, "classes")
    shutil.move(tmp_path / "theirs/model.safetensors", tmp_path / "theirs/pytorch_model.bin")
    with pytest.raises(lmpipe.base.errors.ModelError, match="may be a pickle"):
        open_project(given)


def test_a_body_that_learned_to_answer_gives_vectors_too(runs: dict[str, Run]) -> None:
    run = runs["classes"]
    network = load_network(run.bundle)
    vectors = lmpipe.load(run.bundle)
    assert network.config.width == 32
    with pytest.raises(lmpipe.base.errors.ServingError, match="was not trained to tag"):
        vectors.tag(["red cat"])
    assert vectors.embed(["red cat", "blue"]).shape == (2, 32)
