"""A judge in a recipe: a real server on this machine compares what a small model answers."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lmpipe.base.errors import LmpipeError
from lmpipe.base.runtime import Runtime
from lmpipe.evaluation.comparison import compare
from lmpipe.pipeline.runner import RunResult
from lmpipe.pipeline.runner import run as run_stages
from lmpipe.recipes.calls import expected_calls
from lmpipe.recipes.judging import read_rows
from lmpipe.recipes.project import check, open_project

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))  # for `answering`
sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))  # for `tiny_bundle`
from answering import Reply, Server, completion, failure, serving
from tiny_bundle import make_tiny_bundle

ROWS = [
    {"prompt": "The market", "reference": "bad", "other": "good", "human": "other"},
    {"prompt": "The town", "reference": "good", "other": "bad", "human": "reference"},
    {"prompt": "The river", "reference": "bad", "other": "good", "human": "reference"},
    {"prompt": "The hill", "reference": "good"},
]


def prefers_good(prompt: str, number: int) -> Reply:
    """The answer `good` over any other, any other over `bad`."""
    found = re.search(r"\[Answer A\]\n(.*)\n\n\[Answer B\]\n(.*)\n\nReply", prompt, re.DOTALL)
    assert found is not None
    first, second = ({"good": 2, "bad": 0}.get(text, 1) for text in found.groups())
    return completion("A" if first > second else "B" if second > first else "tie", tokens=(10, 1))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as state:
        state.reply = prefers_good
        yield state


def recipe(folder: Path, judge: dict[str, Any], rows: list[Any] | None = None, **changes: Any) -> dict[str, Any]:
    (folder / "a.txt").write_text("It is said that the market is in Arden.\n" * 200, encoding="utf-8")
    lines = [row if isinstance(row, str) else json.dumps(row) for row in (ROWS if rows is None else rows)]
    (folder / "prompts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    part = {"name": "talk", "file": str(folder / "prompts.jsonl"), "human": {}, "judge": judge, "max_new_tokens": 4}
    return {
        "name": "asked",
        "data": {"corpus": {"read": [{"kind": "text", "paths": [str(folder / "a.txt")]}], "split": {"by": "position"}}},
        "tokenizer": {"kind": "byte"},
        "model": {"kind": "llama", "layers": 1, "width": 16, "heads": 2, "context": 64},
        "train": [{"name": "learn", "on": "corpus", "tokens": 512, "batch_tokens": 128}],
        "judged": [{**part, **changes}],
    }


def judge(whole: dict[str, Any], folder: Path) -> tuple[RunResult, Path]:
    runtime = Runtime(store=str(folder / "store"), device="cpu", threads=1, workers=1, compile=False, isolate=False)
    stages = {stage.name: stage for stage in open_project(whole).stages(runtime)}
    result = run_stages([stages["evaluate-judged-talk"]], runtime)
    return result, next(stage.path for stage in result.stages if stage.name == "evaluate-judged-talk")


def numbers(folder: Path) -> dict[str, float]:
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {metric["name"].removeprefix("judged.talk."): metric["value"] for metric in metrics}


def test_a_fair_judge(tmp_path: Path, server: Server) -> None:
    price = {"input_per_million": 1e5, "output_per_million": 0.0}
    whole = recipe(tmp_path, server.config(price=price))
    _, found = judge(whole, tmp_path)
    assert numbers(found) == pytest.approx(
        {
            "win_rate": 0.5,  # over `bad` twice, below `good` twice, whatever the model wrote
            "self_agreement": 1.0,
            "position_bias": 0.0,
            "unparsable": 0.0,
            "human_agreement": 2 / 3,
            "human_kappa": 0.4,
        }
    )
    rows = pq.read_table(found / "verdicts.parquet").to_pylist()
    assert [row["of"] for row in rows] == ["model"] * 4 + ["other"] * 3
    assert [row["human"] for row in rows] == [None] * 4 + ["win", "loss", "loss"]
    account = json.loads((found / "judge.json").read_text(encoding="utf-8"))
    assert (account["questions"], account["tokens_in"], account["cost"]["amount"]) == (14, 140, 14.0)
    assert server.asked.total() == 14
    assert {body["temperature"] for body in server.bodies} == {0.0}


def test_nothing_is_asked_twice(tmp_path: Path, server: Server) -> None:
    _, first = judge(recipe(tmp_path, server.config()), tmp_path)
    before = numbers(first)
    _, second = judge(recipe(tmp_path, server.config(), level=0.9), tmp_path)  # another identity, the same questions
    assert second != first
    assert numbers(second) == before
    assert server.asked.total() == 14
    calls = json.loads((second / "observed" / "calls.json").read_text(encoding="utf-8"))
    assert calls == {"judge": {"calls": 0, "remembered": 14}}


def test_two_models_before_one_judge(tmp_path: Path, server: Server) -> None:
    whole = recipe(tmp_path, server.config())
    (_, first), (_, second) = judge(whole, tmp_path), judge({**whole, "seed": 2}, tmp_path)
    rows = {row.name: row for row in compare(first, second)}
    assert rows["judged.talk.win_rate"].verdict == "no difference"
    assert rows["judged.talk.win_rate"].test is not None
    _, elsewhere = judge(recipe(tmp_path, server.config(), criteria="Which answer is shorter?"), tmp_path)
    with pytest.raises(LmpipeError, match="the same judge and criteria"):
        compare(first, elsewhere)


def test_a_judge_that_always_takes_the_first(tmp_path: Path, server: Server) -> None:
    server.reply = lambda prompt, number: completion("A")
    found = numbers(judge(recipe(tmp_path, server.config(), human=None), tmp_path)[1])
    assert found == {"win_rate": 0.5, "self_agreement": 0.0, "position_bias": 1.0, "unparsable": 0.0}


def test_what_is_no_verdict_is_counted(tmp_path: Path, server: Server) -> None:
    server.reply = lambda prompt, number: completion("Well, A") if "The hill" in prompt else prefers_good(prompt, number)
    assert numbers(judge(recipe(tmp_path, server.config()), tmp_path)[1])["unparsable"] == 2 / 8
    with pytest.raises(LmpipeError, match="gave no verdict on any of 1 pairs"):
        judge(recipe(tmp_path, server.config(), ROWS[3:]), tmp_path)


def test_a_bundle_that_never_learned_to_judge(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle", context=1024)
    with pytest.raises(LmpipeError, match="gave no verdict on any of 4 pairs"):
        judge(recipe(tmp_path, {"kind": "bundle", "path": str(bundle)}), tmp_path)
    kept = list((tmp_path / "store" / ".answers").rglob("*.json"))
    assert len(kept) == 14


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"prompt": "The"}], "no text in the column 'reference'"),
        ([{"prompt": "The", "reference": "x", "human": "tie"}], "no text in the column 'other'"),
        ([{"prompt": "The", "reference": "x", "human": "mine"}], "'mine' is no verdict"),
        (["{"], "the line is no JSON"),
        (["[1]"], "no JSON object"),
        ([], "the file has no prompts"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, server: Server, rows: list[Any], told: str) -> None:
    (part,) = open_project(recipe(tmp_path, server.config(), rows)).recipe.judged
    with pytest.raises(LmpipeError) as raised:
        read_rows(tmp_path / "prompts.jsonl", part)
    assert told in str(raised.value)


def test_a_prompt_that_leaves_no_room_is_refused(tmp_path: Path, server: Server) -> None:
    with pytest.raises(LmpipeError, match="the prompt of line 1 has 81 tokens, and there is room for 60"):
        judge(recipe(tmp_path, server.config(), [{"prompt": "x" * 80, "reference": "x"}]), tmp_path)
    assert not server.asked


def test_an_endpoint_that_refuses_stops_and_what_was_answered_stays(tmp_path: Path, server: Server) -> None:
    server.reply = lambda prompt, number: prefers_good(prompt, number) if server.asked.total() < 5 else failure(401, "no key")
    with pytest.raises(LmpipeError, match="does not let us in"):
        judge(recipe(tmp_path, server.config(concurrency=1)), tmp_path)
    server.reply = prefers_good
    judge(recipe(tmp_path, server.config(concurrency=1)), tmp_path)
    assert max(server.asked.values()) <= 2
    assert sum(times == 1 for times in server.asked.values()) >= 13 - 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"judged.0.file": "nowhere.jsonl"}, "there is no file 'nowhere.jsonl'"),
        ({"judged.0.judge": {"kind": "bundle", "path": "nowhere"}}, "there is no bundle in 'nowhere'"),
        ({"judged.0.max_new_tokens": 64}, "expected room for a prompt"),
        ({"judged.0.judge.api_key_env": "NO_SUCH_KEY"}, "judged.0.judge.api_key_env"),
        ({"gate": {"require": [{"metric": "judged.talk.win_rat", "at_least": 0.5}]}}, "judged.talk.win_rate"),
        (
            {"model": {"kind": "bert", "layers": 1, "width": 16, "heads": 2}, "train.0.objective": {"kind": "masked"}},
            "judged.0",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path: Path, server: Server, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(LmpipeError) as raised:
        check(recipe(tmp_path, server.config()), changes)
    assert told in str(raised.value)


def test_a_plan_tells_the_calls(tmp_path: Path, server: Server) -> None:
    whole = recipe(tmp_path, server.config(), limit=3)
    (told,) = expected_calls(open_project(whole).recipe)
    assert (told["stage"], told["calls"], told["says"]) == ("evaluate-judged-talk", 12, "at most 12 calls by the judge")
