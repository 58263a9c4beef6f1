"""The files behind a generator: an endpoint has none; a bundle is known by its manifest, which lists all digests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from lmpipe.base.bundle import MANIFEST
from lmpipe.base.errors import SourceError
from lmpipe.data.generation.config import BundleConfig, GeneratorConfig
from lmpipe.data.readers.sources import SourceFile


def pinned_generator(config: GeneratorConfig, base_folders: Sequence[Path]) -> tuple[GeneratorConfig, list[SourceFile]]:
    """The generator with a name where it has a path, and its files.

    Raises:
        SourceError: when there is no bundle in the folder.
    """
    if not isinstance(config, BundleConfig):
        return config, []
    written = Path(config.path).expanduser()
    places = [written] if written.is_absolute() else [Path(folder).absolute() / written for folder in base_folders]
    for place in places:
        manifest = place / MANIFEST
        if manifest.is_file():
            stat = manifest.stat()
            digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
            file = SourceFile(manifest_name(digest), str(manifest), stat.st_size, str(stat.st_mtime_ns))
            return config.model_copy(update={"path": digest}), [file]
    raise SourceError(
        f"there is no bundle in '{config.path}'",
        where=", ".join(map(str, places)),
        expected=f"a folder that the stage `bundle` wrote, with its {MANIFEST}",
        fix="correct `path` of the generator, or run that recipe to its end first",
    )


def manifest_name(digest: str) -> str:
    """What the manifest of a bundle is called among the raw files of a stage."""
    return f"bundle/{digest[:16]}/{MANIFEST}"
