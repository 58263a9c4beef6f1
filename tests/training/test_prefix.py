"""A prefix language model reads beginnings both ways: while it learns, when it is used, and wherever it is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_example as example
from pydantic import TypeAdapter
from transformers import AutoModelForCausalLM

from lmpipe.audit.extraction import extract
from lmpipe.base.errors import ModelError, RecipeError
from lmpipe.base.files import read_json
from lmpipe.base.progress import Silent
from lmpipe.evaluation.continuations import Continuation, score_continuations
from lmpipe.export.cards import ModelFacts, model_card
from lmpipe.models import families
from lmpipe.models.config import ModelConfig
from lmpipe.models.generate import TextGenerator
from lmpipe.models.loading import load_model
from lmpipe.models.network import Decoder
from lmpipe.recipes.project import open_project
from lmpipe.tokens.loader import Batch, segments_of
from lmpipe.training.objective_config import PrefixConfig
from lmpipe.training.objectives import IGNORED, Prefix

GREEDY: Any = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0, "stop_ids": ()}
KINDS = {
    "llama": {},
    "with a window": {"sliding_window": 5},
    "gpt2": {"kind": "gpt2"},
    "mixtral": {"kind": "mixtral", "experts": 3},
}


def decoder(kind: str = "llama") -> Decoder:
    torch.manual_seed(0)
    network = families.build(example.tiny_model(**{"dropout": 0.0, **KINDS[kind]}), example.VOCABULARY).eval()
    assert isinstance(network, Decoder)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return network


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True], ids=["predicting", "training"])
@torch.no_grad()
def test_a_prefix_is_read_both_ways_and_the_rest_causally(kind: str, training: bool) -> None:
    network = decoder(kind).train(training)
    ids = torch.arange(1, 17)[None]
    segments = torch.tensor([[0] * 10 + [1] * 6])
    prefix = torch.tensor([[True] * 6 + [False] * 4 + [True] * 2 + [False] * 4])

    def changed(place: int) -> list[int]:
        """Positions whose output depends on the token at `place`."""
        other = ids.clone()
        other[0, place] = 50
        before, after = (network(each, segments, prefix_BT=prefix)[0] for each in (ids, other))
        return [t for t in range(16) if float((before[t] - after[t]).abs().max()) > 1e-4]

    assert changed(5) == list(range(10)), "a later token of the prefix changes earlier outputs, and no other document"
    assert changed(7) == [7, 8, 9], "what follows a prefix is read causally"
    assert changed(11) == [10, 11, 12, 13, 14, 15], "each document has its own prefix"


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@torch.no_grad()
def test_logits_are_those_of_transformers_under_the_same_mask(kind: str, tmp_path: Path) -> None:
    network = decoder(kind)
    families.save(network, tmp_path, end_of_text_id=0)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="sdpa").eval()
    ids, prefix = torch.randint(1, example.VOCABULARY, (2, 12)), torch.arange(12)[None].expand(2, -1) < torch.tensor([[5], [9]])
    seen = torch.ones(12, 12, dtype=torch.bool).tril() | prefix[:, None]
    expected = theirs(ids, attention_mask=torch.where(seen, 0.0, torch.finfo(torch.float32).min)[:, None]).logits
    assert float((network(ids, prefix_BT=prefix) - expected).abs().max()) < 1e-5


def test_only_what_follows_a_beginning_is_asked_for() -> None:
    generator = np.random.default_rng(0)
    inputs = np.where(generator.random((64, 32)) < 0.1, 0, generator.integers(1, 9, (64, 32)))
    batch = Batch(inputs, generator.integers(1, 9, (64, 32)), segments_of(inputs, 0))
    objective = Prefix(PrefixConfig(), seed=1)
    found = objective.prepare(batch, 3)
    shares = []
    for row in range(64):
        for segment in np.unique(batch.segments_BT[row]):
            here = batch.segments_BT[row] == segment
            prefix, targets = found.prefix_BT[row][here], found.targets_BT[row][here]
            length = int(prefix.sum())
            assert prefix[:length].all(), "a prefix is a beginning"
            assert length >= 1
            assert (targets[: length - 1] == IGNORED).all(), "nothing within it is asked for: it is seen"
            assert (targets[length - 1 :] == batch.targets_BT[row][here][length - 1 :]).all(), "all that follows is"
            shares.append(length / len(prefix))
    assert objective.supervised(found) == int((found.targets_BT != IGNORED).sum()) > 0
    assert 0.4 < float(np.mean(shares)) < 0.75, "places are drawn evenly"
    again, other = objective.prepare(batch, 3), objective.prepare(batch, 4)
    assert (again.prefix_BT == found.prefix_BT).all()
    assert (other.prefix_BT != found.prefix_BT).any(), "drawn anew at each batch"


def test_a_share_of_texts_can_be_learned_whole() -> None:
    inputs = np.full((400, 20), 5)
    batch = Batch(inputs, inputs, np.zeros_like(inputs))
    objective = Prefix(PrefixConfig(causal_share=0.5), seed=1)
    whole = (objective.prepare(batch, 0).targets_BT != IGNORED).all(axis=1).mean()
    assert 0.45 < whole < 0.6  # half, and one in twenty of the others
    assert (Prefix(PrefixConfig(causal_share=1.0), seed=1).prepare(batch, 0).targets_BT == inputs).all()


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learned to read beginnings both ways."""
    folder = tmp_path_factory.mktemp("prefix")
    example.run_training(corpus, folder, model=example.tiny_model(dropout=0.0), phase=phase())
    return folder


def phase(**options: Any) -> Any:
    return example.tiny_phase(
        objective={"kind": "prefix"}, **{"tokens": 40 * 128, "optimizer": {"kind": "adamw", "lr": 3e-3}, **options}
    )


def test_it_learns_and_a_stopped_run_ends_with_the_same_bytes(trained: Path, corpus: Path, tmp_path: Path) -> None:
    losses = [row["validation_loss"] for row in example.curve(trained) if "validation_loss" in row]
    assert losses[-1] < losses[0] - 0.3
    asked = iter(range(100))
    model = example.tiny_model(dropout=0.0)
    assert not example.run_training(corpus, tmp_path, model=model, phase=phase(), stopping=lambda: next(asked) == 13)
    example.run_training(corpus, tmp_path, model=model, phase=phase())
    assert example.result(tmp_path) == example.result(trained)


@torch.no_grad()
def test_what_is_saved_says_so_and_is_used_so(trained: Path) -> None:
    assert read_json(trained / "output" / "best" / "config.json")["prefix_lm"] is True
    network = load_model(trained / "output" / "best")
    prompt, written = [0, 7, 8, 9, 10, 11, 12], []
    for _ in range(6):  # no cache: the prompt both ways, what was written after it causally
        ids = torch.tensor([prompt + written])
        prefix = torch.arange(ids.shape[1])[None] < len(prompt)
        written.append(int(network(ids, prefix_BT=prefix)[0, -1].argmax()))
    generator = TextGenerator(network)
    assert list(generator.generate(prompt, max_new_tokens=6, **GREEDY)) == written
    ids = torch.tensor([prompt])
    differs = network(ids)[0, -1] - network(ids, prefix_BT=torch.ones_like(ids, dtype=torch.bool))[0, -1]
    assert float(differs.abs().max()) > 1e-3, "read causally, it says something else"
    assert AutoModelForCausalLM.from_pretrained(trained / "output" / "best").config.prefix_lm is True


@torch.no_grad()
def test_questions_and_audits_read_contexts_both_ways(trained: Path) -> None:
    network = load_model(trained / "output" / "best")
    contexts = [tuple(range(3, 23)), tuple(range(40, 46))]
    asked = [Continuation(context, ids) for context in contexts for ids in ((60, 61, 62), (11, 12), (7,))]
    for (context, ids), found in zip(asked, score_continuations(network, asked, progress=Silent()), strict=True):
        text = torch.tensor([[*context, *ids]])
        prefix = torch.arange(text.shape[1] - 1)[None] < len(context)
        scores = torch.log_softmax(network(text[:, :-1], prefix_BT=prefix)[0].float(), dim=-1)[len(context) - 1 :]
        assert found.log_probability == pytest.approx(float(scores.gather(1, torch.tensor(ids)[:, None]).sum()), abs=1e-4)
    passages = np.array([[*range(start, start + 8)] for start in range(10, 60, 5)])
    found = extract(network, passages, 5, device=torch.device("cpu"), progress=Silent())
    generator = TextGenerator(network)
    for passage, matched in zip(passages.tolist(), found.matched_N.tolist(), strict=True):
        drawn = list(generator.generate(passage[:5], max_new_tokens=3, **GREEDY))
        assert matched == next((n for n in range(3) if drawn[n] != passage[5 + n]), 3)


def test_another_objective_afterwards_is_read_causally_again(trained: Path, corpus: Path, tmp_path: Path) -> None:
    causal = example.tiny_phase(tokens=256)
    model = example.tiny_model(dropout=0.0)
    example.run_training(corpus, tmp_path, model=model, phase=causal, start=trained / "output" / "best")
    assert "prefix_lm" not in read_json(tmp_path / "output" / "best" / "config.json")
    assert not load_model(tmp_path / "output" / "best").reads_prefix


def test_recurrent_models_are_refused_with_the_reason(tmp_path: Path) -> None:
    recurrent: Any = TypeAdapter(ModelConfig).validate_python({"kind": "lstm", "layers": 1, "width": 16, "context": 32})
    ids = torch.tensor([[1, 2, 3]])
    with pytest.raises(ModelError, match="cannot look ahead"):
        families.build(recurrent, example.VOCABULARY)(ids, prefix_BT=torch.ones_like(ids, dtype=torch.bool))
    (tmp_path / "text.txt").write_text("one two three")
    values = {
        "name": "prefix",
        "data": {"notes": {"read": [{"kind": "text", "paths": [str(tmp_path / "text.txt")]}]}},
        "tokenizer": {"kind": "byte"},
        "model": {"kind": "lstm", "cell": "rnn", "layers": 1, "width": 16, "context": 32},
        "train": [{"name": "read", "on": "notes", "tokens": 1000, "batch_tokens": 64, "objective": {"kind": "prefix"}}],
    }
    with pytest.raises(RecipeError, match=r"train\.0\.objective is prefix.*recurrent model \(rnn\).*cannot look ahead"):
        open_project(values)
    assert open_project(values, {"model": {"kind": "llama", "layers": 1, "width": 16, "heads": 2, "context": 32}})


def test_the_card_says_how_others_read_it() -> None:
    said = "load the model, and what it then writes is not what was trained"
    config = {"model_type": "llama", "prefix_lm": True}
    assert said in model_card(ModelFacts("m", 1, config, "float32", "best"))
    assert said not in model_card(ModelFacts("m", 1, {"model_type": "llama"}, "float32", "best"))
