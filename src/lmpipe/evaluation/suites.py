"""Tasks of lm-evaluation-harness on a decoder: the harness reads tasks, makes prompts and takes the measure; the model is ours.

    folder of tasks --> harness --> questions --> our model --> answers --> harness --> metrics.json
                                                                                   `--> items.parquet

The harness's own intervals are standard errors; here every share of items has Wilson's interval, and every other number that is
a mean over items, or a ratio of their sums, a bootstrap interval with a recorded seed: `items.parquet` is enough to make them
again.
"""

from __future__ import annotations

import importlib
import io
import logging
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np

from lmpipe.base.errors import SourceError
from lmpipe.base.extras import require
from lmpipe.base.measures import Metric, write_metrics
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.evaluation.bootstrap import Resampling
from lmpipe.evaluation.suite_config import SuiteConfig, metric_name
from lmpipe.evaluation.suite_items import Items, read_items, write_items
from lmpipe.models.network import Decoder
from lmpipe.tokens.tokenizer import Tokenizer


def evaluate_suite(
    config: SuiteConfig,
    model: Decoder,
    *,
    tokenizer: Tokenizer,
    folder: Path | None,
    output: Path,
    seed: int,
    progress: Progress,
) -> list[Metric]:
    """Ask all tasks, and write `metrics.json` and `items.parquet` into `output`.

    Args:
        config: which tasks, how.
        model: in the precision that is wanted, ready to predict.
        tokenizer: the model's.
        folder: with the tasks' files; None: tasks of the harness.
        output: an existing folder.
        seed: the recipe's; the bootstrap derives its own.
        progress: told questions answered.

    Raises:
        MissingExtraError: when the harness is not installed.
        SourceError: when a task is not there or cannot be read.
        ModelError: when a task asks for what the model cannot do.
    """
    require("lm_eval", extra="eval", purpose="a suite of tasks")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from lmpipe.evaluation.harness_model import HarnessModel

    with chdir(folder or Path.cwd()), _quiet():
        manager = TaskManager(include_path=str(folder) if folder else None, include_defaults=folder is None)
        _check_there(config, manager.all_tasks)
        try:
            found = simple_evaluate(
                model=HarnessModel(model, tokenizer, progress=progress),
                tasks=list(config.tasks),
                num_fewshot=config.fewshot,
                limit=config.limit,
                task_manager=manager,
                bootstrap_iters=0,
            )
        except (OSError, KeyError, ValueError, ConnectionError) as error:
            raise SourceError(
                f"the harness could not read its tasks: {type(error).__name__}: {error}",
                where=", ".join(config.tasks),
                expected="tasks whose files and data can be read here",
                fix="check the task's YAML file and the paths under dataset_kwargs: they are seen from the tasks' folder",
            ) from None
    write_items(output, found["samples"])
    metrics = _metrics(config, found, read_items(output), seed)
    write_metrics(output, metrics)
    return metrics


def _check_there(config: SuiteConfig, there: list[str]) -> None:
    missing = [task for task in config.tasks if task not in there]
    if missing:
        raise SourceError(
            f"there is no task '{missing[0]}'",
            where="suites.tasks",
            expected=f"one of {', '.join(sorted(there)[:10])}{', ...' if len(there) > 10 else ''}",
            fix="write the name that stands after `task:` in the task's file",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """The harness tells its log, and shows by bars, what is shown here otherwise; and it asks git, which complains on the
    terminal, in which repository the tasks lie."""
    evaluator: Any = importlib.import_module("lm_eval.evaluator")
    level, ask_git = logging.root.manager.disable, evaluator.get_git_commit_hash
    logging.disable(logging.WARNING)
    evaluator.get_git_commit_hash = lambda: None
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        evaluator.get_git_commit_hash = ask_git
        logging.disable(level)


def _metrics(config: SuiteConfig, found: dict[str, Any], items: dict[str, Items], seed: int) -> list[Metric]:
    """The harness's numbers, with intervals of those that are made from sums over items: not of BLEU, or F1 of a corpus."""
    metrics = []
    for task, numbers in found["results"].items():
        for key, value in numbers.items():
            metric, _, filtered = key.partition(",")
            if not filtered or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            name = metric_name(task, metric, filtered)
            behind = items.get(name)
            higher = found["higher_is_better"].get(task, {}).get(metric)
            resampling = Resampling(config.resamples, config.level, derive_seed(seed, "bootstrap", name) % 10**6, "items")
            metrics.append(
                Metric(
                    name=name,
                    value=float(value),
                    unit="bits/byte" if metric == "bits_per_byte" else "perplexity" if "perplexity" in metric else "fraction",
                    direction="none" if higher is None else "higher" if higher else "lower",
                    interval=behind.interval(resampling) if behind and np.isclose(behind.value(), value) else None,
                    count=len(behind.digests) if behind else int(found["n-samples"][task]["effective"]),
                    count_unit="items",
                )
            )
    return metrics
