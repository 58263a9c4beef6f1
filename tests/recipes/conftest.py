"""The data stages of a recipe, run in this process: a whole run is seconds too long to ask questions about its text."""

import json

import pytest

from lmpipe.base.runtime import Runtime
from lmpipe.pipeline import runner
from lmpipe.pipeline.runs import RunLog
from lmpipe.pipeline.store import open_store
from lmpipe.recipes.project import open_project
from lmpipe.recipes.results import Run

AFTER_DATA = ("train", "ngram", "hmm", "evaluate", "samples", "audit", "gate", "bundle")


def recipe_on(corpus):
    """A recipe with one corpus, as plain data."""
    optimizer = {"kind": "adamw", "lr": 1e-2}
    return {
        "name": "text-only",
        "data": {"corpus": corpus},
        "tokenizer": {"kind": "bpe", "vocab_size": 300, "train_on": "corpus"},
        "model": {"kind": "llama", "layers": 1, "width": 16, "heads": 2, "context": 64},
        "train": [{"name": "x", "on": "corpus", "tokens": 2000, "batch_tokens": 512, "optimizer": optimizer}],
    }


@pytest.fixture(scope="session")
def write_recipe():
    """Writes a recipe with one corpus into a folder and gives its path."""

    def write(folder, corpus):
        (folder / "recipe.yaml").write_text(json.dumps(recipe_on(corpus)), encoding="utf-8")
        return folder / "recipe.yaml"

    return write


@pytest.fixture(scope="session")
def run_data(write_recipe):
    """Runs the data stages of a recipe, the tokenizer and the shards in a folder, and gives the run."""

    def run(folder, corpus):
        given = write_recipe(folder, corpus)
        project = open_project(given)
        runtime = Runtime(store=str(folder / "store"), workers=1, threads=1, isolate=False)
        store = open_store(runtime.store)
        stages = [stage for stage in project.stages(runtime) if not stage.name.startswith(AFTER_DATA)]
        extra = {"recipe_text": given.read_text(encoding="utf-8")}
        log = RunLog(store, project.recipe.name, project.resolved(runtime), extra=extra)
        runner.run(stages, runtime, log)
        log.close()
        return Run(log.record, store)

    return run
