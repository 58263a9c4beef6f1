"""Ray and Slurm do the tasks that the local pool does, with the same bytes."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import RecipeError, StageError
from lmpipe.base.progress import Silent
from lmpipe.data.cleaning.config import UnicodeConfig
from lmpipe.data.cleaning.repair import repair
from lmpipe.data.engines.choice import Engine, check_engine, use_engine
from lmpipe.data.engines.spelling import named, read_back, spell
from lmpipe.data.filters.config import LengthConfig, SelectConfig
from lmpipe.data.parts import PartTask
from lmpipe.data.rescuing import RescueRows
from lmpipe.data.splitting.config import SplitConfig
from lmpipe.data.splitting.dividing import split

SBATCH = r"""#!/bin/bash
# Stands for Slurm's sbatch: the last argument is the script; its elements run one after another.
script="${@: -1}"
last=$(sed -n 's/^#SBATCH --array=0-//p' "$script")
status=0
for i in $(seq 0 "$last"); do SLURM_ARRAY_TASK_ID=$i bash "$script" || status=1; done
exit $status
"""


@pytest.fixture
def on():
    """Chooses the engine of this test."""
    yield lambda name: use_engine(Engine(name))
    use_engine(Engine())


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """A folder on the path with something that does what sbatch does."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sbatch").write_text(SBATCH)
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")


def texts(number):
    return [(f"file-{n}", f"text number {n} about naÃ¯ve things " * 4) for n in range(number)]


def some_steps(documents: Path, folders) -> list[dict[str, str]]:
    """A step with a rescue and one with a plan in its tasks; digests of what they wrote."""
    repaired, options = folders()
    repair(documents, repaired, config=UnicodeConfig(), **options)
    output, options = folders()
    by = {"by": "stratum", "column": "language", "train": 0.6, "validation": 0.2, "test": 0.2}
    split(repaired, output, config=SplitConfig(**by), seed=1, **options)
    return [digests_of_folder(folder) for folder in (repaired, output)]


def test_a_script_for_slurm_does_the_tasks_and_the_same_call_goes_on(write_documents, tmp_path, on):
    documents = write_documents(texts(5), part_bytes=400)
    options = {"config": UnicodeConfig(), "progress": Silent(), "workers": 1}
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    repair(documents, tmp_path / "here", scratch=tmp_path / "s0", **options)
    on("slurm:--partition=cpu")
    with pytest.raises(StageError, match="2 tasks wait for Slurm") as error:
        repair(documents, tmp_path / "there", scratch=tmp_path / "s1", **options)
    script = tmp_path / "s1" / "repair" / "slurm.sh"
    assert f"sbatch --wait --partition=cpu {script}" in error.value.fix
    loop = f"for i in 0 1; do SLURM_ARRAY_TASK_ID=$i bash {script}; done"
    subprocess.run(["bash", "-ec", loop], check=True, cwd="/")
    repair(documents, tmp_path / "there", scratch=tmp_path / "s1", **options)
    assert digests_of_folder(tmp_path / "here") == digests_of_folder(tmp_path / "there")


@pytest.mark.slow
def test_slurm_gives_the_same_bytes_and_hands_errors_back(write_documents, folders, tmp_path, on, sbatch):
    documents = write_documents(texts(40), part_bytes=900)
    expected = some_steps(documents, folders)
    on("slurm")
    assert some_steps(documents, folders) == expected
    (documents / "part-00001.parquet").write_bytes(b"no parquet")
    output, options = folders()
    with pytest.raises(Exception, match="a part of the documents cannot be read"):
        repair(documents, output, config=UnicodeConfig(), **options)


@pytest.mark.slow
def test_ray_on_two_nodes_gives_the_same_bytes(write_documents, folders, on, monkeypatch):
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray.cluster_utils import Cluster

    documents = write_documents(texts(60), part_bytes=900)
    expected = some_steps(documents, folders)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=2)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        on("ray")
        assert some_steps(documents, folders) == expected
        assert len(ray.nodes()) == 2
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.parametrize("on", ["spark", "ray:1.2.3.4", "locally"])
def test_an_engine_that_does_not_exist_is_refused(on):
    with pytest.raises(RecipeError, match="there is no engine") as error:
        check_engine(on)
    assert error.value.exit_code == 2


def test_tasks_are_spelled_as_plain_json_and_read_back():
    config = SelectConfig(filters=(LengthConfig(min_words=3),))
    task = PartTask(Path("/a/part-00000.parquet"), (config, 7, {"x": "train"}, None, 0.1), (None, Path("b")))
    assert read_back(spell(task)) == task
    assert read_back(spell(RescueRows(aligned=True))) == RescueRows(aligned=True)
    rows = np.array([3, 2**40], np.int64)
    again = read_back(json.loads(json.dumps(spell(rows))))
    assert (again.tolist(), again.dtype) == (rows.tolist(), rows.dtype)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", print])
def test_what_carries_data_or_code_has_no_spelling(value):
    with pytest.raises(TypeError, match="has no spelling"):
        spell(value)


@pytest.mark.parametrize("name", ["os:system", "lmpipe.data.parts:PartTask.part", "builtins:eval"])
def test_a_plan_names_nothing_outside_of_the_package(name):
    with pytest.raises(ValueError, match="is not a name on the top level"):
        named(name)


def test_a_plan_makes_no_other_objects():
    with pytest.raises(ValueError, match="neither a config nor a dataclass"):
        read_back({"!": "lmpipe.data.parts:finish", "of": {}})
