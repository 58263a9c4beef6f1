"""`benchmarks/training/gpu.py` at toy size on a processor: what it would do on a GPU works."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "training"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("gpu")


def test_ours_trains_and_loses_what_transformers_loses(gpu: ModuleType, tmp_path: Path) -> None:
    arguments = argparse.Namespace(device="cpu", plain=True, steps=2, rows=2, accumulation=2, nanogpt=None)
    bench = gpu.Bench("toy", arguments)
    for part in ("speed", "parity"):
        (tmp_path / part).mkdir()
    assert len(bench.ours(tmp_path / "speed", "muon")["seconds"]) == 2
    found = bench.parity(tmp_path / "parity")
    assert len(found["ours"]) == gpu.PARITY_STEPS
    assert found["ours"] == pytest.approx(found["transformers"], rel=gpu.TOLERANCE)
    assert found["ours"][-1] < found["ours"][0] - 0.02  # it learns: equal losses say something
