"""Reads and writes the public layout: config.json, generation_config.json, model.safetensors (whole or in shards). Knows no
family.

A family says how each of its tensors lies on disk (`Stored`); this moves the bytes, and turns whatever is wrong with a folder
into one message. No pickle is ever opened. Equal networks give equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lmpipe.base.errors import ModelError
from lmpipe.base.files import share, storing, sync_folder, write_json
from lmpipe.models.heads import EmbeddingHead, Head, LanguageHead
from lmpipe.models.network import Network
from lmpipe.models.published import CONFIG, WEIGHTS, weight_files

N = TypeVar("N", bound=Network)


@dataclass(frozen=True)
class Stored:
    """How one of our tensors lies on disk: one tensor or several, stacked along their rows in this order."""

    names: tuple[str, ...]
    rows: tuple[int, ...] = ()
    """Rows of each; equal shares when empty."""
    transposed: bool = False
    """Whether a matrix lies there the other way around (GPT-2's `Conv1D`)."""


def expand(patterns: Mapping[str, Stored], layers: int) -> dict[str, Stored]:
    """`{layer}` filled in: every tensor of a network of so many layers."""
    found: dict[str, Stored] = {}
    for ours, stored in patterns.items():
        for layer in range(layers if "{layer}" in ours else 1):
            names = tuple(name.replace("{layer}", str(layer)) for name in stored.names)
            found[ours.replace("{layer}", str(layer))] = Stored(names, stored.rows, stored.transposed)
    return found


def to_disk(state: Mapping[str, Tensor], mapping: Mapping[str, Stored]) -> dict[str, Tensor]:
    """Our tensors under the names of the layout."""
    tensors = {}
    for ours, stored in mapping.items():
        matrix = state[ours].flatten(0, -2) if state[ours].ndim > 2 else state[ours]
        rows = stored.rows or (len(matrix) // len(stored.names),) * len(stored.names)
        for name, part in zip(stored.names, torch.split(matrix, list(rows)), strict=True):
            tensors[name] = (part.T if stored.transposed else part).contiguous()
    return tensors


def from_disk(
    tensors: Mapping[str, Tensor], mapping: Mapping[str, Stored], *, what: str, ignored: str = "", where: str = ""
) -> dict[str, Tensor]:
    """The layout's tensors under our names.

    Args:
        tensors: by their names on disk.
        mapping: the family's.
        what: what the tensors should be, for the message.
        ignored: a regular expression for names that carry nothing, such as buffers of old versions.
        where: the file, for the message.

    Raises:
        ModelError: when a tensor is missing or there is one that the layout does not know.
    """
    expected = {name for stored in mapping.values() for name in stored.names}
    missing = sorted(expected - tensors.keys())
    unknown = sorted(name for name in tensors.keys() - expected if not (ignored and re.search(ignored, name)))
    if missing or unknown:
        raise ModelError(
            f"the weights are not those of {what}: "
            f"{len(missing)} missing ({', '.join(missing[:3])}), {len(unknown)} unknown ({', '.join(unknown[:3])})",
            where=where,
            expected="the tensors that config.json speaks of",
            fix=f"check that {CONFIG} and {WEIGHTS} belong together",
        )
    return {
        ours: torch.cat([tensors[name].T if stored.transposed else tensors[name] for name in stored.names])
        if len(stored.names) > 1 or stored.transposed
        else tensors[stored.names[0]]
        for ours, stored in mapping.items()
    }


def read_tensors(folder: Path, device: str) -> dict[str, Tensor]:
    """Every tensor of a folder's safetensors, from one file or from the shards that an index names.

    Raises:
        ModelError: when there are none, a file is cut off or damaged, or the weights are pickles.
    """
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt", device=device) as file:
                tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        except (FileNotFoundError, SafetensorError) as error:
            raise ModelError(
                f"the weights cannot be read: {error}",
                where=str(path),
                expected=f"a whole {WEIGHTS}; pickle is refused",
                fix="fetch or make the file again",
            ) from None
    return tensors


def write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], *, end_of_text_id: int | None) -> None:
    """Write a model folder.

    Args:
        folder: made if it is not there.
        config: what config.json says, without the type of the weights.
        tensors: by their names on disk.
        end_of_text_id: where generation stops; None for networks that do not generate.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    write_json(folder / CONFIG, dict(sorted({**config, "dtype": dtype}.items())))
    if end_of_text_id is not None:
        ids = {"bos_token_id": end_of_text_id, "eos_token_id": end_of_text_id}
        ids |= {key: value for key, value in config.items() if key in ("decoder_start_token_id", "pad_token_id")}
        write_json(folder / "generation_config.json", {"_from_model_config": True, **dict(sorted(ids.items()))})
    with storing(folder / WEIGHTS):
        save_file({key: tensors[key] for key in sorted(tensors)}, folder / WEIGHTS, metadata={"format": "pt"})
        share(folder / WEIGHTS)
    sync_folder(folder)


def labels_json(head: Head) -> dict[str, Any]:
    """The labels of a head, as config.json spells them."""
    if isinstance(head, LanguageHead | EmbeddingHead):
        return {}
    return {
        "id2label": {str(number): label for number, label in enumerate(head.labels)},
        "label2id": {label: number for number, label in enumerate(head.labels)},
    }


def fill(
    make: Callable[[], N], state: dict[str, Tensor], *, tied: Mapping[str, str], device: str, dtype: torch.dtype, where: Path
) -> N:
    """A network with these weights, ready to predict (dropout off).

    Args:
        make: builds it; called where tensors take no memory.
        state: by our names.
        tied: our names of matrices that are one with another, such as {"head.weight": "embedding.weight"}.
        device: where it goes.
        dtype: of the weights.
        where: the folder, for messages.

    Raises:
        ModelError: when a tensor has another shape than config.json says.
    """
    with torch.device("meta"), _Uninitialised():
        network = make()
    state = {key: tensor.to(device, dtype) for key, tensor in state.items()}
    state |= {one: state[other] for one, other in tied.items()}
    for key, parameter in network.state_dict().items():
        if parameter.ndim > 2 and state[key].shape == parameter.flatten(0, -2).shape:
            state[key] = state[key].view(parameter.shape)
        if state[key].shape != parameter.shape:
            raise ModelError(
                f"'{key}' has the shape {tuple(state[key].shape)}",
                where=str(where / WEIGHTS),
                expected=f"{tuple(parameter.shape)}, as {CONFIG} says",
                fix=f"check that {CONFIG} and {WEIGHTS} belong together",
            )
    network.load_state_dict(state, assign=True)
    _tie(network, tied)
    network.materialise(device)
    network.eval()
    return network


class _Uninitialised(TorchFunctionMode):
    """Leaves out the drawing of first weights: nothing would hold them, and on "meta" it imports torch's compiler.

    That import takes more than a second, in every stage that loads a model.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


def fill_with_head(
    make: Callable[[Head], N],
    tensors: Mapping[str, Tensor],
    mapping: Callable[[Head], Mapping[str, Stored]],
    *,
    saved: Head | None,
    head: Head | None,
    tied: Mapping[str, str],
    what: str,
    ignored: str,
    device: str,
    dtype: torch.dtype,
    where: Path,
    of_body: tuple[str, ...] = (),
) -> N:
    """As `from_disk` and `fill`, for networks with a choice of heads.

    Args:
        make: builds the network with a head.
        tensors: by their names on disk.
        mapping: the family's, for a head.
        saved: the head on disk; None: the body was saved alone.
        head: the head that is wanted, its weights drawn anew where it is not the saved one; None: the saved one.
        tied: as for `fill`; what belongs to a head that is not there is left out.
        what: as for `from_disk`.
        ignored: as for `from_disk`.
        device: where it goes.
        dtype: of the weights.
        where: the folder, for messages.
        of_body: beginnings of our names of what is of the head here and of the body on disk: loaded where it is there.

    Raises:
        ModelError: as those; and when a body was saved alone, and no head is wanted.
    """
    chosen = saved if head is None else head
    if chosen is None:
        raise ModelError(
            f"the weights are those of {what} without a head",
            where=str(where / WEIGHTS),
            expected="a head that predicts something",
            fix="train one: `model: {from: ...}` in a recipe gives it a fresh head",
        )
    names, file = dict(mapping(chosen)), str(where / WEIGHTS)
    fresh: tuple[str, ...] = ()
    if chosen == saved:
        state = from_disk(tensors, names, what=what, ignored=ignored, where=file)
    else:
        heads = mapping(saved).items() if saved is not None else ()
        old = {name for ours, stored in heads if ours.startswith("head.") for name in stored.names}
        body = {ours: stored for ours, stored in names.items() if not ours.startswith("head.")}
        carried = {ours: stored for ours, stored in names.items() if of_body and ours.startswith(of_body)}
        carried = {ours: stored for ours, stored in carried.items() if tensors.keys() >= set(stored.names)}
        body |= carried
        kept = {name for stored in carried.values() for name in stored.names}
        known = {name: tensor for name, tensor in tensors.items() if name in kept or name not in old}
        drawn = {name: tensor for name, tensor in make(chosen).state_dict().items() if name.startswith("head.")}
        state = {**drawn, **from_disk(known, body, what=what, ignored=ignored, where=file)}
        state = {name: tensor for name, tensor in state.items() if name not in tied}
        fresh = tuple(name for name in state if name.startswith("head.") and name not in carried)
    there = {one: other for one, other in tied.items() if isinstance(chosen, LanguageHead)}
    network = fill(lambda: make(chosen), state, tied=there, device=device, dtype=dtype, where=where)
    network.fresh_weights = fresh
    return network


def _tie(network: Network, tied: Mapping[str, str]) -> None:
    for one, other in tied.items():
        module, _, name = one.rpartition(".")
        setattr(network.get_submodule(module), name, network.get_parameter(other))
