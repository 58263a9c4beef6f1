"""Trains a tokenizer of any kind and saves it so that Transformers loads the folder as it is.

Promises: equal texts and config give equal bytes, whatever the number of threads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import tokenizers

from lmpipe.base.errors import SourceError
from lmpipe.base.files import atomic_file, write_json
from lmpipe.base.progress import Progress
from lmpipe.tokens.chat import PLAIN_TEMPLATE
from lmpipe.tokens.config import ByteConfig, MadeTokenizerConfig
from lmpipe.tokens.documents import count_documents, count_text_bytes, read_examples, read_texts
from lmpipe.tokens.examples import references
from lmpipe.tokens.kinds import make_library
from lmpipe.tokens.pieces import pieces_of
from lmpipe.tokens.special import END_OF_TEXT, PAD, UNKNOWN
from lmpipe.tokens.threads import use_threads

SAMPLE_CHARACTERS = 1 << 14
"""Size of the pieces in which a large corpus is sampled: small enough that one book does not crowd out the others."""


@dataclass(frozen=True)
class TokenizerTraining:
    """What the training of a tokenizer came to; saved as `tokenizer_training.json`."""

    kind: str
    vocab_size: int
    """Entries that it really has: fewer than asked when the corpus ran out of what could be learned."""
    requested_vocab_size: int
    corpus_bytes: int
    """UTF-8 bytes of the corpus."""
    training_bytes: int
    """UTF-8 bytes that training read."""


def train_tokenizer(
    documents: Path | None,
    config: MadeTokenizerConfig,
    output: Path,
    *,
    progress: Progress,
    threads: int,
    targets: str | None = None,
) -> TokenizerTraining:
    """Train on the documents of a folder (the training split's parts) and save into `output`.

    Args:
        documents: the folder; None for a kind that needs no text.
        config: which kind, and its numbers.
        output: an existing folder.
        progress: told bytes read.
        threads: of the library; changes no byte.
        targets: the column of what becomes of each text (of pairs), which is then read, too.

    Raises:
        SourceError: when the documents hold no text.
    """
    use_threads(threads)
    if isinstance(config, ByteConfig) or documents is None:
        return train_on_texts([], config, output, progress=progress)
    corpus_bytes = count_text_bytes(documents)
    if targets is not None:
        corpus_bytes = sum(len(text.encode("utf-8")) for text in _both_sides(documents, targets))
    if corpus_bytes == 0:
        raise SourceError(
            "there is no text to train a tokenizer on",
            where=f"{count_documents(documents)} documents of the training split of '{config.train_on}'",
            expected="at least one document with text",
            fix="check what `read` finds and what the filters drop (`lmpipe show` lists the reasons)",
        )
    texts = _Sample(documents, min(1.0, config.max_training_bytes / corpus_bytes), targets)
    if corpus_bytes > config.max_training_bytes:
        progress.note(f"tokenizer: training on an even sample of {config.max_training_bytes:,} of {corpus_bytes:,} bytes")
    return train_on_texts(texts, config, output, progress=progress, corpus_bytes=corpus_bytes)


def train_on_texts(
    texts: Iterable[str], config: MadeTokenizerConfig, output: Path, *, progress: Progress, corpus_bytes: int | None = None
) -> TokenizerTraining:
    """Train on `texts` and save into `output`: `tokenizer.json`, `tokenizer_config.json`, `chat_template.jinja`,
    `tokenizer_training.json`.

    The template is the one for a base model; tuning to chat writes another.

    Args:
        texts: read once, or twice: more than an iterator.
        config: which kind, and its numbers.
        output: an existing folder.
        progress: told bytes read.
        corpus_bytes: the size of the whole corpus when `texts` is a sample of it.
    """
    expected = None if isinstance(config, ByteConfig) or not corpus_bytes else min(corpus_bytes, config.max_training_bytes)
    reader = _Counting(texts, expected, progress)
    library = make_library(reader, config)
    result = TokenizerTraining(
        kind=config.kind,
        vocab_size=library.get_vocab_size(),
        requested_vocab_size=config.vocab_size,
        corpus_bytes=reader.bytes_read if corpus_bytes is None else corpus_bytes,
        training_bytes=reader.bytes_read,
    )
    if result.vocab_size != config.vocab_size:
        why = "all that the corpus gives" if result.vocab_size < config.vocab_size else "every character of the corpus has one"
        progress.note(f"tokenizer: {result.vocab_size:,} entries instead of {config.vocab_size:,}: {why}")
    save(library, output, PLAIN_TEMPLATE)
    write_json(output / "tokenizer_training.json", asdict(result))
    return result


def sample(texts: Iterable[str], fraction: float) -> Iterator[str]:
    """An even `fraction` of the pieces of `texts`, without chance: piece k is taken where k * fraction passes an integer.

    >>> list(sample(["a", "b", "c", "d"], 0.5))
    ['b', 'd']
    """
    if fraction >= 1:
        yield from texts
        return
    number = 0
    for text in texts:
        for piece in pieces_of(text, SAMPLE_CHARACTERS):
            number += 1
            if int(number * fraction) > int((number - 1) * fraction):
                yield piece


def save(library: tokenizers.Tokenizer, output: Path, chat_template: str) -> None:
    """Write a tokenizer in the Hugging Face layout."""
    with atomic_file(output / "tokenizer.json", "w", encoding="utf-8") as file:
        file.write(library.to_str(pretty=True))
    unknown = {"unk_token": UNKNOWN} if library.token_to_id(UNKNOWN) is not None else {}
    write_json(output / "tokenizer_config.json", {**TOKENIZER_CONFIG, **unknown})
    with atomic_file(output / "chat_template.jinja", "w", encoding="utf-8") as file:
        file.write(chat_template)


TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": END_OF_TEXT,
    "eos_token": END_OF_TEXT,
    "pad_token": PAD,
    "add_bos_token": False,
    "add_prefix_space": False,
    "clean_up_tokenization_spaces": False,  # else Transformers changes the spaces before punctuation on decoding
}


@dataclass(frozen=True)
class _Sample:
    """An even fraction of the documents of a folder, as often as it is asked for."""

    documents: Path
    fraction: float
    targets: str | None

    def __iter__(self) -> Iterator[str]:
        texts = read_texts(self.documents) if self.targets is None else _both_sides(self.documents, self.targets)
        return sample(texts, self.fraction)


def _both_sides(documents: Path, column: str) -> Iterator[str]:
    """The text of every pair, and the target that is learned."""
    for _, text, value in read_examples(documents, column):
        yield text
        yield from references(value)[:1]


class _Counting:
    """Hands texts on and tells how many bytes went by."""

    def __init__(self, texts: Iterable[str], total: int | None, progress: Progress) -> None:
        self.texts, self.total, self.progress = texts, total, progress
        self.bytes_read = 0

    def __iter__(self) -> Iterator[str]:
        self.bytes_read = 0
        for text in self.texts:
            self.bytes_read += len(text.encode("utf-8"))
            self.progress.update(self.bytes_read, self.total, "bytes")
            for piece in pieces_of(text):
                yield from _without_giants(piece)


GIANT_CHARACTERS = 1000
"""A longer stretch without white space (base64, minified code) is cut, for training only: each merge would walk through all of
it. Uncut, 20 MB in one stretch took 6 minutes to train on."""
_GIANT = re.compile(rf"\S{{{GIANT_CHARACTERS + 1},}}")


def _without_giants(text: str) -> Iterator[str]:
    start = 0
    for giant in _GIANT.finditer(text):
        for stop in (*range(giant.start() + GIANT_CHARACTERS, giant.end(), GIANT_CHARACTERS), giant.end()):
            yield text[start:stop]
            start = stop
    if start < len(text):
        yield text[start:]
