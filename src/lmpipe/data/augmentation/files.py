"""The files that augmentation needs beside documents: synonyms, found like any raw file, and bundles that write. Known to an
identity by name and digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmpipe.base.errors import SourceError
from lmpipe.data.augmentation.config import AugmentConfig, EdaConfig, generator_of
from lmpipe.data.generation.files import pinned_generator
from lmpipe.data.readers.config import TextSource
from lmpipe.data.readers.opening import open_decompressed, reading
from lmpipe.data.readers.sources import SourceFile, resolve


def pinned_files(
    augment: Sequence[AugmentConfig], base_folders: Sequence[Path]
) -> tuple[tuple[AugmentConfig, ...], list[SourceFile]]:
    """The kinds with names of files where paths stood, and the files.

    Raises:
        SourceError: when a path leads to no file, or to several.
    """
    parts: list[AugmentConfig] = []
    files: list[SourceFile] = []
    for part in augment:
        if isinstance(part, EdaConfig) and part.synonyms is not None:
            file = one_file(part.synonyms, base_folders, "synonyms")
            files.append(file)
            part = part.model_copy(update={"synonyms": file.name})
        if (generator := generator_of(part)) is not None:
            pinned, found = pinned_generator(generator, base_folders)
            files += [file for file in found if file not in files]
            part = part.model_copy(update={"generator": pinned})
        parts.append(part)
    return tuple(parts), files


def one_file(path: str, base_folders: Sequence[Path], what: str) -> SourceFile:
    """The one file that a path of the recipe names.

    Raises:
        SourceError: when it names none, or several.
    """
    found = resolve(TextSource(paths=(path,), exclude=()), base_folders)
    if len(found) > 1:
        raise SourceError(
            f"'{path}' names {len(found)} files", where=what, expected="one file", fix=f"name one of them in `{what}`"
        )
    return found[0]


def read_synonyms(augment: Sequence[AugmentConfig], files: Sequence[Any]) -> Mapping[str, tuple[str, ...]]:
    """The synonyms that the kind `eda` names; none where it is not asked for.

    Args:
        augment: kinds with names of files, as `pinned_files` gives them.
        files: with `name` and `url`.

    Raises:
        SourceError: when the file cannot be read or is malformed.
    """
    from lmpipe.data.augmentation.synonyms import parse_synonyms

    by_name = {file.name: file for file in files}
    named = [part.synonyms for part in augment if isinstance(part, EdaConfig) and part.synonyms is not None]
    if not named:
        return {}
    file = by_name[named[0]]
    with reading(file.name, file.url), open_decompressed(file.url) as stream:
        return parse_synonyms(stream.read(), file.name)
