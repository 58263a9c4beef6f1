"""Proof of what a run claims: digests checked, stages computed again, files traced, garbage named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.base.bundle import check_bundle
from lmpipe.base.errors import LmpipeError, RecipeError
from lmpipe.base.runtime import Runtime
from lmpipe.pipeline import events
from lmpipe.pipeline.gc import collect
from lmpipe.pipeline.lineage import Lineage, lineage
from lmpipe.pipeline.store import open_store
from lmpipe.pipeline.verify import Recomputed, Verification, recompute, verify_run
from lmpipe.recipes.project import open_project
from lmpipe.recipes.results import RECIPE_SUFFIXES, Run, open_run


@dataclass(frozen=True)
class Proof:
    """What was checked on a run and how it came out."""

    verification: Verification
    bundle_problem: str
    """Why the bundle does not fit its manifest; "" where it does or there is none."""
    recomputed: list[Recomputed]
    status: str
    """Of the run: what it did not finish cannot be proved."""

    @property
    def holds(self) -> bool:
        """Whether the run is finished and everything is as the records say."""
        sound = self.verification.holds and not self.bundle_problem and all(again.equal for again in self.recomputed)
        return sound and self.status == "finished"

    def lines(self) -> list[str]:
        """For a terminal."""
        v = self.verification
        lines = [f"run {v.run}: {v.stages} stages, {v.files} files, {v.bytes:,} bytes read again"]
        lines += [f"PROBLEM  {p.stage}: {p.file + ': ' if p.file else ''}{p.what}" for p in v.problems]
        lines += [f"PROBLEM  bundle: {self.bundle_problem}"] if self.bundle_problem else []
        if self.status != "finished":
            lines.append(f"PROBLEM  the run is {self.status}: what it did not get to cannot be proved; run the recipe again")
        for again in self.recomputed:
            if again.equal:
                lines.append(f"same bytes  {again.stage} computed again: {again.actual[:16]}")
            else:
                why = again.changes or [f"other bytes in {', '.join(again.differing[:5])}"]
                lines.append(f"PROBLEM  {again.stage} computed again: {'; '.join(why)}")
        return [*lines, "holds" if self.holds else "DOES NOT HOLD"]

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        again = [{"stage": r.stage, "equal": r.equal, "differing": r.differing, "changes": r.changes} for r in self.recomputed]
        checked = {**self.verification.to_json(), "status": self.status, "holds": self.holds}
        return {**checked, "bundle_problem": self.bundle_problem, "recomputed": again}


def prove(reference: str, *, store: str, recompute: Sequence[str] = (), note: Callable[[str], None]) -> Proof:
    """Check a run: every byte, every link of the chain, the bundle's manifest, and stages computed again where asked.

    Raises:
        RecipeError: when there is no such run or stage.
    """
    run = open_run(reference, store)
    verification = verify_run(run.store, run.entry)
    problem = ""
    if run.bundle:
        try:
            check_bundle(run.bundle)
        except LmpipeError as error:
            problem = error.what
    return Proof(verification, problem, _again(run, reference, recompute, note), run.status)


def _again(run: Run, reference: str, names: Sequence[str], note: Callable[[str], None]) -> list[Recomputed]:
    """Compute stages of a run once more, with the runtime that they were computed with.

    The recipe is the one that `reference` names, if it names one, else that of the run: another one gives other stages, which
    is told.
    """
    if not names:
        return []
    given = Path(reference).suffix in RECIPE_SUFFIXES and Path(reference).is_file()
    path = reference if given else run.entry.extra.get("recipe_path")
    if not path or not Path(path).is_file():
        raise RecipeError(
            "the run's recipe is not where it was, so its stages cannot be computed again",
            where=str(path or "the run was given a recipe as data"),
            expected="the recipe at the path that the run was started with",
            fix="start `verify` in the same folder as the run, or give it the path of the recipe",
        )
    overrides = run.entry.extra.get("overrides", {})
    runtime = _runtime_of(run)
    stages = open_project(path, overrides).stages(runtime)
    return recompute(run.store, run.entry, stages, names, runtime, _Notes(note))


def _runtime_of(run: Run) -> Runtime:
    """The runtime of the run's training: bits are promised equal at equal device, threads and compilation only."""
    trained = run.stages_of("train")
    recorded = run.records[trained[0]].runtime if trained else {}
    return Runtime(
        store=run.store.url,
        device=recorded.get("device", "auto"),
        threads=recorded.get("threads", 0),
        compile=recorded.get("compile", True),
    )


class _Notes:
    """Passes on what a stage computed again has to say."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.note = note

    def handle(self, event: events.Event) -> None:
        if isinstance(event, events.StageStarted):
            self.note(f"computing {event.stage} again ...")
        elif isinstance(event, events.StageNote):
            self.note(event.text)


def trace(file: Path, *, store: str) -> Lineage:
    """Where a file came from."""
    return lineage(open_store(store), file)


def collect_garbage(*, store: str, keep: int, delete: bool) -> list[dict[str, Any]]:
    """What can go, or (with `delete`) what went."""
    found = collect(open_store(store), keep=keep, delete=delete)
    return [{"path": str(item.path), "bytes": item.bytes, "reason": item.reason} for item in found]
