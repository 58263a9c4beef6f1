"""Models on the Hugging Face Hub, fetched into the hub's own cache: `hub:org/name`, or `hub:org/name@revision`.

What is in the cache is used without asking the network. Only configuration, tokenizer and safetensors are fetched: no pickle,
no code.
"""

from __future__ import annotations

import re
from pathlib import Path

from lmpipe.base.errors import SourceError
from lmpipe.base.extras import require

PREFIX = "hub:"
NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
WANTED = ["config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json"]
WANTED += ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"]


def is_hub_name(start: str) -> bool:
    """Whether `start` can only be, or looks like, the name of a model on the Hub."""
    return start.startswith(PREFIX) or NAME.fullmatch(start) is not None


def fetch(start: str) -> Path:
    """The folder of a model on the Hub, from the cache or the network.

    Raises:
        MissingExtraError: when the hub's client is not installed.
        SourceError: when it is neither in the cache nor to be had.
    """
    hub = require("huggingface_hub", extra="hub", purpose="a model from the Hub")
    name, _, revision = start.removeprefix(PREFIX).partition("@")
    options = {"revision": revision or None, "allow_patterns": WANTED}
    try:
        return Path(hub.snapshot_download(name, local_files_only=True, **options))
    except (OSError, ValueError):  # it is not there, or the name is none: asking the Hub says which
        pass
    try:
        return Path(hub.snapshot_download(name, **options))
    except Exception as error:  # the client raises what its transport raises, which is not one family
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise SourceError(
            f"'{name}' is not in the hub's cache and cannot be fetched: {first}",
            where="model.from",
            expected="a folder, or the name of a model on the Hub that can be reached",
            fix="check name and network, or fetch the model elsewhere and give its folder",
        ) from None
