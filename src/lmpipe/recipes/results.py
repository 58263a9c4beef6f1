"""What came out of a run, read back from the store: metrics, findings, verdict, samples, bundle. Computes nothing."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from lmpipe.base.errors import RecipeError
from lmpipe.base.files import read_json
from lmpipe.base.measures import Finding, Metric, Verdict
from lmpipe.pipeline.record import Record
from lmpipe.pipeline.runs import RunRecord, find_run
from lmpipe.pipeline.runs import list_runs as list_run_records
from lmpipe.pipeline.store import Store, open_store
from lmpipe.report.repeat_model import Repeats

MEASURING = ("evaluate", "seeds", "folds", "robustness", "chatbot")
"""Kinds of stages that leave metrics."""
RECIPE_SUFFIXES = (".yaml", ".yml")


@dataclass
class Run:
    """One run of one recipe. In a notebook its cell shows the numbers and the verdict."""

    entry: RunRecord
    store: Store

    @property
    def id(self) -> str:
        """What identifies the run in its store."""
        return self.entry.id

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.entry.name

    @property
    def status(self) -> str:
        """`finished`, `failed`, `interrupted` or `running`."""
        return self.entry.status

    @property
    def started_at(self) -> datetime:
        """When it began."""
        return self.entry.started_at

    @property
    def seconds(self) -> float:
        """From start to end of this run; stages that were in the store already cost nothing here."""
        return self.entry.seconds

    @property
    def verdict_word(self) -> str:
        """`GO`, `NO-GO`, `INCONCLUSIVE`, or "" without a gate."""
        return self.entry.verdict_word

    @cached_property
    def records(self) -> dict[str, Record]:
        """The record of every stage that the run has and the store still holds."""
        found = {stage.name: self.store.find(stage.name, stage.fingerprint) for stage in self.entry.stages}
        return {name: record for name, record in found.items() if record is not None}

    def folder(self, stage: str) -> Path | None:
        """The output of a stage, or None where the run did not get that far."""
        record = self.records.get(stage)
        return self.store.fetch(record) if record else None

    def stages_of(self, kind: str) -> list[str]:
        """Names of the run's stages of one kind: `evaluate` gives `evaluate-corpus-test`."""
        return [name for name in self.records if name == kind or name.startswith(f"{kind}-")]

    def read(self, stage: str, file: str) -> Any:
        """A JSON file of a stage's output, or None where there is none."""
        folder = self.folder(stage)
        return read_json(folder / file) if folder and (folder / file).is_file() else None

    @property
    def metrics(self) -> list[Metric]:
        """Every number of every evaluation."""
        return [
            Metric.model_validate(m)
            for stage in (stage for kind in MEASURING for stage in self.stages_of(kind))
            for m in self.read(stage, "metrics.json") or ()
        ]

    @property
    def repeats(self) -> list[Repeats]:
        """Every evaluation that was repeated, with what came of each repetition."""
        from lmpipe.recipes.reporting_repeats import repeats_of

        return repeats_of(self)

    @property
    def findings(self) -> list[Finding]:
        """Every finding of every audit, those that depend on the clock too."""
        files = ("findings.json", "observed/findings.json")
        values = [f for stage in self.stages_of("audit") for file in files for f in self.read(stage, file) or ()]
        return [Finding.model_validate(value) for value in values]

    @property
    def verdict(self) -> Verdict | None:
        """The gate's answer; None without a gate."""
        value = self.read("gate", "verdict.json")
        return Verdict.model_validate(value) if value else None

    @property
    def bundle(self) -> Path | None:
        """The bundle's folder: what `lmpipe.load`, Transformers and `lmpipe serve` take."""
        folder = self.folder("bundle")
        return folder / self.name if folder else None

    @property
    def report(self) -> Path:
        """The run's page; of a run that computed nothing, the page of the earlier run with the same results."""
        return self.store.root / "runs" / self.name / f"{self.entry.extra.get('page_of', self.id)}.html"

    def same_before(self) -> str | None:
        """The id of an earlier run with exactly these results and a page, where this run computed nothing itself."""
        own = [(stage.name, stage.content_digest) for stage in self.entry.stages]
        if any(stage.status == "computed" for stage in self.entry.stages):
            return None
        for entry in list_run_records(self.store, self.name):
            same = [(stage.name, stage.content_digest) for stage in entry.stages] == own
            page = entry.extra.get("page_of", entry.id)
            if same and entry.id != self.id and (self.store.root / "runs" / self.name / f"{page}.html").is_file():
                return str(page)
        return None

    def to_json(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return {
            "run": self.id,
            "name": self.name,
            "status": self.status,
            "verdict": self.verdict.model_dump(mode="json") if self.verdict else None,
            "metrics": [metric.model_dump(mode="json") for metric in self.metrics],
            "repeats": [one.model_dump(mode="json", exclude={"chart"}) for one in self.repeats],
            "findings": [finding.model_dump(mode="json") for finding in self.findings],
            "seconds": self.seconds,
            "stages": [stage.model_dump(mode="json") for stage in self.entry.stages],
            "bundle": str(self.bundle) if self.bundle else None,
            "report": str(self.report),
        }

    def summary(self) -> Sequence[tuple[str, str, str]]:
        """The end of the run in a few lines, each (label, text, tone)."""
        from lmpipe.recipes.reporting import summary_lines

        return [(line.label, line.text, line.tone) for line in summary_lines(self)]

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = [(m.name, m.value, m.interval, m.unit) for m in self.metrics]
        rows += [(f.name, f.value, f.interval, f.unit) for f in self.findings]
        cells = "".join(
            f"<tr><td>{html.escape(name)}</td><td style='text-align:right'>{value:.4g}</td>"
            f"<td>{f'[{i.low:.4g}, {i.high:.4g}]' if i else ''}</td><td>{html.escape(unit)}</td></tr>"
            for name, value, i, unit in rows
        )
        head = f"<b>{html.escape(self.name)}</b> {html.escape(self.verdict_word or self.status)} <code>{self.id}</code>"
        return f"<div>{head}<table><tbody>{cells}</tbody></table></div>"


def list_runs(store: str = "store") -> list[Run]:
    """Every run of a store, newest first."""
    opened = open_store(store)
    return [Run(entry, opened) for entry in list_run_records(opened)]


def open_run(reference: str | Path, store: str = "store") -> Run:
    """The run meant by a recipe's path (its newest run), a run's name or id, or a bundle's folder.

    Raises:
        RecipeError: when there is no such run; names what there is.
    """
    opened = open_store(store)
    path = Path(reference)
    if path.is_dir():
        return _run_of_bundle(path, opened)
    if path.suffix in RECIPE_SUFFIXES and path.is_file():
        from lmpipe.recipes.reading import read_recipe

        reference = str(read_recipe(path).data.get("name", ""))
    return Run(find_run(opened, str(reference)), opened)


def _run_of_bundle(folder: Path, store: Store) -> Run:
    target = folder.resolve()
    for entry in list_run_records(store):
        stage = entry.stage("bundle")
        if stage and (store.folder("bundle", stage.fingerprint) / entry.name).resolve() == target:
            return Run(entry, store)
    raise RecipeError(
        f"no run of this store made the folder {folder}",
        where=store.url,
        expected="a bundle's folder in the store, a recipe, a run's name or id",
        fix="`lmpipe show` lists the runs; --store names another store",
    )


def find_bundle(reference: str | Path, store: str = "store") -> Path:
    """The bundle meant by its own folder, or by a run as `open_run` takes it.

    Raises:
        RecipeError: when there is none.
    """
    path = Path(reference)
    if (path / "manifest.json").is_file():
        return path
    run = open_run(reference, store)
    if run.bundle is None:
        raise RecipeError(
            f"the run {run.id} of '{run.name}' has no bundle: it is {run.status}",
            expected="a finished run",
            fix="run the recipe again: it goes on where it stopped",
        )
    return run.bundle
