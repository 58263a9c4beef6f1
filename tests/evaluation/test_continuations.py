"""Continuations scored together have the log probabilities that each has alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from lmpipe.base.errors import ModelError
from lmpipe.base.progress import Silent
from lmpipe.evaluation.continuations import Continuation, score_continuations
from lmpipe.models.config import ModelConfig
from lmpipe.models.families import build
from lmpipe.models.network import Decoder

VOCABULARY, CONTEXT = 50, 32
SHAPE = {"layers": 2, "width": 16, "heads": 2, "context": CONTEXT}


def decoder(kind: str) -> Decoder:
    torch.manual_seed(1)
    shape: dict[str, Any] = {"layers": 1, "width": 16, "context": CONTEXT} if kind == "lstm" else SHAPE
    network = build(TypeAdapter(ModelConfig).validate_python({"kind": kind, **shape}), VOCABULARY).eval()
    for parameter in network.parameters():
        parameter.data.mul_(4)  # fresh weights find everything equally probable
    assert isinstance(network, Decoder)
    return network


def alone(model: Decoder, context: tuple[int, ...], ids: tuple[int, ...]) -> tuple[float, bool]:
    row = (context + ids)[-CONTEXT - 1 :]
    with torch.inference_mode():
        scores_TV = torch.log_softmax(model(torch.tensor([row[:-1]]))[0].double(), dim=-1)[-len(ids) :]
    targets_T = torch.tensor(ids)
    return float(scores_TV[range(len(ids)), targets_T].sum()), bool((scores_TV.argmax(-1) == targets_T).all())


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral", "lstm"])
def test_together_as_alone(kind: str) -> None:
    chance, model = random.Random(3), decoder(kind)
    draw = lambda length: tuple(chance.randrange(VOCABULARY) for _ in range(length))  # noqa: E731
    contexts = [draw(length) for length in (1, 2, 20, 20, 31, 32, 60)]
    asked = [Continuation(context, draw(length)) for context in contexts for length in (1, 1, 4)]
    asked += [asked[0], Continuation(contexts[2], draw(CONTEXT))]
    chance.shuffle(asked)
    for tokens_at_once in (1, 300):
        found = score_continuations(model, asked, progress=Silent(), tokens_at_once=tokens_at_once)
        expected = [alone(model, *each) for each in asked]
        assert [answer.log_probability for answer in found] == pytest.approx([nats for nats, _ in expected], abs=1e-4)
        assert [answer.greedy for answer in found] == [greedy for _, greedy in expected]


def test_windows_of_texts_are_read_some_at_a_time() -> None:
    """All of them have one token for a context, and are no reason to read all at once."""
    model, passes = decoder("llama"), []
    model.blocks[0].register_forward_hook(lambda module, inputs, output: passes.append(inputs[0].shape[:2].numel()))
    asked = [Continuation((0,), tuple(range(1, length))) for length in range(8, 32)]
    score_continuations(model, asked, progress=Silent(), tokens_at_once=64)
    assert max(passes) <= 64
    assert sum(passes) < 1.3 * sum(len(ids) for _, ids in asked), "rows of a pass are alike in length"


@pytest.mark.parametrize("asked", [Continuation((), (1,)), Continuation((1,), ()), Continuation((1,), (2,) * (CONTEXT + 1))])
def test_what_cannot_be_scored_is_refused(asked: Continuation) -> None:
    with pytest.raises(ModelError, match="question 0"):
        score_continuations(decoder("llama"), [asked], progress=Silent())
