"""A bundle that takes a second to make: random weights, a real tokenizer, everything else as the pipeline writes it."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path

import torch

from lmpipe.base.bundle import write_manifest
from lmpipe.base.files import write_json
from lmpipe.base.progress import Silent
from lmpipe.models.llama.config import LlamaConfig
from lmpipe.models.llama.hf import save
from lmpipe.models.llama.model import Llama
from lmpipe.tokens.config import BpeConfig
from lmpipe.tokens.special import SPECIAL_TOKENS
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.training import train_on_texts


def make_tiny_bundle(
    folder: Path, *, chat_template: str = "", verdict: str = "NO-GO", context: int = 64, layers: int = 2
) -> Path:
    """`layers` makes it slower, where a test wants to catch it at work."""
    folder.mkdir(parents=True)
    texts = [inspect.getsource(argparse), "Straße naïve Ωμέγα 東京 🎉 " * 9]
    train_on_texts(texts, BpeConfig(vocab_size=400, train_on="corpus"), folder, progress=Silent())
    tokenizer = load_tokenizer(folder)
    torch.manual_seed(5)
    model = Llama(LlamaConfig(layers=layers, width=32, heads=2, context=context, tie_embeddings=False), tokenizer.vocab_size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        model.head.weight.mul_(10)  # far from uniform
        _never_end(model)
    save(model, folder, end_of_text_id=tokenizer.end_of_text_id)
    (folder / "tokenizer_training.json").unlink()
    if chat_template:
        (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
    write_json(folder / "record.json", {"name": "tiny"})
    write_json(folder / "verdict.json", {"verdict": verdict, "requirements": []})
    write_manifest(folder)
    return folder


def _never_end(model: Llama) -> None:
    """Make control tokens impossible, so that an answer ends where a test says: every token carries a first component that no
    layer writes to and that counts against control tokens only."""
    model.embedding.weight[:, 0] = 1
    for block in model.blocks:
        block.attention.out.weight[0] = 0
        block.feed_forward.down.weight[0] = 0
    model.head.weight[:, 0] = 0
    model.head.weight[: len(SPECIAL_TOKENS)] = 0
    model.head.weight[: len(SPECIAL_TOKENS), 0] = -1000
