from __future__ import annotations

from pathlib import Path

import pytest

from lmpipe.pipeline.energy import ESTIMATED, METERED, EnergyMeter


def zone(powercap: Path, name: str, kind: str, microjoules: int) -> Path:
    folder = powercap / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "max_energy_range_uj").write_text("999999\n")
    counter = folder / "energy_uj"
    counter.write_text(f"{microjoules}\n")
    return counter


def test_packages_are_added_up_across_wraps_and_their_parts_are_not_counted_twice(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    part = zone(tmp_path, "intel-rapl:0:0", "core", 0)
    whole = zone(tmp_path, "intel-rapl:2", "psys", 0)
    meter = EnergyMeter(tmp_path)
    first.write_text("100000")  # wrapped: 200,000 since
    meter.sample()
    first.write_text("50000")  # wrapped again: 950,000
    for counter in (second, part, whole):
        counter.write_text("400000")
    energy = meter.finish(cpu_seconds=1e6)
    assert energy.watt_hours == pytest.approx((200_000 + 950_000 + 400_000) / 3.6e9)
    assert (energy.method, energy.estimated) == (METERED, False)


def test_without_a_meter_the_estimate_says_that_it_is_one(tmp_path: Path) -> None:
    energy = EnergyMeter(tmp_path / "absent").finish(cpu_seconds=3600)
    assert (energy.watt_hours, energy.method, energy.estimated) == (12.0, ESTIMATED, True)


def test_a_meter_that_goes_away_gives_way_to_the_estimate(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    meter = EnergyMeter(tmp_path)
    counter.write_text("no number")
    assert meter.finish(cpu_seconds=36).estimated
