"""The pages for industries are true: the sample that a page makes is made, its commands are run on it, its gate says GO."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lmpipe.cli.main import app

from .conftest import LMPIPE, quiet_environment

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "docs" / "recipes"
PAGES = ("healthcare", "finance", "ecommerce", "education", "entertainment")


def blocks(page: str) -> tuple[str, list[list[str]]]:
    """The script that makes the sample, and the words of each command that is run on it."""
    text = (RECIPES / f"{page}.md").read_text(encoding="utf-8")
    making, commands = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return making, [shlex.split(line)[1:] for line in commands.splitlines()]


def make_sample(page: str, folder: Path) -> Path:
    """Run the page's script as a reader would; gives the folder that it makes."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", blocks(page)[0]], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (made,) = folder.iterdir()
    return made


@pytest.mark.parametrize("page", PAGES)
def test_the_sample_is_made_and_its_recipe_is_checked_and_planned(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_sample(page, tmp_path))
    kinds = [command[0] for command in blocks(page)[1]]
    assert kinds[:3] == ["check", "plan", "run"]
    for command in blocks(page)[1]:
        if command[0] != "run":
            done = CliRunner().invoke(app, command, catch_exceptions=False)
            assert done.exit_code == 0, done.output


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_runs_and_the_gate_says_go(page: str, tmp_path: Path) -> None:
    folder = make_sample(page, tmp_path)
    for command in blocks(page)[1]:
        slower = ["--threads", "1", "--workers", "1", "--no-compile"] if command[0] == "run" else []
        done = subprocess.run(
            [str(LMPIPE), *command, *slower], cwd=folder, env=quiet_environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_are_linked_and_their_links_lead_to_files(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (RECIPES / f"{page}.md").read_text(encoding="utf-8"))
    assert links
    assert not [link for link in links if not (RECIPES / link).exists()]
    for place in ("README.md", "docs/recipes.md"):
        assert f"recipes/{page}.md" in (ROOT / place).read_text(encoding="utf-8")
