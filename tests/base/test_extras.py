"""What `lmpipe doctor` calls an extra is one of pyproject.toml's, and the developers' environment brings them all."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from lmpipe.base.extras import EXTRAS

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL = PROJECT["optional-dependencies"]


def test_the_table_names_the_projects_extras() -> None:
    assert set(EXTRAS) == set(OPTIONAL) - {"dev"}


def test_development_brings_every_extra() -> None:
    (whole,) = [line for line in OPTIONAL["dev"] if line.startswith("lmpipe[")]
    assert set(re.findall(r"[\w-]+", whole)) - {"lmpipe"} == set(EXTRAS)
