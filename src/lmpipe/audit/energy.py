"""What a run spent, from the facts in its stages' records: watt-hours, and emissions only where the grid's intensity is given.

The figures depend on the machine and the moment, so they live in a stage's `observed` folder and outside every digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmpipe.audit.config import EMISSIONS, ENERGY, EnergyConfig
from lmpipe.audit.findings import write_findings
from lmpipe.base.measures import Finding

LIMITS = (
    "It covers the stages listed, on this machine, while they ran: not the making of the hardware, cooling, the network, "
    "earlier attempts, or stages that were taken from the store without being run again. Where power was estimated from "
    "processor time instead of read from a meter, the figure may be off by a factor of two."
)


def energy_findings(config: EnergyConfig, facts: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Findings on energy, and on emissions where the recipe gives a carbon intensity.

    Args:
        config: the recipe's section.
        facts: one mapping per stage: `stage`, `seconds`, `cpu_seconds`, `peak_memory_bytes`, `energy_wh` (or None), `method`.
    """
    known = [fact for fact in facts if fact.get("energy_wh") is not None]
    unknown = [str(fact["stage"]) for fact in facts if fact.get("energy_wh") is None]
    watt_hours = float(sum(fact["energy_wh"] for fact in known))
    methods = sorted({str(fact["method"]) for fact in known if fact.get("method")})
    method = f"sum over the records of {len(known)} stages; power: {'; '.join(methods) or 'no stage has a figure'}"
    limits = LIMITS + (f" No figure for: {', '.join(unknown)}." if unknown else "")
    energy = Finding(
        name=ENERGY,
        value=watt_hours,
        unit="Wh",
        direction="lower",
        threshold=config.max_wh,
        samples=[_row(fact) for fact in facts],
        method=method,
        limits=limits,
    )
    return [energy, *_emissions(config, watt_hours, method, limits)]


def _emissions(config: EnergyConfig, watt_hours: float, method: str, limits: str) -> list[Finding]:
    if config.grid_gco2e_per_kwh is None:
        return []
    emissions = Finding(
        name=EMISSIONS,
        value=watt_hours / 1000 * config.grid_gco2e_per_kwh,
        unit="g CO2e",
        direction="lower",
        method=f"{method}; times {config.grid_gco2e_per_kwh:g} g CO2e/kWh as the recipe says",
        limits=f"{limits} The grid's intensity is the recipe's claim and is not checked.",
    )
    return [emissions]


def _row(fact: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("stage", "seconds", "cpu_seconds", "peak_memory_bytes", "energy_wh", "method")
    return {key: fact.get(key) for key in keys}


def write_energy(observed: Path, findings: Sequence[Finding]) -> None:
    """Write `findings.json` into a stage's `observed` folder, which no digest covers, making the folder where it is missing."""
    observed.mkdir(parents=True, exist_ok=True)
    write_findings(observed, findings)
