from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lmpipe.base.runtime import Runtime

sys.path.insert(0, str(Path(__file__).parent))  # so that stages' processes, too, can import toy_stages


@pytest.fixture
def here(tmp_path: Path) -> Runtime:
    """Stages in this process: fast."""
    return Runtime(store=str(tmp_path / "store"), isolate=False, threads=1, workers=1)


@pytest.fixture
def apart(tmp_path: Path) -> Runtime:
    """Stages in processes of their own, as users run them."""
    return Runtime(store=str(tmp_path / "store"), threads=1, workers=1)
