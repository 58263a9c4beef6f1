"""The sums behind every number: bytes, tokens, nats and right guesses per document, or per block where documents are few.

No logit and no token is kept. The table is written beside the metrics, so that each of them can be recomputed from it, and so
that two models can be compared document by document: a document is known by the digest of its bytes, whatever the tokenizer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lmpipe.base.errors import ModelError, SourceError
from lmpipe.base.files import atomic_file
from lmpipe.evaluation.bootstrap import Floats, block_tokens_for

Integers = npt.NDArray[np.int64]
PER_DOCUMENT = "per_document.parquet"
PER_BLOCK = "per_block.parquet"


class Documents(Protocol):
    """What scoring needs of a folder of token shards."""

    @property
    def documents(self) -> int:
        """How many documents there are."""

    def document(self, index: int) -> npt.NDArray[np.integer]:
        """Token ids of one document, its closing end-of-text included."""

    def document_bytes(self, index: int) -> int:
        """UTF-8 bytes of one document's text."""

    def comes_back(self, index: int) -> bool:
        """Whether one document's text comes back from its tokens."""


@dataclass(frozen=True)
class Units:
    """What is resampled: documents, or blocks of `block_tokens` tokens of a document (the last one may be shorter)."""

    document_U: Integers
    bytes_U: Integers
    tokens_U: Integers
    first_unit_D: Integers
    block_tokens: int
    text_digest_D: list[str]
    changed: int = 0
    """Documents whose text does not come back from their tokens: of these, the probability of the tokens does not say how
    probable the text is."""

    @property
    def name(self) -> str:
        """What a unit is called in `Interval.method`."""
        return "documents" if self.block_tokens == 0 else f"blocks of {self.block_tokens} tokens"

    def of(self, document: Integers, position: Integers) -> Integers:
        """The units that hold the given token positions of the given documents."""
        first: Integers = self.first_unit_D[document]
        return first if self.block_tokens == 0 else first + position // self.block_tokens


def whole_documents(tokens_D: Sequence[int]) -> Units:
    """Units for texts of the given lengths whose bytes do not matter: one for each."""
    tokens_U = np.asarray(tokens_D, dtype=np.int64)
    each = np.arange(len(tokens_U), dtype=np.int64)
    return Units(each, np.zeros_like(tokens_U), tokens_U, each, block_tokens=0, text_digest_D=[])


def lay_out(documents: Documents, token_bytes: Sequence[bytes], *, drops_space: bool = False) -> Units:
    """Decide what the units are and count their bytes and tokens.

    Args:
        documents: token shards of the scored split.
        token_bytes: the bytes that each token id stands for; special tokens stand for none.
        drops_space: whether a space at the beginning of what tokens spell is no part of the text.

    Raises:
        SourceError: when there is no document.
        ModelError: when the tokens do not spell as many bytes as the shards say, so tokenizer and shards are not of one making.
    """
    if documents.documents == 0:
        raise SourceError("there is no document to score", expected="at least one in the scored split")
    tokens_D = np.array([len(documents.document(i)) for i in range(documents.documents)], dtype=np.int64)
    block_tokens = block_tokens_for(tokens_D)
    units_D = np.ones_like(tokens_D) if block_tokens == 0 else np.maximum(-(-tokens_D // block_tokens), 1)
    lengths = np.array([len(spelling) for spelling in token_bytes], dtype=np.int64)
    tokens, sizes, digests = [], [], []
    for index in range(documents.documents):
        ids = np.asarray(documents.document(index), dtype=np.int64)
        digests.append(_text_digest(documents, index, ids, token_bytes, drops_space))
        edges = np.arange(0, len(ids), block_tokens or max(len(ids), 1))
        tokens.append(np.diff(np.append(edges, len(ids))))
        bytes_of_blocks = np.add.reduceat(lengths[ids], edges)
        bytes_of_blocks[0] += documents.document_bytes(index) - bytes_of_blocks.sum()  # the space that is no part of the text
        sizes.append(bytes_of_blocks)
    return Units(
        document_U=np.repeat(np.arange(len(units_D), dtype=np.int64), units_D),
        bytes_U=np.concatenate(sizes),
        tokens_U=np.concatenate(tokens),
        first_unit_D=np.cumsum(units_D) - units_D,
        block_tokens=block_tokens,
        text_digest_D=digests,
        changed=sum(not documents.comes_back(index) for index in range(documents.documents)),
    )


def _text_digest(documents: Documents, index: int, ids: Integers, token_bytes: Sequence[bytes], drops_space: bool) -> str:
    """The first 128 bits of the sha256 of a document's bytes, spelled from its tokens."""
    text = b"".join([token_bytes[i] for i in ids.tolist()])
    text = text.removeprefix(b" ") if drops_space else text
    recorded = documents.document_bytes(index)
    if len(text) != recorded and documents.comes_back(index):
        raise ModelError(
            f"document {index} spells {len(text)} bytes with this tokenizer, and the shards record {recorded}",
            expected="shards made by the tokenizer that is given with them",
            fix="score shards of this run's own tokenizer",
        )
    return hashlib.sha256(text).hexdigest()[:32]


def write_table(output: Path, units: Units, sums: dict[str, npt.NDArray[np.generic]]) -> None:
    """Write `per_document.parquet`, and `per_block.parquet` where blocks are the units.

    Args:
        output: the stage's folder.
        units: what a row is.
        sums: further columns, each with one entry per unit (`nats`, `correct`, and `ngram_nats`, `hmm_nats` of baselines).
    """
    columns = {"bytes": units.bytes_U, "tokens": units.tokens_U, **sums}
    documents = {name: _per_document(units, column) for name, column in columns.items()}
    index = np.arange(len(units.text_digest_D), dtype=np.int64)
    _write(output / PER_DOCUMENT, {"document": index, "text_sha256": units.text_digest_D, **documents})
    if units.block_tokens:
        block_U = np.arange(len(units.document_U)) - units.first_unit_D[units.document_U]
        _write(output / PER_BLOCK, {"document": units.document_U, "block": block_U, **columns})


def _per_document(units: Units, column_U: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    column_D = np.zeros(len(units.first_unit_D), dtype=column_U.dtype)
    np.add.at(column_D, units.document_U, column_U)
    return column_D


def _write(path: Path, columns: dict[str, object]) -> None:
    with atomic_file(path) as file:
        pq.write_table(pa.table(columns), file, compression="zstd", compression_level=3, row_group_size=65_536)


@dataclass(frozen=True)
class Table:
    """A written table, read back: its digests of texts, and the sums that intervals are made from."""

    text_digest_D: list[str]
    columns_U: dict[str, Floats]
    unit: str


def read_table(folder: Path) -> Table:
    """Read what `write_table` wrote: blocks where there are any, documents otherwise.

    Raises:
        SourceError: when the folder holds no evaluation.
    """
    if not (folder / PER_DOCUMENT).is_file():
        raise SourceError(f"{folder} holds no {PER_DOCUMENT}", expected="the output folder of an `evaluate` stage")
    documents = pq.read_table(folder / PER_DOCUMENT)
    in_blocks = (folder / PER_BLOCK).is_file()
    rows = pq.read_table(folder / PER_BLOCK) if in_blocks else documents
    names = [name for name in rows.column_names if name not in ("document", "block", "text_sha256")]
    columns = {name: np.asarray(rows[name].to_numpy(), dtype=np.float64) for name in names}
    return Table(documents["text_sha256"].to_pylist(), columns, "blocks" if in_blocks else "documents")
