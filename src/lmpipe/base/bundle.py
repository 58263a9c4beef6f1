"""The manifest of a bundle: which files belong to it, and their bytes. Knows nothing of what the files mean.

`manifest.json` is {"files": {relative path: {"sha256": hex, "bytes": size}}} and is written last, so that a folder without it
was not finished. A bundle is used only after `check_bundle`: no changed bit, no missing and no added file, and nothing that
could be a pickle (reading one runs code).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lmpipe.base.canonical import digest_of_file
from lmpipe.base.errors import DamagedError, ModelError
from lmpipe.base.files import write_json

MANIFEST = "manifest.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_AGAIN = "make or fetch the bundle again"


def write_manifest(folder: Path) -> None:
    """Write the manifest over every other file below `folder`, atomically.

    Raises:
        ModelError: when a file is of a kind that bundles never hold, or is a link.
    """
    files = _files(folder)
    entries = {name: {"sha256": digest_of_file(path), "bytes": path.stat().st_size} for name, path in files.items()}
    write_json(folder / MANIFEST, {"files": entries})


def check_bundle(folder: Path) -> dict[str, Any]:
    """Compare every file with the manifest, which comes back. Reads all bytes once.

    Raises:
        ModelError: when there is no bundle (no folder, no manifest), or it holds a pickle or a link.
        DamagedError: when the manifest cannot be read, or a file is changed, missing or not listed; names the first such file.
    """
    manifest = _read(folder)
    expected, found = manifest["files"], _files(folder)
    if missing := sorted(expected.keys() - found.keys()):
        raise _damaged(f"'{missing[0]}' is missing from the bundle", folder / missing[0], "the file that the manifest lists")
    if added := sorted(found.keys() - expected.keys()):
        raise _damaged(f"'{added[0]}' does not belong to the bundle", folder / added[0], "only files that the manifest lists")
    for name, path in found.items():
        size = path.stat().st_size
        if size != expected[name]["bytes"]:
            raise _damaged(f"'{name}' has {size:,} bytes", path, f"{expected[name]['bytes']:,} bytes, as when it was packaged")
        if (digest := digest_of_file(path)) != expected[name]["sha256"]:
            raise _damaged(
                f"'{name}' has changed since it was packaged: sha256 {digest[:12]}...", path, expected[name]["sha256"]
            )
    return manifest


def _files(folder: Path) -> dict[str, Path]:
    found = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_symlink() or not p.is_dir()}
    found.pop(MANIFEST, None)
    for name, path in found.items():
        if path.suffix.lower() in PICKLES:
            raise ModelError(
                f"'{name}' may be a pickle, and reading a pickle runs whatever code is in it",
                where=str(path),
                expected="weights as model.safetensors",
                fix="save the weights as safetensors and remove this file",
            )
        if path.is_symlink() or not path.is_file():
            raise ModelError(f"'{name}' is no plain file", where=str(path), expected="files, no links")
    return found


def _read(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise ModelError(
            "this is no finished bundle: there is no manifest",
            where=str(path),
            expected="the folder that the stage `bundle` writes",
            fix="run the recipe to its end (`lmpipe run`), or give the bundle's folder",
        )
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        entries = [(name, str(entry["sha256"]), int(entry["bytes"])) for name, entry in manifest["files"].items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged("the manifest cannot be read", path, '{"files": {path: {"sha256", "bytes"}}}') from error
    if not entries:
        raise _damaged("the manifest lists no file", path, "a bundle's files")
    return manifest


def _damaged(what: str, path: Path, expected: str) -> DamagedError:
    return DamagedError(what, where=str(path), expected=expected, fix=_AGAIN)
