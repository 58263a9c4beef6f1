"""Cross-validation put together: the answers of all folds as one evaluation in which every item was held out once.

    fold 1 --> examples.parquet --+
    fold 2 --> examples.parquet --+--> repeat-1/examples.parquet --> numbers with intervals     one repeat: these
    ...                           |    repeat-2/ ...                                            several: their mean, with an
                                                                                                interval over repeats and items
Numbers are made of the joined answers and are not means over folds: an F1 of few examples is no fifth of an F1 of many.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lmpipe.base.errors import SourceError
from lmpipe.base.files import atomic_file
from lmpipe.base.measures import Metric, read_metrics, write_metrics
from lmpipe.evaluation.bootstrap import Resampling
from lmpipe.evaluation.comparison import measure_lead
from lmpipe.evaluation.examples import EXAMPLES, read_layout
from lmpipe.evaluation.measuring import evaluate_examples
from lmpipe.evaluation.metrics import metrics_of
from lmpipe.evaluation.repeats import LEAD_PART, open_items, spreads_of
from lmpipe.evaluation.units import PER_DOCUMENT


def join_folds(repeats: Sequence[Sequence[Path]], output: Path, *, subject: str, resampling: Resampling) -> list[Metric]:
    """Join the folds of each repeat, and give every number with its interval.

    Args:
        repeats: for each repeat, the evaluation of each fold.
        output: an existing folder; gets `repeat-1/` ... with an evaluation each, and `metrics.json`.
        subject: how the evaluations' names begin, such as `reviews.test`; the joined ones have `.folds` after it.
        resampling: how intervals are made.

    Raises:
        SourceError: when an item was held out twice, or folds know different classes.
    """
    joined = f"{subject}.folds"
    folders = []
    for number, folds in enumerate(repeats, 1):
        folder = output / f"repeat-{number}"
        folder.mkdir()
        whole = _join_examples if (folds[0] / EXAMPLES).is_file() else _join_documents
        whole(folds, folder, subject, joined, resampling)
        folders.append(folder)
    metrics = read_metrics(folders[0])
    if len(folders) > 1:
        metrics = []
        for name in ("", *_beside(folders[0])):
            part = ".".join(filter(None, (joined, name)))
            sides = [open_items(folder / name, part) for folder in folders]
            metrics += [spread.metric(part) for spread in spreads_of(sides, resampling, members="repeats")]
    write_metrics(output, metrics)
    return metrics


def _beside(folder: Path) -> list[str]:
    """Names of the baselines that have answers of their own."""
    return sorted(path.parent.name for path in folder.glob(f"*/{EXAMPLES}"))


def _join_examples(folds: Sequence[Path], output: Path, subject: str, joined: str, resampling: Resampling) -> None:
    metrics = _measured(folds, output, joined, resampling)
    for name in _beside(folds[0]):
        (output / name).mkdir()
        metrics += _measured([fold / name for fold in folds], output / name, f"{joined}.{name}", resampling)
    for one in read_metrics(folds[0]):
        lead = one.name.removeprefix(f"{subject}.")
        if LEAD_PART in lead:
            decisive, baseline = lead.split(LEAD_PART)
            metrics.append(measure_lead(output / baseline, output, decisive, f"{joined}.{lead}"))
    write_metrics(output, metrics)


def _measured(folds: Sequence[Path], output: Path, subject: str, resampling: Resampling) -> list[Metric]:
    layouts = [read_layout(fold / EXAMPLES) for fold in folds]
    classes = {layout.classes for layout in layouts}
    if len(classes) > 1:
        every = [set(one) for one in classes]
        rare = sorted(set[str]().union(*every) - every[0].intersection(*every))
        raise SourceError(
            f"the models of the folds know different classes: {', '.join(rare[:5])} are missing from some training text",
            where="cross_validation",
            expected="every class in every fold",
            fix="fewer folds, or leave rare classes out",
        )
    layout = layouts[0].model_copy(update={"subject": subject, "seed": resampling.seed})
    table = pa.concat_tables([pq.read_table(fold / EXAMPLES) for fold in folds]).sort_by("id")
    ids = table["id"].to_pylist()
    if len(set(ids)) < len(ids):
        raise SourceError("an example was held out in two folds of one repeat", where=str(output), expected="once")
    table = table.replace_schema_metadata(layout.columns().metadata).combine_chunks()
    with atomic_file(output / EXAMPLES) as file:
        pq.write_table(table, file, compression="zstd", compression_level=3, write_statistics=False)
    return evaluate_examples(output)


def _join_documents(folds: Sequence[Path], output: Path, subject: str, joined: str, resampling: Resampling) -> None:
    """The sums of all documents, by the digests of their texts, so that every repeat has them in one order."""
    table = pa.concat_tables([pq.read_table(fold / PER_DOCUMENT) for fold in folds]).sort_by("text_sha256").combine_chunks()
    with atomic_file(output / PER_DOCUMENT) as file:
        pq.write_table(table, file, compression="zstd", compression_level=3)
    columns = {name: np.asarray(table[name].to_numpy(), dtype=np.float64) for name in ("bytes", "tokens", "nats", "correct")}
    corpus, split = subject.rsplit(".", 1)
    documents = Resampling(resampling.resamples, resampling.level, resampling.seed, "documents")
    metrics = metrics_of(columns, documents, corpus=corpus, split=split, baseline=joined.rsplit(".", 1)[1])
    recorded = set.intersection(*({one.name for one in read_metrics(fold)} for fold in folds))
    write_metrics(output, [one for one in metrics if one.name.replace(f"{joined}.", f"{subject}.") in recorded])
