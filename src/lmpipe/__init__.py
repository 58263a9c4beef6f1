"""lmpipe: raw text to a language model that you can vouch for, from one declarative file.

The public names, imported when they are first used:

    run = lmpipe.run("recipe.yaml", set={"train.0.tokens": 1_000_000})
    run.metrics, run.verdict, run.report
    bundle = lmpipe.load(run.bundle)
    bundle.generate("def main(", max_tokens=40)         # of a model that goes on with text
    bundle.classify(["a fine film"])                    # of one that tells classes apart
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmpipe.base.errors import LmpipeError as LmpipeError
    from lmpipe.base.runtime import Runtime as Runtime
    from lmpipe.recipes.planning import plan as plan
    from lmpipe.recipes.project import check as check
    from lmpipe.recipes.results import open_run as open_run
    from lmpipe.recipes.running import run as run
    from lmpipe.serving.bundle import load_any

    load = load_any

PUBLIC = {
    "LmpipeError": "lmpipe.base.errors:LmpipeError",
    "Runtime": "lmpipe.base.runtime:Runtime",
    "check": "lmpipe.recipes.project:check",
    "load": "lmpipe.serving.bundle:load_any",
    "open_run": "lmpipe.recipes.results:open_run",
    "plan": "lmpipe.recipes.planning:plan",
    "run": "lmpipe.recipes.running:run",
}


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'lmpipe' has no attribute '{name}'; public names: {', '.join(PUBLIC)}")
    module, attribute = PUBLIC[name].split(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(PUBLIC)
