"""Near duplicates, JSON lines in to JSON lines kept, beside datatrove's four MinHash stages: documents a second, peak memory,
recall.

    python benchmarks/data/near_dedup.py DATA --peer PEER_PYTHON            # speed, memory, recall and precision
    python benchmarks/data/near_dedup.py DATA --peer PEER_PYTHON --rounds 5 --repeat 4

DATA holds `summarization_mix/train.jsonl.gz` and `cpp_docs_markdown/docs.jsonl.gz`; PEER_PYTHON is an interpreter with
`datatrove[io,processing]` and spaCy (a virtual environment of its own). One process and one thread each, alternating, the same
file.

The text: 6,800 news articles with summaries under various prompts, 1,500 copies of them with 0 to 10% of the words replaced,
shuffled; `--repeat n` writes it n times over with every word of a copy marked, so that copies of the whole resemble each other
in nothing. Recall is over the pairs of Jaccard similarity 0.8 and more of all pairs, compared exactly; cpp_docs_markdown is the
control in which hardly any page is a near duplicate. datatrove's own defaults (14 x 8) find a pair at 0.8 with probability
0.924; ours (18 x 6) with 0.995.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SIMILARITY = 0.8


def make_text(data: Path, target: Path, repeat: int) -> int:
    """Write the JSON lines; return how many."""
    with gzip.open(data / "summarization_mix" / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    texts = [f"{row['document']}\n{row['summary']}" for row in rows]
    generator = random.Random(5)
    vocabulary = [word for text in texts[:200] for word in text.split()]
    for text in generator.sample(texts, 1500):
        share = generator.choice([0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1])
        texts.append(" ".join(generator.choice(vocabulary) if generator.random() < share else w for w in text.split()))
    generator.shuffle(texts)
    with target.open("w", encoding="utf-8") as file:
        for number in range(repeat):
            for place, text in enumerate(texts):
                marked = text if not number else "\n".join(f"{number}".join(f"{line} ".split(" ")) for line in text.split("\n"))
                file.write(json.dumps({"id": f"{number}-{place}", "text": marked}, ensure_ascii=False) + "\n")
    return repeat * len(texts)


def ours(source: Path, target: Path, scratch: Path) -> None:
    """Our stages: read, minhash, select; then the kept texts as JSON lines."""
    from lmpipe.base.progress import Silent
    from lmpipe.data.config import CorpusConfig
    from lmpipe.data.dedup.config import MinhashConfig
    from lmpipe.data.dedup.minhash import mark_near_duplicates
    from lmpipe.data.documents import read_tables
    from lmpipe.data.filters.config import SelectConfig
    from lmpipe.data.readers.sources import pinned, resolve_all
    from lmpipe.data.reading import read
    from lmpipe.data.selection import select

    started, spent, clock = time.perf_counter(), time.process_time(), {}
    options: dict[str, Any] = {"progress": Silent(), "workers": 1}
    folders = {name: scratch / name for name in ("read", "minhash", "select")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    corpus = CorpusConfig.model_validate({"read": [{"kind": "jsonl", "paths": [str(source)], "id_column": "id"}]})
    files = resolve_all(corpus.read, [])
    config = pinned(corpus.read, files, 0.0)
    read(config, [file for group in files for file in group], folders["read"], scratch=scratch / "s-read", **options)
    clock["read"] = time.perf_counter() - started
    mark_near_duplicates(folders["read"], folders["minhash"], config=MinhashConfig(), scratch=scratch / "s-minhash", **options)
    clock["minhash"] = time.perf_counter() - started
    marks = {"minhash": folders["minhash"]}
    select(folders["read"], (), marks, folders["select"], config=SelectConfig(), scratch=scratch / "s-select", **options)
    clock["select"] = time.perf_counter() - started
    with target.open("w", encoding="utf-8") as file:
        for table in read_tables(folders["select"], ["id", "text"]):
            for identity, text in zip(*(table.column(name).to_pylist() for name in ("id", "text")), strict=True):
                file.write(json.dumps({"id": identity, "text": text}, ensure_ascii=False) + "\n")
    print(
        json.dumps(
            {"seconds": time.perf_counter() - started, "processor": time.process_time() - spent, "clock": clock, **peak()}
        )
    )


PEER = """
import json, sys, time
from pathlib import Path
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils.logging import logger
from datatrove.utils.word_tokenizers import WordTokenizer

class WhiteSpace(WordTokenizer):
    def word_tokenize(self, text): return text.split()
    def sent_tokenize(self, text): return [text]
    def span_tokenize(self, text): return [(0, len(text))]

logger.remove()
source, target, scratch, tokens = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4]
config = MinhashConfig()
language = {"language": WhiteSpace()} if tokens == "whitespace" else {}
reader = lambda: JsonlReader(str(source.parent), glob_pattern=source.name)
started, spent = time.perf_counter(), time.process_time()
stages = [
    (1, [reader(), MinhashDedupSignature(str(scratch / "sigs"), config=config, **language)]),
    (config.num_buckets, [MinhashDedupBuckets(str(scratch / "sigs"), str(scratch / "buckets"), config=config)]),
    (1, [MinhashDedupCluster(str(scratch / "buckets"), str(scratch / "removed"), config=config)]),
    (1, [reader(), MinhashDedupFilter(str(scratch / "removed")), JsonlWriter(target, compression=None)]),
]
for number, (tasks, pipeline) in enumerate(stages):
    LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=str(scratch / f"log{number}")).run()
seconds, processor = time.perf_counter() - started, time.process_time() - spent
memory = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"seconds": seconds, "processor": processor, "peak_mb": memory / 1000}))
"""


def peak() -> dict[str, float]:
    """The most memory that this process ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {"peak_mb": int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1000}


def run(contender: str, source: Path, peer: str, work: Path) -> dict[str, Any]:
    """One contender in a process of its own, on one thread: seconds after its imports, peak memory, ids kept."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    target = work / "kept"
    if contender == "lmpipe":
        command = [sys.executable, __file__, "--run", str(source), str(target), str(work / "scratch")]
    else:
        command = [peer, "-c", PEER, str(source), str(target), str(work / "scratch"), contender.rpartition(" ")[2]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{contender} failed:\n{done.stderr[-3000:]}")
    files = [target] if target.is_file() else sorted(target.iterdir())
    kept = [json.loads(line)["id"] for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return {**json.loads(done.stdout.splitlines()[-1]), "kept": kept}


def quality(texts: Sequence[str], work: Path, *, recall: bool) -> dict[str, Any]:
    """Of our clusters the recall against all pairs; of our verified pairs the precision, from strings instead of hashes."""
    import numpy as np
    import pyarrow as pa

    from lmpipe.base.progress import Silent
    from lmpipe.data.dedup.comparing import as_set
    from lmpipe.data.dedup.config import MinhashConfig
    from lmpipe.data.dedup.minhash import EDGE, mark_near_duplicates
    from lmpipe.data.dedup.shingles import shingles_of, words_of
    from lmpipe.data.documents import Document, PartWriter, read_tables

    shutil.rmtree(work, ignore_errors=True)
    (work / "out").mkdir(parents=True)
    with PartWriter(work / "in") as writer:
        for number, text in enumerate(texts):
            writer.add(Document(str(number), text, "s", "l", "e", "{}"))
    config = MinhashConfig()
    mark_near_duplicates(work / "in", work / "out", config=config, scratch=work / "s", progress=Silent(), workers=1)
    rows = [row for table in read_tables(work / "out") for row in table.to_pylist()]
    cluster = {int(row["id"]): int(row["duplicate_of"] or row["id"]) for row in rows}
    edges = np.concatenate([np.fromfile(path, EDGE) for path in sorted((work / "s").glob("verified/*/verified"))])
    found = [(int(edge["lower"]), int(edge["higher"])) for edge in edges]
    alike = [string_jaccard(texts[i], texts[j], config.ngram) for i, j in found]
    figures: dict[str, Any] = {
        "documents": len(texts),
        "kept": len(set(cluster.values())),
        "pairs verified": len(found),
        "of these at 0.8 by strings": sum(similarity >= SIMILARITY for similarity in alike),
    }
    if recall:
        shingles, first = shingles_of(words_of(pa.array(list(texts), pa.large_string())), config.ngram)
        truth = exact_pairs([as_set(shingles[start:end]) for start, end in itertools.pairwise(first.tolist())])
        wanted = {pair for pair, similarity in truth.items() if similarity >= SIMILARITY}
        figures["pairs at 0.8"] = len(wanted)
        figures["recall"] = sum(cluster[i] == cluster[j] for i, j in wanted) / max(1, len(wanted))
    return figures


def string_jaccard(one: str, other: str, length: int) -> float:
    """The same similarity from words as strings, slowly."""
    sets = []
    for text in (one, other):
        words = re.findall(r"(?:[a-z0-9_]|[^\x00-\xbf\u2000-\u203f\u3000-\u303f])+", text.lower())
        sets.append({tuple(words[place : place + length]) for place in range(max(1, len(words) - length + 1))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def exact_pairs(sets: Sequence[Any]) -> dict[tuple[int, int], float]:
    """Jaccard similarity of every pair that shares a shingle; no approximation, so quadratic where a shingle is common."""
    holders = defaultdict(list)
    for number, shingles in enumerate(sets):
        for shingle in shingles.tolist():
            holders[shingle].append(number)
    common: Counter[tuple[int, int]] = Counter()
    for numbers in holders.values():
        common.update((one, other) for place, one in enumerate(numbers) for other in numbers[place + 1 :])
    return {(i, j): n / (len(sets[i]) + len(sets[j]) - n) for (i, j), n in common.items()}


def middle(values: Sequence[float], digits: int = 0) -> str:
    """Median and range."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def processor() -> str:
    """Its name, as the kernel tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--peer", help="Python interpreter that has datatrove")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument(
        "--skip-shipped", action="store_true", help="leave datatrove with its own tokenizer out: it takes minutes"
    )
    parser.add_argument("--only", choices=("speed", "quality"))
    parser.add_argument("--run", nargs=3, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        ours(*arguments.run)
        return 0
    print(f"{processor()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if arguments.only != "quality":
            speed(arguments, work)
        if arguments.only != "speed":
            source = work / "text.jsonl"
            make_text(arguments.data, source, 1)
            mixed = [json.loads(line)["text"] for line in source.read_text(encoding="utf-8").splitlines()]
            print("mix:", quality(mixed, work / "quality", recall=True))
            with gzip.open(arguments.data / "cpp_docs_markdown" / "docs.jsonl.gz", "rt", encoding="utf-8") as lines:
                pages = [json.loads(line)["text"] for line in lines]
            print("cpp_docs_markdown:", quality(pages, work / "quality", recall=False))
    return 0


def speed(arguments: argparse.Namespace, work: Path) -> None:
    """Alternating rounds of all contenders on one file."""
    (work / "in").mkdir()
    source = work / "in" / "text.jsonl"
    documents = make_text(arguments.data, source, arguments.repeat)
    contenders = ["lmpipe", "datatrove whitespace", *([] if arguments.skip_shipped else ["datatrove shipped"])]
    results: dict[str, list[dict[str, Any]]] = {contender: [] for contender in contenders}
    for _ in range(arguments.rounds):
        for contender in contenders:
            results[contender].append(run(contender, source, arguments.peer, work / "work"))
    print(
        f"{documents:,} documents, {source.stat().st_size / 1e6:.1f} MB, {arguments.rounds} alternating rounds, medians (range)"
    )
    for contender, rounds in results.items():
        memory = middle([one["peak_mb"] for one in rounds])
        print(f"{contender:22} peak {memory} MB, kept {len(rounds[0]['kept']):,}")
        for clock, name in (("seconds", "by the clock"), ("processor", "by processor time")):
            rates = [documents / one[clock] for one in rounds]
            ratios = [other[clock] / one[clock] for one, other in zip(results["lmpipe"], rounds, strict=True)]
            print(f"    {middle(rates)} docs/s {name}; lmpipe is {middle(ratios, 1)} times as fast")
    print("lmpipe, seconds up to the end of each step:", results["lmpipe"][-1]["clock"])


if __name__ == "__main__":
    sys.exit(main())
