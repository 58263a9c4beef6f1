"""LoRA and DoRA against PEFT: what it loads computes what ours merged; the frozen weights stay as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import training_example as example
from peft import PeftModel
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, LlamaForCausalLM

from lmpipe.base.errors import TrainingError
from lmpipe.models import families
from lmpipe.models.auto.loading import load
from lmpipe.models.describing import describe
from lmpipe.training.adapter_config import DoraConfig, LoraConfig
from lmpipe.training.adapters import adapt

SOME = {"kv_heads": 2, "dropout": 0.0}


@pytest.fixture(scope="module")
def base(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    example.run_training(corpus, folder, model=example.tiny_model(**SOME))
    return folder / "output" / "last"


def tune(corpus: Path, folder: Path, base: Path, **adapter: Any) -> Path:
    phase = example.tiny_phase(name="tuned", adapter=adapter, optimizer={"kind": "adamw", "lr": 1e-2})
    facts = example.run_training(corpus, folder, model=example.tiny_model(**SOME), phase=phase, start=base)
    assert facts["trained_parameters"] < 0.6 * facts["parameters"]
    return folder / "output"


@pytest.mark.parametrize(
    "adapter",
    [
        {"kind": "lora", "rank": 2, "targets": ["q_proj", "v_proj"]},
        {"kind": "lora", "rank": 3, "alpha": 6.0, "dropout": 0.1},
        {"kind": "dora", "rank": 2, "targets": ["k_proj", "o_proj", "up_proj"]},
        {"kind": "dora", "rank": 2},
    ],
)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft 0.21 asks transformers 5.23
def test_peft_loads_it_and_computes_what_was_merged(adapter: dict[str, Any], corpus: Path, base: Path, tmp_path: Path) -> None:
    output = tune(corpus, tmp_path, base, **adapter)
    ids = torch.randint(1, example.VOCABULARY, (2, 20))
    with torch.no_grad():
        plain = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
        before = plain(ids).logits
        theirs = PeftModel.from_pretrained(plain, output / "adapter").eval()(ids).logits
        merged = LlamaForCausalLM.from_pretrained(output / "best", dtype=torch.float32)(ids).logits
    assert (theirs - before).abs().max() > 1e-2
    torch.testing.assert_close(theirs, merged, rtol=0, atol=2e-5)
    trained = load_file(output / "adapter" / "adapter_model.safetensors")
    assert any("lora_magnitude_vector" in key for key in trained) == (adapter["kind"] == "dora")


@pytest.mark.parametrize("adapter", [{"kind": "lora", "rank": 2}, {"kind": "dora", "rank": 2, "targets": ["query_key_value"]}])
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft 0.21 asks transformers 5.23
def test_a_model_that_transformers_computes_is_adapted_too(adapter: dict[str, Any], corpus: Path, tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(1)
    start = tmp_path / "start"
    GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=100, max_position_embeddings=64, **sizes)).save_pretrained(start)
    phase = example.tiny_phase(adapter=adapter, optimizer={"kind": "adamw", "lr": 1e-2})
    for folder, places in (("whole", ()), ("stopped", (7,))):
        for place in (*places, 100):
            asked = iter(range(1000))
            stopping = lambda asked=asked, place=place: next(asked) >= place  # noqa: E731
            options: Any = {"model": describe(start), "phase": phase, "start": start, "stopping": stopping}
            example.run_training(corpus, tmp_path / folder, **options)
    assert example.result(tmp_path / "stopped") == example.result(tmp_path / "whole")
    output, ids = tmp_path / "whole" / "output", torch.randint(1, 100, (2, 20))
    with torch.no_grad():
        plain = GPTNeoXForCausalLM.from_pretrained(start, dtype=torch.float32)
        before = plain(ids).logits
        theirs = PeftModel.from_pretrained(plain, output / "adapter").eval()(ids).logits
        merged = GPTNeoXForCausalLM.from_pretrained(output / "best", dtype=torch.float32)(ids).logits
    assert (theirs - before).abs().max() > 1e-2
    torch.testing.assert_close(theirs, merged, rtol=0, atol=2e-5)


def test_a_model_without_linear_maps_is_refused(tmp_path: Path) -> None:
    sizes = {"n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}
    GPT2LMHeadModel(GPT2Config(vocab_size=100, **sizes)).save_pretrained(tmp_path / "start")
    network = load(str(tmp_path / "start"))
    with pytest.raises(TrainingError, match="no matrix in the layers of this model can have an adapter"):
        adapt(network, families.mapping(network), LoraConfig())


def test_only_what_is_adapted_moves(corpus: Path, base: Path, tmp_path: Path) -> None:
    output = tune(corpus, tmp_path, base, kind="lora", rank=2, targets=["q_proj", "down_proj"])
    before, after = load_file(base / "model.safetensors"), load_file(output / "last" / "model.safetensors")
    assert before.keys() == after.keys()
    moved = {name.split(".")[-2] for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"q_proj", "down_proj"}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_stopped_it_gives_the_same_bytes(precision: str, corpus: Path, base: Path, tmp_path: Path) -> None:
    phase = example.tiny_phase(adapter={"kind": "dora", "dropout": 0.1}, precision=precision)
    model = example.tiny_model(**SOME)
    example.run_training(corpus, tmp_path / "whole", model=model, phase=phase, start=base)
    asked = iter(range(100))
    stopped = tmp_path / "stopped"
    example.run_training(corpus, stopped, model=model, phase=phase, start=base, stopping=lambda: next(asked) >= 7)
    example.run_training(corpus, stopped, model=model, phase=phase, start=base)
    assert example.result(tmp_path / "whole") == example.result(stopped)
    kept = next((stopped / "scratch").glob("step-*"))
    names = load_file(kept / "tensors.safetensors").keys()
    assert not [name for name in names if name.startswith("master.") and "adapter" not in name], "frozen weights are not saved"


@pytest.mark.parametrize("config", [LoraConfig(rank=2), DoraConfig(rank=2)])
def test_a_fresh_adapter_changes_nothing(config: LoraConfig | DoraConfig) -> None:
    torch.manual_seed(0)
    network = families.build(example.tiny_model(**SOME), example.VOCABULARY).eval()
    ids = torch.randint(1, example.VOCABULARY, (2, 16))
    before = network(ids)
    adapt(network, families.mapping(network), config)
    torch.testing.assert_close(network(ids), before, rtol=1e-5, atol=1e-6)


def test_a_matrix_that_is_not_there_is_refused(corpus: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no layer has a matrix called 'query'") as caught:
        tune(corpus, tmp_path, base, kind="lora", targets=["query"])
    assert "q_proj" in str(caught.value)


def test_its_description_is_peft_s(corpus: Path, base: Path, tmp_path: Path) -> None:
    output = tune(corpus, tmp_path, base, kind="lora", rank=2, targets=["v_proj"])
    described = json.loads((output / "adapter" / "adapter_config.json").read_text())
    assert (described["peft_type"], described["r"], described["target_modules"]) == ("LORA", 2, ["v_proj"])
