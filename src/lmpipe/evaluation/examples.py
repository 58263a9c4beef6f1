"""What a model did with each example, in one file, `examples.parquet`: every number of an evaluation is made from it alone.

    batches --> ExampleWriter --> examples.parquet --> measure --> metrics.json
                (4096 rows in memory)             +--> slices, comparison of two models, McNemar, permutation

The file says of itself what it holds (`ExampleLayout`, in its metadata), so it can be measured again by anyone who has it.
Equal results give equal bytes, however they were batched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from lmpipe.base.canonical import canonical_json
from lmpipe.base.config import Config
from lmpipe.base.errors import SourceError
from lmpipe.base.files import atomic_file
from lmpipe.evaluation import classification, generation, multilabel, regression, retrieval, tagging
from lmpipe.evaluation.bootstrap import Resampling
from lmpipe.evaluation.catalogue import COUNT_UNITS, TaskKind
from lmpipe.evaluation.code import passing
from lmpipe.evaluation.weighting import Measured

EXAMPLES = "examples.parquet"
LAYOUT_KEY = b"lmpipe.examples"
ROWS_IN_A_GROUP = 4096
SLICE_PREFIX = "slice_"

SCHEMAS: dict[TaskKind, dict[str, pa.DataType]] = {
    "classification": classification.SCHEMA,
    "multilabel": multilabel.SCHEMA,
    "regression": regression.SCHEMA,
    "generation": generation.SCHEMA,
    "tagging": tagging.SCHEMA,
    "retrieval": retrieval.SCHEMA,
    "code": passing.SCHEMA,
}
TRUTH: dict[TaskKind, str] = dict.fromkeys(SCHEMAS, "label") | {"generation": "references"}
"""The column that two models must share to be compared; programs are known by their problem's id alone."""


class ExampleLayout(Config):
    """What a file of per-example results holds, and how numbers are made from it."""

    kind: TaskKind
    subject: str
    """First part of the metrics' names, such as `reviews.test`."""
    classes: tuple[str, ...] = ()
    """All classes, in the order of the columns of probabilities."""
    slices: tuple[str, ...] = ()
    """Names of the columns by which examples can be told apart: source, language, gender..."""
    at: tuple[int, ...] = ()
    """The k of `recall_at_k`, `ndcg_at_k` and `pass_at_k`."""
    searched: str = ""
    """Of a search: sha256 over the distinct passages in alphabetical order, for recall hangs on what else is there."""
    resamples: int = Field(default=1000, ge=100, le=100_000)
    """Bootstrap resamples behind each interval."""
    level: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence level of the intervals."""
    seed: int = 0
    """Of the resamples; it stands in every interval."""

    @property
    def resampling(self) -> Resampling:
        """How intervals are made."""
        return Resampling(self.resamples, self.level, self.seed, COUNT_UNITS[self.kind])

    def columns(self) -> pa.Schema:
        """Columns of the file, with this layout in its metadata."""
        columns = {"id": pa.string(), **SCHEMAS[self.kind], "text_characters": pa.int64()}
        columns |= {SLICE_PREFIX + name: pa.string() for name in self.slices}
        metadata = {LAYOUT_KEY: canonical_json(self.model_dump(mode="json")).encode()}
        return pa.schema(list(columns.items()), metadata=metadata)


class ExampleWriter:
    """Writes per-example results batch by batch; a context manager, and the file is there only when its block ended well.

    >>> with ExampleWriter(output, ExampleLayout(kind="regression", subject="ratings.test")) as examples:  # doctest: +SKIP
    ...     examples.add(["a", "b"], regressed([1.0, 2.0], [1.5, 2.5]), texts=["so so", "fine"])
    """

    def __init__(self, folder: Path, layout: ExampleLayout) -> None:
        self.path = folder / EXAMPLES
        self.layout = layout
        self.rows = 0
        self._schema = layout.columns()
        self._waiting: list[pa.Table] = []
        self._stack = ExitStack()
        self._seen: set[bytes] = set()

    def __enter__(self) -> Self:
        file: IO[Any] = self._stack.enter_context(atomic_file(self.path))
        self._writer = self._stack.enter_context(
            pq.ParquetWriter(file, self._schema, compression="zstd", compression_level=3, write_statistics=False)
        )
        return self

    def add(
        self,
        ids: Sequence[str],
        columns: Mapping[str, Sequence[object]],
        *,
        texts: Sequence[str] | None = None,
        slices: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            ids: one for each example, unique in the file.
            columns: what `classified`, `labelled`, `regressed`, `generated`, `tagged`, `retrieved` or `sampled` gave.
            texts: the inputs, of which the length is kept.
            slices: a value for each example and each of the layout's `slices`.

        Raises:
            SourceError: when an id comes twice, or columns differ in length or are not the layout's.
        """
        given: dict[str, Sequence[object]] = {"id": list(ids), **columns}
        if texts is not None:
            given["text_characters"] = [len(text) for text in texts]
        given |= {SLICE_PREFIX + name: values for name, values in (slices or {}).items()}
        self._check(given)
        missing = {name: [None] * len(ids) for name in self._schema.names if name not in given}
        batch = {**given, **missing}
        self._waiting.append(pa.table({name: batch[name] for name in self._schema.names}, schema=self._schema))
        self.rows += len(ids)
        self._write(keep=ROWS_IN_A_GROUP - 1)

    def _check(self, given: Mapping[str, Sequence[object]]) -> None:
        unknown = sorted(set(given) - set(self._schema.names))
        absent = [name for name in self.layout.slices if SLICE_PREFIX + name not in given]
        if unknown or absent or len({len(values) for values in given.values()}) != 1:
            raise SourceError(
                f"a batch of per-example results has columns { ({name: len(values) for name, values in given.items()}) }",
                expected=f"equally long ones of {self._schema.names}, every slice among them",
            )
        for value in given["id"]:
            key = hashlib.blake2b(str(value).encode(), digest_size=16).digest()
            if key in self._seen:
                raise SourceError(
                    f"two examples have the id {value!r}", where=str(self.path), expected="an id of its own for each"
                )
            self._seen.add(key)

    def _write(self, *, keep: int) -> None:
        if sum(table.num_rows for table in self._waiting) <= keep:
            return
        table = pa.concat_tables(self._waiting).combine_chunks()
        start = 0
        while table.num_rows - start > keep:
            self._writer.write_table(table.slice(start, ROWS_IN_A_GROUP), row_group_size=ROWS_IN_A_GROUP)
            start += ROWS_IN_A_GROUP
        self._waiting = [table.slice(start)] if start < table.num_rows else []

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._stack.pop_all():  # what is raised in here tells the file that it must not appear
            if error is not None:
                raise error
            if self.rows == 0:
                raise SourceError("there is no example to evaluate", where=str(self.path), expected="at least one")
            self._write(keep=0)


@dataclass(frozen=True)
class Examples:
    """Per-example results, read back: sorted by id, so that two files of one test set line up."""

    layout: ExampleLayout
    table: pa.Table

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.table.num_rows)

    def measured(self) -> Measured:
        """The examples, ready to be weighted."""
        layout = self.layout
        match layout.kind:
            case "classification":
                return classification.Classification.from_table(self.table, layout.classes)
            case "multilabel":
                return multilabel.Multilabel.from_table(self.table, layout.classes)
            case "regression":
                return regression.Regression.from_table(self.table)
            case "generation":
                return generation.Generation.from_table(self.table)
            case "tagging":
                return tagging.Tagging.from_table(self.table)
            case "retrieval":
                gains, relevant = (self.table[name].to_pylist() for name in ("prediction", "label"))
                return retrieval.Retrieval(gains, relevant, layout.at)
            case "code":
                samples, right = (self.table[name].to_pylist() for name in ("samples", "right"))
                return passing.Passing(samples, right, layout.at)

    def only(self, chosen_N: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Examples:
        """The examples of a mask."""
        return Examples(self.layout, self.table.filter(pa.array(chosen_N)))

    def joined(self, other: Examples) -> Examples:
        """These examples, and then those of the other."""
        return Examples(self.layout, pa.concat_tables([self.table, other.table]))


def read_examples(folder: Path, *, texts: bool = False) -> Examples:
    """Read per-example results.

    Args:
        folder: the output folder of an evaluation.
        texts: also read the generated texts, references and sources, which no number needs.

    Raises:
        SourceError: when the folder holds none.
    """
    path = folder / EXAMPLES
    layout = read_layout(path)
    skipped = () if texts or layout.kind != "generation" else generation.TEXTS
    table = pq.read_table(path, columns=[name for name in layout.columns().names if name not in skipped])
    return Examples(layout, table.sort_by("id").combine_chunks())


def read_layout(path: Path) -> ExampleLayout:
    """What a file of per-example results says of itself."""
    if not path.is_file():
        raise SourceError(f"{path.parent} holds no {EXAMPLES}", expected="the output folder of an evaluation of a task")
    metadata = pq.read_schema(path).metadata or {}
    if LAYOUT_KEY not in metadata:
        raise SourceError(f"{path} does not say what it holds", expected="a file that an ExampleWriter wrote")
    return ExampleLayout.model_validate_json(metadata[LAYOUT_KEY])


def read_column(folder: Path, name: str) -> Iterator[Any]:
    """One column, row group by row group, in the order of the file."""
    for batch in pq.ParquetFile(folder / EXAMPLES).iter_batches(columns=[name]):
        yield from batch.column(0).to_pylist()


def test_set_digest(folder: Path) -> str:
    """sha256 over ids and right answers, sorted by id: equal where two evaluations asked the same questions."""
    layout = read_layout(folder / EXAMPLES)
    columns = ["id", *([TRUTH[layout.kind]] if layout.kind != "code" else [])]
    table = pq.read_table(folder / EXAMPLES, columns=columns).sort_by("id")
    sha = hashlib.sha256(layout.kind.encode())
    for row in zip(*(table[name].to_pylist() for name in columns), strict=True):
        sha.update(canonical_json(list(row)).encode() + b"\n")
    return sha.hexdigest()
