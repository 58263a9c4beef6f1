"""Programs that a model writes for a set of problems: drawn, run, counted, and the few that would be handed in.

    problem --> prompt --> `samples` programs --> all tests ---------------------------------> right ones --> pass@k
                                    `--> shown tests --> clusters of like behaviour --> `submissions` --> solved or not

    examples.parquet   per problem: programs drawn and right ones
    problems.jsonl     per problem: how its programs ended, what was handed in, a right program where there is one
    metrics.json       pass@k and the share solved, with intervals

Programs of a block of problems are drawn side by side, from a seed of each problem; equal weights and runtimes give equal
programs. What a problem gave is kept in scratch, so a run that is killed draws only the block again in which it was. A block is
drawn whole, since the last bits of a sum depend on what is beside it. Verdicts are as reproducible as the programs: a test that
depends on time or chance is not.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmpipe.base.errors import ModelError
from lmpipe.base.files import atomic_file, read_json, write_json
from lmpipe.base.measures import Metric, write_metrics
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.evaluation.code.candidates import choose_among
from lmpipe.evaluation.code.config import SUBMITTED, ProgramsConfig
from lmpipe.evaluation.code.passing import sampled
from lmpipe.evaluation.code.problems import Problem, Verdict, judge_all, read_humaneval, read_mbpp
from lmpipe.evaluation.code.sandbox import Limits
from lmpipe.evaluation.examples import ExampleLayout, ExampleWriter
from lmpipe.evaluation.intervals import wilson
from lmpipe.evaluation.measuring import evaluate_examples
from lmpipe.models.drawing import Drawing
from lmpipe.models.generate import TextGenerator
from lmpipe.models.network import Decoder
from lmpipe.models.passes import DRAWN_TOGETHER
from lmpipe.tokens.tokenizer import Tokenizer

PROBLEMS = "problems.jsonl"


def evaluate_programs(
    config: ProgramsConfig,
    model: Decoder,
    *,
    tokenizer: Tokenizer,
    file: Path,
    output: Path,
    scratch: Path,
    seed: int,
    workers: int,
    progress: Progress,
) -> list[Metric]:
    """Measure, and write the files above into `output`.

    Args:
        config: which problems, how many programs.
        model: ready to predict.
        tokenizer: the model's.
        file: with the problems.
        output: an existing folder.
        scratch: survives a kill; what is done is not done again.
        seed: the recipe's.
        workers: programs that run at a time.
        progress: told problems done.

    Raises:
        SourceError: when the file holds no problems of that format.
        ModelError: when programs may be as long as the context.
        RecipeError: when this system offers no walls to run programs behind.
    """
    if config.max_new_tokens >= model.context_length:
        raise ModelError(
            f"programs may have {config.max_new_tokens} tokens, and the context has {model.context_length}",
            expected="room for a prompt",
            fix="lower max_new_tokens",
        )
    problems = read_humaneval(file) if config.format == "humaneval" else read_mbpp(file, shown=config.shown_tests)
    problems = problems[: config.limit]
    kept = [scratch / f"{number:05d}.json" for number in range(len(problems))]
    seeds = [derive_seed(seed, "programs", problem.id) for problem in problems]
    generator = TextGenerator(model, known_ids=tokenizer.vocab_size)
    size = max(1, DRAWN_TOGETHER // config.samples)
    for first in range(0, len(problems), size):
        block = range(first, min(first + size, len(problems)))
        if all(kept[number].is_file() for number in block):
            continue
        asked = [_drawing(config, problems[number], model, tokenizer, seeds[number]) for number in block]
        for done, (place, programs) in enumerate(generator.answers(asked, config.samples), start=first + 1):
            number = first + place
            if not kept[number].is_file():
                write_json(kept[number], _tried(config, problems[number], programs, tokenizer, seeds[number], workers))
            progress.update(done, len(problems), "problems")
    results = [read_json(file) for file in kept]
    return _written(config, results, output, derive_seed(seed, "bootstrap", config.subject) % 10**6)


def _drawing(config: ProgramsConfig, problem: Problem, model: Decoder, tokenizer: Tokenizer, seed: int) -> Drawing:
    prompt = tokenizer.encode(problem.prompt)
    return Drawing(
        prompt_ids=[tokenizer.start_of_text_id, *prompt[-(model.context_length - config.max_new_tokens - 1) :]],
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        stop_ids=(tokenizer.end_of_text_id,),
        seed=seed,
    )


def _tried(
    config: ProgramsConfig,
    problem: Problem,
    drawn: Sequence[Sequence[int]],
    tokenizer: Tokenizer,
    seed: int,
    workers: int,
) -> dict[str, Any]:
    """What came of one problem."""
    limits = Limits(wall_seconds=config.wall_seconds, cpu_seconds=config.cpu_seconds)
    texts = (tokenizer.decode([token for token in ids if token != tokenizer.end_of_text_id]) for ids in drawn)
    programs = [problem.program(text) for text in texts]
    verdicts = _judged(programs, problem.tests, limits, workers)
    chosen = choose_among(
        problem, programs, submissions=config.submissions, seed=derive_seed(seed, "calls"), limits=limits, workers=workers
    )
    right = [program for program in programs if verdicts[program].passed]
    return {
        "id": problem.id,
        "samples": len(programs),
        "right": len(right),
        "ended": dict(sorted(Counter(verdicts[program].reason for program in programs).items())),
        "passed_shown": chosen.passed_visible,
        "clusters": list(chosen.cluster_sizes),
        "submitted": list(chosen.programs),
        "solved": any(verdicts[program].passed for program in chosen.programs),
        "right_program": right[0] if right else None,
    }


def _judged(programs: Sequence[str], tests: str, limits: Limits, workers: int) -> dict[str, Verdict]:
    """Verdicts by program: equal ones are run once."""
    unique = list(dict.fromkeys(programs))
    verdicts = judge_all([(program, tests) for program in unique], limits=limits, workers=workers)
    return dict(zip(unique, verdicts, strict=True))


def _written(config: ProgramsConfig, results: Sequence[dict[str, Any]], output: Path, seed: int) -> list[Metric]:
    layout = ExampleLayout(
        kind="code", subject=config.subject, at=config.at, resamples=config.resamples, level=config.level, seed=seed
    )
    with ExampleWriter(output, layout) as examples:
        counts = sampled([result["samples"] for result in results], [result["right"] for result in results])
        examples.add([result["id"] for result in results], counts)
    with atomic_file(output / PROBLEMS) as lines:
        lines.write("".join(json.dumps(result, ensure_ascii=False) + "\n" for result in results).encode())
    solved = sum(result["solved"] for result in results)
    submitted = Metric(
        name=f"{config.subject}.{SUBMITTED.format(count=config.submissions)}",
        value=solved / len(results),
        unit="fraction",
        direction="higher",
        interval=wilson(solved, len(results), config.level),
        count=len(results),
        count_unit="problems",
    )
    metrics = [*evaluate_examples(output), submitted]
    write_metrics(output, metrics)
    return metrics
