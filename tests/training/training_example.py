"""A tiny corpus that can be learned, and a run on it in one call; as a script, the run in a process of its own.

python training_example.py CORPUS FOLDER '{"model": {...}, "phase": {...}, "device": {...}, "stop_after": 5}'

Several runs, each with a "name" that is its folder's, are a list; with torchrun's variables the process is one of several.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from safetensors.torch import load_file
from torch import Tensor

from lmpipe.base.files import write_json
from lmpipe.base.progress import Progress, Silent
from lmpipe.models.config import ModelConfig
from lmpipe.tokens.shards import ShardWriter
from lmpipe.training.config import PhaseConfig
from lmpipe.training.loop import Device, train
from lmpipe.training.materials import Materials
from lmpipe.training.ranks import ALONE, Ranks, joined

VOCABULARY, CONTEXT = 100, 32


def write_corpus(folder: Path, documents: int = 200, vocab_size: int = VOCABULARY) -> Path:
    """Documents of 10 to 40 tokens that count upwards from a random start: what comes next can be learned."""
    generator = np.random.default_rng(1)
    for split in ("train", "validation"):
        with ShardWriter(folder / split, vocab_size=vocab_size, end_of_text_id=0) as writer:
            for _ in range(documents):
                start, length = generator.integers(0, vocab_size - 1), generator.integers(10, 40)
                writer.append([*(1 + (start + np.arange(length)) % (vocab_size - 1)).tolist(), 0], int(length))
    return folder


def write_examples(folder: Path, examples: int = 60) -> Path:
    """Texts of 3 to 30 tokens in two classes, told by their first token: a tokenize stage's folder of labels."""
    generator = np.random.default_rng(1)
    for split in ("train", "validation"):
        answers = generator.integers(0, 2, examples)
        with ShardWriter(folder / split / "inputs", vocab_size=VOCABULARY, end_of_text_id=0) as writer:
            for answer in answers.tolist():
                length = int(generator.integers(1, 28))
                writer.append([0, 10 + answer, *generator.integers(20, VOCABULARY, length).tolist()], length)
        np.save(folder / split / "answers.npy", answers.astype(np.int32), allow_pickle=False)
    write_json(folder / "examples.json", {"kind": "labels", "names": ["a", "b"], "several": False})
    return folder


def tiny_model(**options: Any) -> Any:
    """Two layers of width 32, of the Llama layout unless a `kind` is given."""
    values = {"kind": "llama", "layers": 2, "width": 32, "heads": 4, "context": CONTEXT, "dropout": 0.1}
    return TypeAdapter(ModelConfig).validate_python({**values, **options})


def tiny_phase(**options: Any) -> PhaseConfig:
    """12 steps of 128 tokens."""
    values = {"name": "main", "on": "web", "tokens": 12 * 128, "batch_tokens": 128, "precision": "fp32"}
    watching = {"validation": {"every_tokens": 384, "tokens": 256}}
    return PhaseConfig.model_validate({**values, **watching, **options})


def after(steps: int) -> Callable[[], bool]:
    """Asks to stop once `steps` steps are done: `stopping` is asked once before each."""
    asked = iter(range(10**6))
    return lambda: next(asked) >= steps


def never() -> bool:
    """Nobody asks to stop."""
    return False


def run_training(
    corpus: Path,
    folder: Path,
    *,
    model: ModelConfig | None = None,
    phase: PhaseConfig | None = None,
    stopping: Callable[[], bool] = never,
    device: Device | None = None,
    progress: Progress | None = None,
    start: Path | None = None,
    trackers: tuple[str, ...] = (),
    materials: Materials | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Train in `folder`: scratch/, output/ and output/observed/, which are made where absent."""
    for part in ("scratch", "output/observed"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    output = folder / "output"
    return train(
        corpus,
        output,
        model=model or tiny_model(),
        phase=phase or tiny_phase(),
        seed=7,
        device=device or Device("cpu", 1, False),
        scratch=folder / "scratch",
        observed=output / "observed",
        progress=progress or Silent(),
        stopping=stopping,
        start=start,
        trackers=trackers,
        materials=materials,
        ranks=ranks,
    )


def result(folder: Path) -> dict[str, bytes]:
    """Every byte of the output that belongs to its identity."""
    output = folder / "output"
    files = (path for path in sorted(output.rglob("*")) if path.is_file())
    return {str(path.relative_to(output)): path.read_bytes() for path in files if "observed" not in path.parts}


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of one of its files."""
    return [json.loads(line) for line in (folder / "output" / name).read_text().splitlines()]


def curve(folder: Path) -> list[dict[str, Any]]:
    """The rows of its curve."""
    return lines(folder, "curve.jsonl")


def weights(folder: Path, name: str = "last") -> dict[str, Tensor]:
    """The saved weights, under the names of Hugging Face."""
    return load_file(folder / "output" / name / "model.safetensors")


def run_case(corpus: Path, folder: Path, case: dict[str, Any], ranks: Ranks = ALONE) -> dict[str, Any]:
    """A run in `folder / case["name"]`, by plain data."""
    asked = iter(range(case.get("stop_after", 10**9)))
    return run_training(
        corpus,
        folder / case.get("name", ""),
        model=tiny_model(**case.get("model", {})),
        phase=tiny_phase(**case.get("phase", {})),
        device=Device(**case.get("device", {})),
        stopping=lambda: next(asked, None) is None,
        ranks=ranks,
    )


if __name__ == "__main__":
    corpus, folder, cases = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    with joined("cpu") if "RANK" in os.environ else nullcontext(ALONE) as ranks:
        for case in cases if isinstance(cases, list) else [cases]:
            run_case(corpus, folder, case, ranks)
