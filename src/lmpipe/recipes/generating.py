"""Who writes text for the data stages: made here, because `data` knows neither models nor serving.

Answers are kept in the store, whoever asks for them, so equal questions are asked once.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lmpipe.base.files import read_json, write_json
from lmpipe.data.generation.asking import Answer, Asker, Generator, Question, Refusal
from lmpipe.data.generation.config import EndpointConfig, GeneratorConfig
from lmpipe.data.generation.files import manifest_name
from lmpipe.pipeline.stage import Work

if TYPE_CHECKING:
    from lmpipe.serving.bundle import Bundle


def askers_of(generators: Mapping[str, GeneratorConfig | None], work: Work) -> dict[str, Asker]:
    """A generator with the store's memory for each name that has one; equal generators are made once."""
    made: dict[str, Asker] = {}
    askers = {}
    for name, config in generators.items():
        if config is not None:
            key = config.model_dump_json()
            if key not in made:
                made[key] = Asker(_generator(config, work), work.answers)
            askers[name] = made[key]
    return askers


def note_calls(askers: Mapping[str, Asker], work: Work) -> None:
    """Leave in `observed/` what this attempt asked for and what it had already: no part of any identity."""
    if askers:
        calls = {name: {"calls": asker.calls, "remembered": asker.remembered} for name, asker in askers.items()}
        write_json(work.observed / "calls.json", calls)


def _generator(config: GeneratorConfig, work: Work) -> Generator:
    if isinstance(config, EndpointConfig):
        from lmpipe.data.generation.endpoint import Endpoint

        return Endpoint(config)
    manifest = next(source for source in work.sources if source.name == manifest_name(config.path))
    return BundleGenerator(Path(manifest.url).parent, config.path, work.runtime.resolved_threads())


class BundleGenerator:
    """A bundle as `asking.Generator`: loaded with the first question, one answer at a time; equal questions, equal answers."""

    concurrency = 1

    def __init__(self, folder: Path, digest: str, threads: int) -> None:
        self.folder, self.threads = folder, threads
        self.identity: Mapping[str, str] = {"kind": "bundle", "model": _name(folder), "manifest": digest}
        self._bundle: Bundle | None = None
        self._lock = threading.Lock()

    def ask(self, question: Question) -> Answer | Refusal:
        """One answer; a prompt that does not fit the context is refused, because its beginning would be cut off."""
        with self._lock:
            return self._ask(self._loaded(), question)

    def _ask(self, bundle: Bundle, question: Question) -> Answer | Refusal:
        from lmpipe.serving.answers import Sampling, answer
        from lmpipe.tokens.chat import render

        messages = [{"role": role, "content": content} for role, content in question.messages]
        prompt = render(messages, bundle.tokenizer)
        if len(prompt) > bundle.context_length:
            return Refusal(f"the prompt has {len(prompt)} tokens and the model's context {bundle.context_length}")
        asked = question.sampling
        sampling = Sampling(max_tokens=asked.max_tokens, temperature=asked.temperature, top_p=asked.top_p, seed=question.seed)
        pieces = list(answer(bundle.generator, bundle.tokenizer, prompt, sampling))
        text, finish = "".join(piece.text for piece in pieces), pieces[-1].finish_reason or "stop"
        return Answer(text, finish, len(prompt), sum(piece.tokens for piece in pieces))

    def _loaded(self) -> Bundle:
        if self._bundle is None:
            from lmpipe.serving.bundle import load_bundle

            self._bundle = load_bundle(self.folder, threads=self.threads)
        return self._bundle


def _name(folder: Path) -> str:
    """What the bundle calls itself; covered by its manifest, so the same wherever it lies."""
    record = folder / "record.json"
    return str(read_json(record).get("name", "")) if record.is_file() else ""
