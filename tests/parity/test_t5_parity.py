"""Our T5 against Transformers: the same files give the same logits, both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import T5ForConditionalGeneration

from lmpipe.models.families import build, parameter_count, save
from lmpipe.models.loading import load_network
from lmpipe.models.t5.config import T5Config
from lmpipe.models.t5.model import T5

VOCABULARY = 101
SHAPES: dict[str, dict[str, Any]] = {
    "untied": {},
    "tied": {"tie_embeddings": True},
    "deeper decoder, few buckets": {"decoder_layers": 3, "buckets": 8, "max_distance": 12, "feed_forward": 40},
}


def make(shape: str) -> T5:
    torch.manual_seed(0)
    options = {"layers": 2, "width": 32, "heads": 4, "head_dim": 6, "context": 64, **SHAPES[shape]}
    network = build(T5Config.model_validate(options), VOCABULARY).eval()
    assert isinstance(network, T5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def some_ids(length: int, rows: int = 2, seed: int = 1) -> torch.Tensor:
    return torch.randint(2, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def furthest(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_reads_what_we_write_and_we_read_what_it_writes(shape: str, tmp_path: Path) -> None:
    network = make(shape)
    save(network, tmp_path / "ours", end_of_text_id=0)
    theirs = T5ForConditionalGeneration.from_pretrained(tmp_path / "ours", dtype=torch.float32).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_network(tmp_path / "theirs")
    assert again.config == network.config.model_copy(update=network.config.resolved())
    source, target = some_ids(40), some_ids(33, seed=2)
    with torch.inference_mode():
        assert furthest(network(source, target), theirs(input_ids=source, decoder_input_ids=target).logits) <= 1e-5
        assert torch.equal(network(source, target), again(source, target))
    assert parameter_count(network.config, VOCABULARY) == sum(p.numel() for p in theirs.parameters())


def test_padding_of_the_source_is_not_looked_at(tmp_path: Path) -> None:
    network = make("untied")
    save(network, tmp_path, end_of_text_id=0)
    theirs = T5ForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32).eval()
    source, target, attended = some_ids(30), some_ids(9), torch.ones(2, 30, dtype=torch.long)
    attended[1, 18:] = 0
    with torch.inference_mode():
        logits = network(source, target, attended - 1)
        expected = theirs(input_ids=source, decoder_input_ids=target, attention_mask=attended).logits
        assert furthest(logits, expected) <= 1e-5
        assert furthest(logits[1:], network(source[1:, :18], target[1:])) <= 1e-5


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [(20,), (1,) * 20, (7, 1, 12)])
def test_a_cache_gives_the_logits_of_the_whole(shape: str, steps: tuple[int, ...]) -> None:
    network = make(shape)
    source, target = some_ids(25), some_ids(20, seed=2)
    with torch.inference_mode():
        memory = network.encode(source)
        cache = network.new_cache(memory, 20)
        parts = [network.head(network.hidden(part, memory, cache=cache)) for part in target.split(list(steps), dim=1)]
        assert furthest(torch.cat(parts, dim=1), network(source, target)) <= 1e-5


def test_several_pairs_in_one_row_do_not_see_each_other() -> None:
    network = make("untied")
    sources, targets = (some_ids(11, 1), some_ids(17, 1, 5)), (some_ids(6, 1, 6), some_ids(9, 1, 7))
    source_segments = torch.tensor([[0] * 11 + [1] * 17])
    segments = torch.tensor([[0] * 6 + [1] * 9])
    with torch.inference_mode():
        packed = network(torch.cat(sources, dim=1), torch.cat(targets, dim=1), source_segments, segments)
        assert furthest(packed[:, :6], network(sources[0], targets[0])) <= 1e-5
        assert furthest(packed[:, 6:], network(sources[1], targets[1])) <= 1e-5


def test_a_fresh_network_knows_nothing() -> None:
    for tied in (False, True):
        torch.manual_seed(0)
        network = build(T5Config(layers=2, width=64, heads=2, head_dim=32, context=64, tie_embeddings=tied), VOCABULARY)
        with torch.inference_mode():
            logits = network(some_ids(30), some_ids(30, seed=3))
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), some_ids(30, seed=4).flatten())
        assert float(loss) == pytest.approx(torch.log(torch.tensor(float(VOCABULARY))), rel=0.25)
