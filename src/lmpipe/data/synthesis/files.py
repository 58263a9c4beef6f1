"""The files behind synthesis: bundles that write or judge, known by the digests of their manifests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmpipe.data.generation.files import pinned_generator
from lmpipe.data.readers.sources import SourceFile
from lmpipe.data.synthesis.config import SynthesisConfig


def pinned_synthesis(config: SynthesisConfig, base_folders: Sequence[Path]) -> tuple[SynthesisConfig, list[SourceFile]]:
    """The config with digests where it has paths of bundles, and their manifests.

    Raises:
        SourceError: when there is no bundle where the recipe says.
    """
    generator, files = pinned_generator(config.generator, base_folders)
    judge = config.judge
    if judge is not None and judge.generator is not None:
        pinned, more = pinned_generator(judge.generator, base_folders)
        judge = judge.model_copy(update={"generator": pinned})
        files += [file for file in more if file not in files]
    return config.model_copy(update={"generator": generator, "judge": judge}), files
