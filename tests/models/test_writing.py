"""Texts written side by side are those that each is alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from pydantic import TypeAdapter

from lmpipe.base.errors import ModelError
from lmpipe.models import passes
from lmpipe.models.config import ModelConfig
from lmpipe.models.drawing import Drawing
from lmpipe.models.families import build
from lmpipe.models.generate import TextGenerator
from lmpipe.models.loading import load_model
from lmpipe.models.network import Decoder

VOCABULARY, CONTEXT = 40, 24
SHAPE: dict[str, Any] = {"layers": 2, "width": 16, "heads": 2, "context": CONTEXT}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {**SHAPE, "heads": 4, "kv_heads": 2},
    "llama in windows": {**SHAPE, "kind": "llama", "sliding_window": 7},
    "llama read both ways": {**SHAPE, "kind": "llama"},
    "gpt2": SHAPE,
    "mixtral": SHAPE,
    "lstm": {"layers": 2, "width": 16, "context": CONTEXT},
}
FOREIGN: dict[str, Callable[..., Any]] = {
    "foreign": lambda **shape: transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**shape)),
    "foreign in windows": lambda **shape: transformers.MistralForCausalLM(
        transformers.MistralConfig(**shape, num_key_value_heads=2, sliding_window=7)
    ),
}


@pytest.fixture(scope="module", params=[*KINDS, *FOREIGN])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    torch.manual_seed(1)
    if request.param in KINDS:
        shape = {"kind": request.param, **KINDS[request.param]}
        network = build(TypeAdapter(ModelConfig).validate_python(shape), VOCABULARY).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
        if "both ways" in request.param:
            network.reads_prefix = True
    else:
        folder: Path = tmp_path_factory.mktemp("foreign")
        FOREIGN[request.param](
            vocab_size=VOCABULARY, hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32,
            max_position_embeddings=CONTEXT, initializer_range=0.5,
        ).save_pretrained(folder)  # fmt: skip
        network = load_model(folder)
    assert isinstance(network, Decoder)
    return network


def prompts(count: int) -> list[list[int]]:
    """Of all lengths; some twice, some longer than the context, one empty."""
    chance = random.Random(5)
    drawn = [[chance.randrange(VOCABULARY) for _ in range(chance.choice([1, 2, 3, 5, 9, 17, 30]))] for _ in range(count)]
    return [*drawn, drawn[0], drawn[0], []]


def asked(temperature: float, **settings: Any) -> list[Drawing]:
    """Answers of all lengths, ended by ids or by number; some outgrow the context."""
    return [
        Drawing(prompt_ids=ids, max_new_tokens=1 + 7 * (n % 5), temperature=temperature, seed=n, stop_ids=(3, 11), **settings)
        for n, ids in enumerate(prompts(13))
    ]


def alone(generator: TextGenerator, one: Drawing) -> list[int]:
    names = ("prompt_ids", "max_new_tokens", "temperature", "top_k", "top_p", "seed", "stop_ids")
    return list(generator.generate(**{name: getattr(one, name) for name in names}))


@pytest.mark.parametrize(
    "settings", [{"temperature": 0.0}, {"temperature": 1.0}, {"temperature": 0.8, "top_k": 9, "top_p": 0.9}]
)
@pytest.mark.parametrize("rows", [6, 100])
def test_together_as_alone(model: Decoder, settings: dict[str, Any], rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "ROWS_ON_CPU", rows)
    monkeypatch.setattr(passes, "ON_CPU", 40)
    generator = TextGenerator(model, start_id=1, known_ids=VOCABULARY - 2)
    everything = asked(**settings)
    expected = [alone(generator, one) for one in everything]
    assert len({len(ids) for ids in expected}) > 4, "they end at different times"
    assert dict(generator.generate_all(everything)) == dict(enumerate(expected))
    some = everything[3:12]  # other texts beside them: a text depends on its own seed alone
    assert dict(generator.generate_all(some)) == dict(enumerate(expected[3:12]))


@pytest.fixture
def llama() -> Decoder:
    torch.manual_seed(2)
    network = build(TypeAdapter(ModelConfig).validate_python({"kind": "llama", **SHAPE, "context": 400}), VOCABULARY).eval()
    assert isinstance(network, Decoder)
    return network


def test_what_ended_costs_nothing_and_others_take_its_place(llama: Decoder) -> None:
    """One long answer among many short ones: few rows go through beside those that are needed."""
    lengths = [300] + [4] * 200
    rows: list[int] = []
    llama.blocks[0].register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    everything = [Drawing(prompt_ids=[n % VOCABULARY, n % 7], max_new_tokens=length) for n, length in enumerate(lengths)]
    found = dict(TextGenerator(llama).generate_all(everything))
    assert [len(found[n]) for n in range(len(lengths))] == lengths
    assert len(rows) <= 300 + 20
    assert sum(rows) <= 1.3 * sum(lengths)


def test_a_prompt_of_several_answers_is_read_once(llama: Decoder) -> None:
    read: list[int] = []
    llama.blocks[0].register_forward_hook(lambda module, inputs, output: read.append(inputs[0].shape[:2].numel()))
    asked = Drawing(prompt_ids=list(range(30)), max_new_tokens=5, temperature=1.0, seed=4)
    ((_, answers),) = TextGenerator(llama).answers([asked], 8)
    assert read == [30, 8, 8, 8, 8]
    assert len({tuple(answer) for answer in answers}) == 8, "each has a seed of its own"
    other = replace(asked, prompt_ids=[5], seed=9)
    assert dict(TextGenerator(llama).answers([other, asked], 3))[1] == answers[:3]


def test_a_text_ends_where_its_listener_says(llama: Decoder) -> None:
    heard: list[int] = []

    def goes_on(token: int) -> bool:
        heard.append(token)
        return len(heard) < 6

    ends = Drawing(prompt_ids=[4], max_new_tokens=50, goes_on=goes_on)
    found = dict(TextGenerator(llama).generate_all([Drawing(prompt_ids=[4, 4], max_new_tokens=9), ends]))
    assert found[1] == heard
    assert (len(found[0]), len(found[1])) == (9, 6)


def test_nothing_runs_before_a_text_is_asked_for_and_mistakes_show_at_once(llama: Decoder) -> None:
    calls: list[int] = []
    llama.blocks[0].register_forward_hook(lambda module, inputs, output: calls.append(1))
    texts = TextGenerator(llama).generate_all([Drawing(prompt_ids=[1], max_new_tokens=n) for n in (0, 3)])
    assert next(texts) == (0, [])
    assert not calls
    with pytest.raises(ModelError, match="cannot be drawn"):
        TextGenerator(llama).generate_all([Drawing(prompt_ids=[1], max_new_tokens=1, top_p=0.0)])
    with pytest.raises(ModelError, match=str(VOCABULARY)):
        TextGenerator(llama).generate_all([Drawing(prompt_ids=[VOCABULARY], max_new_tokens=1)])
