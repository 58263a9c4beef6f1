"""The neural families by `kind`: a table that grep finds, imported on use. Loads no torch until a network is built.

A family is a folder: `config.py` (a `Config` with `kind`, `architecture`, `heads_offered` and `context`; `parameter_count` and
`flops_per_token`, which `plan` asks for without torch), `model.py` (`build`), `hf.py` (`save` and `load` in the public layout).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmpipe.base.errors import ModelError
from lmpipe.base.files import write_json
from lmpipe.models.config import ModelConfig
from lmpipe.models.heads import EmbeddingHead, Head, LanguageHead
from lmpipe.models.published import CONFIG, PREFIX_LM, json_of
from lmpipe.models.sentences import write_sentence_files

if TYPE_CHECKING:
    from torch import Tensor

    from lmpipe.models.layout import Stored
    from lmpipe.models.network import Network

FAMILIES = {
    "llama": "lmpipe.models.llama",
    "gpt2": "lmpipe.models.gpt2",
    "mixtral": "lmpipe.models.mixtral",
    "bert": "lmpipe.models.bert",
    "modernbert": "lmpipe.models.modernbert",
    "t5": "lmpipe.models.t5",
    "lstm": "lmpipe.models.lstm",
}
"""Families that are trained from scratch; `auto` (any Transformers model) is loaded, and saved through here."""


def parameter_count(config: ModelConfig, vocab_size: int) -> int:
    """Exactly how many parameters the network has with its language head; a tied matrix counts once."""
    return int(_part(config, "config").parameter_count(config, vocab_size))


def flops_per_token(config: ModelConfig, vocab_size: int) -> float:
    """Floating-point operations of one training token, forward and backward."""
    return float(_part(config, "config").flops_per_token(config, vocab_size))


def build(config: ModelConfig, vocab_size: int, head: Head | None = None) -> Network:
    """A fresh network, its weights drawn from torch's default generator: seed it first.

    Raises:
        ModelError: when the family has no such head.
    """
    head = head or LanguageHead()
    if head.kind not in config.heads_offered:
        raise ModelError(
            f"a {config.kind} model has no {head.kind} head", expected=f"one of: {', '.join(config.heads_offered)}"
        )
    network: Network = _part(config, "model").build(config, vocab_size, head)
    return network


def save(network: Network, folder: Path, *, end_of_text_id: int, state: dict[str, Tensor] | None = None) -> None:
    """Write the network in the public layout of its family; equal networks give equal bytes.

    Args:
        network: gives the configuration, and the weights where `state` is not given.
        folder: made if it is not there.
        end_of_text_id: where generation stops and documents begin.
        state: other weights of the same network, such as the best so far.
    """
    _part(network.config, "hf").save(network, folder, end_of_text_id=end_of_text_id, state=state)
    head = getattr(network, "head_config", None)
    if isinstance(head, EmbeddingHead):
        write_sentence_files(folder, pooling=head.pooling, width=network.config.width, context=network.config.context)
    if getattr(network, "reads_prefix", False):
        write_json(folder / CONFIG, {**json_of(folder / CONFIG), PREFIX_LM: True})


def mapping(network: Network) -> dict[str, Stored]:
    """How each of the network's parameters lies on disk."""
    if network.config.kind == "auto":  # whose names only the network knows
        foreign: dict[str, Stored] = _part(network.config, "hf").mapping(network)
        return foreign
    head = getattr(network, "head_config", None)  # where a network can have several heads, names depend on it
    module = _part(network.config, "hf")
    found: dict[str, Stored] = module.mapping(network.config, head) if head else module.mapping(network.config)
    return found


def _part(config: ModelConfig, name: str) -> Any:
    return import_module(f"{FAMILIES.get(config.kind, f'lmpipe.models.{config.kind}')}.{name}")
