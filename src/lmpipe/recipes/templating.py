"""The recipes that `lmpipe init` starts from: files beside this module, copied as they are."""

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
}


def list_templates() -> dict[str, str]:
    """Every template and what it is for."""
    return dict(TEMPLATES)


def write_template(name: str, folder: Path) -> list[Path]:
    """Copy a template into a new or empty folder and return the files written.

    Raises:
        RecipeError: for an unknown name, or a folder that already holds something.
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
        shutil.copytree(template, folder, dirs_exist_ok=True)
    return sorted(path for path in folder.rglob("*") if path.is_file())
