"""Programming problems with tests, and the verdict on a program.

Problems are read from the files in which HumanEval (Chen et al. 2021) and MBPP (Austin et al. 2021) are given out.
"""

from __future__ import annotations

import ast
import doctest
import gzip
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from lmpipe.base.config import Config
from lmpipe.base.errors import SourceError
from lmpipe.evaluation.code.sandbox import Limits, Outcome, run_python

_END_OF_FUNCTION = re.compile(r"\n(?:class |def |@|#|if |print|<file|```)")
"""Where a completion leaves the function it was asked for: the stop sequences of Chen et al. 2021, and a few more."""


class Problem(Config):
    """One programming problem."""

    id: str
    prompt: str
    """What a model goes on with."""
    continued: bool
    """Whether a completion goes on with the prompt's last function, or is a program by itself."""
    entry_point: str
    """The function that is tested."""
    setup: str = ""
    """Statements that every test needs before it."""
    visible_tests: tuple[str, ...]
    """Statements that raise where a program is wrong, and that the prompt shows."""
    tests: str
    """All tests, the setup included, as statements to run after the program."""
    solution: str
    """A program that is right."""

    def program(self, completion: str) -> str:
        """The program that a completion makes."""
        return self.prompt + first_function(completion) if self.continued else completion

    @property
    def visible(self) -> str:
        """The visible tests, as statements to run after the program."""
        return "\n".join([self.setup, *self.visible_tests]) + "\n"


class Verdict(Config):
    """Whether a program passed, and how it ended."""

    passed: bool
    reason: Literal["passed", "wrong", "error", "timeout", "killed", "output", "ended early"]
    """`wrong`: an assertion failed; `error`: another exception; `ended early`: it left before its tests were through."""
    detail: str
    """The last line of its standard error."""


def first_function(completion: str) -> str:
    """A completion of a function up to where something else begins.

    >>> first_function("    return 1\\n\\ndef other(): ...")
    '    return 1\\n'
    """
    return _END_OF_FUNCTION.split(completion, maxsplit=1)[0]


def read_humaneval(path: Path) -> list[Problem]:
    """The problems of a `HumanEval.jsonl` or `.jsonl.gz`.

    Raises:
        SourceError: when the file is none.
    """
    return [
        Problem(
            id=row["task_id"],
            prompt=row["prompt"],
            continued=True,
            entry_point=row["entry_point"],
            visible_tests=tuple(_doctests(row["prompt"], row["entry_point"])),
            tests=f"{row['test']}\ncheck({row['entry_point']})\n",
            solution=row["prompt"] + row["canonical_solution"],
        )
        for row in _rows(path, ("task_id", "prompt", "entry_point", "test", "canonical_solution"))
    ]


def read_mbpp(path: Path, *, shown: int = 1) -> list[Problem]:
    """The problems of an `mbpp.jsonl`, all 974: the customary test set are those with ids 11 to 510.

    Args:
        path: the file.
        shown: how many of the (mostly three) tests the prompt shows; Austin et al. show all.

    Raises:
        SourceError: when the file is none.
    """
    problems = []
    for row in _rows(path, ("task_id", "text", "code", "test_list")):
        tests = [test.replace("\r\n", "\n") for test in row["test_list"]]
        visible = tuple(tests[:shown])
        setup = row.get("test_setup_code", "").replace("\r\n", "\n")
        problems.append(
            Problem(
                id=f"mbpp/{row['task_id']}",
                prompt=f'"""\n{row["text"]}\n' + "".join(f"{test}\n" for test in visible) + '"""\n',
                continued=False,
                entry_point=_called(tests[0]),
                setup=setup,
                visible_tests=visible,
                tests="\n".join([setup, *tests]) + "\n",
                solution=row["code"].replace("\r\n", "\n"),
            )
        )
    return problems


def _rows(path: Path, needed: Sequence[str]) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise SourceError(f"line {number} is no JSON: {error}", where=str(path)) from error
            missing = [name for name in needed if name not in row]
            if missing:
                raise SourceError(f"line {number} has no {missing}", where=str(path), expected=f"the keys {list(needed)}")
            yield row


def _doctests(prompt: str, function: str) -> Iterator[str]:
    """The examples in literals of a function's docstring (`>>> f(1)`, `f(1) ➞ 2`, `f(1) == 2`), as assertions."""
    try:
        tree = ast.parse(prompt + "\n    pass\n")
        (asked,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
        told = ast.get_docstring(asked) or ""
        examples = [(example.source, example.want) for example in doctest.DocTestParser().get_examples(told)]
    except (SyntaxError, ValueError):
        return
    examples += re.findall(rf"^\s*({function}\(.*\)) *(?:==|=>|->|➞|returns|should return) *(.+)$", told, flags=re.MULTILINE)
    for called, answer in examples:
        try:
            source, wanted = (ast.parse(text.strip(), mode="eval") for text in (called, answer))
            ast.literal_eval(wanted)
            for argument in source.body.args if isinstance(source.body, ast.Call) else []:
                ast.literal_eval(argument)
        except (SyntaxError, ValueError):
            continue
        yield f"assert ({ast.unparse(source)}) == ({ast.unparse(wanted)})"


def _called(test: str) -> str:
    """The function that an assertion calls first."""
    for node in ast.walk(ast.parse(test)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in dir(__builtins__):
            return node.func.id
    return ""


def judge(program: str, tests: str, *, limits: Limits | None = None) -> Verdict:
    """Run a program with its tests in the sandbox.

    The last statement after the tests writes a word that this run alone knows: a program that leaves early with exit code 0
    has not passed. It is no defence against a program that reads its own source to find that word.
    """
    word = secrets.token_hex(16)
    told = f"\nimport os as _os\n_os.write(1, b'\\n{word}\\n')\n"
    outcome = run_python(f"{program}\n{tests}{told}", limits=limits)
    reason = _reason(outcome, finished=word in outcome.stdout)
    lines = outcome.stderr.strip().splitlines()
    return Verdict(passed=reason == "passed", reason=reason, detail=lines[-1][:500] if lines else outcome.signal)


def _reason(
    outcome: Outcome, *, finished: bool
) -> Literal["passed", "wrong", "error", "timeout", "killed", "output", "ended early"]:
    match outcome.status:
        case "ok":
            return "passed" if finished else "ended early"
        case "failed":
            return "wrong" if "AssertionError" in outcome.stderr.strip().rpartition("\n")[2] else "error"
        case status:
            return status


def judge_all(programs: Sequence[tuple[str, str]], *, limits: Limits | None = None, workers: int = 2) -> list[Verdict]:
    """Verdicts on pairs of program and tests, in their order, several at a time."""
    with ThreadPoolExecutor(max_workers=workers) as pool:
        return list(pool.map(lambda pair: judge(*pair, limits=limits), programs))
