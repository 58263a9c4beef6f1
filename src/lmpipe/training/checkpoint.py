"""Checkpoints that are whole or absent: a new folder each, its digests written last, verified before use.

    step-00000120/ tensors.safetensors  state.json  manifest.json (sha256 of the others; the mark that it is complete)

A checkpoint is never overwritten in place; the newest two are kept, and the last verified one is never deleted. A damaged or
half-written one is passed over, with a note.
"""

from __future__ import annotations

import re
import shutil
import uuid
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file, save_file
from torch import Tensor

from lmpipe.base.canonical import digest_of_file
from lmpipe.base.errors import TrainingError
from lmpipe.base.files import read_json, share, storing, sync_folder, sync_tree, write_json
from lmpipe.base.progress import Progress

KEPT = 2
NAME = re.compile(r"step-(\d{8,})")
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"


class Checkpoint(NamedTuple):
    """What was saved."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint, *, kept: int = -1) -> None:
    """Save durably under `folder`, then let go of all but the newest two and the one of step `kept`.

    Raises:
        StoreError: when the disk is full; earlier checkpoints stay as they are.
    """
    final = folder / f"step-{step:08d}"
    if final.exists():
        return  # resumed and came by again: the bytes are the same
    temporary = folder / f".{final.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with storing(final):
            temporary.mkdir(parents=True)
            save_file({key: tensor.contiguous() for key, tensor in checkpoint.tensors.items()}, temporary / TENSORS)
            share(temporary / TENSORS)
            write_json(temporary / STATE, checkpoint.state)
            write_json(temporary / MANIFEST, {name: digest_of_file(temporary / name) for name in (TENSORS, STATE)})
            sync_tree(temporary)
            temporary.rename(final)
            sync_folder(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    leftovers = [path for path in folder.iterdir() if path.name.endswith(".tmp")]  # of writes that were killed
    for old in (*leftovers, *(path for number, path in _numbered(folder)[KEPT:] if number != kept)):
        shutil.rmtree(old, ignore_errors=True)


def newest_checkpoint(folder: Path, progress: Progress) -> Checkpoint | None:
    """The newest checkpoint whose bytes are those that were saved; None where there is none."""
    for _, path in _numbered(folder):
        problem = _problem(path)
        if not problem:
            return Checkpoint(load_file(path / TENSORS), read_json(path / STATE))
        progress.note(f"the checkpoint {path.name} is damaged ({problem}); going back to the one before")
        shutil.rmtree(path, ignore_errors=True)
    return None


def newest_step(folder: Path) -> int | None:
    """The step of the newest checkpoint, sound or not."""
    return next((step for step, _ in _numbered(folder)), None)


def checkpoint_at(folder: Path, step: int) -> Checkpoint:
    """The checkpoint of one step.

    Raises:
        TrainingError: when it is not there any more, or damaged.
    """
    path = folder / f"step-{step:08d}"
    if problem := _problem(path):
        raise TrainingError(
            f"the run should go back to step {step}, and its checkpoint cannot be used: {problem}",
            where=str(path),
            expected="the bytes that were saved",
            fix="run again: training then starts from an earlier checkpoint or anew",
        )
    return Checkpoint(load_file(path / TENSORS), read_json(path / STATE))


def forget_after(folder: Path, step: int) -> None:
    """Remove the checkpoints after `step`: they belong to a course that was given up."""
    for number, path in _numbered(folder):
        if number > step:
            shutil.rmtree(path, ignore_errors=True)


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """Checkpoints by step, newest first."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := NAME.fullmatch(path.name))]
    return sorted(found, reverse=True)


def _problem(path: Path) -> str:
    """Why a checkpoint cannot be used; "" for a sound one."""
    try:
        manifest = read_json(path / MANIFEST)
        wrong = [name for name in (TENSORS, STATE) if digest_of_file(path / name) != manifest[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__} in its manifest"
    return f"{wrong[0]} has other bytes" if wrong else ""
