"""Evaluation items hidden in books: how many are found verbatim and with every tenth word changed, what is found where nothing
is.

    python benchmarks/data/decontamination.py DATA --peer PEER_PYTHON

DATA holds `books_standardebooks`, `mbpp`, `humaneval`, `dialogsum_dev_test` and `sst2`; PEER_PYTHON is an interpreter with
`datatrove[io,processing]`. Each item of at least eight words is set into 3,000 characters of a book, as it is or with 10% of
its words replaced by words of the books (at least one); then the books alone are searched. datatrove's filter runs at its own
settings (12-grams of the item), its index built from the same items by its own `compute_hashes`: its indexer's `run` asks for
lighteval, which fetches tasks from the network. As whitespace does not change what it finds, it has whitespace tokens, which
are its fastest.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LEAST_WORDS = 8
PEER = """
import json, sys, time
from types import SimpleNamespace
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer
from datatrove.utils.word_tokenizers import WordTokenizer

class WhiteSpace(WordTokenizer):
    def word_tokenize(self, text): return text.split()
    def sent_tokenize(self, text): return [text]
    def span_tokenize(self, text): return [(0, len(text))]

work = json.load(open(sys.argv[1]))
filter_ = NGramsDecontFilter(sys.argv[2], config=NGramsDecontConfig(), language=WhiteSpace())
hashes = lambda item: NGramsDecontIndexer.compute_hashes(filter_, item)
filter_._index_hashes = {value: str(number) for number, item in enumerate(work["items"]) for value in hashes(item)}
found, started = {}, time.process_time()
for name, documents in work["documents"].items():
    found[name] = []
    for number, text in enumerate(documents):
        document = Document(text=text, id=str(number))
        if filter_.filter(document) is not True:
            found[name].append((number, int(document.metadata["contaminated_task"])))
print(json.dumps({"found": found, "seconds": time.process_time() - started}))
"""


def items_of(data: Path) -> dict[str, list[str]]:
    """Evaluation sets of different kinds: code, questions, dialogues, single sentences."""
    with gzip.open(data / "humaneval" / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as lines:
        humaneval = [json.loads(line) for line in lines]
    mbpp = [json.loads(line) for line in (data / "mbpp" / "mbpp.jsonl").read_text(encoding="utf-8").splitlines()]
    dialogues = (data / "dialogsum_dev_test" / "dialogsum.test.jsonl").read_text(encoding="utf-8").splitlines()
    found = {
        "mbpp, question and code": [f"{row['text']}\n{row['code']}" for row in mbpp],
        "mbpp, question alone": [row["text"] for row in mbpp],
        "humaneval": [row["prompt"] + row["canonical_solution"] for row in humaneval],
        "dialogsum": [json.loads(line)["dialogue"] for line in dialogues],
        "sst2": [max(line.split("\t"), key=len) for line in (data / "sst2" / "test.tsv").read_text("utf-8").splitlines()],
    }
    return {name: [text for text in texts if len(re.findall(r"\w+", text)) >= LEAST_WORDS] for name, texts in found.items()}


def edited(text: str, vocabulary: list[str], generator: random.Random) -> str:
    """A tenth of the words, at least one, replaced by words of the books."""
    parts = re.split(r"(\w+)", text)
    places = list(range(1, len(parts), 2))
    for place in generator.sample(places, max(1, round(0.1 * len(places)))):
        parts[place] = generator.choice(vocabulary)
    return "".join(parts)


def hidden(item: str, books: list[str], generator: random.Random) -> str:
    book = generator.choice(books)
    start = generator.randrange(len(book) - 3000)
    return f"{book[start : start + 1500]}\n{item}\n{book[start + 1500 : start + 3000]}"


def ours(work: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Found (document, item) by set of documents, and processor seconds."""
    import pyarrow as pa

    from lmpipe.data.decontamination.config import DecontaminateConfig
    from lmpipe.data.decontamination.index import build_index, load_index
    from lmpipe.data.decontamination.matching import find_hits
    from lmpipe.data.dedup.shingles import slices_of, words_of
    from lmpipe.data.documents import Document, PartWriter

    config = DecontaminateConfig()
    with PartWriter(folder / "items") as writer:
        for number, item in enumerate(work["items"]):
            writer.add(Document(str(number), item, "s", "l", "e", "{}"))
    build_index({"items": folder / "items"}, config, folder / "index")
    index, found = load_index(folder / "index"), {}
    started = time.process_time()
    for name, documents in work["documents"].items():
        column = pa.array(documents, pa.large_string())
        found[name] = [
            (first + hit.document, hit.item)
            for first, some in slices_of(column)
            for hit in find_hits(words_of(some), index, config)
        ]
    return {"found": found, "seconds": time.process_time() - started}


def processor() -> str:
    """Its name, as the kernel tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer", required=True, help="Python interpreter that has datatrove")
    arguments = parser.parse_args()
    generator = random.Random(3)
    with gzip.open(arguments.data / "books_standardebooks" / "books_text.jsonl.gz", "rt", encoding="utf-8") as lines:
        books = [json.loads(line)["text"] for line in lines]
    vocabulary = [word for book in books for word in book[:50_000].split()]
    sets = items_of(arguments.data)
    items = [item for texts in sets.values() for item in texts]
    documents = {f"{name}|verbatim": [hidden(item, books, generator) for item in texts] for name, texts in sets.items()}
    documents |= {
        f"{name}|edited": [hidden(edited(item, vocabulary, generator), books, generator) for item in texts]
        for name, texts in sets.items()
    }
    documents["books"] = books
    work = {"items": items, "documents": documents}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "work.json"
        path.write_text(json.dumps(work), encoding="utf-8")
        done = subprocess.run([arguments.peer, "-c", PEER, str(path), folder], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        contenders = {"lmpipe": ours(work, Path(folder)), "datatrove": json.loads(done.stdout.splitlines()[-1])}
    report(sets, books, contenders)
    return 0


def report(sets: dict[str, list[str]], books: list[str], contenders: dict[str, dict[str, Any]]) -> None:
    """Recall by set, hits on the books, seconds. A document counts as found when anything is found in it."""
    print(f"{processor()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}")
    for contender, result in contenders.items():
        for way in ("verbatim", "edited"):
            shares = {name: len({d for d, _ in result["found"][f"{name}|{way}"]}) / len(texts) for name, texts in sets.items()}
            every = sum(share * len(sets[name]) for name, share in shares.items()) / sum(map(len, sets.values()))
            print(f"{contender:10} {way:9} all {every:.4f}", {name: round(share, 4) for name, share in shares.items()})
        print(f"{contender:10} hits on {len(books)} books: {len(result['found']['books'])}; {result['seconds']:.1f} s in all")
        every_item = [item for texts in sets.values() for item in texts]
        for book, item in result["found"]["books"]:
            print(f"    book {book}, item {item}: {every_item[item][:300]!r}")


if __name__ == "__main__":
    sys.exit(main())
