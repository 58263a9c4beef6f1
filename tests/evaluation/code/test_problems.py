"""Problems as they are given out, verdicts on programs, and pass@k."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest

from lmpipe.base.errors import SourceError
from lmpipe.evaluation.code.passing import pass_at
from lmpipe.evaluation.code.problems import first_function, judge, judge_all, read_humaneval, read_mbpp
from lmpipe.evaluation.code.sandbox import Limits, strongest_walls

needs_walls = pytest.mark.skipif(strongest_walls() is None, reason="this system offers no walls for model-written programs")

HUMANEVAL = {
    "task_id": "HumanEval/x",
    "prompt": """def add(a: int, b: int) -> int:
    '''The sum.
    >>> add(1, 2)  # of two
    3
    >>> add("a", "b")
    'ab'
    '''
""",
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(0, 0) == 0\n",
}
MBPP = {
    "task_id": 11,
    "text": "Write a function to double a number.",
    "code": "def double(x):\r\n  return 2 * x",
    "test_setup_code": "",
    "test_list": ["assert double(2) == 4", "assert double(0) == 0", "assert double(-1) == -2"],
}


@pytest.fixture
def problems(tmp_path: Path):
    for name, row in (("humaneval", HUMANEVAL), ("mbpp", MBPP)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    return read_humaneval(tmp_path / "humaneval.jsonl")[0], read_mbpp(tmp_path / "mbpp.jsonl")[0]


def test_what_the_files_say(problems):
    humaneval, mbpp = problems
    assert humaneval.visible_tests == ("assert (add(1, 2)) == (3)", "assert (add('a', 'b')) == ('ab')")
    assert humaneval.program("    return a + b\n\nprint(add(1, 1))") == HUMANEVAL["prompt"] + "    return a + b\n"
    assert mbpp.entry_point == "double"
    assert mbpp.visible_tests == ("assert double(2) == 4",)
    assert "double(0)" not in mbpp.prompt
    assert mbpp.program("x") == "x"


@needs_walls
def test_verdicts(problems):
    humaneval, _ = problems
    cases = {
        "    return a + b": ("passed", ""),
        "    return a - b": ("wrong", "AssertionError"),
        "    return a + c": ("error", "NameError"),
        "    return a +": ("error", "SyntaxError"),
        "    raise SystemExit": ("ended early", ""),
        "    import os; os._exit(0)": ("ended early", ""),
        "    while True: pass": ("killed", "SIGXCPU"),
    }
    pairs = [(humaneval.prompt + body + "\n", humaneval.tests) for body in cases]
    verdicts = judge_all(pairs, limits=Limits(cpu_seconds=1))
    for (body, (reason, detail)), verdict in zip(cases.items(), verdicts, strict=True):
        assert verdict.reason == reason, body
        assert verdict.passed == (reason == "passed")
        assert detail in verdict.detail


@needs_walls
def test_a_program_that_redirects_its_output_still_passes():
    program = "import sys, io\nsys.stdout = io.StringIO()\ndef f(): return 1"
    assert judge(program, "assert f() == 1").passed


def test_functions_end_where_something_else_begins():
    assert first_function("    return 1\n\n\ndef other():\n    pass") == "    return 1\n\n"
    assert first_function("    if x:\n        return 1\n    return 2\n") == "    if x:\n        return 1\n    return 2\n"


def test_a_file_of_another_form_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"task_id": 1}\n')
    with pytest.raises(SourceError, match="prompt"):
        read_humaneval(tmp_path / "x.jsonl")
    (tmp_path / "y.jsonl").write_text("no json\n")
    with pytest.raises(SourceError, match="line 1"):
        read_mbpp(tmp_path / "y.jsonl")


@pytest.mark.parametrize(("samples", "right", "k"), [(5, 2, 1), (6, 2, 3), (7, 0, 2), (7, 7, 7), (6, 4, 3), (8, 1, 8)])
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(samples, right, k):
    draws = list(itertools.combinations([True] * right + [False] * (samples - right), k))
    assert pass_at(samples, right, k) == pytest.approx(sum(any(draw) for draw in draws) / len(draws))


def test_pass_at_more_than_was_drawn_is_refused():
    with pytest.raises(SourceError):
        pass_at(3, 1, 5)


DATA = Path(os.environ.get("LMPIPE_TEST_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
HUMANEVAL_FILE, MBPP_FILE = DATA / "humaneval" / "HumanEval.jsonl.gz", DATA / "mbpp" / "mbpp.jsonl"


@needs_walls
@pytest.mark.slow
@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_every_published_solution_passes_and_an_empty_one_does_not(name):
    path, read, count = {"humaneval": (HUMANEVAL_FILE, read_humaneval, 164), "mbpp": (MBPP_FILE, read_mbpp, 974)}[name]
    if not path.is_file():
        pytest.skip(f"{path} is not there; LMPIPE_TEST_DATA names the folder of data")
    published = read(path)
    assert len(published) == count
    limits = Limits(cpu_seconds=30, wall_seconds=60)
    right = judge_all([(problem.solution, problem.tests) for problem in published], limits=limits)
    failed = {problem.id: verdict.detail for problem, verdict in zip(published, right, strict=True) if not verdict.passed}
    assert failed == {}
    shown = [problem for problem in published if problem.visible_tests]
    visible = judge_all([(problem.solution, problem.visible) for problem in shown], limits=limits)
    failed = {problem.id for problem, verdict in zip(shown, visible, strict=True) if not verdict.passed}
    assert failed == ({"HumanEval/47"} if name == "humaneval" else set())  # its docstring gives a wrong median
    empty = judge_all([(f"def {problem.entry_point}(*a, **k): return None", problem.tests) for problem in published])
    assert sum(verdict.passed for verdict in empty) == 0
