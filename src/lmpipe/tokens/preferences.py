"""Prompts with a preferred and a rejected answer to token shards: the `tokenize` stage of corpora that hold preferences.

    train/ validation/ test/
        prompts/ chosen/ rejected/     token shards: one document per example
    preferences.json                   how they were rendered, sizes of each side
    tokens.json                        totals of each side

Of unpaired examples the answer that there is not is a closing token alone.

As a chat, a prompt is what `<|user|>` says (or a whole conversation, as JSON) up to `<|assistant|>`, and an answer ends with
`<|end|>`: as `holds: conversations` has it. As text, an answer goes on with its prompt and ends with end-of-text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import ServingError, SourceError
from lmpipe.base.files import read_json, write_json
from lmpipe.base.progress import Progress
from lmpipe.data.holding import PreferencesConfig
from lmpipe.tokens.chat import CHAT_TEMPLATE, render
from lmpipe.tokens.documents import count_documents, read_examples
from lmpipe.tokens.examples import SPLITS
from lmpipe.tokens.shards import ShardWriter, TokenShards, open_shards, write_totals
from lmpipe.tokens.special import END
from lmpipe.tokens.threads import use_threads
from lmpipe.tokens.tokenizer import Tokenizer, load_tokenizer

PARTS, HEADER = ("prompts", "chosen", "rejected"), "preferences.json"


def tokenize_preferences(
    splits: Path, tokenizer: Path, output: Path, *, holds: PreferencesConfig, progress: Progress, threads: int
) -> dict[str, Any]:
    """Write the examples of each side, `preferences.json` and `tokens.json`; return what the latter says.

    Args:
        splits: folder with `train/`, `validation/`, `test/`, each holding parts of documents.
        tokenizer: folder of a tokenizer.
        output: an existing folder.
        holds: which columns have the answers, and how all is rendered.
        progress: told examples done.
        threads: of the library; changes no byte.

    Raises:
        SourceError: for a prompt or an answer that is missing, or two answers that are equal.
        ModelError: when the tokenizer has no control tokens for conversations.
    """
    use_threads(threads)
    loaded = load_tokenizer(tokenizer)
    total, done = sum(count_documents(splits / side) for side in SPLITS), 0
    totals: dict[str, Any] = {}
    for side in SPLITS:
        with ExitStack() as stack:
            writers = [stack.enter_context(_writer(output / side / part, loaded)) for part in PARTS]
            for prompt, chosen, rejected in _examples(splits / side, holds, side):
                ids = _prompt_ids(prompt, loaded, holds, side), *(_answer(text, loaded, holds) for text in (chosen, rejected))
                for writer, some, text in zip(writers, ids, (prompt, chosen, rejected), strict=True):
                    writer.append(some, len(text.encode()))
                done += 1
                progress.update(done, total, "examples")
        parts = [writer.totals() for writer in writers]
        totals[side] = {"documents": parts[0]["documents"], **{u: sum(part[u] for part in parts) for u in ("tokens", "bytes")}}
    if not totals["train"]["documents"]:
        raise SourceError("there is no training example", where="tokenize", expected="documents on the training side")
    write_json(output / HEADER, {"rendered": holds.rendered, "sides": {side: totals[side]["documents"] for side in SPLITS}})
    return write_totals(output, totals, vocab_size=loaded.vocab_size, end_of_text_id=loaded.end_of_text_id)


def holds_preferences(folder: Path) -> bool:
    """Whether a tokenize stage's folder holds preferences."""
    return (folder / HEADER).is_file()


class PreferenceShards:
    """The examples of one side as a `PackedLoader` takes them: what is read is a prompt with its preferred answer, and the
    target beside it the same prompt with the other; an example's answer is the length of its prompt."""

    kind = "pairs"
    """Two texts to an example, laid out side by side."""

    def __init__(self, folder: Path) -> None:
        """Open `folder`, one side of what `tokenize_preferences` wrote.

        Raises:
            ModelError: when it holds none.
            DamagedError: when a file is missing or its size is not the header's.
        """
        self.folder = folder
        keeps_end = read_json(folder.parent / HEADER)["rendered"] == "text"
        prompts, chosen, rejected = (open_shards(folder / part) for part in PARTS)
        self.inputs, self.targets = Answered(prompts, chosen, keeps_end), Answered(prompts, rejected, keeps_end)
        self.vocab_size, self.end_of_text_id = prompts.vocab_size, prompts.end_of_text_id
        self.answers: NDArray[np.int64] = prompts.document_lengths()
        """(N,): tokens before each answer: what opens a document, and the prompt without its closing token."""

    def __len__(self) -> int:
        return self.inputs.documents


class Answered:
    """Prompts each followed by its answer, as one document: opened like any other."""

    def __init__(self, prompts: TokenShards, answers: TokenShards, keeps_end: bool) -> None:
        self.prompts, self.answers, self.keeps_end = prompts, answers, keeps_end
        self.documents = prompts.documents

    def document(self, number: int) -> NDArray[np.int64]:
        """The ids of one."""
        prompt, answer = self.prompts.document(number)[:-1], self.answers.document(number)
        end = len(answer) if self.keeps_end and len(answer) > 1 else -1  # an end alone: there is no answer
        return np.concatenate([[self.prompts.controls.start_of_text_id], prompt, answer[:end]]).astype(np.int64)

    def document_lengths(self) -> NDArray[np.int64]:
        """Of each; the one token that opens stands for the one that closes a prompt."""
        answers = self.answers.document_lengths()
        return self.prompts.document_lengths() + answers - ((answers == 1) if self.keeps_end else 1)


def _writer(folder: Path, tokenizer: Tokenizer) -> ShardWriter:
    controls = tokenizer.roles.controls()
    return ShardWriter(folder, vocab_size=tokenizer.vocab_size, end_of_text_id=tokenizer.end_of_text_id, controls=controls)


def _examples(folder: Path, holds: PreferencesConfig, side: str) -> Iterator[tuple[str, str, str]]:
    """Prompt, preferred and rejected answer of each document; of unpaired ones "" for the answer that there is not."""
    rejected = (value for _, _, value in read_examples(folder, holds.rejected))
    for (number, prompt, chosen), other in zip(read_examples(folder, holds.column), rejected, strict=True):
        if holds.unpaired and _is_text(chosen) != _is_text(other) and _is_text(prompt):
            yield (prompt, chosen, "") if _is_text(chosen) else (prompt, "", other)
            continue
        for column, value in (("the prompt", prompt), (f"'{holds.column}'", chosen), (f"'{holds.rejected}'", other)):
            if not _is_text(value):
                raise SourceError(
                    f"document {number} ({side}) has no text in {column}",
                    where=f"columns '{holds.column}' and '{holds.rejected}'",
                    expected="a prompt, the answer that was preferred and the one that was not",
                    fix="correct the file, filter such records out before, or say `unpaired: true` and learn by kto",
                )
        if chosen == other:
            raise SourceError(
                f"document {number} ({side}) has the same answer twice",
                where=f"columns '{holds.column}' and '{holds.rejected}'",
                expected="two answers that differ: there is nothing to prefer otherwise",
                fix="filter such records out before",
            )
        yield prompt, chosen, other


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _prompt_ids(prompt: str, tokenizer: Tokenizer, holds: PreferencesConfig, side: str) -> list[int]:
    if holds.rendered == "text":
        return tokenizer.encode(prompt)
    try:
        return render(_messages(prompt), tokenizer, chat_template=CHAT_TEMPLATE)[1:]  # what opens it is put there by readers
    except ServingError as error:
        raise SourceError(
            f"a prompt is no conversation: {error.what}",
            where=f"{side} split",
            expected="text, or a list of messages as JSON that ends with the user's",
            fix="correct text_column, or say `rendered: text`",
        ) from None


def _messages(prompt: str) -> list[dict[str, Any]]:
    """A conversation, where the prompt spells one; else what a user says."""
    if prompt.lstrip().startswith("[{"):
        try:
            found = json.loads(prompt)
        except ValueError:
            found = None
        if isinstance(found, list) and all(isinstance(message, dict) and "role" in message for message in found):
            return found
    return [{"role": "user", "content": prompt}]


def _answer(text: str, tokenizer: Tokenizer, holds: PreferencesConfig) -> list[int]:
    if not text:
        return []
    ids = tokenizer.encode(text)
    return ids if holds.rendered == "text" else [*ids, tokenizer.special_ids[END]]
