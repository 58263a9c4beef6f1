"""An adapter on disk as PEFT writes and reads it: adapter_config.json and adapter_model.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lmpipe.base.files import share, storing, sync_folder, write_json
from lmpipe.models.layout import Stored, to_disk
from lmpipe.models.network import Decoder, Network
from lmpipe.training.adapter_config import DoraConfig, LoraConfig
from lmpipe.training.adapters import DOWN, LENGTH, UP, AdaptedLinear

PREFIX = "base_model.model."


def to_peft(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The adapters' tensors under PEFT's names: an A, a B and, for DoRA, an m for every matrix on disk."""
    tensors: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if not isinstance(module, AdaptedLinear):
            continue
        adapted = [target for target in module.targets if target.adapted]
        heights = [target.rows.stop - target.rows.start for target in adapted]
        downs, ups = state[f"{name}.{DOWN}"].chunk(len(adapted)), torch.split(state[f"{name}.{UP}"], heights)
        lengths = (
            torch.split(state[f"{name}.{LENGTH}"], heights) if module.adapter_length is not None else [None] * len(adapted)
        )
        for target, down, up, length in zip(adapted, downs, ups, lengths, strict=True):
            tensors[f"{PREFIX}{target.name}.lora_A.weight"] = down.contiguous()
            tensors[f"{PREFIX}{target.name}.lora_B.weight"] = up.contiguous()
            if length is not None:
                tensors[f"{PREFIX}{target.name}.lora_magnitude_vector"] = length.contiguous()
    return tensors


def save_adapter(
    network: Network,
    folder: Path,
    config: LoraConfig | DoraConfig,
    mapping: Mapping[str, Stored],
    state: Mapping[str, Tensor],
) -> None:
    """Write the adapters in `state`, and the head that learned beside them; equal ones give equal bytes."""
    tensors = to_peft(network, state)
    modules = {key.removeprefix(PREFIX).rpartition(".lora_")[0].rpartition(".")[2] for key in tensors}
    fresh = {name: mapping[name] for name in network.fresh_weights if name in mapping}
    head = to_disk(state, fresh)
    tensors |= {PREFIX + name: tensor for name, tensor in head.items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "adapter_config.json",
        {
            "base_model_name_or_path": None,
            "bias": "none",
            "fan_in_fan_out": any(stored.transposed for stored in mapping.values()),
            "inference_mode": True,
            "init_lora_weights": True,
            "lora_alpha": config.alpha,
            "lora_dropout": config.dropout,
            "modules_to_save": sorted({name.rpartition(".")[0] for name in head}) or None,
            "peft_type": "LORA",
            "r": config.rank,
            "target_modules": sorted(modules),
            "task_type": "CAUSAL_LM" if isinstance(network, Decoder) else None,
            "use_dora": isinstance(config, DoraConfig),
        },
    )
    with storing(folder / "adapter_model.safetensors"):
        path = folder / "adapter_model.safetensors"
        save_file({key: tensors[key] for key in sorted(tensors)}, path, metadata={"format": "pt"})
        share(path)
    sync_folder(folder)
