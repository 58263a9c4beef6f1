"""Whatever is wrong with a model folder, or asked of a network, ends in one message."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from lmpipe.base.errors import ModelError
from lmpipe.models.config import ModelConfig
from lmpipe.models.families import FAMILIES as TRAINED
from lmpipe.models.families import build, save
from lmpipe.models.loading import FAMILIES, load_network
from lmpipe.models.published import UnspokenError

KINDS = sorted(TRAINED)
VOCABULARY, CONTEXT = 40, 16


def make(kind: str, **options: Any) -> Any:
    written = {"kind": kind, "layers": 2, "width": 16, "context": CONTEXT, **options}
    if kind != "lstm":
        written.setdefault("heads", 2)
    return build(TypeAdapter(ModelConfig).validate_python(written), VOCABULARY)


def edit(folder: Path, **changes: Any) -> None:
    value = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in value.items() if v is not ...}), encoding="utf-8")


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def scramble(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(b"\x00" * 64 + path.read_bytes()[64:])


def lose_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, folder / "model.safetensors")


def add_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"something.else": torch.zeros(2)}, folder / "model.safetensors")


def only_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut off": (cut, "weights cannot be read"),
    "scrambled": (scramble, "weights cannot be read"),
    "a tensor is missing": (lose_a_tensor, "1 missing"),
    "a tensor too many": (add_a_tensor, "1 unknown"),
    "a pickle": (only_a_pickle, "may be a pickle"),
    "no weights": (no_weights, "weights cannot be read"),
    "another vocabulary": (lambda folder: edit(folder, vocab_size=VOCABULARY + 8), "has the shape"),
    "no vocabulary": (lambda folder: edit(folder, vocab_size=...), "vocab_size"),
    "not JSON": (lambda folder: (folder / "config.json").write_text("{", encoding="utf-8") and None, "cannot be read"),
}


QUICK = [("llama", damage) for damage in DAMAGE] + [(kind, "a tensor is missing") for kind in KINDS if kind != "llama"]
REST = [
    pytest.param(kind, damage, marks=pytest.mark.slow) for kind in KINDS for damage in DAMAGE if (kind, damage) not in QUICK
]


@pytest.mark.parametrize(("kind", "damage"), [*QUICK, *REST])
def test_a_damaged_folder_is_one_message(kind: str, damage: str, tmp_path: Path) -> None:
    save(make(kind), tmp_path, end_of_text_id=0)
    harm, message = DAMAGE[damage]
    harm(tmp_path)
    with pytest.raises(ModelError, match=message):
        load_network(tmp_path)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("llama", {"num_key_value_heads": 3}, "describes no llama that can be built"),
        ("llama", {"num_hidden_layers": 1}, "unknown"),
        ("llama", {"num_hidden_layers": ...}, "num_hidden_layers"),
        ("llama", {"model_type": "lama"}, "did you mean 'llama'"),
        ("gpt2", {"n_positions": 99}, "has the shape"),
        ("mixtral", {"num_local_experts": 5}, "unknown"),
        ("modernbert", {"norm_bias": True}, "missing"),
        ("lstm", {"cell": "rnn"}, "has the shape"),
    ],
)
def test_a_config_of_another_model_is_one_message(kind: str, change: dict[str, Any], message: str, tmp_path: Path) -> None:
    save(make(kind), tmp_path, end_of_text_id=0)
    edit(tmp_path, **change)
    with pytest.raises(ModelError, match=message):
        load_network(tmp_path)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("llama", {"hidden_act": "relu"}, "hidden_act"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "yarn"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "inverse_layer"),
        ("bert", {"hidden_act": "relu"}, "hidden_act"),
        ("modernbert", {"norm_bias": True}, "norm_bias"),
        ("t5", {"feed_forward_proj": "relu"}, "feed_forward_proj"),
    ],
)
def test_what_a_family_does_not_compute_it_refuses(kind: str, change: dict[str, Any], message: str, tmp_path: Path) -> None:
    """`load_network` then lets Transformers compute it."""
    save(make(kind), tmp_path, end_of_text_id=0)
    edit(tmp_path, **change)
    with pytest.raises(UnspokenError, match=message):
        import_module(FAMILIES[kind]).load(tmp_path)


def test_what_a_family_does_not_compute_transformers_does(tmp_path: Path) -> None:
    save(make("llama"), tmp_path, end_of_text_id=0)
    edit(tmp_path, hidden_act="relu")
    ids = torch.arange(12)[None]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.inference_mode():
        assert torch.equal(load_network(tmp_path)(ids), theirs(ids).logits)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral", "bert", "modernbert"])
def test_a_text_longer_than_the_context_is_one_message(kind: str) -> None:
    with pytest.raises(ModelError, match=f"{CONTEXT + 1} tokens were given to a model with {CONTEXT} positions"):
        make(kind)(torch.zeros(1, CONTEXT + 1, dtype=torch.long))


def test_a_folder_without_a_model_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no model"):
        load_network(tmp_path)
