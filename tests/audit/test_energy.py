import pytest

from lmpipe.audit.config import EnergyConfig, known_finding_names
from lmpipe.audit.energy import energy_findings, write_energy
from lmpipe.base.files import read_json

FACTS = [
    {"stage": "train", "seconds": 100.0, "cpu_seconds": 190.0, "peak_memory_bytes": 1, "energy_wh": 1.5, "method": "meter"},
    {"stage": "read", "seconds": 2.0, "cpu_seconds": 2.0, "peak_memory_bytes": 1, "energy_wh": 0.25, "method": "meter"},
    {"stage": "split", "seconds": 1.0, "cpu_seconds": 1.0, "peak_memory_bytes": 1, "energy_wh": None, "method": ""},
]


def test_energy_is_the_sum_and_names_method_and_gaps(tmp_path):
    (finding,) = energy_findings(EnergyConfig(max_wh=3), FACTS)
    assert finding.value == pytest.approx(1.75)
    assert finding.threshold == 3
    assert "meter" in finding.method
    assert "split" in finding.limits
    assert [row["stage"] for row in finding.samples] == ["train", "read", "split"]
    write_energy(tmp_path / "observed", [finding])
    assert read_json(tmp_path / "observed" / "findings.json")[0]["name"] == "energy.wh"


def test_emissions_only_with_a_stated_intensity():
    config = EnergyConfig(grid_gco2e_per_kwh=400)
    _, emissions = energy_findings(config, FACTS)
    assert emissions.value == pytest.approx(0.7)
    assert "400 g CO2e/kWh" in emissions.method
    assert known_finding_names([config]) == ["energy.wh", "energy.gco2e"]
    assert known_finding_names([EnergyConfig()]) == ["energy.wh"]
