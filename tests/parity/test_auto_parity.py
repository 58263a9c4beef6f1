"""Foreign families behind our interface compute what Transformers computes, and nothing runs that was not asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from lmpipe.base.errors import ModelError
from lmpipe.models.auto.loading import load
from lmpipe.models.auto.model import AutoEncoder
from lmpipe.models.families import save
from lmpipe.models.generate import TextGenerator
from lmpipe.models.generate_target import TargetGenerator
from lmpipe.models.loading import load_model, load_network

VOCABULARY = 60
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 48}
GREEDY: dict[str, Any] = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0, "stop_ids": ()}


def neox(folder: Path) -> Any:
    torch.manual_seed(0)
    config = transformers.GPTNeoXConfig(**SMALL, max_position_embeddings=64, initializer_range=0.3)
    model = transformers.GPTNeoXForCausalLM(config).eval()
    model.save_pretrained(folder)
    return model


def ids(length: int) -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (2, length), generator=torch.Generator().manual_seed(1))


def test_a_foreign_decoder_scores_and_writes(tmp_path: Path) -> None:
    theirs, ours = neox(tmp_path), load_model(tmp_path)
    with torch.inference_mode():
        assert (ours(ids(30)) - theirs(ids(30)).logits).abs().max() <= 1e-5
        cache = ours.new_cache(2, 64)
        parts = torch.cat([ours(part, cache=cache) for part in ids(30).split([1, 20, 1, 8], dim=1)], dim=1)
        assert (parts - theirs(ids(30)).logits).abs().max() <= 1e-5
        segments = torch.tensor([[0] * 11 + [1] * 19] * 2)
        alone = torch.cat([theirs(part).logits for part in ids(30).split([11, 19], dim=1)], dim=1)
        assert (ours(ids(30), segments) - alone).abs().max() <= 1e-5
    prompt = [0, 5, 9]
    expected = theirs.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=1)
    generator = TextGenerator(ours)
    assert generator.context_length == 64
    assert list(generator.generate(prompt, max_new_tokens=20, **GREEDY)) == expected[0, 3:].tolist()
    assert np.isfinite(generator.log_probabilities(ids(80)[0].numpy())).all()


def test_it_is_saved_in_its_own_layout(tmp_path: Path) -> None:
    theirs = neox(tmp_path / "one")
    save(load_model(tmp_path / "one"), tmp_path / "two", end_of_text_id=0)
    assert not list((tmp_path / "two").glob("*.bin"))
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path / "two")(ids(9)), theirs(ids(9)).logits)


def test_a_foreign_encoder_decoder_writes_targets(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.BartConfig(
        vocab_size=VOCABULARY, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64, init_std=0.3,
        forced_eos_token_id=None,
    )  # fmt: skip
    theirs = transformers.BartForConditionalGeneration(config).eval()
    theirs.save_pretrained(tmp_path)
    ours: Any = load_network(tmp_path)
    source = ids(12)[0]
    expected = theirs.generate(source[None], max_new_tokens=12, num_beams=3, do_sample=False, early_stopping=False)[
        0, 1:
    ].tolist()
    found = TargetGenerator(ours).beam_search(source.tolist(), beams=3, max_new_tokens=12, stop_ids=(2,))
    while len(expected) > len(found) and expected[-1] == 1:
        expected.pop()
    assert found == expected


def test_a_foreign_encoder_gives_its_heads_logits(tmp_path: Path) -> None:
    config = transformers.DistilBertConfig(vocab_size=VOCABULARY, dim=32, n_heads=4, n_layers=2, hidden_dim=48, num_labels=3)
    theirs = transformers.DistilBertForSequenceClassification(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = load_network(tmp_path)
    assert isinstance(ours, AutoEncoder)
    attended = torch.ones(2, 20, dtype=torch.long)
    attended[1, 9:] = 0
    with torch.inference_mode():
        assert (ours(ids(20), attended - 1) - theirs(ids(20), attention_mask=attended).logits).abs().max() <= 1e-5


def test_pickles_are_refused_by_name(tmp_path: Path) -> None:
    model = neox(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin.*pickle"):
        load_network(tmp_path)


def test_code_that_comes_with_a_model_does_not_run(tmp_path: Path) -> None:
    neox(tmp_path)
    value = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    value |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(value), encoding="utf-8")
    (tmp_path / "mine.py").write_text("raise SystemExit('it ran')", encoding="utf-8")
    with pytest.raises(ModelError, match="code of its own"):
        load(str(tmp_path))


def test_a_name_that_cannot_be_found_is_said_so() -> None:
    with pytest.raises(ModelError, match="someone/nothing"):
        load("someone/nothing")
