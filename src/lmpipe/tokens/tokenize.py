"""Splits of documents to token shards: the `tokenize` stage.

    train/ validation/ test/     token shards
    tokens.json                  totals of each split
    groups.json                  of text: sizes of held-out text by source and language (`fertility.py`)

Promises: memory of a few batches, and bytes that do not depend on the number of threads. Planted canaries go among the training
documents at places that depend on their ids only, so that none of them stands in a row of its own kind at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import ServingError, SourceError
from lmpipe.base.files import read_json, write_json
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.tokens.chat import CHAT_TEMPLATE, render
from lmpipe.tokens.documents import count_documents, read_ids_and_texts, read_texts
from lmpipe.tokens.fertility import GROUPS, count_groups
from lmpipe.tokens.shards import SHARD_TOKENS, ShardWriter, open_shards, token_type, write_totals
from lmpipe.tokens.threads import use_threads
from lmpipe.tokens.tokenizer import Tokenizer, load_tokenizer

SPLITS = ("train", "validation", "test")
ARRANGEMENT = "arrangement.json"
"""Left beside the splits by whoever put the training documents into an order that counts."""
BATCH_CHARACTERS = 1 << 21
"""Texts encoded at once: enough for every thread, and some 400 MB of the library's working memory at most."""
BATCH_PIECES = 4096


def tokenize(
    splits: Path,
    canaries: Path | None,
    tokenizer: Path,
    output: Path,
    *,
    progress: Progress,
    threads: int,
    shard_tokens: int = SHARD_TOKENS,
    conversations: bool = False,
) -> dict[str, Any]:
    """Write the shards of each split and `tokens.json`; return what that file says.

    Of each split it says how many tokens stand for unknown text, where the tokenizer has such a token, and how many documents
    do not come back from their tokens, where that may happen.

    Args:
        splits: folder with `train/`, `validation/`, `test/`, each holding parts of documents.
        canaries: folder with parts of planted documents, for training only.
        tokenizer: folder of a trained tokenizer.
        output: an existing folder.
        progress: told documents done.
        threads: of the library; changes no byte.
        shard_tokens: when a shard is closed.
        conversations: whether the documents are lists of messages as JSON, to be rendered by `CHAT_TEMPLATE`.

    Raises:
        SourceError: when a document is no conversation.
    """
    use_threads(threads)
    loaded = load_tokenizer(tokenizer)
    total = sum(count_documents(splits / split) for split in SPLITS) + (count_documents(canaries) if canaries else 0)
    counter = _Counter(progress, total)
    totals: dict[str, Any] = {}
    for split in SPLITS:
        texts = _training_texts(splits / split, canaries) if split == "train" and canaries else read_texts(splits / split)
        runs = _runs(splits) if split == "train" else 1
        ids = _rendered(texts, loaded, split) if conversations else _encoded(texts, loaded)
        totals[split] = _write_split(ids, loaded, output / split, counter, shard_tokens, runs)
        _tell_losses(totals[split], split, progress)
    if not conversations:
        write_json(output / GROUPS, count_groups(splits / "test", open_shards(output / "test")))
    planted = count_documents(canaries) if canaries else 0
    sizes = {"vocab_size": loaded.vocab_size, "end_of_text_id": loaded.end_of_text_id}
    return write_totals(output, totals, **sizes, canary_documents=planted)


def _tell_losses(totals: dict[str, Any], split: str, progress: Progress) -> None:
    if totals.get("unknown_fraction"):
        progress.note(f"{split}: {totals['unknown_fraction']:.2%} of the tokens stand for unknown text")
    if totals.get("changed_documents"):
        documents = f"{totals['changed_documents']:,} of {totals['documents']:,} documents"
        progress.note(f"{split}: {documents} do not come back from their tokens, so bits per byte cannot be told of them")


def mix_in(texts: Iterator[str], planted: Iterable[tuple[int, str]]) -> Iterator[str]:
    """`texts` with each planted text put before the text of its place; places ascend.

    >>> list(mix_in(iter(["a", "b"]), [(1, "X"), (2, "Y")]))
    ['a', 'X', 'b', 'Y']
    """
    waiting = iter(planted)
    place, planted_text = next(waiting, (None, ""))
    for position, text in enumerate(texts):
        while place == position:
            yield planted_text
            place, planted_text = next(waiting, (None, ""))
        yield text
    while place is not None:
        yield planted_text
        place, planted_text = next(waiting, (None, ""))


def _training_texts(train: Path, canaries: Path) -> Iterator[str]:
    documents = count_documents(train)
    # The row number tells the repeats of one canary apart, should they share an id.
    planted = [
        (derive_seed(0, "canary place", number, row) % (documents + 1), row, text)
        for row, (number, text) in enumerate(read_ids_and_texts(canaries))
    ]
    return mix_in(read_texts(train), [(place, text) for place, _, text in sorted(planted)])


def _write_split(
    documents: Iterator[_Document],
    tokenizer: Tokenizer,
    folder: Path,
    counter: _Counter,
    shard_tokens: int,
    runs: int,
) -> dict[str, Any]:
    writer = ShardWriter(
        folder,
        vocab_size=tokenizer.vocab_size,
        end_of_text_id=tokenizer.end_of_text_id,
        controls=tokenizer.roles.controls(),
        shard_tokens=shard_tokens,
        runs=runs,
    )
    unknown = changed = 0
    with writer:
        for document in documents:
            writer.append(document.ids, document.text_bytes, comes_back=document.comes_back)
            unknown += int((document.ids == tokenizer.unknown_id).sum()) if tokenizer.unknown_id is not None else 0
            changed += not document.comes_back
            counter.add_one()
    totals = writer.totals()
    text_tokens = totals["tokens"] - totals["documents"]
    found: dict[str, Any] = {**totals, "bytes_per_token": totals["bytes"] / text_tokens if text_tokens else 0.0}
    if tokenizer.unknown_id is not None:
        found["unknown_fraction"] = unknown / text_tokens if text_tokens else 0.0
    if not tokenizer.lossless:
        found["changed_documents"] = changed
    return found


class _Document(NamedTuple):
    """What one text became."""

    ids: NDArray[Any]
    text_bytes: int
    comes_back: bool
    """Whether the ids give exactly the text."""


def _runs(splits: Path) -> int:
    """In how many runs the training documents are to be gone through: more than one where their order was made to count."""
    path = splits / ARRANGEMENT
    return int(read_json(path)["runs"]) if path.is_file() else 1


def _rendered(texts: Iterator[str], tokenizer: Tokenizer, split: str) -> Iterator[_Document]:
    """The ids of each conversation, and the UTF-8 bytes of what was said in it."""
    dtype = token_type(tokenizer.vocab_size)
    for number, text in enumerate(texts):
        try:
            messages = json.loads(text)
            if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
                raise ValueError("it is no list of messages")
            ids = render(messages, tokenizer, add_generation_prompt=False, chat_template=CHAT_TEMPLATE)
        except (ValueError, RecursionError, ServingError) as error:
            raise SourceError(
                f"document {number:,} is no conversation: {error.what if isinstance(error, ServingError) else error}",
                where=f"{split} split",
                expected="a list of messages, each with `role` (system, user or assistant) and `content`",
                fix="correct text_column, or say `holds: text`",
            ) from None
        # The template opens with end-of-text; in shards it closes each document and so opens the next.
        said = sum(len(message["content"].encode("utf-8")) for message in messages)
        yield _Document(np.array(ids[1:], dtype), said, comes_back=True)


def _encoded(texts: Iterator[str], tokenizer: Tokenizer) -> Iterator[_Document]:
    """The ids of each text and its UTF-8 bytes. Long texts are encoded in pieces, so memory does not follow their length."""
    dtype = token_type(tokenizer.vocab_size)
    parts: list[NDArray[Any]] = []
    pieces: list[str] = []
    for batch in _batches(texts, tokenizer):
        encoded = tokenizer.encode_pieces([piece for piece, _ in batch])
        for (piece, is_last), ids in zip(batch, encoded, strict=True):
            parts.append(np.array(ids, dtype))
            pieces.append(piece)
            if is_last:
                whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
                text = "".join(pieces)
                comes_back = tokenizer.lossless or tokenizer.comes_back(text, whole.tolist())
                yield _Document(whole, len(text.encode("utf-8")), comes_back)
                parts, pieces = [], []


def _batches(texts: Iterator[str], tokenizer: Tokenizer) -> Iterator[list[tuple[str, bool]]]:
    """Pieces of texts in batches for the library's threads, each with whether it is the last of its text."""
    batch: list[tuple[str, bool]] = []
    characters = 0
    for text in texts:
        pieces = tokenizer.pieces(text)
        for number, piece in enumerate(pieces, start=1):
            batch.append((piece, number == len(pieces)))
            characters += len(piece)
            if characters >= BATCH_CHARACTERS or len(batch) >= BATCH_PIECES:
                yield batch
                batch, characters = [], 0
    if batch:
        yield batch


class _Counter:
    """Tells progress how many documents are done."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def add_one(self) -> None:
        self.done += 1
        self.progress.update(self.done, self.total, "documents")
