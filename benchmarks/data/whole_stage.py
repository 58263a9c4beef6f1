"""The data side of a recipe, from raw JSON lines to clean documents, beside a datatrove pipeline with the same steps.

    python benchmarks/data/whole_stage.py DATA --peer PEER_PYTHON
    python benchmarks/data/whole_stage.py DATA --peer PEER_PYTHON --megabytes 10 --rounds 1 --with-shipped

DATA holds `books_standardebooks`, `web_text_samples`, `cpp_docs_markdown` and `noisy_social_text`; PEER_PYTHON is an
interpreter with `datatrove[io,processing]` (a virtual environment of its own). One process and one thread at work each,
alternating, the same file.

The text (50 MB): chapters of books, web pages, documentation, social posts ten at a time; of each hundred documents 15 exact
copies of earlier ones, 10 near copies (2% of the words replaced), 10 under a banner that all share, 3 that repeat one line,
some with an e-mail address. The steps: read, repetition filter (Gopher's numbers), near duplicates (MinHash), masking of e-mail
and public IP addresses, write. datatrove runs with words split at white space, its best setting, and with --with-shipped as it
comes (spaCy). Ours runs as in a run: stages in processes, identities, fsync, records, the ledger and every dropped document's
reason included.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BAR = 5.0
BANNER = (
    "We value your privacy. We and our partners store and access information on a device, such as cookies. Accept all cookies?"
)


def texts_of(data: Path) -> Iterator[str]:
    """Texts of the four kinds, the kinds taking turns."""
    kinds = [books(data), web(data), documentation(data), social(data)]
    while kinds:
        for kind in list(kinds):
            text = next(kind, None)
            if text is None:
                kinds.remove(kind)
            else:
                yield text


def lines_of(path: Path) -> Iterator[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", errors="replace") as file:
        yield from file


def books(data: Path) -> Iterator[str]:
    for line in lines_of(data / "books_standardebooks" / "books_text.jsonl.gz"):
        text = json.loads(line)["text"]
        for start in range(0, len(text), 6000):
            yield text[start : start + 6000]


def web(data: Path) -> Iterator[str]:
    for name in ("c4_demo.jsonl", "cc_en_head-0091.jsonl.gz", "cc_en_head-0174.jsonl.gz"):
        for line in lines_of(data / "web_text_samples" / name):
            yield json.loads(line)["text"]


def documentation(data: Path) -> Iterator[str]:
    for line in lines_of(data / "cpp_docs_markdown" / "docs.jsonl.gz"):
        yield json.loads(line)["text"]


def social(data: Path) -> Iterator[str]:
    waiting: list[str] = []
    for name in ("redd.tok.uniq", "yt-filter", "stacko-src"):
        for line in lines_of(data / "noisy_social_text" / name):
            waiting.append(line.strip())
            if len(waiting) == 10:
                yield "\n".join(waiting)
                waiting.clear()


def make_text(data: Path, target: Path, megabytes: float) -> int:
    """Write the JSON lines; return how many."""
    draw, source, recent = random.Random(1), texts_of(data), [""]
    written = number = 0
    with target.open("w", encoding="utf-8") as file:
        while written < megabytes * 1e6:
            chance = draw.random()
            if chance < 0.25 and number > 20:
                text = draw.choice(recent) if chance < 0.15 else changed(draw.choice(recent), draw)
            else:
                text = next(source, None) or changed(draw.choice(recent), draw)
                text = f"{BANNER}\n\n{text}" if chance < 0.35 else "\n".join([text[:80]] * 30) if chance < 0.38 else text
                text += f"\nwrite to user{number}@example.org or see 8.8.{number % 200}.8" if chance > 0.95 else ""
                recent = [*recent[-3000:], text]
            written += file.write(json.dumps({"id": str(number), "text": text}, ensure_ascii=False) + "\n")
            number += 1
    return number


def changed(text: str, draw: random.Random) -> str:
    return " ".join(f"word{draw.randrange(1000)}" if draw.random() < 0.02 else word for word in text.split(" "))


def ours(source: Path, scratch: Path) -> dict[str, Any]:
    """The data stages of a recipe, by the runner."""
    from lmpipe.base.runtime import Runtime
    from lmpipe.data.documents import count_rows
    from lmpipe.pipeline.runner import run
    from lmpipe.recipes.project import open_project

    corpus = {
        "read": [{"kind": "jsonl", "paths": [str(source)], "id_column": "id"}],
        "clean": [{"kind": "gopher_repetition"}],
        "dedup": [{"kind": "minhash"}],
        "pii": {"entities": ["email", "ip"], "action": "mask"},
    }
    recipe = {
        "name": "whole",
        "data": {"corpus": corpus},
        "tokenizer": {"vocab_size": 300, "train_on": "corpus"},
        "model": {"layers": 1, "width": 16, "heads": 2, "context": 64},
        "train": [{"name": "pretrain", "on": "corpus", "tokens": 4096}],
    }
    started = time.perf_counter()
    runtime = Runtime(store=str(scratch / "store"), device="cpu", threads=1, workers=1)
    stages = [stage for stage in open_project(recipe).stages(runtime) if stage.name == "mask-corpus"]
    results = run(stages, runtime)
    clock = {result.name: round(result.record.seconds, 2) for result in results.stages}
    peak = max(result.record.peak_memory_bytes for result in results.stages) / 1e6
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_mb": peak, "kept": count_rows(results["mask-corpus"].path), "clock": clock}


PEER = """
import json, sys, time
from pathlib import Path
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import GopherRepetitionFilter
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils import word_tokenizers
from datatrove.utils.logging import logger

class WhiteSpace(word_tokenizers.WordTokenizer):
    def word_tokenize(self, text): return text.split()
    def sent_tokenize(self, text): return [text]
    def span_tokenize(self, text): return [(0, len(text))]

logger.remove()
source, target, scratch, tokens = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4]
config = MinhashConfig()
language = {"language": WhiteSpace()} if tokens == "whitespace" else {}
if tokens == "whitespace":
    from datatrove.pipeline.filters import gopher_repetition_filter
    gopher_repetition_filter.split_into_words = lambda text, language: text.split()
started = time.perf_counter()
first, last = str(scratch / "filtered"), str(scratch / "removed")
clean = JsonlWriter(first, compression=None)
stages = [
    (1, [JsonlReader(str(source.parent), glob_pattern=source.name), GopherRepetitionFilter(), clean,
         MinhashDedupSignature(str(scratch / "sigs"), config=config, **language)]),
    (config.num_buckets, [MinhashDedupBuckets(str(scratch / "sigs"), str(scratch / "buckets"), config=config)]),
    (1, [MinhashDedupCluster(str(scratch / "buckets"), last, config=config)]),
    (1, [JsonlReader(first), MinhashDedupFilter(last), PIIFormatter(), JsonlWriter(target, compression=None)]),
]
for number, (tasks, pipeline) in enumerate(stages):
    LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=str(scratch / f"log{number}")).run()
seconds = time.perf_counter() - started
memory = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
kept = sum(1 for path in Path(target).rglob("*.jsonl") for _ in path.open())
print(json.dumps({"seconds": seconds, "peak_mb": memory / 1000, "kept": kept}))
"""


def run_contender(contender: str, source: Path, peer: str, work: Path) -> dict[str, Any]:
    """One contender in a process of its own; seconds are counted after its imports."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    if contender == "lmpipe":
        command = [sys.executable, __file__, "--run", str(source), str(work)]
    else:
        command = [peer, "-c", PEER, str(source), str(work / "out"), str(work / "scratch"), contender.rpartition(" ")[2]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{contender} failed:\n{done.stderr[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**json.loads(done.stdout.splitlines()[-1]), "cpu": cpu}


def middle(values: list[float], digits: int = 0) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--peer", help="Python interpreter that has datatrove")
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--with-shipped", action="store_true", help="datatrove with its own tokenizer, too: it takes minutes")
    parser.add_argument("--run", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(ours(*arguments.run)))
        return 0
    contenders = ["lmpipe", "datatrove whitespace", *(["datatrove shipped"] if arguments.with_shipped else [])]
    results: dict[str, list[dict[str, Any]]] = {contender: [] for contender in contenders}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "in").mkdir()
        source = work / "in" / "text.jsonl"
        documents = make_text(arguments.data, source, arguments.megabytes)
        print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}")
        print(f"{documents:,} documents, {source.stat().st_size / 1e6:.1f} MB, {arguments.rounds} alternating rounds")
        for _ in range(arguments.rounds):
            for contender in contenders:
                results[contender].append(run_contender(contender, source, arguments.peer, work / "work"))
    for contender, rounds in results.items():
        rates = [documents / one["seconds"] for one in rounds]
        ratios = [one["seconds"] / base["seconds"] for base, one in zip(results["lmpipe"], rounds, strict=True)]
        line = f"{contender:22} {middle(rates):26} docs/s {middle([one['peak_mb'] for one in rounds]):22} MB peak"
        line += f" {middle([one['cpu'] for one in rounds], 1):24} CPU s {middle(ratios, 2):20} x  kept {rounds[0]['kept']:,}"
        print(line)
    print("lmpipe, seconds by stage:", results["lmpipe"][-1]["clock"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
