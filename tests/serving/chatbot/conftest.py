import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def example():
    """The module `example_bot`; importlib mode puts no folder on the path."""
    name = "example_bot"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]
