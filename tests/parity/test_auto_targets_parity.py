"""Foreign encoder-decoders: Transformers' logits for every pair of a packed row, and its targets from the saved folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from lmpipe.base.errors import ModelError
from lmpipe.models.auto.model import AutoEncoderDecoder
from lmpipe.models.families import save
from lmpipe.models.generate_target import TargetGenerator
from lmpipe.models.loading import load_network

VOCABULARY = 60
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64, "init_std": 0.3,
}  # fmt: skip
SHAPES: dict[str, tuple[Any, Any]] = {
    "bart": (transformers.BartForConditionalGeneration, transformers.BartConfig(**SIZES)),
    "mbart": (transformers.MBartForConditionalGeneration, transformers.MBartConfig(**SIZES)),
    "pegasus": (transformers.PegasusForConditionalGeneration, transformers.PegasusConfig(**SIZES)),
    "marian": (
        transformers.MarianMTModel,
        transformers.MarianConfig(**SIZES, pad_token_id=1, decoder_start_token_id=1, eos_token_id=2),
    ),
}
STARTS = {"bart": 2, "mbart": 0, "pegasus": 0, "marian": 1}
SOURCES = torch.tensor([[0] * 7 + [1] * 20 + [-1] * 5, [0] * 30 + [-1] * 2])
TARGETS = torch.tensor([[0] * 9 + [1] * 2 + [-1], [0] * 12])
PAIRS = [
    (0, slice(0, 7), slice(0, 9)),
    (0, slice(7, 27), slice(9, 11)),
    (1, slice(0, 30), slice(0, 12)),
]


def published(shape: str, folder: Path) -> AutoEncoderDecoder:
    torch.manual_seed(0)
    make, config = SHAPES[shape]
    model = make(config)
    model.generation_config.forced_bos_token_id = 7
    model.save_pretrained(folder)
    network = load_network(folder)
    assert isinstance(network, AutoEncoderDecoder)
    return network


def ids(shape: torch.Size, seed: int) -> torch.Tensor:
    return torch.randint(5, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_pair_of_a_packed_row_has_transformers_logits(shape: str, tmp_path: Path) -> None:
    network = published(shape, tmp_path / "theirs")
    assert network.start_id == STARTS[shape]
    save(network, tmp_path / "saved", end_of_text_id=2)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "saved").eval()
    sources, targets = ids(SOURCES.shape, 1), ids(TARGETS.shape, 2)
    with torch.inference_mode():
        found = network(sources, targets, SOURCES, TARGETS)
        for row, read, written in PAIRS:
            asked = {"input_ids": sources[row : row + 1, read], "decoder_input_ids": targets[row : row + 1, written]}
            assert (found[row, written] - theirs(**asked).logits[0]).abs().max() <= 1e-5
    assert not found[0, 11].any()


@pytest.mark.parametrize("shape", ["mbart", "pegasus"])
def test_several_sources_have_the_targets_that_the_saved_folder_generates(shape: str, tmp_path: Path) -> None:
    network = published(shape, tmp_path / "theirs")
    save(network, tmp_path / "saved", end_of_text_id=2)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "saved").eval()
    stop = theirs.config.eos_token_id
    some = [ids(torch.Size([length]), length).tolist() for length in (5, 9, 14)]
    found = TargetGenerator(network).beam_search_all(some, beams=2, max_new_tokens=8, stop_ids=(stop,))
    for source, ours in zip(some, found, strict=True):
        options = {
            "max_new_tokens": 8,
            "num_beams": 2,
            "do_sample": False,
            "early_stopping": False,
            "forced_eos_token_id": None,
        }
        expected = theirs.generate(torch.tensor([source]), length_penalty=1.0, **options)[0, 1:].tolist()
        while len(expected) > len(ours) and expected[-1] == theirs.config.pad_token_id:
            expected.pop()
        assert ours == expected


def test_a_target_beyond_the_table_of_positions_is_refused(tmp_path: Path) -> None:
    network = published("bart", tmp_path)
    with pytest.raises(ModelError, match="65 tokens were given to a model with 64 positions"):
        network(ids(torch.Size([1, 5]), 1), ids(torch.Size([1, 65]), 1))
    with pytest.raises(ModelError, match="2 texts were given with 1 targets"):
        network(ids(torch.Size([1, 4]), 1), ids(torch.Size([1, 4]), 1), torch.tensor([[0, 0, 1, 1]]), torch.zeros(1, 4).long())
