"""Every way to read and to learn, times accumulation, times places to stop: weights and reported numbers, byte for byte.

The fast cells stop one run at all places in turn; the slow ones stop a run of its own at each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import training_example as example
from pydantic import TypeAdapter

from lmpipe.models.config import ModelConfig

STEPS = 12
ENCODER = {"kind": "bert", "layers": 1, "width": 16, "heads": 2, "context": example.CONTEXT}
DECODER = {"kind": "llama", "layers": 1, "width": 16, "heads": 2, "context": example.CONTEXT, "dropout": 0.1}
CELLS: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    # documents (0: examples), model, phase
    "one epoch": (200, DECODER, {}),
    "several epochs": (30, DECODER, {"precision": "bf16"}),
    "fp16": (30, DECODER, {"precision": "fp16"}),
    "averaged": (30, DECODER, {"average": {"decay": 0.9}, "optimizer": {"kind": "lion"}}),
    "pruned": (30, DECODER, {"sparsity": {"kind": "magnitude", "times": 3}, "average": {"decay": 0.9}, "precision": "bf16"}),
    "2:4": (30, DECODER, {"sparsity": {"kind": "2:4", "start": 0.4}}),
    "adapters": (30, DECODER, {"adapter": {"kind": "lora", "dropout": 0.1}}),
    "masked": (30, ENCODER, {"objective": {"kind": "masked"}, "optimizer": {"kind": "adafactor"}}),
    "bucketed": (0, ENCODER, {"objective": {"kind": "classification"}, "bucket_by_length": True, "row_tokens": 32}),
}
PLACES = {"before the first save": 1, "mid-epoch": 4, "at a border": 6, "before the last step": STEPS - 1}


def run(corpus: Path, folder: Path, cell: str, accumulation: int, stop_at: int = STEPS + 1) -> None:
    """Go on until `stop_at` steps are done."""
    _, model, options = CELLS[cell]
    rows = 12 if accumulation == 3 else 4
    sizes = {"tokens": STEPS * rows * 32, "batch_tokens": rows * 32, "micro_batch_tokens": rows * 32 // accumulation}
    phase = example.tiny_phase(validation={"every_tokens": 3 * rows * 32, "tokens": 128}, **sizes, **options)
    done = max((int(path.name[5:]) for path in (folder / "scratch").glob("step-*")), default=0)
    asked = iter(range(done, 10**6))
    config = TypeAdapter(ModelConfig).validate_python(model)
    example.run_training(corpus, folder, model=config, phase=phase, stopping=lambda: next(asked) >= stop_at)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Of 200 documents (156 rows) and of 30 (some 23 rows: a border between epochs at every sixth batch of four); examples."""
    written = {size: example.write_corpus(tmp_path_factory.mktemp("corpus"), documents=size) for size in (200, 30)}
    return {**written, 0: example.write_examples(tmp_path_factory.mktemp("examples"))}


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_stopped_at_all_places_in_turn(cell: str, accumulation: int, corpora: dict[int, Path], tmp_path: Path) -> None:
    corpus = corpora[CELLS[cell][0]]
    run(corpus, tmp_path / "whole", cell, accumulation)
    for place in PLACES.values():
        run(corpus, tmp_path / "stopped", cell, accumulation, stop_at=place)
        assert example.result(tmp_path / "stopped") == {}
    run(corpus, tmp_path / "stopped", cell, accumulation)
    assert example.result(tmp_path / "stopped") == example.result(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_stopped_at_one_place(cell: str, accumulation: int, place: str, corpora: dict[int, Path], tmp_path: Path) -> None:
    corpus = corpora[CELLS[cell][0]]
    run(corpus, tmp_path / "whole", cell, accumulation)
    run(corpus, tmp_path / "stopped", cell, accumulation, stop_at=PLACES[place])
    run(corpus, tmp_path / "stopped", cell, accumulation)
    assert example.result(tmp_path / "stopped") == example.result(tmp_path / "whole")
