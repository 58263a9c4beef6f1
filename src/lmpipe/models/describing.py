"""A model folder to the config of its family, by the `model_type` in its config.json. Knows no tensor library.

one of ours, asking for what ours has    ->  its config
anything else                            ->  `auto`: Transformers computes it
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from lmpipe.models.auto.config import describe as describe_foreign
from lmpipe.models.config import ModelConfig
from lmpipe.models.published import CONFIG, UnspokenError, config_of, json_of

KEYS = {
    "bert": "lmpipe.models.bert.keys",
    "gpt2": "lmpipe.models.gpt2.keys",
    "llama": "lmpipe.models.llama.keys",
    "lstm": "lmpipe.models.lstm.keys",
    "mistral": "lmpipe.models.llama.keys",
    "mixtral": "lmpipe.models.mixtral.keys",
    "modernbert": "lmpipe.models.modernbert.keys",
    "qwen2": "lmpipe.models.llama.keys",
    "qwen3": "lmpipe.models.llama.keys",
    "roberta": "lmpipe.models.bert.keys",
    "t5": "lmpipe.models.t5.keys",
}
"""`model_type` on disk to the module that knows its keys."""


def describe(folder: Path) -> ModelConfig:
    """The config of the model in `folder`.

    Raises:
        ModelError: when there is none, its files are damaged, or it is of no kind that can be used.
    """
    family = str(json_of(folder / CONFIG).get("model_type", ""))
    if family in KEYS:
        keys: Any = import_module(KEYS[family])
        try:
            config: ModelConfig = config_of(folder, keys.from_json, keys.REFUSED)
        except UnspokenError:
            return describe_foreign(folder)
        return config
    return describe_foreign(folder)
