"""A local encoder as a function from texts to vectors: what semantic deduplication and MAUVE are handed.

Mean of the last layer over the tokens that are text (Reimers & Gurevych 2019). Loads safetensors from a folder: no
download, no code of the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lmpipe.base.errors import ModelError
from lmpipe.base.extras import require


def load_embedder(folder: Path, *, max_tokens: int, threads: int) -> Callable[[Sequence[str]], Any]:
    """The model in `folder`.

    Args:
        folder: Hugging Face layout: config, safetensors, tokenizer.
        max_tokens: longer texts are cut.
        threads: of the processor.

    Raises:
        MissingExtraError: without Transformers.
        ModelError: when the folder holds no such model.
    """
    import torch

    transformers = require("transformers", extra="hub", purpose="embeddings of texts")
    torch.set_num_threads(threads)
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
        model = transformers.AutoModel.from_pretrained(folder, use_safetensors=True, **options).float().eval()
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"the model for embeddings cannot be loaded: {str(error).splitlines()[0]}",
            where=str(folder),
            expected="an encoder in Hugging Face layout: config.json, model.safetensors, a tokenizer",
            fix="name the folder that `save_pretrained` wrote for model and tokenizer",
        ) from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token

    @torch.inference_mode()
    def embed(texts: Sequence[str]) -> Any:
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
        states_BTD = model(**batch).last_hidden_state
        mask_BT1 = batch["attention_mask"].unsqueeze(-1).to(states_BTD.dtype)
        return ((states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1)).numpy()

    return embed
