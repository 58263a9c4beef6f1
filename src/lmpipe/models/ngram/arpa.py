"""An n-gram model as ARPA text, the format that KenLM, SRILM and most speech recognisers read.

Promises: the same probabilities, to the seven digits that are written. The beginning of a document is `<s>` and end-of-text is
`</s>`; every other token is named by the caller. `<unk>`, which readers ask for, has no probability: our vocabulary is closed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.files import atomic_file
from lmpipe.models.ngram.model import NgramModel, Table

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = "-99"
"""What ARPA writes for log10 of zero."""


def write_arpa(model: NgramModel, path: Path, words: Sequence[str] | None = None) -> None:
    """Write `model` to `path`.

    Args:
        model: any order.
        path: the file.
        words: a name without white space for every id; ids as decimal numbers when None.
    """
    names = list(words) if words is not None else [str(number) for number in range(model.vocab_size)]
    names[model.end_of_text_id] = END
    names.append(BEGIN)
    with atomic_file(path, "w", encoding="utf-8") as file:
        file.write("\\data\\\n")
        for order, table in enumerate(model.tables, start=1):
            file.write(f"ngram {order}={len(table.log_probability) + (order == 1)}\n")
        for order, (grams, table) in enumerate(zip(_grams(model), model.tables, strict=True), start=1):
            _write_order(file, order, grams, table, names, begin=model.vocab_size)
        file.write("\n\\end\\\n")


def _grams(model: NgramModel) -> Iterator[NDArray[np.int64]]:
    """The ids of every n-gram of each order in turn, shape (n-grams, order)."""
    base = model.vocab_size + 1
    grams = np.arange(base).reshape(-1, 1)
    yield grams
    for table in model.tables[1:]:
        grams = np.column_stack([grams[table.keys // base], table.keys % base])
        yield grams


def _write_order(file: IO[str], order: int, grams: NDArray[np.int64], table: Table, names: list[str], *, begin: int) -> None:
    file.write(f"\n\\{order}-grams:\n")
    if order == 1:
        file.write(f"{NEVER}\t{UNKNOWN}\n")
    log10 = 1 / np.log(10)
    backoffs = table.log_backoff if len(table.log_backoff) else None
    for entry, gram in enumerate(grams.tolist()):
        probability = NEVER if gram == [begin] else f"{table.log_probability[entry] * log10:.7g}"
        backoff = f"\t{backoffs[entry] * log10:.7g}" if backoffs is not None else ""
        file.write(f"{probability}\t{' '.join(names[token] for token in gram)}{backoff}\n")
