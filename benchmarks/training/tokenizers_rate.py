"""Megabytes a second of training a tokenizer and of encoding: ours beside `tokenizers` used directly, and tiktoken (encoding).

    pip install tiktoken
    python benchmarks/training/tokenizers_rate.py books.jsonl.gz --megabytes 10 --rounds 5 --threads 2

The text (plain or JSON lines with `text`, gzipped or not) is cut into pages of 4,000 characters; every contender gets the same
list of pages. Training: ours as a run trains, files written; the library by its own trainer with the same splitter, size
and least frequency. Encoding to lists of ids: ours as a run encodes; the library's `encode_batch_fast`; for BPE
tiktoken's `encode_ordinary_batch` with the same merges and pattern. Every round begins with a tokenizer that has encoded
nothing. The ids are compared. `--threads` is what the library and tiktoken may use. One process, contenders in turn.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pairs import in_turn, machine, pages, ratios, spread

Work = Callable[[], object]
KINDS = ("bpe", "unigram", "wordpiece")


def config_of(kind: str, size: int) -> Any:
    from lmpipe.tokens.config import BpeConfig, UnigramConfig, WordPieceConfig

    made = {"bpe": BpeConfig, "unigram": UnigramConfig, "wordpiece": WordPieceConfig}
    return made[kind](vocab_size=size, train_on="books")


def train_ours(texts: list[str], kind: str, size: int, folder: Path) -> None:
    from lmpipe.base.progress import Silent
    from lmpipe.tokens.training import train_on_texts

    train_on_texts(texts, config_of(kind, size), folder, progress=Silent())


def train_theirs(texts: list[str], kind: str, size: int) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    from lmpipe.tokens.special import SPECIAL_TOKENS, UNKNOWN

    common = {"vocab_size": size, "special_tokens": [*SPECIAL_TOKENS], "show_progress": False}
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if kind == "wordpiece":
        library = Tokenizer(models.WordPiece(vocab={UNKNOWN: 0}, unk_token=UNKNOWN))
        library.normalizer = normalizers.BertNormalizer(lowercase=False)
        library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(**{**common, "special_tokens": [*SPECIAL_TOKENS, UNKNOWN], "min_frequency": 2})
    else:
        library = Tokenizer(models.BPE() if kind == "bpe" else models.Unigram())
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        maker = trainers.BpeTrainer if kind == "bpe" else trainers.UnigramTrainer
        trainer = maker(**common, initial_alphabet=alphabet, **({"min_frequency": 2} if kind == "bpe" else {}))
    library.train_from_iterator(texts, trainer=trainer)
    return library


def trainers_of(texts: list[str], kind: str, size: int, folder: Path) -> dict[str, Callable[[], Work]]:
    """Contenders that train; nothing is to be prepared."""
    return {
        "lmpipe": lambda: partial(train_ours, texts, kind, size, folder),
        "tokenizers": lambda: partial(train_theirs, texts, kind, size),
    }


def encoders(folder: Path, kind: str, texts: list[str], threads: int) -> dict[str, Callable[[], Work]]:
    """Contenders that encode all pages; each begins anew from the same tokenizer.json."""
    import tokenizers

    from lmpipe.tokens.tokenizer import load_tokenizer

    def ours() -> Work:
        tokenizer = load_tokenizer(folder)
        return lambda: tokenizer.encode_batch(texts)

    def library() -> Work:
        loaded = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        return lambda: [encoding.ids for encoding in loaded.encode_batch_fast(texts, add_special_tokens=False)]

    def tiktoken() -> Work:
        peer = tiktoken_of(folder)
        return lambda: peer.encode_ordinary_batch(texts, num_threads=threads)

    with_tiktoken = kind == "bpe" and importlib.util.find_spec("tiktoken")
    return {"lmpipe": ours, "tokenizers": library, **({"tiktoken": tiktoken} if with_tiktoken else {})}


def tiktoken_of(folder: Path) -> Any:
    """The same merges: a token's id is its rank, since merges stand in the vocabulary in their order."""
    from lmpipe.tokens.pieces import GPT2_PATTERN
    from lmpipe.tokens.tokenizer import load_tokenizer

    spelled = load_tokenizer(folder)
    ranks = {spelled.token_bytes(n): n for n in range(spelled.vocab_size) if n not in spelled.control_ids}
    return importlib.import_module("tiktoken").Encoding("ours", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})


def tell(title: str, size: int, contenders: Mapping[str, Callable[[], Work]], rounds: int) -> None:
    taken = in_turn(contenders, rounds)
    ours = taken["lmpipe"]
    for name, seconds in taken.items():
        rates = [size / 1e6 / one for one in seconds.clock]
        used = [size / 1e6 / one for one in seconds.processor]
        faster = ""
        if name != "lmpipe":
            clock, processor = ratios(seconds.clock, ours.clock), ratios(seconds.processor, ours.processor)
            faster = f"ours is faster by {spread(clock)}, by processor time {spread(processor)}"
        print(f"| {title} | {name} | {spread(rates, 1)} | {spread(used, 1)} | {faster} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    arguments = parser.parse_args()
    # Before the library is loaded: its pool keeps what it finds.
    os.environ.update(RAYON_NUM_THREADS=str(arguments.threads), TOKENIZERS_PARALLELISM=str(arguments.threads > 1).lower())
    packages = ("tokenizers", *(["tiktoken"] if importlib.util.find_spec("tiktoken") else []))
    texts = pages(arguments.text, arguments.megabytes)
    size = sum(len(text.encode("utf-8")) for text in texts)
    print(machine(*packages), f"{len(texts):,} pages, {size / 1e6:.1f} MB, vocabulary {arguments.vocabulary}", sep="\n")
    print("\n| what | by | MB/s | MB per processor second | |\n|---|---|---|---|---|")
    for kind in arguments.kinds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            tell(f"{kind}: training", size, trainers_of(texts, kind, arguments.vocabulary, folder), arguments.rounds)
            contenders = encoders(folder, kind, texts, arguments.threads)
            answers = {name: contender()() for name, contender in contenders.items()}
            assert all(answer == answers["lmpipe"] for answer in answers.values()), f"{kind}: ids differ"
            tell(f"{kind}: encoding", size, contenders, arguments.rounds)


if __name__ == "__main__":
    main()
