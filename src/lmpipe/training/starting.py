"""The network that a run starts with: fresh, or with the weights of a folder. The architecture is always the config's."""

from __future__ import annotations

from pathlib import Path

from lmpipe.base.errors import ModelError
from lmpipe.base.progress import Progress, Silent
from lmpipe.models import families
from lmpipe.models.auto.config import AutoConfig
from lmpipe.models.config import ModelConfig
from lmpipe.models.heads import Head, LanguageHead
from lmpipe.models.loading import load_network
from lmpipe.models.network import EncoderDecoder, Network


def starting_network(
    model: ModelConfig, vocab_size: int, start: Path | None, head: Head | None = None, progress: Progress | None = None
) -> Network:
    """A network for `vocab_size` ids with this head, the language head by default.

    A start that was saved with another head, or with none, gives its body alone; the new head is fresh, and `progress` is told
    so. A start may know more ids than the tokenizer has: vocabularies are often rounded up.

    Raises:
        ModelError: when the weights in `start` are those of a smaller vocabulary or another architecture.
    """
    if start is None:
        return families.build(model, vocab_size, head)
    several = len(model.heads_offered) > 1
    loaded = load_network(start, head=(head or LanguageHead()) if several else None)
    if loaded.vocab_size < vocab_size:
        raise ModelError(
            f"the model has a vocabulary of {loaded.vocab_size:,}, the tokens of {vocab_size:,}",
            where=str(start),
            expected="a model that knows every id of the tokens",
            fix="use the tokenizer that the model was trained with",
        )
    if loaded.fresh_weights:
        (progress or Silent()).note(f"fresh weights: {', '.join(loaded.fresh_weights)}; the others are those of the start")
    if isinstance(model, AutoConfig):
        return loaded
    network = families.build(model, loaded.vocab_size, head)
    ours, theirs = network.state_dict(), loaded.state_dict()
    different = [name for name in {*ours, *theirs} if name not in ours or name not in theirs or _differ(ours, theirs, name)]
    if different:
        raise ModelError(
            f"the weights are those of another model: '{min(different)}' is missing or has another shape",
            where=str(start),
            expected="the architecture that `model:` describes",
        )
    network.load_state_dict(theirs)
    network.fresh_weights = loaded.fresh_weights
    if isinstance(network, EncoderDecoder) and isinstance(loaded, EncoderDecoder):
        network.start_id = loaded.start_id
    return network


def _differ(ours: dict[str, object], theirs: dict[str, object], name: str) -> bool:
    return getattr(ours[name], "shape", None) != getattr(theirs[name], "shape", None)
