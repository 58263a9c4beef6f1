"""What the README prints is true: its commands are run, its Python is run, its recipe is checked, its links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from .conftest import IN_ONE, LMPIPE, Workplace, quiet_environment

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
SHORTER = {
    r"tokens: [\d_]+": "tokens: 6_000",
    r"batch_tokens: [\d_]+": "batch_tokens: 512",
    r"layers: \d+, width: \d+, heads: \d+": "layers: 1, width: 16, heads: 2",
    r"vocab_size: \d+": "vocab_size: 300",
    r"at_most: [34]\.0": "at_most: 7.9",
}
"""The same recipes with less to compute; what the README says of them does not depend on their size."""


def commands() -> list[str]:
    """Every line of every shell block that calls lmpipe, in order, comments removed."""
    lines = [line.split("  #")[0].strip() for language, block in BLOCKS if not language for line in block.splitlines()]
    return [line for line in lines if line.startswith("lmpipe ")]


def shorten(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8")
    for pattern, shorter in SHORTER.items():
        text = re.sub(rf"(?<![a-z_]){pattern}", shorter, text)
    recipe.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """An empty folder in which the README's commands were run from top to bottom; `serve` and `chat` are talked to."""
    workplace = Workplace(tmp_path_factory.mktemp("newcomer"))
    folder = workplace.folder
    (folder / "recipes").mkdir()
    (folder / "recipes" / "quickstart.yaml").write_text((ROOT / "recipes" / "quickstart.yaml").read_text(encoding="utf-8"))
    shorten(folder / "recipes" / "quickstart.yaml")
    (folder / "books" / "old").mkdir(parents=True)
    for file in sorted((ROOT / "src").rglob("*.py"))[:60]:
        shutil.copyfile(file, folder / "books" / "old" / f"{file.parent.name}-{file.stem}.txt")
    for command in commands():
        arguments = shlex.split(command)[1:]
        if arguments[0] == "serve":
            answers_on_a_free_port(workplace, arguments)
            continue
        slower = IN_ONE if arguments[0] == "run" else ()
        done = workplace.lmpipe(*arguments, *slower, text="It rained\n/quit\n")
        assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
        assert done.stdout.strip(), command
        if arguments[0] == "init":
            shorten(folder / arguments[2] / "recipe.yaml")
    return workplace


def answers_on_a_free_port(workplace: Workplace, arguments: list[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(LMPIPE), *arguments, "--port", str(port)]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=workplace.folder, env=quiet_environment(), **options)
    try:
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                    assert answer.status == 200
                    return
            except OSError:
                time.sleep(0.1)
        pytest.fail("the server did not answer within a minute")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_every_command_runs(newcomer: Workplace) -> None:
    names = [shlex.split(command)[1] for command in commands()]
    assert names == ["init", "check", "plan", "run", "show", "report", "verify", "chat", "serve", "run"]
    assert newcomer.folder.is_dir()


@pytest.mark.parametrize("command", ["init --list", "compare own-text own-text", "gc", "doctor", "schema"])
def test_the_commands_in_the_prose_run_too(newcomer: Workplace, command: str) -> None:
    assert f"`lmpipe {command.split()[0]}" in README
    done = newcomer.lmpipe(*command.split())
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_proofs_run(newcomer: Workplace) -> None:
    recipe = "my-model/recipe.yaml"
    for command in (["verify", recipe, "--recompute", "all"], ["plan", recipe]):
        done = newcomer.lmpipe(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    weights = next((newcomer.folder / "store" / "bundle").rglob("model.safetensors"))
    assert "read-corpus" in newcomer.lmpipe("lineage", str(weights)).stdout


@pytest.mark.slow
def test_the_python_runs(newcomer: Workplace) -> None:
    ((_, code),) = [block for block in BLOCKS if block[0] == "python"]
    shorter = code.replace("100_000", "5_000")
    assert shorter != code
    environment = {**quiet_environment(), "LMPIPE_STORE": "store", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", shorter], cwd=newcomer.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ".html" in done.stdout


def test_the_recipe_in_the_readme_is_one(newcomer: Workplace) -> None:
    ((_, text),) = [block for block in BLOCKS if block[0] == "yaml"]
    (newcomer.folder / "readme.yaml").write_text(text, encoding="utf-8")
    done = newcomer.lmpipe("check", "readme.yaml")
    assert done.returncode == 0, done.stderr
    shown, real = (YAML(typ="safe", pure=True).load(t) for t in (text, (ROOT / "recipes" / "quickstart.yaml").read_text()))
    for part in ("goal", "tokenizer", "model", "gate"):
        assert shown[part] == real[part], f"the README's {part} is not the quickstart's"
    for key, value in shown["train"][0].items():
        assert real["train"][0][key] == value


@pytest.mark.parametrize("target", re.findall(r"^make (\S+)", README, flags=re.MULTILINE))
def test_make_knows_the_targets(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 10
    assert not [link for link in links if not (ROOT / link).exists()]
