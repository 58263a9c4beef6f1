"""A listener that remembers."""

from __future__ import annotations

from lmpipe.pipeline import events


class Heard:
    def __init__(self) -> None:
        self.events: list[events.Event] = []

    def handle(self, event: events.Event) -> None:
        self.events.append(event)

    def names(self, kind: type) -> list[str]:
        return [event.stage for event in self.events if isinstance(event, kind)]

    @property
    def computed(self) -> list[str]:
        return self.names(events.StageFinished)

    @property
    def hits(self) -> list[str]:
        return self.names(events.StageHit)

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, events.StageNote)]
