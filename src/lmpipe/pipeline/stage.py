"""What is computed: a stage, the raw files it starts from, and what its function gets.

A stage is inert data. Its function is named, not held (`"lmpipe.recipes.stages:read"`), so that a plan imports nothing heavy,
and it runs in a process of its own. A stage says *what*; the `Runtime` says *where*, and only the first is hashed.

Does not know: stores, processes, language models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmpipe.base.config import Config
from lmpipe.base.progress import Progress
from lmpipe.base.runtime import Runtime


@dataclass(frozen=True)
class Source:
    """One raw file that a stage reads. Its digest is asked for only if url, size and stamp were not seen together before."""

    name: str
    """Unique within the stage and free of machine paths: it is part of the identity, beside the digest."""
    url: str
    """Where to open it: an absolute path or an fsspec URL. Not part of the identity."""
    size: int
    """Bytes."""
    stamp: str
    """Whatever changes when the bytes do: modification time in nanoseconds for a local file, an ETag elsewhere; "" forgets."""
    digest: Callable[[], str]
    """Computes the sha256 (hex) of the bytes."""


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    >>> from lmpipe.base.config import Config
    >>> Stage(name="read", version=1, config=Config(), run="my_module:read").inputs
    {}
    """

    name: str
    """Lower-case letters, digits, `-`, `_`; unique within a run; the folder's name in the store."""
    version: int
    """The author's statement that the meaning of `run` changed."""
    config: Config
    """All of it, defaults too, is part of the identity."""
    run: str
    """`module:function`; the function takes one `Work`. Imported only where the stage is executed."""
    inputs: Mapping[str, Stage] = field(default_factory=dict)
    """Role to the stage whose output folder plays it."""
    sources: Callable[[], list[Source]] | None = None
    """Lists the raw files; called by plans and runs."""
    cost_hint: Mapping[str, Any] = field(default_factory=dict)
    """Free data for whoever plans, never hashed. `lower`: what to lower when memory runs out, as text."""
    preload: tuple[str, ...] = ()
    """Slow modules that the function imports, never hashed: they are loaded once for all stages that name the same."""


@dataclass
class Work:
    """What a stage's function gets. Everything it leaves in `output` becomes the stage's content when it returns."""

    config: Any
    """The stage's config, of its own class."""
    inputs: Mapping[str, Path]
    """Role to the folder with that stage's output: complete, verified, not to be written to."""
    sources: list[Source]
    output: Path
    """An empty folder. No clock, host, path, worker count or order of threads may show in its bytes."""
    scratch: Path
    """Survives a kill and is given again to the same identity, so that long work goes on where it was."""
    observed: Path
    """`output/observed`: what was seen while computing (clock, energy, machine). Kept, never part of the content digest."""
    answers: Path
    """Answers from outside the run, such as a server's, each under the digest of its question: shared by all identities and
    runs of a store, so that nothing is asked twice. What a stage takes from here must stand in its output."""
    runtime: Runtime
    progress: Progress
    stopping: Callable[[], bool]
    """True once the user asked to stop: save into `scratch` and return. After True the output is never published. A stage that
    never asks is stopped at once."""
    facts: dict[str, Any] = field(default_factory=dict)
    """JSON data for the record (rows in and out, tokens, predictions ...); not part of any digest. A stage that runs processes
    side by side tells their `peak_memory_bytes_by_process`, of which the record keeps the sum."""
