"""What the built-in recipes mean, spelled out: every stage's version and config, every default, under version control.

A change here changes what users' stores hold, so it must be meant. `python tests/golden/test_resolved_recipes.py` writes
the files again; the diff then says what every existing run will compute anew.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import pytest

from lmpipe.base.runtime import Runtime
from lmpipe.recipes.project import open_project
from lmpipe.recipes.templating import list_templates

HERE = Path(__file__).parent
TEMPLATES = Path(__file__).parents[2] / "src" / "lmpipe" / "recipes" / "templates"


FROM_SCRATCH = [name for name in list_templates() if (TEMPLATES / name / "recipe.yaml").is_file()]
"""The others mean something only with the model that they go on from."""


def identities(template: str) -> str:
    """Every stage as it enters its fingerprint, without the text (digests; for reading, the files of this Python), and with
    `auto` precision decided for a plain processor."""
    project = open_project(TEMPLATES / template / "recipe.yaml", {"train.0.precision": "fp32"})
    stages = project.stages(Runtime(device="cpu"))
    described = {
        stage.name: {
            "version": stage.version,
            "config": {} if stage.sources else stage.config.model_dump(mode="json"),
            "inputs": {role: source.name for role, source in stage.inputs.items()},
        }
        for stage in stages
    }
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("template", FROM_SCRATCH)
def test_a_template_means_what_it_meant(template: str) -> None:
    stored = (HERE / f"{template}.json").read_text(encoding="utf-8")
    now = identities(template)
    changes = "\n".join(difflib.unified_diff(stored.splitlines(), now.splitlines(), "stored", "now", lineterm="", n=1))
    assert not changes, (
        f"{template} computes something else now; meant? then write the file again (see above)\n{changes[:3000]}"
    )


if __name__ == "__main__":
    for name in FROM_SCRATCH:
        (HERE / f"{name}.json").write_text(identities(name), encoding="utf-8")
