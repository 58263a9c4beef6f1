"""What our generators write against Transformers' `generate`, on random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from transformers import AutoModelForCausalLM, T5ForConditionalGeneration

from lmpipe.base.errors import ModelError
from lmpipe.models.api import Generator
from lmpipe.models.config import ModelConfig
from lmpipe.models.families import build, save
from lmpipe.models.generate import TextGenerator
from lmpipe.models.generate_target import TargetGenerator
from lmpipe.models.network import Decoder
from lmpipe.models.t5.model import T5

VOCABULARY = 60
GREEDY: dict[str, Any] = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0}


def make(kind: str, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    shape = {"kind": kind, "layers": 2, "width": 32, "heads": 4, "context": 64, **options}
    network = build(TypeAdapter(ModelConfig).validate_python(shape), VOCABULARY).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return network


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral"])
def test_decoders_go_on_as_transformers_does(kind: str, tmp_path: Path) -> None:
    network: Decoder = make(kind)
    save(network, tmp_path, end_of_text_id=0)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    prompt = [0, 17, 5, 33]
    expected = theirs.generate(torch.tensor([prompt]), max_new_tokens=40, do_sample=False, pad_token_id=1)[0, 4:].tolist()
    found = list(TextGenerator(network).generate(prompt, max_new_tokens=40, stop_ids=(0,), **GREEDY))
    assert found == expected


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[T5, Any]:
    folder = tmp_path_factory.mktemp("t5")
    network = make("t5", seed=4, head_dim=8)
    save(network, folder, end_of_text_id=2)
    return network, T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def sources(count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(9)
    return [torch.randint(3, VOCABULARY, (7 + n,), generator=generator).tolist() for n in range(count)]


def test_greedy_targets_are_those_of_transformers(pair: tuple[T5, Any]) -> None:
    network, theirs = pair
    generator = TargetGenerator(network)
    assert isinstance(generator, Generator)
    for source in sources(4):
        expected = theirs.generate(torch.tensor([source]), max_new_tokens=25, do_sample=False)[0, 1:].tolist()
        assert list(generator.generate(source, max_new_tokens=25, stop_ids=(2,), **GREEDY)) == expected
        assert generator.beam_search(source, beams=1, max_new_tokens=25, stop_ids=(2,)) == expected


@pytest.mark.parametrize(("beams", "penalty", "ngram"), [(2, 1.0, 0), (4, 1.0, 2), (4, 0.0, 0), (5, 2.0, 3), (3, -1.0, 1)])
def test_beam_search_finds_what_transformers_finds(pair: tuple[T5, Any], beams: int, penalty: float, ngram: int) -> None:
    network, theirs = pair
    with torch.no_grad():  # targets end now and then, so that finished and unfinished ones compete
        theirs.lm_head.weight[2] = network.head.weight[2] = theirs.lm_head.weight[2:60].mean(dim=0) + 0.02
    together = TargetGenerator(network).beam_searches(
        sources(4), beams=beams, max_new_tokens=15, stop_ids=(2,), length_penalty=penalty, no_repeat_ngram=ngram
    )
    for source, one_of_many in zip(sources(4), together, strict=True):
        settings = {"num_beams": beams, "length_penalty": penalty, "no_repeat_ngram_size": ngram, "early_stopping": False}
        found = TargetGenerator(network).beam_search(
            source, beams=beams, max_new_tokens=15, stop_ids=(2,), length_penalty=penalty, no_repeat_ngram=ngram
        )
        expected = theirs.generate(torch.tensor([source]), max_new_tokens=15, do_sample=False, **settings)[0, 1:].tolist()
        while expected and expected[-1] == 1:  # padding
            expected.pop()
        assert found == expected
        assert one_of_many == expected


def test_many_sources_at_once_are_those_of_transformers_at_once(pair: tuple[T5, Any]) -> None:
    network, theirs = pair
    given = sorted(sources(12), key=len)
    width = max(map(len, given))
    padded = torch.tensor([[*source, *[0] * (width - len(source))] for source in given])
    attended = torch.tensor([[1] * len(source) + [0] * (width - len(source)) for source in given])
    ours = {"beams": 4, "max_new_tokens": 20, "length_penalty": 0.6, "no_repeat_ngram": 3}
    free = TargetGenerator(network).beam_searches(given, **ours, stop_ids=())
    end = max(range(3, VOCABULARY), key=lambda token: sum(token in ids for ids in free))  # many targets end, each at a place
    settings = {"num_beams": 4, "length_penalty": 0.6, "no_repeat_ngram_size": 3, "early_stopping": False, "eos_token_id": end}
    expected = theirs.generate(padded, attention_mask=attended, max_new_tokens=20, do_sample=False, **settings)[:, 1:].tolist()
    found = TargetGenerator(network).beam_searches(given, **ours, stop_ids=(end,))
    assert len({len(ids) for ids in found}) > 1, "they end at different times"
    for ids, other in zip(found, expected, strict=True):
        assert ids == other[: len(ids)]
        assert set(other[len(ids) :]) <= {1}, "padding"


def test_sampled_targets_repeat_with_their_seed(pair: tuple[T5, Any]) -> None:
    generator = TargetGenerator(pair[0])
    settings = {**GREEDY, "temperature": 1.0}
    draws = [
        list(generator.generate(sources(1)[0], max_new_tokens=9, stop_ids=(), **{**settings, "seed": s})) for s in (1, 1, 2)
    ]
    assert draws[0] == draws[1] != draws[2]


def test_nothing_to_read_and_impossible_searches_are_refused(pair: tuple[T5, Any]) -> None:
    generator = TargetGenerator(pair[0])
    with pytest.raises(ModelError, match="nothing to read"):
        generator.generate([], max_new_tokens=1, stop_ids=(), **GREEDY)
    with pytest.raises(ModelError, match="cannot be searched"):
        generator.beam_search([3], beams=0, max_new_tokens=1, stop_ids=())
    with pytest.raises(ModelError, match="60"):
        generator.beam_search([60], beams=1, max_new_tokens=1, stop_ids=())
