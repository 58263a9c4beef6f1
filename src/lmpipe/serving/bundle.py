"""A bundle, opened: the Python entry to a finished model.

    bundle = lmpipe.load("path/to/bundle")
    bundle.generate("def main(", max_tokens=40, seed=7)
    for text in bundle.stream("def main("): print(text, end="")

Promises: nothing is loaded before every file was compared with the manifest; a text never becomes a control token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lmpipe.base.bundle import MANIFEST, check_bundle
from lmpipe.base.canonical import digest_of_file
from lmpipe.base.errors import ModelError, ServingError
from lmpipe.base.files import read_json
from lmpipe.models.generate import TextGenerator
from lmpipe.models.loading import load_network
from lmpipe.models.network import Decoder
from lmpipe.serving.answers import Sampling, answer
from lmpipe.serving.task_bundle import TaskBundle
from lmpipe.tokens.chat import PLAIN_TEMPLATE, render
from lmpipe.tokens.tokenizer import Tokenizer, load_tokenizer

DECISION = "decision.json"
"""What was chosen on validation text: temperature, thresholds."""


class Bundle:
    """A model with its tokenizer and what is known of it. `load_bundle` makes one."""

    def __init__(self, folder: Path, name: str, verdict: str, generator: TextGenerator, tokenizer: Tokenizer) -> None:
        self.folder = folder
        self.name = name
        self.verdict = verdict
        """The gate's word (GO, NO-GO, INCONCLUSIVE), or nothing where the recipe had no gate."""
        self.generator = generator
        self.tokenizer = tokenizer

    def __repr__(self) -> str:
        parameters = sum(parameter.numel() for parameter in self.generator.model.parameters())
        verdict = self.verdict or "no gate"
        return (
            f"Bundle({self.name!r}, {parameters:,} parameters, context {self.context_length} tokens, {verdict}, "
            f"{str(self.folder)!r})"
        )

    @property
    def context_length(self) -> int:
        """How many tokens of what came before the model sees."""
        return self.generator.context_length

    @property
    def tuned_to_chat(self) -> bool:
        """Whether the model knows roles. A base model only goes on with a text."""
        return self.tokenizer.chat_template not in ("", PLAIN_TEMPLATE)

    @property
    def digest(self) -> str:
        """sha256 (hex) of the manifest, which stands for all files."""
        return digest_of_file(self.folder / MANIFEST)

    def generate(
        self,
        prompt: str,
        *,
        max_tokens: int = 200,
        temperature: float = 0.8,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> str:
        """What follows `prompt`. The settings are those of `serving.answers.Sampling`.

        Raises:
            ModelError: when a setting is out of range or the prompt is not Unicode text.
        """
        sampling = _sampling(max_tokens, temperature, top_p, top_k, seed, stop)
        return "".join(self._texts(self.tokenizer.encode_prompt(prompt), sampling))

    def stream(
        self,
        prompt: str,
        *,
        max_tokens: int = 200,
        temperature: float = 0.8,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """As `generate`, in pieces, as they are drawn. To stop early, drop the iterator."""
        sampling = _sampling(max_tokens, temperature, top_p, top_k, seed, stop)
        return self._texts(self.tokenizer.encode_prompt(prompt), sampling)

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        max_tokens: int = 200,
        temperature: float = 0.8,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> str:
        """The answer to a conversation of messages with `role` and `content`. A base model goes on with the last one's text.

        Raises:
            ServingError: when the messages are not a conversation.
            ModelError: as `generate`.
        """
        sampling = _sampling(max_tokens, temperature, top_p, top_k, seed, stop)
        return "".join(self.stream_chat(messages, sampling))

    def stream_chat(self, messages: Sequence[Mapping[str, Any]], sampling: Sampling) -> Iterator[str]:
        """As `chat`, in pieces."""
        return self._texts(render(messages, self.tokenizer), sampling)

    def logprobs(self, text: str) -> list[tuple[str, float]]:
        """Every token of `text` with its natural-log probability given those before it.

        A token that is a part of a character shows as U+FFFD.
        """
        ids = self.tokenizer.encode(text)
        scores = self.generator.log_probabilities(np.asarray(ids, dtype=np.int64))
        return [(self.tokenizer.decode([token]), float(score)) for token, score in zip(ids, scores, strict=True)]

    def _texts(self, prompt_ids: list[int], sampling: Sampling) -> Iterator[str]:
        pieces = answer(self.generator, self.tokenizer, prompt_ids, sampling)
        return (piece.text for piece in pieces if piece.text)


def load_bundle(folder: Path | str, *, device: str = "cpu", threads: int = 0) -> Bundle:
    """Check and open the bundle of a model that goes on with text.

    Raises:
        ServingError: when the model answers otherwise (`load_any`).
        DamagedError, ModelError: as `load_any`.
    """
    bundle = load_any(folder, device=device, threads=threads)
    if isinstance(bundle, TaskBundle):
        raise ServingError(
            f"'{bundle.name}' does not go on with text: it was trained to {bundle.purpose}",
            where=str(folder),
            expected="a model that writes text",
            fix=f"lmpipe.load(...).{bundle.purpose}([...]) in Python",
        )
    return bundle


def load_any(folder: Path | str, *, device: str = "cpu", threads: int = 0) -> Bundle | TaskBundle:
    """Check and open the bundle in `folder`, whatever it was trained for.

    Args:
        folder: what the stage `bundle` wrote.
        device: where the model computes, as torch names it.
        threads: for torch, in the whole process; 0: as it is.

    Raises:
        DamagedError: when a file is not as the manifest says.
        ModelError: when there is no bundle, or its parts do not fit together.
    """
    folder = Path(folder)
    check_bundle(folder)
    if threads:
        torch.set_num_threads(threads)
    model, tokenizer = load_network(folder, device=device), load_tokenizer(folder)
    if tokenizer.vocab_size > model.vocab_size:
        raise ModelError(
            f"the tokenizer has {tokenizer.vocab_size:,} ids, and the model knows {model.vocab_size:,}",
            where=str(folder),
            expected="a tokenizer and a model made for each other",
        )
    name, verdict = _word(folder, "record.json", "name") or "model", _word(folder, "verdict.json", "verdict")
    if not isinstance(model, Decoder):
        decision = read_json(folder / DECISION) if (folder / DECISION).is_file() else {}
        return TaskBundle(folder, name, verdict, model, tokenizer, decision)
    return Bundle(
        folder,
        name,
        verdict,
        TextGenerator(model, start_id=tokenizer.start_of_text_id, known_ids=tokenizer.vocab_size),
        tokenizer,
    )


def _word(folder: Path, file: str, key: str) -> str:
    path = folder / file
    return str(read_json(path).get(key, "")) if path.is_file() else ""


def _sampling(max_tokens: int, temperature: float, top_p: float, top_k: int, seed: int | None, stop: Sequence[str]) -> Sampling:
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    return Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, seed=seed, stop=stops)
