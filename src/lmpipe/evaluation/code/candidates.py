"""Many programs drawn, few handed in: filter by the visible tests, cluster by behaviour, submit from the largest clusters.

    prompt --draw--> k programs --visible tests--> those that pass --same answers to made-up calls--> clusters --> n submissions

AlphaCode (Li et al. 2022, sections 4.5 and 4.6). There a second model makes up the inputs; here they are the visible tests'
arguments, changed a little at a time. Knows no model: what draws a program is handed in.
"""

from __future__ import annotations

import ast
import json
import random
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from lmpipe.base.randomness import derive_seed
from lmpipe.evaluation.code.problems import Problem, judge_all
from lmpipe.evaluation.code.sandbox import Limits, run_python

Draw = Callable[[str, int], str]
"""(prompt, seed) -> completion."""
CALLS = 20
"""Made-up calls by which programs are told apart."""


@dataclass(frozen=True)
class Submission:
    """What is handed in for one problem, and how it was chosen."""

    programs: tuple[str, ...]
    """The best first."""
    drawn: int
    passed_visible: int
    cluster_sizes: tuple[int, ...]
    """Largest first."""


def choose_submissions(
    problem: Problem,
    draw: Draw,
    *,
    samples: int,
    submissions: int,
    seed: int,
    calls: Sequence[str] | None = None,
    limits: Limits | None = None,
    workers: int = 2,
) -> Submission:
    """Draw programs for a problem and choose which to hand in.

    Args:
        problem: what to solve; its hidden tests are not looked at.
        draw: the model.
        samples: how many programs are drawn; draw i has a seed of its own.
        submissions: how many are handed in, at most; the first of each cluster, then the second of each, and so on.
        seed: of the draws and of the made-up calls.
        calls: by which programs are told apart; by default made up from the visible tests.
        limits: of each run.
        workers: programs run at one time.
    """
    programs = [problem.program(draw(problem.prompt, derive_seed(seed, problem.id, i))) for i in range(samples)]
    own = derive_seed(seed, problem.id, "calls")
    return choose_among(problem, programs, submissions=submissions, seed=own, calls=calls, limits=limits, workers=workers)


def choose_among(
    problem: Problem,
    programs: Sequence[str],
    *,
    submissions: int,
    seed: int,
    calls: Sequence[str] | None = None,
    limits: Limits | None = None,
    workers: int = 2,
) -> Submission:
    """As `choose_submissions`, of programs that were drawn already; `seed` is that of the made-up calls."""
    verdicts = judge_all([(program, problem.visible) for program in programs], limits=limits, workers=workers)
    passing = [program for program, verdict in zip(programs, verdicts, strict=True) if verdict.passed]
    if calls is None:
        calls = made_up_calls(problem.visible_tests, count=CALLS, seed=seed)
    clusters = cluster_by_behaviour(passing, calls, limits=limits, workers=workers)
    chosen: list[str] = []
    for place in range(max((len(cluster) for cluster in clusters), default=0)):
        chosen += [cluster[place] for cluster in clusters if place < len(cluster)]
    return Submission(
        programs=tuple(chosen[:submissions]),
        drawn=len(programs),
        passed_visible=len(passing),
        cluster_sizes=tuple(len(cluster) for cluster in clusters),
    )


def cluster_by_behaviour(
    programs: Sequence[str], calls: Sequence[str], *, limits: Limits | None = None, workers: int = 2
) -> list[list[str]]:
    """Programs that answer every call alike, together; the largest cluster first, equal ones by their first program."""
    with ThreadPoolExecutor(max_workers=workers) as pool:
        behaviours = list(pool.map(lambda program: behaviour(program, calls, limits=limits), programs))
    clusters: dict[tuple[str, ...], list[str]] = {}
    for program, answers in zip(programs, behaviours, strict=True):
        clusters.setdefault(answers, []).append(program)
    return sorted(clusters.values(), key=lambda cluster: -len(cluster))


def behaviour(program: str, calls: Sequence[str], *, limits: Limits | None = None) -> tuple[str, ...]:
    """What a program answers to each call: the value's spelling, or the name of the exception; then how it ended.

    >>> behaviour("def double(x): return 2 * x", ["double(4)", "double()"])  # doctest: +SKIP
    ('8', '!TypeError', 'ok')
    """
    word = secrets.token_hex(16)
    asked = f"""
import json as _json, os as _os
for _call in _json.loads({json.dumps(json.dumps(list(calls)))}):
    try:
        _answer = repr(eval(_call))
    except BaseException as _error:
        _answer = "!" + type(_error).__name__
    _os.write(1, ("\\n{word}" + _json.dumps(_answer) + "\\n").encode())
"""
    outcome = run_python(program + "\n" + asked, limits=limits)
    lines = [line.removeprefix(word) for line in outcome.stdout.splitlines() if line.startswith(word)]
    return (*lines_read(lines), outcome.status)


def lines_read(lines: Sequence[str]) -> list[str]:
    """Answers from their JSON; one that was cut off in the middle is left out."""
    answers = []
    for line in lines:
        try:
            answers.append(str(json.loads(line)))
        except json.JSONDecodeError:
            continue
    return answers


def made_up_calls(tests: Sequence[str], *, count: int, seed: int) -> list[str]:
    """Calls like those of the visible tests, with literals changed: `assert add(1, 2) == 3` gives `add(1, 2)`, `add(0, 2)`, ...

    The calls of the tests come first. None where no test is an assertion about a call.
    """
    known = [found for test in tests if (found := _tested_call(test)) is not None]
    calls = [ast.unparse(call) for call in known]
    chance = random.Random(seed)
    for _ in range(20 * count if known else 0):
        if len(calls) >= count:
            break
        changed = _Changing(chance).visit(ast.parse(ast.unparse(chance.choice(known)), mode="eval").body)
        spelled = ast.unparse(changed)
        if spelled not in calls:
            calls.append(spelled)
    return calls[:count]


def _tested_call(test: str) -> ast.Call | None:
    try:
        tree = ast.parse(test)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return node
    return None


class _Changing(ast.NodeTransformer):
    """Changes each literal of a call with a chance of one third."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Arguments change, the function's name does not."""
        node.args = [self.visit(argument) for argument in node.args]
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """A number becomes a neighbour, zero, its double or its negative; a text loses, doubles or reverses something."""
        if self._chance.random() > 1 / 3:
            return node
        return ast.copy_location(ast.Constant(self._another(node.value)), node)

    def _another(self, value: Any) -> Any:
        if isinstance(value, bool):
            return not value
        if isinstance(value, (int, float)):
            return self._chance.choice([value + 1, value - 1, 0, 2 * value, -value])
        if isinstance(value, str):
            place = self._chance.randint(0, len(value))
            return self._chance.choice([value[:place] + value[place + 1 :], value + value[:place], value[::-1], ""])
        return value

    def visit_List(self, node: ast.List) -> ast.AST:
        """A list may be shuffled, lose an item or get one twice; then its items change."""
        items = [self.visit(item) for item in node.elts]
        if items and self._chance.random() < 1 / 3:
            place = self._chance.randrange(len(items))
            match self._chance.randrange(3):
                case 0:
                    self._chance.shuffle(items)
                case 1:
                    del items[place]
                case _:
                    items.append(items[place])
        node.elts = items
        return node
