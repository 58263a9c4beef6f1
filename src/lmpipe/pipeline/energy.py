"""Energy of a stage in watt-hours, and by which method: a figure without its method is worth nothing.

    a meter is readable   RAPL counters of the processor packages (Linux powercap): the whole machine's, whoever caused it
    otherwise             processor seconds x 12 W per core, marked as an estimate

12 W is the power per core that Lannelongue, Grealey and Inouye (Green Algorithms, Advanced Science 2021, 2100707) take for a
processor that is not known. Graphics processors, memory, disks and cooling are in neither figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lmpipe.pipeline.record import Energy

WATTS_PER_CORE = 12.0
POWERCAP = Path("/sys/class/powercap")
METERED = "RAPL package counters (powercap): all that the machine's processors did meanwhile"
ESTIMATED = f"estimate: processor seconds x {WATTS_PER_CORE:g} W per core (Green Algorithms 2021, unknown processor)"


@dataclass
class _Counter:
    path: Path
    range_microjoules: int
    last: int
    total: int = 0

    def read(self) -> None:
        now = int(self.path.read_text(encoding="ascii"))
        self.total += (now - self.last) % self.range_microjoules  # the counter wraps, typically after 20 to 60 minutes
        self.last = now


class EnergyMeter:
    """Meters from its making. Call `sample` at least every ten minutes, since the counters wrap."""

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._counters = _open_counters(powercap)

    def sample(self) -> None:
        """Read the counters."""
        try:
            for counter in self._counters:
                counter.read()
        except (OSError, ValueError):
            self._counters = []

    def finish(self, cpu_seconds: float) -> Energy:
        """The energy since the meter was made; by the estimate when there is nothing to read."""
        self.sample()
        if self._counters:
            microjoules = sum(counter.total for counter in self._counters)
            return Energy(watt_hours=microjoules / 3.6e9, method=METERED, estimated=False)
        return Energy(watt_hours=cpu_seconds * WATTS_PER_CORE / 3600, method=ESTIMATED, estimated=True)


def _open_counters(powercap: Path) -> list[_Counter]:
    counters = []
    try:
        for zone in sorted(powercap.glob("intel-rapl:*")):  # AMD's driver uses the same name
            if zone.name.count(":") > 1 or not (zone / "name").read_text(encoding="ascii").startswith("package"):
                continue  # parts of a package are in it already; `psys` would count it twice
            limit = int((zone / "max_energy_range_uj").read_text(encoding="ascii"))
            counters.append(_Counter(zone / "energy_uj", limit + 1, int((zone / "energy_uj").read_text(encoding="ascii"))))
    except (OSError, ValueError):
        return []  # readable by root only, since CVE-2020-8694
    return counters
