"""What is hidden, what is asked for, and which models can learn it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_example as example
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from transformers import BertForMaskedLM

from lmpipe.base.errors import RecipeError, SourceError
from lmpipe.base.runtime import Runtime
from lmpipe.models.config import ModelConfig
from lmpipe.models.loading import load_network
from lmpipe.recipes.project import open_project
from lmpipe.recipes.reporting import build_report
from lmpipe.recipes.running import run
from lmpipe.tokens.chat import CHAT_TEMPLATE, render
from lmpipe.tokens.controls import Controls
from lmpipe.tokens.loader import Batch
from lmpipe.tokens.shards import open_shards
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.training.objective_config import ChatConfig, MaskedConfig
from lmpipe.training.objectives import IGNORED, Masked, make_objective

MASK_ID = 1


def encoder(**options: Any) -> Any:
    values = {"kind": "bert", "layers": 2, "width": 32, "heads": 4, "context": example.CONTEXT, **options}
    return TypeAdapter(ModelConfig).validate_python(values)


def rows(seed: int, count: int = 6, length: int = 40) -> Batch:
    ids = np.random.default_rng(seed).integers(6, 100, (count, length))
    ids[:, 7] = 0
    return Batch(ids, np.roll(ids, -1, axis=1), np.cumsum(ids == 0, axis=1))


@settings(deadline=None, max_examples=50)
@given(rate=st.floats(0.02, 0.9), seed=st.integers(0, 1000), position=st.integers(0, 10**6))
def test_hidden_tokens_are_asked_for_and_others_stand(rate: float, seed: int, position: int) -> None:
    objective = Masked(MaskedConfig(rate=rate), vocab_size=100, controls=Controls.ours(), seed=seed)
    batch = rows(seed)
    found = objective.prepare(batch, position)
    again = objective.prepare(batch, position)
    assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True))
    assert found.places_BK.shape[1] == max(1, round(rate * 40))
    assert (np.diff(found.places_BK, axis=1) > 0).all()
    originals = np.take_along_axis(batch.inputs_BT, found.places_BK, axis=1)
    asked = found.targets_BK != IGNORED
    assert np.array_equal(found.targets_BK[asked], originals[asked])
    assert (originals[~asked] == 0).all(), "only borders are never asked for"
    changed = found.inputs_BT != batch.inputs_BT
    touched = np.zeros_like(changed)
    np.put_along_axis(touched, found.places_BK, True, axis=1)
    assert not (changed & ~touched).any()
    assert (found.inputs_BT[:, 7] == 0).all()


def test_shares_are_what_was_asked_for() -> None:
    objective = Masked(MaskedConfig(rate=0.3), vocab_size=100, controls=Controls.ours(), seed=1)
    batch = rows(0, count=400)
    found = objective.prepare(batch, 3)
    shown = np.take_along_axis(found.inputs_BT, found.places_BK, axis=1)[found.targets_BK != IGNORED]
    wanted = found.targets_BK[found.targets_BK != IGNORED]
    masked, kept = (shown == MASK_ID).mean(), (shown == wanted).mean()
    assert masked == pytest.approx(0.8, abs=0.03)
    assert kept == pytest.approx(0.1, abs=0.03)
    assert not np.array_equal(objective.prepare(batch, 4).places_BK, found.places_BK)


def test_an_encoder_learns_and_transformers_computes_its_loss(tmp_path: Path) -> None:
    corpus = example.write_corpus(tmp_path / "corpus", vocab_size=20)
    options = {"optimizer": {"kind": "adamw", "lr": 1e-2}, "validation": {"every_tokens": 10 * 512, "tokens": 1024}}
    phase = example.tiny_phase(tokens=80 * 512, batch_tokens=512, objective={"kind": "masked"}, **options)
    facts = example.run_training(corpus, tmp_path, model=encoder(), phase=phase)
    curve = [json.loads(row) for row in (tmp_path / "output" / "curve.jsonl").read_text().splitlines()]
    losses = [row["validation_loss"] for row in curve if "validation_loss" in row]
    assert losses[-1] < losses[0] - 0.05
    objective = Masked(MaskedConfig(), vocab_size=20, controls=Controls.ours(), seed=1)
    found = objective.prepare(Batch(rows(0).inputs_BT[:, :32] % 20, rows(0).targets_BT, np.zeros((6, 32), np.int64)), 0)
    theirs = BertForMaskedLM.from_pretrained(tmp_path / "output" / "best", dtype=torch.float32)
    labels = np.full((6, 32), IGNORED)
    np.put_along_axis(labels, found.places_BK, found.targets_BK, axis=1)
    with torch.no_grad():
        inputs = torch.from_numpy(found.inputs_BT)
        expected = theirs(inputs, torch.ones_like(inputs), labels=torch.from_numpy(labels)).loss.item()
    ours = objective.losses(load_network(tmp_path / "output" / "best"), *(torch.from_numpy(array) for array in found))
    assert ours.nats.item() / objective.supervised(found) == pytest.approx(expected, rel=1e-4)
    assert facts["steps"] == 80


def test_stopped_an_encoder_ends_with_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    phase = example.tiny_phase(objective={"kind": "masked"}, micro_batch_tokens=64)
    example.run_training(corpus, tmp_path / "whole", model=encoder(), phase=phase)
    asked = iter(range(100))
    example.run_training(corpus, tmp_path / "stopped", model=encoder(), phase=phase, stopping=lambda: next(asked) >= 5)
    example.run_training(corpus, tmp_path / "stopped", model=encoder(), phase=phase)
    assert example.result(tmp_path / "whole") == example.result(tmp_path / "stopped")


# ------------------------------------------------------------------------------------------------------------ conversations


def test_only_answers_are_learned() -> None:
    end_of_text, system, user, assistant, end = 0, 2, 3, 4, 5
    row = [8, 9, end, user, 10, end, assistant, 11, 12, end, end_of_text, system, 13, end, user, 14, end, assistant, 15, 16]
    learned = [(11, 12, end), (15, 16, 99)]  # the answer whose opening is not in the row is left out
    ids = np.array([row])
    batch = Batch(ids, np.append(ids[:, 1:], [[99]], axis=1), np.cumsum(ids == 0, axis=1))
    found = make_objective(ChatConfig(), vocab_size=100, controls=Controls.ours(), seed=1).prepare(batch, 0)
    assert found[1][found[1] != IGNORED].tolist() == [token for answer in learned for token in answer]
    assert np.array_equal(found[0], ids)


DIALOGS = [
    [{"role": "user", "content": f"what is {a} and {b}?"}, {"role": "assistant", "content": f"it is {a + b}, friend {a}."}]
    for a in range(12)
    for b in range(12)
]


def chat_recipe(folder: Path) -> dict[str, Any]:
    (folder / "dialogs.jsonl").write_text("\n".join(json.dumps({"messages": dialog}) for dialog in DIALOGS))
    for number in range(30):
        words = [f"{w} and {number} is what it is, friend" for w in range(40)]
        (folder / f"book{number:02d}.txt").write_text(". ".join(words))
    size = {"tokens": 4096, "batch_tokens": 512, "validation": {"every_tokens": 2048, "tokens": 256}}
    return {
        "name": "talker",
        "data": {
            "books": {"read": [{"kind": "text", "paths": [str(folder / "book*.txt")]}]},
            "dialogs": {
                "read": [{"kind": "jsonl", "paths": [str(folder / "dialogs.jsonl")], "text_column": "messages"}],
                "holds": "conversations",
                "split": {"train": 0.8, "validation": 0.1, "test": 0.1},
            },
        },
        "tokenizer": {"vocab_size": 300, "train_on": "books"},
        "model": {"layers": 1, "width": 32, "heads": 2, "context": 64},
        "train": [
            {"name": "pretrain", "on": "books", **size},
            {"name": "chat", "on": "dialogs", "objective": {"kind": "chat"}, "adapter": {"kind": "lora", "rank": 4}, **size},
        ],
    }


def test_a_base_model_is_made_and_then_taught_to_answer(tmp_path: Path) -> None:
    values = chat_recipe(tmp_path)
    dialogs = values["data"].pop("dialogs")
    chat = values["train"].pop()
    runtime = Runtime(store=str(tmp_path / "store"), device="cpu", threads=1, workers=1, compile=False, isolate=False)
    base = run(values, runtime=runtime)
    asked = {"prompts": ["what is 2 and 3?", "who?"], "every_tokens": 1024, "new_tokens": 5}
    tuned_recipe = {
        "name": "tuned",
        "data": {"dialogs": dialogs},
        "model": {"from": str(base.bundle)},
        "train": [{**chat, "bucket_by_length": True, "samples": asked}],
    }
    done = run(tuned_recipe, runtime=runtime)
    assert done.status == "finished"
    assert run(tuned_recipe, runtime=runtime).same_before() is not None
    with pytest.raises(RecipeError, match="has its tokenizer already"):
        open_project({**tuned_recipe, "tokenizer": values["tokenizer"]})
    with pytest.raises(SourceError, match="no model 'nowhere'"):
        open_project(tuned_recipe, {"model.from": "nowhere"})
    bundle = Path(str(done.bundle))
    tokenizer = load_tokenizer(bundle)
    assert tokenizer.chat_template == CHAT_TEMPLATE
    told = build_report(done).phases[0]
    assert told.prompts == asked["prompts"]
    assert [one.tokens for one in told.written] == [0, 1024, 2048, 3072, 4096]
    assert told.written[0].texts != told.written[-1].texts
    tokens = next((tmp_path / "store").glob("tokenize-dialogs/*/train"))
    document = open_shards(tokens).document(0).tolist()
    rendered = {tuple(render(dialog, tokenizer, add_generation_prompt=False)[1:]) for dialog in DIALOGS}
    assert tuple(document[:-1]) in rendered
    pretrained = next((tmp_path / "store").glob("train-pretrain/*/best/model.safetensors")).parent
    tuned = next((tmp_path / "store").glob("train-chat/*/training.json"))
    before, after = load_network(pretrained).state_dict(), load_network(tuned.parent / "best").state_dict()
    assert torch.equal(before["embedding.weight"], after["embedding.weight"]), "frozen under the adapter"
    assert not torch.equal(before["blocks.0.attention.qkv.weight"], after["blocks.0.attention.qkv.weight"])


def test_text_and_conversations_are_not_mixed_up(tmp_path: Path) -> None:
    values = chat_recipe(tmp_path)
    open_project(values)
    with pytest.raises(RecipeError, match=r"train\.1\.objective is causal, .*data\.dialogs holds conversations"):
        open_project(values, {"train.1.objective": {"kind": "causal"}})
    with pytest.raises(RecipeError, match=r"train\.0\.objective is chat, .*data\.books holds text"):
        open_project(values, {"train.0.objective": {"kind": "chat"}})
    with pytest.raises(RecipeError, match=r"tokenizer\.train_on names 'dialogs', which holds conversations"):
        open_project(values, {"tokenizer.train_on": "dialogs"})


def recipe(**changes: Any) -> dict[str, Any]:
    values = {
        "name": "pairs",
        "data": {"books": {"read": [{"kind": "text", "paths": ["*.txt"]}]}},
        "tokenizer": {"vocab_size": 300, "train_on": "books"},
        "model": {"kind": "bert", "layers": 1, "width": 16, "heads": 2, "context": 64},
        "train": [{"name": "main", "on": "books", "tokens": 1000, "objective": {"kind": "masked"}}],
    }
    return {**values, **changes}


def test_impossible_pairs_are_refused_with_the_reason() -> None:
    open_project(recipe())
    llama = {"layers": 1, "width": 16, "heads": 2, "context": 64}
    with pytest.raises(RecipeError, match=r"train\.0\.objective is masked.*decoder 'llama' cannot.*both sides"):
        open_project(recipe(model=llama))
    causal = [{"name": "main", "on": "books", "tokens": 1000}]
    with pytest.raises(RecipeError, match=r"train\.0\.objective is causal.*encoder 'bert' cannot.*must not see"):
        open_project(recipe(train=causal))
    with pytest.raises(RecipeError, match=r"evaluate\.0 asks how probable"):
        open_project(recipe(evaluate=[{"kind": "perplexity", "on": "books"}]))
