from __future__ import annotations

import hashlib

import pytest
import toy_stages as toys
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.errors import RecipeError
from lmpipe.pipeline.changes import differences
from lmpipe.pipeline.fingerprint import content_digest, fingerprint, identity
from lmpipe.pipeline.graph import order

DIGESTS = st.dictionaries(st.text(min_size=1, max_size=5), st.text("0123456789abcdef", min_size=4, max_size=4), max_size=4)


def test_inputs_come_before_what_stands_on_them_and_every_stage_comes_once() -> None:
    a = toys.stage("a")
    b = toys.stage("b", inputs={"in": a})
    c = toys.stage("c", inputs={"left": a, "right": b})
    assert [stage.name for stage in order([c, b, a])] == ["a", "b", "c"]


def test_equal_stages_made_twice_are_one() -> None:
    twice = [toys.stage("b", inputs={"in": toys.stage("a", text="x")}) for _ in range(2)]
    assert [stage.name for stage in order(twice)] == ["a", "b"]


def test_two_different_stages_of_one_name_are_refused() -> None:
    with pytest.raises(RecipeError, match="two different stages are called 'a'"):
        order([toys.stage("a", text="x"), toys.stage("a", text="y")])


def test_a_circle_is_refused_and_shown() -> None:
    inputs: dict[str, toys.Stage] = {}
    a = toys.stage("a", inputs=inputs)
    inputs["in"] = toys.stage("b", inputs={"in": a})
    with pytest.raises(RecipeError, match="stands on itself") as caught:
        order([a])
    assert caught.value.where == "a <- b <- a"


@pytest.mark.parametrize("name", ["runs", "../up", "A", "", ".tmp", "a b"])
def test_names_that_cannot_be_folders_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="cannot be the name"):
        order([toys.stage(name)])


def test_what_runs_and_what_it_may_cost_are_not_identity_but_meaning_is() -> None:
    base = fingerprint(identity(toys.stage("a", text="x"), {}, {}))
    same = toys.stage("a", "lower", text="x", cost_hint={"lower": "text"})
    assert fingerprint(identity(same, {}, {})) == base
    assert fingerprint(identity(toys.stage("a", text="x", version=2), {}, {})) != base
    assert fingerprint(identity(toys.stage("a", text="y"), {}, {})) != base
    assert fingerprint(identity(toys.stage("b", text="x"), {}, {})) != base
    assert fingerprint(identity(toys.stage("a", text="x", parts=1), {}, {})) == base  # a default, spelled out


def test_the_fingerprint_is_pinned() -> None:
    """A change here makes every stored result of every user a miss: it must be meant."""
    payload = identity(toys.stage("a", text="x"), {"in": "00"}, {"file": "11"})
    config = '{"parts":1,"path":"","text":"x","thresholds":{"min_chars":50}}'
    spelled = f'{{"config":{config},"inputs":{{"in":"00"}},"sources":{{"file":"11"}},"stage":"a","version":1}}'
    assert fingerprint(payload) == hashlib.sha256(spelled.encode()).hexdigest()


@settings(deadline=None, max_examples=50)
@given(DIGESTS, DIGESTS)
def test_identity_follows_content_and_not_order(inputs: dict[str, str], sources: dict[str, str]) -> None:
    stage = toys.stage("a")
    backwards = identity(stage, dict(reversed(inputs.items())), dict(reversed(sources.items())))
    assert fingerprint(identity(stage, inputs, sources)) == fingerprint(backwards)
    assert content_digest(inputs) == content_digest(dict(reversed(inputs.items())))
    assert (content_digest(inputs) == content_digest(sources)) == (inputs == sources)


def test_differences_are_told_field_by_field() -> None:
    old = identity(toys.stage("a", text="x", thresholds={"min_chars": 50}), {"tokens": "0"}, {"x.py": "0", "y.py": "0"})
    new = identity(
        toys.stage("a", text="x", version=2, thresholds={"min_chars": 100}), {"tokens": "1"}, {"x.py": "1", "z.py": "0"}
    )
    assert differences(old, new) == [
        "version 1 -> 2",
        "config.thresholds.min_chars: 50 -> 100",
        "input tokens changed",
        "source x.py changed",
        "source z.py added",
        "source y.py removed",
    ]


def test_many_changed_sources_are_counted() -> None:
    old = {"version": 1, "config": {}, "inputs": {}, "sources": {f"f{i}": "0" for i in range(100)}}
    new = {**old, "sources": {f"f{i}": "1" for i in range(100)}}
    lines = differences(old, new)
    assert len(lines) == 6
    assert lines[-1] == "95 more sources changed, added or removed"


def test_true_is_not_one() -> None:
    old = {"version": 1, "config": {"a": True}, "inputs": {}, "sources": {}}
    assert differences(old, {**old, "config": {"a": 1}}) == ["config.a: True -> 1"]
