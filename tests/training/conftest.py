"""Makes `training_example` importable: pytest's importlib mode puts no test folder on the path."""

import importlib.util
import sys
from pathlib import Path

import pytest

NAME = "training_example"

if NAME not in sys.modules:
    spec = importlib.util.spec_from_file_location(NAME, Path(__file__).parent / f"{NAME}.py")
    assert spec
    assert spec.loader
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenize stage's folder."""
    return Path(sys.modules[NAME].write_corpus(tmp_path_factory.mktemp("corpus")))
