"""Drawn programs are filtered, clustered by behaviour, and few are handed in."""

from __future__ import annotations

import pytest

from lmpipe.evaluation.code.candidates import behaviour, choose_submissions, cluster_by_behaviour, made_up_calls
from lmpipe.evaluation.code.problems import Problem, judge
from lmpipe.evaluation.code.sandbox import strongest_walls

pytestmark = pytest.mark.skipif(strongest_walls() is None, reason="this system offers no walls for model-written programs")

PROBLEM = Problem(
    id="abs",
    prompt="",
    continued=False,
    entry_point="size",
    visible_tests=("assert size(3) == 3",),
    tests="assert size(3) == 3\nassert size(-4) == 4\nassert size(0) == 0",
    solution="def size(x): return abs(x)",
)
DRAWN = [
    "def size(x): return x",
    "def size(x): return abs(x)",
    "def size(x): return 4",
    "def size(x): return max(x, -x)",
    "def size(x): return x if x > 0 else -x",
    "def size(x) return x",
    "def size(x): return 3",
]


def draw_from(programs):
    remaining = iter(programs)
    return lambda prompt, seed: next(remaining)


def test_the_largest_cluster_is_handed_in_first():
    chosen = choose_submissions(PROBLEM, draw_from(DRAWN), samples=7, submissions=1, seed=1)
    assert (chosen.drawn, chosen.passed_visible) == (7, 5)
    assert chosen.cluster_sizes == (3, 1, 1)
    assert chosen.programs == (DRAWN[1],)
    assert judge(chosen.programs[0], PROBLEM.tests).passed


def test_one_of_each_cluster_before_a_second_of_any():
    chosen = choose_submissions(PROBLEM, draw_from(DRAWN), samples=7, submissions=4, seed=1)
    assert chosen.programs == (DRAWN[1], DRAWN[0], DRAWN[6], DRAWN[3])


def test_nothing_passes_nothing_is_handed_in():
    chosen = choose_submissions(PROBLEM, draw_from(["x = 1", "def size(x): return 0"]), samples=2, submissions=2, seed=1)
    assert chosen.programs == ()
    assert chosen.passed_visible == 0


def test_each_draw_has_a_seed_of_its_own():
    seeds = []
    choose_submissions(PROBLEM, lambda prompt, seed: seeds.append(seed) or "x", samples=4, submissions=1, seed=1)
    again = []
    choose_submissions(PROBLEM, lambda prompt, seed: again.append(seed) or "x", samples=4, submissions=1, seed=1)
    assert len(set(seeds)) == 4
    assert seeds == again


def test_behaviour_is_answers_exceptions_and_the_end():
    program = "print('noise')\ndef f(x):\n    if x == 2: raise KeyError(x)\n    return {x, 'a'} - {'a'}"
    assert behaviour(program, ["f(1)", "f(2)", "f()"]) == ("{1}", "!KeyError", "!TypeError", "ok")
    assert behaviour("import os\ndef f(x): os._exit(3)", ["f(1)", "f(2)"]) == ("failed",)


def test_exceptions_and_values_are_told_apart():
    programs = ["def f(x): return x", "def f(x): return float(x)", "def f(x): raise ValueError", "def f(x): return x * 1"]
    clusters = cluster_by_behaviour(programs, ["f(1)"])
    assert clusters == [[programs[0], programs[3]], [programs[1]], [programs[2]]]


def test_calls_are_made_up_from_the_visible_tests():
    tests = ["assert f([1, 2, 3], 'abc', k=2) == 4", "assert sorted(f([5], '')) == []"]
    calls = made_up_calls(tests, count=12, seed=3)
    assert calls == made_up_calls(tests, count=12, seed=3)
    assert calls[0] == "f([1, 2, 3], 'abc', k=2)"
    assert len(set(calls)) == 12
    for call in calls:
        compile(call, "call", "eval")
    assert made_up_calls(["x = 1"], count=5, seed=1) == []
