"""Documents with an answer to token shards and arrays of answers: the `tokenize` stage of corpora that hold examples.

    train/ validation/ test/
        inputs/           token shards: one document per example, its start token in front, closed by end-of-text
        targets/          token shards: of pairs the target, of matches the passage; of tags, for each input id, the number of
                          its tag + 1, or 0
        answers.npy       of labels (N,) int32, -1: none of them; of several labels (N, L) uint8; of scores (N,) float32
    examples.json         what is held, names of labels or tags (from the training side), sizes of each side
    tokens.json           totals of each side

A word's tag stands at its first token. What cannot be learned is refused here, with the ids of the documents: answers that are
missing or of another type, a single class (or passage), a class that the training side lacks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json, write_json
from lmpipe.base.progress import Progress
from lmpipe.data.holding import ExamplesConfig, LabelsConfig, MatchesConfig, PairsConfig, ScoresConfig, TagsConfig
from lmpipe.tokens.documents import count_documents, read_examples
from lmpipe.tokens.shards import ShardWriter, TokenShards, open_shards, token_type, write_totals
from lmpipe.tokens.threads import use_threads
from lmpipe.tokens.tokenizer import Tokenizer, load_tokenizer

SPLITS = ("train", "validation", "test")
INPUTS, TARGETS, ANSWERS, HEADER = "inputs", "targets", "answers.npy", "examples.json"
WITH_TARGETS = ("pairs", "matches", "tags")
"""Kinds of examples that have shards of targets."""
SHOWN = 3
"""Documents named in a message."""
BATCH = 1024
"""Texts encoded at once."""

Row = tuple[str, str, Any]
"""(id, text, value of the answer's column)"""


def tokenize_examples(
    splits: Path, tokenizer: Path, output: Path, *, holds: ExamplesConfig, progress: Progress, threads: int
) -> dict[str, Any]:
    """Write the examples of each side, `examples.json` and `tokens.json`; return what the latter says.

    Args:
        splits: folder with `train/`, `validation/`, `test/`, each holding parts of documents.
        tokenizer: folder of a tokenizer.
        output: an existing folder.
        holds: which column has the answer, and what it is.
        progress: told examples done.
        threads: of the library; changes no byte.

    Raises:
        SourceError: for answers that are missing, unreadable, or cannot be learned.
    """
    use_threads(threads)
    loaded = load_tokenizer(tokenizer)
    total = sum(count_documents(splits / side) for side in SPLITS)
    names = _names(splits, holds)
    header: dict[str, Any] = {"kind": holds.kind, "names": names, "several": isinstance(holds, LabelsConfig) and holds.several}
    sizes, totals, done = {}, {}, 0
    for side in SPLITS:
        rows = _with_answer(read_examples(splits / side, holds.column), holds, side)
        if side == "train" and isinstance(holds, LabelsConfig) and holds.none_of_them is not None:
            rows = ((i, text, value) for i, text, value in rows if holds.none_of_them not in _classes(value, holds))
        writer = _Writer(output / side, loaded, holds, names)
        with writer:
            for _ in writer.write_all(rows):
                done += 1
                progress.update(done, total, "examples")
        if side == "train" and isinstance(holds, MatchesConfig) and writer.single_passage is not None:
            raise SourceError(
                f"all training queries have the same passage: {writer.single_passage[:60]!r}",
                where=f"column '{holds.column}'",
                expected="at least two: there is nothing to tell apart otherwise",
                fix="check the column, and what the filters and the split leave",
            )
        sizes[side] = writer.sizes()
        totals[side] = writer.totals()
    if not sizes["train"]["examples"]:
        raise SourceError("there is no training example", where="tokenize", expected="documents on the training side")
    write_json(output / HEADER, {**header, "sides": sizes})
    return write_totals(output, totals, vocab_size=loaded.vocab_size, end_of_text_id=loaded.end_of_text_id)


class ExampleShards:
    """The examples of one side, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        """Open `folder`, one side of what `tokenize_examples` wrote.

        Raises:
            ModelError: when it holds no examples.
            DamagedError: when a file is missing or its size is not the header's.
        """
        header = read_json(folder.parent / HEADER)
        self.folder = folder
        self.kind: str = header["kind"]
        self.names: tuple[str, ...] = tuple(header["names"])
        """Of labels or tags, in the order of their numbers."""
        self.several: bool = header["several"]
        self.inputs = open_shards(folder / INPUTS)
        self.targets: TokenShards | None = open_shards(folder / TARGETS) if self.kind in WITH_TARGETS else None
        answers = folder / ANSWERS
        self.answers: NDArray[Any] | None = np.load(answers, mmap_mode="r", allow_pickle=False) if answers.is_file() else None

    def __len__(self) -> int:
        return self.inputs.documents

    @property
    def vocab_size(self) -> int:
        """Of the inputs."""
        return self.inputs.vocab_size

    @property
    def end_of_text_id(self) -> int:
        """What closes inputs and targets."""
        return self.inputs.end_of_text_id


def holds_examples(folder: Path) -> bool:
    """Whether a tokenize stage's folder holds examples rather than one stream of text."""
    return (folder / HEADER).is_file()


@dataclass
class _Writer:
    """Writes one side."""

    folder: Path
    tokenizer: Tokenizer
    holds: ExamplesConfig
    names: tuple[str, ...]

    def __enter__(self) -> _Writer:
        size, end = self.tokenizer.vocab_size, self.tokenizer.end_of_text_id
        self.folder.mkdir(parents=True, exist_ok=True)
        self.inputs = ShardWriter(self.folder / INPUTS, vocab_size=size, end_of_text_id=end)
        self.inputs.__enter__()
        self.targets: ShardWriter | None = None
        if isinstance(self.holds, PairsConfig | MatchesConfig):
            self.targets = ShardWriter(self.folder / TARGETS, vocab_size=size, end_of_text_id=end)
        elif isinstance(self.holds, TagsConfig):
            self.targets = ShardWriter(self.folder / TARGETS, vocab_size=len(self.names) + 1, end_of_text_id=0)
        if self.targets:
            self.targets.__enter__()
        self.answers: list[Any] = []
        self.longest = [0, 0]
        self.single_passage: str | None = None
        """Of matches, the passage where there is only one."""
        self.dtype = token_type(size)
        self.start = list(self.tokenizer.start_ids) or ([] if isinstance(self.holds, PairsConfig) else [end])
        self.unreadable = self.tokenizer.unknown_id if self.tokenizer.unknown_id is not None else self.tokenizer.pad_id
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self.inputs.__exit__(kind, error, trace)
        if self.targets:
            self.targets.__exit__(kind, error, trace)
        if kind is None and isinstance(self.holds, LabelsConfig | ScoresConfig):
            np.save(self.folder / ANSWERS, self._answers_array(), allow_pickle=False)

    def _answers_array(self) -> NDArray[Any]:
        if isinstance(self.holds, ScoresConfig):
            return np.array(self.answers, np.float32)
        if self.holds.kind == "labels" and self.holds.several:
            return np.array(self.answers, np.uint8).reshape(len(self.answers), len(self.names))
        return np.array(self.answers, np.int32)

    def write_all(self, rows: Iterator[Row]) -> Iterator[None]:
        """Write every example; yields after each."""
        for batch in _batches(rows):
            if isinstance(self.holds, TagsConfig):
                for row in batch:
                    self._tagged(row, self.holds)
                    yield
                continue
            prefix = self.holds.prefix if isinstance(self.holds, PairsConfig) else ""
            encoded = self.tokenizer.encode_batch([prefix + text for _, text, _ in batch])
            targets = self._targets(batch)
            for (number, text, value), ids, target in zip(batch, encoded, targets, strict=True):
                self._append(self.inputs, 0, [*self.start, *ids], len(text.encode()))
                if self.targets is not None:
                    self._append(self.targets, 1, target, 0)
                else:
                    self.answers.append(self._answer(number, value))
                yield

    def _targets(self, batch: Sequence[Row]) -> Sequence[list[int]]:
        if not isinstance(self.holds, PairsConfig | MatchesConfig):
            return [[] for _ in batch]
        texts = [references(value)[0] for _, _, value in batch]
        if isinstance(self.holds, PairsConfig):
            return self.tokenizer.encode_batch(texts)
        same = {*texts, *([] if self.single_passage is None else [self.single_passage])}
        first = not self.longest[1]
        self.single_passage = texts[0] if len(same) == 1 and (first or self.single_passage is not None) else None
        return [[*self.start, *ids] for ids in self.tokenizer.encode_batch(texts)]

    def _append(self, writer: ShardWriter, which: int, ids: Sequence[int], text_bytes: int) -> None:
        writer.append(np.array(ids, np.int64), text_bytes)
        self.longest[which] = max(self.longest[which], len(ids) + 1)

    def _tagged(self, row: Row, holds: TagsConfig) -> None:
        _, text, value = row
        ids, tags = list(self.start), [0] * len(self.start)
        for number, (word, tag) in enumerate(zip(text.split(" "), tags_of(value), strict=True)):
            of_word = self.tokenizer.encode(word if number == 0 else " " + word) or [self.unreadable]
            ids += of_word
            tags += [self.names.index(tag) + 1, *[0] * (len(of_word) - 1)]
        self._append(self.inputs, 0, ids, len(text.encode()))
        assert self.targets is not None
        self._append(self.targets, 1, tags, 0)

    def _answer(self, number: str, value: Any) -> Any:
        if isinstance(self.holds, ScoresConfig):
            return _score(number, value)
        assert isinstance(self.holds, LabelsConfig)
        places = [self.names.index(name) if name in self.names else -1 for name in _classes(value, self.holds)]
        if not self.holds.several:
            return places[0]
        present = np.zeros(len(self.names), np.uint8)
        present[[place for place in places if place >= 0]] = 1
        return present

    def sizes(self) -> dict[str, int]:
        """For the header."""
        totals = self.inputs.totals()
        return {"examples": totals["documents"], "longest": self.longest[0], "longest_target": self.longest[1]}

    def totals(self) -> dict[str, Any]:
        """For tokens.json."""
        totals = self.inputs.totals()
        tokens = totals["tokens"] - totals["documents"] * (1 + len(self.start))
        return {**totals, "bytes_per_token": totals["bytes"] / tokens if tokens else 0.0}


def references(value: Any) -> list[str]:
    """The texts that count as a right target: the value, or those in it."""
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def spelled(value: Any, holds: LabelsConfig) -> str:
    """The name of a class as the data has it.

    >>> spelled(1, LabelsConfig(names={"1": "positive"})), spelled(True, LabelsConfig())
    ('positive', 'true')
    """
    text = str(value).lower() if isinstance(value, bool) else str(int(value)) if _whole(value) else str(value).strip()
    return holds.names.get(text, text)


def _whole(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _classes(value: Any, holds: LabelsConfig) -> list[str]:
    if not holds.several:
        return [spelled(value, holds)]
    parts = value if isinstance(value, list) else str(value).split(holds.separator)
    return [spelled(part, holds) for part in parts if str(part).strip()]


def tags_of(value: Any) -> list[str]:
    """The tags of an example."""
    return [str(tag) for tag in value] if isinstance(value, list) else str(value).split(" ")


def _score(number: str, value: Any) -> float:
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score) or isinstance(value, bool):
        raise SourceError(
            f"the score of document {number} is {value!r}", where="tokenize", expected="a finite number", fix="correct the file"
        )
    return score


def _names(splits: Path, holds: ExamplesConfig) -> tuple[str, ...]:
    """The classes or tags of the training side, in order; none for other answers.

    Raises:
        SourceError: when there are fewer than two, or another side has one that the training side lacks.
    """
    of: Callable[[Any], list[str]]
    if isinstance(holds, LabelsConfig):
        of, what = (lambda value: _classes(value, holds)), "class"
    elif isinstance(holds, TagsConfig):
        of, what = tags_of, "tag"
    else:
        return ()
    found: dict[str, dict[str, str]] = {side: {} for side in SPLITS}
    for side in SPLITS:
        for number, _, value in _with_answer(read_examples(splits / side, holds.column), holds, side):
            for name in of(value):
                found[side].setdefault(name, number)
    names = set(found["train"])
    if isinstance(holds, LabelsConfig):
        names.discard(holds.none_of_them or "")
    if len(names) < (1 if isinstance(holds, LabelsConfig) and holds.several else 2):
        raise SourceError(
            f"the training side has {len(names)} {what}{'' if len(names) == 1 else 'es'}: {', '.join(sorted(names)) or 'none'}",
            where=f"column '{holds.column}'",
            expected="at least two: there is nothing to tell apart otherwise",
            fix="check the column, and what the filters and the split leave",
        )
    allowed = names | ({holds.none_of_them} if isinstance(holds, LabelsConfig) and holds.none_of_them is not None else set())
    for side in ("validation", "test"):
        unknown = sorted(set(found[side]) - allowed)
        if unknown:
            raise SourceError(
                f"the {side} side has {what} '{unknown[0]}', which the training side lacks: it cannot be learned",
                where=f"document {found[side][unknown[0]]}",
                expected=f"one of the {len(names)} of the training side",
                fix=f"split by stratum (`split: {{by: stratum, column: {holds.column}}}`), merge rare ones with `names`, or "
                "say `none_of_them` for what is out of scope",
            )
    numbers = all(name.isdigit() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if numbers else 0, name)))


def _with_answer(rows: Iterator[Row], holds: ExamplesConfig, side: str) -> Iterator[Row]:
    """The rows, each known to have an answer of the right shape."""
    for number, text, value in rows:
        problem = _problem(text, value, holds)
        if problem:
            raise SourceError(
                f"document {number} ({side}) {problem}",
                where=f"column '{holds.column}'",
                expected={
                    "labels": "a class for every document",
                    "scores": "a number for every document",
                    "tags": "one tag for each word, words and tags with one space between two",
                    "pairs": "a text for every document",
                    "matches": "a query and a passage that differs from it, for every document",
                }[holds.kind],
                fix="correct the file, or filter such records out before",
            )
        yield number, text, value


def _problem(text: str, value: Any, holds: ExamplesConfig) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        if isinstance(holds, LabelsConfig) and holds.several:
            return "" if value is not None else "has no answer"
        return "has no answer"
    if isinstance(holds, TagsConfig) and len(tags_of(value)) != len(text.split(" ")):
        return f"has {len(text.split(' '))} words and {len(tags_of(value))} tags"
    if isinstance(holds, PairsConfig) and not references(value):
        return "has an empty list of targets"
    if isinstance(holds, MatchesConfig):
        return _unmatched(text, references(value))
    if isinstance(holds, LabelsConfig) and not holds.several and isinstance(value, list | dict):
        return f"has {json.dumps(value, ensure_ascii=False)[:60]} for its class"
    return ""


def _unmatched(query: str, passages: Sequence[str]) -> str:
    if not query.strip():
        return "has no text for its query"
    if not any(passage.strip() for passage in passages) or not passages[0].strip():
        return "has a passage without text"
    return "has its query for a passage" if query.strip() in {passage.strip() for passage in passages} else ""


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
