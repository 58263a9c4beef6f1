"""Does cleaning pay? Small models on an equal number of tokens of a noisy mix: as it is, cleaned by us, by the FineWeb rules.

    python benchmarks/data/pays.py DATA                      # about a quarter of an hour on two quiet cores
    python benchmarks/data/pays.py DATA --tokens 200_000 --seeds 1

DATA holds `books_standardebooks` and `noisy_social_text`. The mix (12 MB): 30% of its characters chapters of fifteen books, 30%
posts ten at a time, 15% front and back matter of books and banners, 25% copies of earlier documents (half of them exact, half
with 2% of the words replaced), a JSON line each, shuffled. Measured are bits per byte on whole chapters of four other books,
which nothing else saw; one tokenizer, trained on the mix as it is, serves all.

    raw       the mix
    fineweb   the rules of FineWeb (Penedo et al. 2024) as our presets: Gopher repetition and quality, C4, its own, MinHash
    ours      these, and unicode repair, boilerplate lines, exact duplicates, repeated lines, and a quality classifier that was
              shown two further books as good and posts from elsewhere as bad

The interval of a difference is a paired bootstrap over chapters of the mean over seeds; a seed moves the split, the start and
the order of training.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmpipe.base.runtime import Runtime
from lmpipe.data.documents import read_tables
from lmpipe.evaluation.units import read_table
from lmpipe.pipeline.runner import run
from lmpipe.recipes.project import open_project

HELD_OUT = ("oscar-wilde", "mark-twain", "lewis-carroll", "jane-austen_emma")
GOOD = ("mary-shelley", "robert-louis-stevenson")
SHARES = {"book": 0.30, "social": 0.30, "boilerplate": 0.15, "copy": 0.25}
CHAPTER = 6000
RESAMPLES = 2000
SPLIT = {"train": 0.98, "validation": 0.02, "test": 0.0}
RULES = [{"kind": kind} for kind in ("gopher_repetition", "gopher_quality", "c4", "fineweb")]
ARMS: dict[str, dict[str, Any]] = {
    "raw": {},
    "fineweb": {"clean": RULES, "dedup": [{"kind": "minhash", "threshold": 0.75}]},
    "ours": {
        "clean": [
            {"kind": "unicode"},
            {"kind": "lines", "repeated_in": 20, "repeated_within": "corpus", "terminal_punctuation": False, "min_words": 1},
            *RULES,
            {"kind": "quality", "positive": "good", "negative": "bad"},
        ],
        "dedup": [{"kind": "exact"}, {"kind": "minhash"}, {"kind": "lines"}],
    },
}


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def chapters(data: Path, wanted: Any) -> list[str]:
    """Pieces of some 6,000 characters that end at a paragraph, of the books that are wanted."""
    found = []
    for row in rows_of(data / "books_standardebooks" / "books_text.jsonl.gz"):
        if wanted(row["book"]):
            piece = ""
            for paragraph in row["text"].split("\n\n"):
                piece += paragraph + "\n\n"
                if len(piece) >= CHAPTER:
                    found.append(piece.strip())
                    piece = ""
    return found


def social(data: Path, names: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for name in names:
        lines += (data / "noisy_social_text" / name).read_text(encoding="utf-8", errors="replace").splitlines()
    return ["\n".join(lines[start : start + 10]) for start in range(0, len(lines), 10)]


def boilerplate(data: Path) -> list[str]:
    """Front and back matter as plain lines, and what pages say around their text."""
    pages = [
        re.sub(r"\s*\n\s*", "\n", re.sub(r"<[^>]+>", "", row["html"])).strip()
        for row in rows_of(data / "books_standardebooks" / "books_xhtml.jsonl.gz")
        if re.match("titlepage|imprint|colophon|uncopyright|halftitle|loi|dedication", row["file"])
    ]
    menu = "Home\nProducts\nAbout us\nContact\nLog in\nSign up\nFollow us\nTerms of use\nPrivacy policy\n"
    cookies = "We value your privacy. We and our partners use cookies to store information on a device. Accept all cookies?\n"
    return [page for page in pages if page] + [menu + cookies, cookies + "Subscribe to our newsletter\n" + menu]


def changed(text: str, draw: random.Random) -> str:
    return " ".join(f"word{draw.randrange(1000)}" if draw.random() < 0.02 else word for word in text.split(" "))


def write_mix(data: Path, target: Path, megabytes: float) -> dict[str, int]:
    """Write the mix; return characters by kind."""
    draw = random.Random(1)
    pools = {
        "book": chapters(data, lambda book: not book.startswith(HELD_OUT + GOOD)),
        "social": social(data, ("redd.tok.uniq", "yt-filter", "stacko-src")),
        "boilerplate": boilerplate(data),
    }
    for pool in pools.values():
        draw.shuffle(pool)
    documents: list[tuple[str, str]] = []
    for kind, pool in pools.items():
        left, number = SHARES[kind] * megabytes * 1e6, 0
        while left > 0:
            documents.append((kind, pool[number % len(pool)]))
            left -= len(documents[-1][1])
            number += 1
    originals, left = len(documents), SHARES["copy"] * megabytes * 1e6
    while left > 0:
        text = documents[draw.randrange(originals)][1]
        documents.append(("copy", text if draw.random() < 0.5 else changed(text, draw)))
        left -= len(text)
    draw.shuffle(documents)
    write(target, [text for _, text in documents])
    return {kind: sum(len(text) for name, text in documents if name == kind) for kind in SHARES}


def write(target: Path, texts: list[str]) -> None:
    with target.open("w", encoding="utf-8") as file:
        for number, text in enumerate(texts):
            file.write(json.dumps({"id": str(number), "text": text}, ensure_ascii=False) + "\n")


def corpus(path: Path, **steps: Any) -> dict[str, Any]:
    source = {"kind": "jsonl", "paths": [str(path)], "id_column": "id", "errors": "replace"}
    return {"read": [source], "max_failed_fraction": 0.01, "split": SPLIT, **steps}


def recipe_of(arm: str, folder: Path, tokens: int, seed: int) -> dict[str, Any]:
    data = {
        "mix": corpus(folder / "mix.jsonl"),
        "held_out": corpus(folder / "held-out.jsonl", split={"train": 0.0, "validation": 0.0, "test": 1.0}),
    }
    if arm == "ours":
        data["good"] = corpus(folder / "good.jsonl", split={"train": 0.8, "validation": 0.1, "test": 0.1})
        data["bad"] = corpus(folder / "bad.jsonl", split=data["good"]["split"])
    if arm != "raw":
        data["clean"] = corpus(folder / "mix.jsonl", **ARMS[arm])
    phase = {
        "name": "pretrain",
        "on": "mix" if arm == "raw" else "clean",
        "objective": {"kind": "causal"},
        "tokens": tokens,
        "batch_tokens": 4096,
        "optimizer": {"kind": "muon", "lr": 4e-3},
        "validation": {"every_tokens": tokens // 4, "tokens": 16_384},
    }
    return {
        "name": f"{arm}-{seed}",
        "seed": seed,
        "data": data,
        "tokenizer": {"kind": "bpe", "vocab_size": 2048, "train_on": "mix"},
        "model": {"kind": "llama", "layers": 3, "width": 128, "heads": 4, "context": 128},
        "train": [phase],
        "evaluate": [{"kind": "perplexity", "on": "held_out", "baselines": [], "stride_fraction": 1.0}],
    }


def measured(arm: str, folder: Path, tokens: int, seed: int, threads: int) -> dict[str, Any]:
    """Bits and bytes of every held-out chapter under one model, and what was left to train on."""
    began = time.perf_counter()
    runtime = Runtime(store=str(folder / "store"), device="cpu", threads=threads)
    stages = open_project(recipe_of(arm, folder, tokens, seed)).stages(runtime)
    results = run([stage for stage in stages if stage.name.startswith("evaluate")], runtime)
    table = read_table(next(result.path for result in results.stages if result.name.startswith("evaluate")))
    texts = read_tables(results["split-mix" if arm == "raw" else "split-clean"].path / "train", ["text"])
    left = sum(len(text) for rows in texts for text in rows.column("text").to_pylist())
    bits, size = table.columns_U["nats"] / np.log(2), table.columns_U["bytes"]
    seconds = time.perf_counter() - began
    print(
        f"{arm:8} seed {seed}: {bits.sum() / size.sum():.4f} bits per byte, {left / 1e6:.2f} MB left, {seconds:.0f} s",
        flush=True,
    )
    return {"bits": bits, "bytes": size, "left": left}


def interval(bits: Any, size: Any) -> tuple[float, float, float]:
    """Ratio of sums and its 95% bootstrap interval; bits of one arm, or the difference of two."""
    picks = np.random.default_rng(0).integers(0, len(size), (RESAMPLES, len(size)))
    low, high = np.percentile(bits[picks].sum(axis=1) / size[picks].sum(axis=1), [2.5, 97.5])
    return float(bits.sum() / size.sum()), float(low), float(high)


def told(name: str, bits: Any, size: Any) -> str:
    value, low, high = interval(bits, size)
    return f"| {name} | {value:.4f} [{low:.4f}, {high:.4f}] |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tokens", type=int, default=600_000)
    parser.add_argument("--megabytes", type=float, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, help="keep everything there, and go on from what is there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        sizes = write_mix(arguments.data, folder / "mix.jsonl", arguments.megabytes)
        write(folder / "good.jsonl", chapters(arguments.data, lambda book: book.startswith(GOOD)))
        write(folder / "bad.jsonl", social(arguments.data, ("rigo.10000", "palm.10000")))
        held_out = chapters(arguments.data, lambda book: book.startswith(HELD_OUT))
        random.Random(2).shuffle(held_out)
        write(folder / "held-out.jsonl", held_out[:100])
        print({kind: f"{size / 1e6:.1f} MB" for kind, size in sizes.items()}, f"{arguments.tokens:,} tokens", flush=True)
        options = (folder, arguments.tokens)
        results: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
        for seed in range(1, arguments.seeds + 1):
            for arm, runs in results.items():
                runs.append(measured(arm, *options, seed, arguments.threads))
    size = results["raw"][0]["bytes"]
    means = {arm: np.mean([one["bits"] for one in runs], axis=0) for arm, runs in results.items()}
    for arm, mean in means.items():
        single = [float(one["bits"].sum() / size.sum()) for one in results[arm]]
        print(
            told(arm, mean, size), f"seeds {min(single):.4f} to {max(single):.4f}, {results[arm][0]['left'] / 1e6:.2f} MB left"
        )
    for one, other in (("ours", "raw"), ("fineweb", "raw"), ("ours", "fineweb")):
        print(told(f"{one} less {other}", means[one] - means[other], size))


if __name__ == "__main__":
    main()
