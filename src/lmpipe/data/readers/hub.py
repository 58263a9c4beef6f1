"""Hugging Face data sets: which commit a name stands for, and their records, streamed through `datasets`.

Nothing is written to a cache: records are streamed, and a folder is read where it lies. Importing this module imports neither
`datasets` nor `huggingface_hub`; using it without them names the extra that brings them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmpipe.base.errors import SourceError
from lmpipe.base.extras import require
from lmpipe.data.readers.config import HubSource

SCHEME = "hub://"
TIMEOUT_SECONDS = 10
COMMIT = re.compile(r"[0-9a-f]{40}")
PURPOSE = "reading a Hugging Face data set"


def hub_url(name: str, commit: str) -> str:
    """How a data set at one commit is written as a URL."""
    return f"{SCHEME}{name}@{commit}"


def commit_of(name: str, revision: str | None) -> str:
    """The commit that a revision of a data set stands for; a commit hash stands for itself, without asking anybody.

    Raises:
        SourceError: when the hub cannot be reached, or has no such data set for this user.
    """
    if revision and COMMIT.fullmatch(revision):
        return revision
    api = require("huggingface_hub", extra="hub", purpose=PURPOSE).HfApi()
    try:
        return str(api.dataset_info(name, revision=revision, timeout=TIMEOUT_SECONDS).sha)
    except Exception as error:  # the client's errors are those of several HTTP libraries
        raise _unreachable(name, error) from error


def read_rows(config: HubSource, name: str, url: str) -> Iterator[Mapping[str, Any]]:
    """Every record of the configured split, in order, as a mapping of its columns.

    Raises:
        SourceError: when the hub cannot be reached, or has no such data set, configuration or split.
    """
    datasets = require("datasets", extra="hub", purpose=PURPOSE)
    folder = None if url.startswith(SCHEME) else Path(url)
    try:
        yield from _saved(datasets, folder, config.split) if folder and _was_saved(folder) else _loaded(datasets, config, url)
    except (OSError, ValueError) as error:  # ConnectionError and DatasetNotFoundError are OSErrors, unknown names ValueErrors
        raise _unreachable(name, error) from error


def _loaded(datasets: Any, config: HubSource, url: str) -> Iterator[Mapping[str, Any]]:
    path, _, commit = url.removeprefix(SCHEME).rpartition("@") if url.startswith(SCHEME) else (url, "", "")
    if commit:
        commit_of_reachable(path)
    yield from datasets.load_dataset(path, config.config, split=config.split, revision=commit or None, streaming=True)


def commit_of_reachable(name: str) -> None:
    """Ask once, with a short timeout, before a library asks many times with long ones."""
    api = require("huggingface_hub", extra="hub", purpose=PURPOSE).HfApi()
    try:
        api.dataset_info(name, timeout=TIMEOUT_SECONDS)
    except Exception as error:
        raise _unreachable(name, error) from error


def _was_saved(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def _saved(datasets: Any, folder: Path, split: str) -> Iterator[Mapping[str, Any]]:
    loaded = datasets.load_from_disk(str(folder))
    if isinstance(loaded, datasets.DatasetDict):
        if split not in loaded:
            raise ValueError(f"it has no split '{split}', only: {', '.join(loaded)}")
        loaded = loaded[split]
    yield from loaded


def _unreachable(name: str, error: Exception) -> SourceError:
    reason = " ".join(str(error).split())[:300]
    return SourceError(
        f"the data set '{name}' cannot be read: {type(error).__name__}: {reason}",
        where=f"Hugging Face data set '{name}'",
        expected="a data set that this machine can reach, or a local folder with its files",
        fix="check name, config, split and network; without a network, put the files into a folder and give its path as `name`",
    )
