"""The recipes that `lmpipe init` starts from: files beside this module, copied as they are.

    templates/NAME/recipe.yaml        a model from scratch; runs on the sample in data/
                   pretrained.yaml    in its place where a model is given to go on from (`{start}`)
                   data/              a small sample

A template with one of the two alone is for that case alone.
"""

from __future__ import annotations

import difflib
import shutil
from importlib.resources import as_file, files
from pathlib import Path

from lmpipe.base.errors import RecipeError
from lmpipe.base.files import storing

TEMPLATES = {
    "quickstart": "a code-and-docs model on the text that every Python installation carries; minutes on two cores",
    "own-text": "the same, on your own files: .txt, .jsonl, .csv, .parquet, a folder or a URL; comes with a small sample",
    "adapt": "a general model goes on reading your field's text, then learns a task of it; needs --from",
    "chatbot": "intents, forms, answers from your texts, handing over; stories are its tests",
    "code": "a model of program code, on the standard library or your own sources; programs judged in a sandbox",
    "embeddings": "which text belongs to which: vectors for search and frequent questions; from scratch or fine-tuned",
    "encoder": "an encoder that has read your text, hidden words guessed from both sides; the start of a task with few answers",
    "sentiment": "is a text positive or negative: any classes, from a .csv or .jsonl; from scratch or fine-tuned",
    "summarize": "short summaries of texts, beside the first sentences of each; from scratch or fine-tuned",
    "tagging": "a tag for every word: parts of speech, names; from scratch or fine-tuned",
    "translate": "from one language to another; from scratch or fine-tuned",
    "topics": "what a message is about, or that it is about none of that: many classes and a threshold for the rest",
}
ANSWERS = ("adapt", "sentiment", "topics", "summarize", "tagging", "translate")
"""Templates of models that answer a line of text."""
SILENT = ("embeddings", "encoder")
"""Templates of models that say nothing: vectors are used from Python, an encoder is fine-tuned."""
RECIPE, PRETRAINED, START = "recipe.yaml", "pretrained.yaml", "{start}"


def list_templates() -> dict[str, str]:
    """Every template and what it is for."""
    return dict(TEMPLATES)


def write_template(name: str, folder: Path, start: str = "") -> list[Path]:
    """Copy a template into a new or empty folder and return the files written.

    Args:
        name: of the template.
        folder: where to.
        start: a model to go on from: a bundle, a folder, `hub:org/name`; empty: a model from scratch.

    Raises:
        RecipeError: for an unknown name, a folder that already holds something, or a template that needs a start or takes none.
    """
    if name not in TEMPLATES:
        close = difflib.get_close_matches(name, TEMPLATES, n=1)
        raise RecipeError(
            f"there is no template '{name}'" + (f" (did you mean '{close[0]}'?)" if close else ""),
            expected=f"one of: {', '.join(TEMPLATES)}",
            fix="lmpipe init --list",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecipeError(f"{folder} is there already", expected="a new or empty folder", fix="choose another name")
    with storing(folder), as_file(files("lmpipe.recipes") / "templates" / name) as template:
        wanted = PRETRAINED if start else RECIPE
        if not (template / wanted).is_file():
            raise _cannot_start(name, start)
        shutil.copytree(template, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(RECIPE, PRETRAINED))
        text = (template / wanted).read_text(encoding="utf-8")
        (folder / RECIPE).write_text(text.replace(START, _absolute(start)), encoding="utf-8", newline="\n")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def next_steps(name: str, folder: Path) -> list[tuple[str, str]]:
    """(command, what it does) of what to do with a written template, in order."""
    recipe = folder / RECIPE
    steps = [
        (f"lmpipe plan {recipe}", "what will be computed, and what it costs"),
        (f"lmpipe run {recipe}", "compute it; killed at any moment, the same command goes on"),
        (f"lmpipe report {recipe}", "one page with data, curves, numbers and costs"),
    ]
    if name == "encoder":
        tune = f"lmpipe init sentiment {folder}-sentiment --from BUNDLE"
        steps.append((tune, "learn a task from it; `lmpipe show` names the bundle"))
    if name not in SILENT:
        steps.append((f"lmpipe chat {recipe}", "a line in, its answer out" if name in ANSWERS else "talk to the model"))
    if (folder / "data").is_dir():
        steps.insert(0, (f"edit {recipe}", "name your own files under `read:`; a small sample lies in data/"))
    return steps


def _absolute(start: str) -> str:
    """A folder that is there by its whole path, because the recipe lies elsewhere; any other name as it is."""
    return str(Path(start).absolute()) if start and Path(start).is_dir() else start


def _cannot_start(name: str, start: str) -> RecipeError:
    if start:
        return RecipeError(
            f"the template '{name}' trains from scratch and goes on from no model", where="--from", fix="leave --from out"
        )
    return RecipeError(
        f"the template '{name}' goes on from a model",
        where="--from",
        expected="a bundle, a folder in Hugging Face layout, or a name on the Hub",
        fix=f"lmpipe init {name} my-model --from hub:org/name",
    )
