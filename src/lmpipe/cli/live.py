"""A run, live on a terminal: the stage at work with its speed, loss and time left, and one line for every stage that is done.

On a terminal the last line moves; elsewhere (a pipe, a log) a plain line appears every `QUIET_SECONDS`.
"""

from __future__ import annotations

import time
from types import TracebackType

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lmpipe.cli.terminal import bytes_text, err, seconds_text
from lmpipe.pipeline import events

QUIET_SECONDS = 10.0
SHOWN_NOTES = 200
SPEEDS = {"tokens_per_second": "tok/s"}
"""Values that are speeds: shown first, without decimals."""


class LiveRun:
    """Listens to a run and shows it; a context manager around the run."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}
        self.total = 0
        self.done = 0
        self.hits = 0
        self.live = Live(console=err, refresh_per_second=4, transient=True) if err.is_terminal else None
        self._said_at = 0.0

    def __enter__(self) -> LiveRun:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.live:
            self.live.stop()

    def handle(self, event: events.Event) -> None:
        """Take one event of the run."""
        match event:
            case events.RunStarted():
                self.total = len(event.stages)
            case events.StageHit():
                self.done, self.hits = self.done + 1, self.hits + 1
            case events.StageStarted():
                self._start(event)
            case events.StageProgress():
                self._progress(event)
            case events.StageNote():
                err.print(Text(f"      {event.text}", style="dim"))
            case events.StageOutput():
                err.print(Text(f"      | {event.text}", style="dim"))
            case events.StageFinished():
                self._finish(event)
            case events.StageFailed():
                err.print(Text.assemble(("  failed ", "bold red"), event.stage))
            case events.RunFinished() if self.hits:
                err.print(Text(f"{self.hits} of {self.total} stages were in the store already", style="dim"))

    def _start(self, event: events.StageStarted) -> None:
        self.started[event.stage] = time.monotonic()
        self._said_at = time.monotonic()
        if self.live:
            self.live.update(Text(f"[{self.done + 1}/{self.total}] {event.stage} ..."))
        if event.resumes:
            err.print(Text(f"      {event.stage} goes on where it was interrupted", style="dim"))

    def _progress(self, event: events.StageProgress) -> None:
        now = time.monotonic()
        elapsed = now - self.started.get(event.stage, now)
        line = self._line(event, elapsed)
        if self.live:
            grid = Table.grid(padding=(0, 1))
            grid.add_row(line, ProgressBar(total=event.total, completed=event.done, width=24))
            self.live.update(grid)
        elif now - self._said_at >= QUIET_SECONDS:
            self._said_at = now
            err.print(line)

    def _line(self, event: events.StageProgress, elapsed: float) -> Text:
        parts = [f"[{self.done + 1}/{self.total}] {event.stage}"]
        parts.append(f"{event.done:,.0f}" + (f" of {event.total:,.0f}" if event.total else "") + f" {event.unit}")
        for name, value in sorted(event.values.items(), key=lambda item: item[0] not in SPEEDS):
            shown = f"{value:,.0f}" if name in SPEEDS else f"{value:.4g}" if isinstance(value, float) else str(value)
            parts.append(f"{shown} {SPEEDS[name]}" if name in SPEEDS else f"{name.replace('_', ' ')} {shown}")
        if event.total and event.done and elapsed > 2:
            parts.append(f"{seconds_text(elapsed / event.done * (event.total - event.done))} left")
        return Text("   ".join(parts))

    def _finish(self, event: events.StageFinished) -> None:
        self.done += 1
        record = event.record
        row = Text.assemble(
            ("  done ", "green"),
            f"[{self.done}/{self.total}] {event.stage:<24}",
            (f"{seconds_text(record.seconds):>10}  {bytes_text(record.peak_memory_bytes):>9}", "dim"),
        )
        ledger = record.facts.get("ledger")
        if ledger:
            added = sum(ledger.get("added", {}).values())
            words = f"   {ledger['rows_in']:,} in, {ledger['rows_kept']:,} kept"
            row.append(words + (f", {added:,} added" if added else ""), style="dim")
        err.print(row)
