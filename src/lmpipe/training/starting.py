"""The network that a run starts with: fresh, or with the weights of a folder. The architecture is always the config's."""

from __future__ import annotations

from pathlib import Path

from lmpipe.base.errors import ModelError
from lmpipe.models import families
from lmpipe.models.config import ModelConfig
from lmpipe.models.heads import Head
from lmpipe.models.loading import load_network
from lmpipe.models.network import Network


def starting_network(model: ModelConfig, vocab_size: int, start: Path | None, head: Head | None = None) -> Network:
    """A network for `vocab_size` ids with this head, the language head by default.

    A start that was saved with another head gives its body alone; the new head is fresh.

    Raises:
        ModelError: when the weights in `start` are those of another vocabulary or another architecture.
    """
    network = families.build(model, vocab_size, head)
    if start is None:
        return network
    loaded = load_network(start)
    if getattr(loaded, "head_config", head) != head:
        loaded = load_network(start, head=head)
    if loaded.vocab_size != vocab_size:
        raise ModelError(
            f"the model has a vocabulary of {loaded.vocab_size:,}, the tokens of {vocab_size:,}",
            where=str(start),
            expected="equal vocabularies",
            fix="use the tokenizer that the model was trained with",
        )
    ours, theirs = network.state_dict(), loaded.state_dict()
    different = [name for name in {*ours, *theirs} if name not in ours or name not in theirs or _differ(ours, theirs, name)]
    if different:
        raise ModelError(
            f"the weights are those of another model: '{min(different)}' is missing or has another shape",
            where=str(start),
            expected="the architecture that `model:` describes",
        )
    network.load_state_dict(theirs)
    return network


def _differ(ours: dict[str, object], theirs: dict[str, object], name: str) -> bool:
    return getattr(ours[name], "shape", None) != getattr(theirs[name], "shape", None)
