import importlib.util
import sys
from pathlib import Path

import pytest


def _load(name):
    """Importlib mode puts no folder on the path, so helpers beside the tests are loaded by their file."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def make_tiny_bundle():
    return _load("tiny_bundle").make_tiny_bundle


@pytest.fixture(scope="session")
def bundle_folder(make_tiny_bundle, tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("serving") / "bundle")


@pytest.fixture(scope="session")
def bundle(bundle_folder):
    from lmpipe.serving.bundle import load_bundle

    return load_bundle(bundle_folder)
