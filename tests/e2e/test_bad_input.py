"""Every bad input ends in one clear message, the right exit code, no traceback, and nothing half-written."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.permissions import permissions_hold

from lmpipe.base.runtime import Runtime

from .conftest import IN_ONE, RECIPE, Workplace, make_workplace

TEXTS = "texts/*.txt"
READ = "[{kind: text, paths: [texts/*.txt], licence: CC0-1.0}]"

RECIPES: dict[str, tuple[Callable[[str], str], int, list[str]]] = {
    "unknown key": (lambda r: r.replace("vocab_size:", "vocab_sise:"), 2, ["recipe.yaml:", "did you mean 'vocab_size'"]),
    "unknown kind": (lambda r: r.replace("kind: llama", "kind: lama"), 2, ["recipe.yaml:", "kind"]),
    "duplicate key": (lambda r: r + "seed: 2\n", 2, ["recipe.yaml:", "stands twice", "line 2"]),
    "dead corpus": (
        lambda r: r.replace("tokenizer:", "  spare: {read: " + READ + "}\ntokenizer:", 1),
        2,
        ["data.spare", "dead"],
    ),
    "dead goal": (lambda r: r.replace("gate: {require: [{metric: goal}]}\n", ""), 2, ["goal", "dead"]),
    "goal that the gate passes over": (
        lambda r: r.replace("metric: goal}", "metric: corpus.test.bits_per_byte, at_most: 1}"),
        2,
        ["goal", "dead", "`{metric: goal}`"],
    ),
    "fewer files than sides": (
        lambda r: r.replace(TEXTS, "texts/00.txt").replace("split: {", "split: {by: source, "),
        1,
        ["data.corpus.split", "split by source", "`by: document`"],
    ),
    "gate on nothing": (
        lambda r: r.replace("metric: goal}", "metric: goal}, {metric: corpus.test.bits_per_bite, at_most: 1}"),
        2,
        ["bits_per_byte"],
    ),
    "a path that is empty": (lambda r: r.replace("[texts/*.txt]", '[""]'), 2, ["data.corpus.read.0.paths.0", "character"]),
    "wrong type": (lambda r: r.replace("layers: 1", "layers: one"), 2, ["recipe.yaml:", "model.layers", '"one"', "integer"]),
    "no such corpus": (lambda r: r.replace("train_on: corpus", "train_on: copus"), 2, ["copus", "corpus"]),
    "python object": (lambda r: r.replace("seed: 1", "seed: !!python/object:os.system x"), 2, ["recipe.yaml:2", "not allowed"]),
    "passages longer than the context": (lambda r: r.replace("prefix_tokens: 8", "prefix_tokens: 80"), 2, ["context"]),
    "missing file": (lambda r: r.replace(TEXTS, "nowhere/*.txt"), 1, ["nowhere/*.txt"]),
    "no network for a hub data set": (
        lambda r: r.replace(READ, "[{kind: hub, name: someone/something}]"),
        1,
        ["someone/something"],
    ),
}


def assert_clear(done: subprocess.CompletedProcess[str], code: int, parts: list[str]) -> None:
    assert done.returncode == code, done.stderr
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    for part in parts:
        assert part in done.stderr


@pytest.mark.parametrize("case", RECIPES)
def test_a_wrong_recipe_is_refused_before_anything_is_spent(case: str, tmp_path: Path) -> None:
    change, code, parts = RECIPES[case]
    recipe = change(RECIPE)
    assert recipe != RECIPE
    workplace = make_workplace(tmp_path / "work", recipe)
    assert_clear(workplace.lmpipe("check", "recipe.yaml"), code, parts)
    assert not (workplace.folder / "store").exists()


def only(workplace: Workplace, name: str, data: bytes) -> None:
    """Make one file the whole corpus."""
    for path in (workplace.folder / "texts").iterdir():
        path.unlink()
    (workplace.folder / "texts" / name).write_bytes(data)


BROKEN: dict[str, tuple[str, bytes, list[str]]] = {
    "empty corpus": ("a.txt", b"", ["read-corpus", "document"]),
    "invalid UTF-8": ("a.txt", b"good words \xff\xfe bad\n" * 50, ["1 of 1 documents", "failures.jsonl"]),
    "truncated gz": ("a.txt.gz", gzip.compress(os.urandom(5000))[:2000], ["a.txt.gz"]),
    "NUL bytes": ("a.txt", b"\x00\x01\x02" * 3000, ["a.txt"]),
    "one document only": ("a.txt", b"a few words that are all there is to read here\n", ["split"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_text_ends_in_one_message(case: str, tmp_path: Path) -> None:
    name, data, parts = BROKEN[case]
    workplace = make_workplace(tmp_path / "work", RECIPE.replace("*.txt", "*"))
    only(workplace, name, data)
    done = workplace.run(isolate=case == "invalid UTF-8")  # one of them over the border of processes, as users meet it
    assert_clear(done, 1, parts)
    assert not list((workplace.folder / "store").glob("split-corpus/*"))


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    workplace = make_workplace(tmp_path / "work", RECIPE.replace("kind: text", "kind: parquet").replace("*.txt", "*.parquet"))
    only(workplace, "a.parquet", b"PAR1" + b"\x00" * 400)
    assert_clear(workplace.run(), 1, ["a.parquet"])
    compared = workplace.lmpipe("compare", "recipe.yaml", "recipe.yaml")
    assert_clear(compared, 2, ["not finished", "is failed"])
    proof = workplace.lmpipe("verify", "recipe.yaml")
    assert proof.returncode == 1
    assert "PROBLEM  the run is failed" in proof.stdout
    assert proof.stdout.endswith("DOES NOT HOLD\n")


@pytest.mark.skipif(Runtime().resolved_device() == "cuda", reason="a CUDA device is here")
def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    workplace = make_workplace(tmp_path / "work")
    assert_clear(workplace.run("--device", "cuda"), 2, ["no CUDA device", "--device cpu"])
    assert not (workplace.folder / "store").exists()


def test_a_corpus_smaller_than_one_batch(finished: Workplace) -> None:
    done = finished.run("--set", "train.0.batch_tokens=1_000_000", "--set", "train.0.tokens=1_000_000")
    assert_clear(done, 1, ["batch", "tokens"])


def test_a_loss_that_is_no_number_stops_before_the_update(finished: Workplace) -> None:
    done = finished.run("--set", "train.0.optimizer.lr=1e30", "--set", "train.0.clip_norm=null")
    assert_clear(done, 1, ["finite", "optimizer.lr"])


def bundle_of(workplace: Workplace) -> Path:
    return next((workplace.folder / "store" / "bundle").glob("*/tiny"))


def test_a_port_in_use(finished: Workplace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = finished.lmpipe("serve", str(bundle_of(finished)), "--port", str(taken.getsockname()[1]))
    assert_clear(done, 1, ["port", "--port"])


def test_a_store_that_may_not_be_written(tmp_path: Path) -> None:
    workplace = make_workplace(tmp_path / "work")
    (workplace.folder / "store").mkdir(mode=0o500)
    with permissions_hold():
        assert_clear(workplace.script("run", "recipe.yaml"), 1, ["permission", "--store"])
    assert not list((workplace.folder / "store").iterdir())


def test_text_that_may_not_be_read(tmp_path: Path) -> None:
    workplace = make_workplace(tmp_path / "work")
    (workplace.folder / "texts" / "07.txt").chmod(0)
    with permissions_hold():
        assert_clear(workplace.script("run", "recipe.yaml", *IN_ONE), 1, ["permission", "07.txt"])
    assert not list((workplace.folder / "store").glob("read-corpus/*"))


def test_a_store_on_a_full_disk_goes_on_once_there_is_room(tmp_path: Path) -> None:
    workplace = make_workplace(tmp_path / "work")
    store = workplace.folder / "store"
    store.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(store)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        assert_clear(workplace.run(isolate=True), 1, ["no space left", "store"])
        subprocess.run(["mount", "-o", "remount,size=200m", str(store)], check=True)
        assert workplace.run().returncode == 0
    finally:
        subprocess.run(["umount", "-l", str(store)], check=True)


def test_a_command_that_does_not_exist_or_lacks_its_recipe(tmp_path: Path) -> None:
    workplace = make_workplace(tmp_path / "work")
    for arguments in (["rnu", "recipe.yaml"], ["run"], ["run", "absent.yaml"], ["show", "absent"]):
        done = workplace.lmpipe(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
