"""The whole life of a model through the real commands: run, look, prove, compare, talk."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import torch
from ruamel.yaml import YAML
from transformers import AutoModelForCausalLM, AutoTokenizer

from lmpipe.base.bundle import check_bundle

from .conftest import LMPIPE, Workplace, make_workplace, quiet_environment


def bundle_of(workplace: Workplace) -> Path:
    return Path(json.loads(workplace.lmpipe("show", "recipe.yaml", "--json").stdout)["bundle"])


def test_a_second_run_is_all_hits(finished: Workplace) -> None:
    done = finished.run("--json")
    assert done.returncode == 0
    assert {stage["status"] for stage in json.loads(done.stdout)["stages"]} == {"hit"}
    plan = json.loads(finished.lmpipe("plan", "recipe.yaml", "--json").stdout)
    assert {stage["status"] for stage in plan["stages"]} == {"hit"}


def test_the_summary_says_what_came_out(finished: Workplace) -> None:
    words = finished.run().stdout
    for part in ("3-gram Kneser-Ney", "xz -9", "sample", "GO.", "Wh", ".html", "lmpipe chat"):
        assert part in words


def test_a_changed_threshold_recomputes_the_selection_and_stops_where_bytes_are_equal(finished: Workplace) -> None:
    plan = finished.lmpipe("plan", "recipe.yaml", "--json", "--set", "data.corpus.clean.1.min_characters=30")
    rows = {row["name"]: row for row in json.loads(plan.stdout)["stages"]}
    assert rows["measure-corpus"]["status"] == "hit"
    assert rows["select-corpus"]["status"] == "miss"
    assert rows["select-corpus"]["changes"] == ["config.filters.0.min_characters: 20 -> 30"]
    done = finished.run("--json", "--set", "data.corpus.clean.1.min_characters=30")
    status = {stage["name"]: stage["status"] for stage in json.loads(done.stdout)["stages"]}
    assert status["select-corpus"] == "computed"
    assert status["mask-corpus"] == "hit"  # the same documents were kept: early cut-off
    assert status["train-pretrain"] == "hit"


def test_transformers_loads_the_bundle_and_agrees(finished: Workplace) -> None:
    import lmpipe
    from lmpipe.models.loading import load_model

    folder = bundle_of(finished)
    check_bundle(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    text = (finished.folder / "texts" / "00.txt").read_text(encoding="utf-8")
    ids = torch.tensor([AutoTokenizer.from_pretrained(folder)(text)["input_ids"][:64]])
    with torch.inference_mode():
        assert (theirs(ids).logits - load_model(folder)(ids)).abs().max() <= 1e-5
    bundle = lmpipe.load(folder)
    first = bundle.generate("the cat", max_tokens=8, seed=3)
    assert first == bundle.generate("the cat", max_tokens=8, seed=3)


def test_personal_data_reaches_no_result(finished: Workplace) -> None:
    for path in (finished.folder / "store").rglob("*"):
        if path.is_file() and path.suffix in (".json", ".jsonl", ".html", ".md", ".yaml"):
            assert "@example.org" not in path.read_text(encoding="utf-8", errors="ignore"), path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["check", "recipe.yaml"], "ok"),
        (["show", "recipe.yaml"], "corpus.test.bits_per_byte"),
        (["show"], "tiny"),
        (["compare", "recipe.yaml", "tiny"], "no difference shown"),
        (["verify", "recipe.yaml"], "holds"),
        (["verify", "recipe.yaml", "--recompute", "tokenizer", "--recompute", "train-pretrain"], "same bytes  train-pretrain"),
        (["report", "recipe.yaml"], ".html"),
        (["gc"], "could go"),
        (["doctor"], "pyarrow"),
        (["init", "--list"], "quickstart"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_command_answers(finished: Workplace, arguments: list[str], expected: str) -> None:
    done = finished.lmpipe(*arguments)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def test_lineage_leads_from_the_bundle_to_the_raw_text(finished: Workplace) -> None:
    done = finished.lmpipe("lineage", str(bundle_of(finished) / "model.safetensors"))
    for part in ("bundle", "train-pretrain", "tokenizer", "read-corpus", "00.txt"):
        assert part in done.stdout


def test_the_published_schema_accepts_what_the_templates_say(finished: Workplace) -> None:
    schema = json.loads(finished.lmpipe("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for template in ("quickstart", "own-text"):
        target = finished.folder / f"from-{template}"
        done = finished.lmpipe("init", template, str(target))
        assert done.returncode == 0, done.stderr
        data = json.loads(json.dumps(YAML(typ="safe", pure=True).load((target / "recipe.yaml").read_text(encoding="utf-8"))))
        validator.validate(data)
        assert list(validator.iter_errors({**data, "nonsense": 1}))
        assert finished.lmpipe("check", str(target / "recipe.yaml")).returncode == 0
    validator.validate({**data, "model": {"parameters": "1M"}})
    validator.validate({key: value for key, value in data.items() if key != "tokenizer"} | {"model": {"from": "bundle"}})
    assert list(validator.iter_errors({**data, "model": {"form": "bundle"}}))


def test_chat_continues_what_is_typed(finished: Workplace) -> None:
    done = finished.lmpipe("chat", "recipe.yaml", "--seed", "1", "--max-tokens", "5", text="the cat\n/quit\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(("bound", "code"), [("0.5", 3), (None, 4)])
def test_the_gate_decides_the_exit_code(finished: Workplace, bound: str | None, code: int) -> None:
    if bound is None:  # inside the interval: neither shown nor refuted
        shown = json.loads(finished.lmpipe("show", "recipe.yaml", "--json").stdout)
        metric = next(m for m in shown["metrics"] if m["name"] == "corpus.test.bits_per_byte")
        bound = str((metric["interval"]["low"] + metric["interval"]["high"]) / 2)
    assert finished.run("--set", f"goal.at_most={bound}").returncode == code


@pytest.mark.parametrize(
    "command", [["--help"], ["plan", "recipe.yaml"], ["run", "recipe.yaml", "--threads", "1", "--no-compile"]]
)
def test_what_must_be_quick_imports_no_torch(finished: Workplace, command: list[str]) -> None:
    code = (
        "import sys, runpy; sys.argv = ['lmpipe', *sys.argv[1:]]\n"
        "from lmpipe.cli.main import app\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'pyarrow')))"
    )
    arguments = [sys.executable, "-c", code, *command]
    done = subprocess.run(arguments, cwd=finished.folder, env=quiet_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow  # what it rests on is in the fast suite: tests/faults/test_pipeline_faults.py, several runs at once
def test_two_runs_at_once_agree(tmp_path: Path) -> None:
    workplace = make_workplace(tmp_path / "work")
    command = [str(LMPIPE), "run", "recipe.yaml", "--threads", "1", "--workers", "1", "--no-compile", "--json"]
    options = {"cwd": workplace.folder, "env": quiet_environment(), "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, **options) for _ in range(2)]  # type: ignore[call-overload]
    results = [json.loads(process.communicate(timeout=240)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    digests = [[(stage["name"], stage["content_digest"]) for stage in result["stages"]] for result in results]
    assert digests[0] == digests[1]
    statuses = zip(*([stage["status"] for stage in result["stages"]] for result in results), strict=True)
    assert all(sorted(pair) != ["computed", "computed"] for pair in statuses)


def test_a_flipped_bit_is_named_and_refused(finished: Workplace, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle_of(finished), copy)
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    done = finished.lmpipe("chat", str(copy), text="hello\n")
    assert done.returncode == 1
    assert "model.safetensors" in done.stderr
    assert "Traceback" not in done.stderr
