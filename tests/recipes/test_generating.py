"""Recipes with generators: what `check` and `plan` say of them, and real runs against a server, a bundle, a served bundle."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmpipe.base.errors import EndpointError, RecipeError, SourceError
from lmpipe.base.files import read_json
from lmpipe.base.runtime import Runtime
from lmpipe.pipeline.runner import RunResult
from lmpipe.pipeline.runner import run as run_stages
from lmpipe.recipes.calls import expected_calls
from lmpipe.recipes.project import open_project

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "data"), str(TESTS / "serving")]  # for the server that stands in for an endpoint; a bundle
from answering import Server, completion, serving  # noqa: E402
from tiny_bundle import make_tiny_bundle  # noqa: E402

ENDPOINT = {"kind": "endpoint", "base_url": "http://127.0.0.1:9/v1", "model": "m", "api_key_env": "NO_SUCH_KEY"}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as state:
        state.reply = lambda prompt, number: completion(f"{prompt[-30:]} it was said {len(prompt)}")
        yield state


def recipe(folder: Path, generator: dict[str, Any], **synthesis: Any) -> dict[str, Any]:
    (folder / "books").mkdir(exist_ok=True)
    for number in range(20):
        (folder / "books" / f"{number}.txt").write_text(f"book number {number} tells of things\n" * 3, encoding="utf-8")
    made = {"prompts": ["On {topic}: {seed}"], "attributes": {"topic": ["a", "b"]}, "seeds": {"corpus": "books"}, "near": None}
    return {
        "name": "made",
        "data": {
            "books": {"read": [{"kind": "text", "paths": [str(folder / "books")]}]},
            "made": {"synthesis": {"generator": generator, **made, **synthesis}},
        },
        "tokenizer": {"vocab_size": 300, "train_on": "made"},
        "model": {"layers": 1, "width": 16, "heads": 2, "context": 64},
        "train": [{"name": "pretrain", "on": "made", "tokens": 4096, "batch_tokens": 512}],
    }


def run_until(whole: dict[str, Any], stage: str, folder: Path, **runtime: Any) -> RunResult:
    here = Runtime(store=str(folder / "store"), device="cpu", threads=1, workers=1, **{"isolate": False, **runtime})
    stages = {found.name: found for found in open_project(whole).stages(here)}
    return run_stages([stages[stage]], here)


def documents(result: RunResult, stage: str) -> tuple[str, Path]:
    found = next(one for one in result.stages if one.name == stage)
    return found.record.content_digest, found.path


def test_check_names_the_keys_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    whole = recipe(tmp_path, ENDPOINT, judge={"prompt": "{text}", "at_least": 1, "generator": ENDPOINT})
    with pytest.raises(RecipeError, match="NO_SUCH_KEY is not set") as raised:
        open_project(whole).check()
    assert "data.made.synthesis.generator.api_key_env, data.made.synthesis.judge.generator.api_key_env" in str(raised.value)
    monkeypatch.setenv("NO_SUCH_KEY", "a key")
    assert open_project(whole).check()["recipe"] == "made"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data.made.synthesis.seeds.corpus": "bookz"}, "names the corpus 'bookz'"),
        ({"data.made.synthesis.seeds.corpus": "made", "tokenizer.train_on": "books"}, "made is made from itself: made -> made"),
        ({"data.made.synthesis.prompts": ["{topik}"]}, "did you mean '{topic}'"),
        ({"data.made.synthesis.generator.kind": "endpiont"}, "did you mean 'endpoint'"),
        ({"data.books.synthesis": {"generator": ENDPOINT, "prompts": ["a"]}}, "one of the two"),
        ({"data.books.read": []}, "one of the two"),
    ],
)
def test_wrong_recipes_are_told_apart(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        open_project(recipe(tmp_path, ENDPOINT), change)
    assert message in str(raised.value)


def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no bundle in 'nowhere'"):
        open_project(recipe(tmp_path, {"kind": "bundle", "path": "nowhere"})).check()


def test_expected_calls_are_told_where_they_can_be_known(tmp_path: Path) -> None:
    whole = recipe(tmp_path, ENDPOINT, seeds={"corpus": "books", "count": 5}, judge={"prompt": "{text}", "at_least": 1})
    whole["data"]["books"]["augment"] = [
        {"kind": "back_translation", "generator": ENDPOINT, "through": ["x"], "language": "y", "copies": 2}
    ]
    calls = {(one["stage"], one["says"]): one["calls"] for one in expected_calls(open_project(whole).recipe)}
    assert calls == {
        ("augment-books", "4 calls for each of about 10% of the training documents (back_translation)"): None,
        ("synthesize-made", "at most 10 calls"): 10,
        ("synthesize-made", "at most 10 calls by the judge"): 10,
    }
    unknown = expected_calls(open_project(recipe(tmp_path, ENDPOINT)).recipe)
    assert [(one["calls"], one["says"]) for one in unknown] == [(None, "2 calls for each seed")]


def test_another_identity_asks_for_nothing_that_was_answered(tmp_path: Path, server: Server) -> None:
    run_until(recipe(tmp_path, server.config()), "synthesize-made", tmp_path)
    asked = server.asked.total()
    strict = recipe(tmp_path, server.config(concurrency=1), rules={"max_characters": 55})
    result = run_until(strict, "synthesize-made", tmp_path)
    assert server.asked.total() == asked
    _, folder = documents(result, "synthesize-made")
    assert read_json(folder / "observed" / "calls.json") == {"generator": {"calls": 0, "remembered": asked}}
    run_until(recipe(tmp_path, server.config(), prompts=["Of {topic}: {seed}"]), "synthesize-made", tmp_path)
    assert server.asked.total() == 2 * asked


def test_seeds_are_training_text_only_and_keys_are_written_nowhere(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARROT_KEY", "sk-very-secret")
    result = run_until(recipe(tmp_path, server.config(api_key_env="PARROT_KEY")), "synthesize-made", tmp_path, isolate=True)
    _, books = documents(result, "split-books")
    sides = read_json(books / "splits.json")
    assert (
        len(server.asked)
        == 2 * sides["train"]["documents"]
        == 2 * (20 - sides["validation"]["documents"] - sides["test"]["documents"])
    )
    assert all(headers["Authorization"] == "Bearer sk-very-secret" for headers in server.headers)
    written = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if b"sk-very-secret" in path.read_bytes()]


def test_a_bundle_writes_the_same_text_wherever_it_lies(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        bundle = make_tiny_bundle(tmp_path / name / "bundle", context=128)
        settings = {"sampling": {"max_tokens": 12}, "seeds": {"corpus": "books", "count": 4}, "answers": 2, "cut_off": "keep"}
        whole = recipe(tmp_path / name, {"kind": "bundle", "path": str(bundle)}, **settings)
        digest, folder = documents(run_until(whole, "synthesize-made", tmp_path / name), "synthesize-made")
        digests.append(digest)
    assert digests[0] == digests[1]
    facts = read_json(folder / "synthesis.json")
    assert facts["generator"]["generator"]["model"] == "tiny"
    assert facts["generator"]["tokens_out"] == 16 * 12
    assert facts["documents"] > 8


def test_a_prompt_longer_than_a_bundles_context_is_refused_not_clipped(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle", context=64)
    whole = recipe(tmp_path, {"kind": "bundle", "path": str(bundle)}, seeds={"corpus": "books"})
    with pytest.raises(EndpointError, match=r"none of the first 8 questions was accepted: the prompt has .* context 64"):
        run_until(whole, "synthesize-made", tmp_path)


@pytest.mark.slow
def test_a_served_bundle_is_an_endpoint(tmp_path: Path) -> None:
    """The whole way over HTTP: our own server answers our own client, and documents come out."""
    bundle = make_tiny_bundle(tmp_path / "bundle", context=128)
    command = [sys.executable, str(TESTS / "serving" / "serve_driver.py"), str(bundle), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://[^\s/]+", process.stdout.readline())
            assert found
            endpoint = {"kind": "endpoint", "base_url": f"{found[0]}/v1", "model": "tiny", "concurrency": 3}
            settings = {"sampling": {"max_tokens": 6}, "seeds": {"corpus": "books", "count": 6}, "cut_off": "keep"}
            result = run_until(recipe(tmp_path, endpoint, **settings), "synthesize-made", tmp_path)
        finally:
            process.terminate()
            process.wait()
    facts = read_json(documents(result, "synthesize-made")[1] / "synthesis.json")
    assert (facts["questions"], facts["generator"]["tokens_out"], facts["generator"]["uncounted"]) == (12, 72, 0)
    assert facts["documents"] > 6
