"""The n-gram model: seconds to train, tokens scored per second, perplexity; beside NLTK's estimate and KenLM's queries.

    python benchmarks/ngram.py FOLDER          # FOLDER holds valid.txt (trained on) and test.txt, one paragraph per line
    python benchmarks/ngram.py books_text.jsonl.gz      # books, a JSON line each with `text`: every 20th paragraph is the test

Words are tokens, paragraphs are documents; test words that training never saw become <unk>. Peers are measured where they are
installed (`pip install kenlm nltk`), by alternating pairs in this run; ratios are peer's seconds over ours. What they can show:

- KenLM's package reads and queries, it does not estimate: our model is written as ARPA text and must get the same scores. Ours
  takes ids, as everything after a tokenizer does; theirs looks up words. Both score all test tokens, theirs a sentence a call.
- NLTK's `KneserNeyInterpolated` has one fixed discount per model (not the three of modified Kneser-Ney) and looks through all
  n-grams at every query, so it is measured on a small part of the text: training time, and perplexity on a few tokens.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import importlib.util
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lmpipe.base.progress import Silent
from lmpipe.models.ngram.arpa import write_arpa
from lmpipe.models.ngram.config import NgramConfig
from lmpipe.models.ngram.model import NgramModel, load, save
from lmpipe.models.ngram.training import train

sys.path.insert(0, str(Path(__file__).parent / "training"))
from pairs import spread

END, UNKNOWN = "</s>", "<unk>"
PAIRS = 5
HELD_OUT = 20
NLTK_DOCUMENTS, NLTK_ORDER, NLTK_QUERIES = 400, 3, 300
Documents = list[list[str]]


def seconds_of(work: Callable[[], object]) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def alternating(
    ours: Callable[[], object], theirs: Callable[[], object], pairs: int = PAIRS
) -> tuple[float, float, list[float]]:
    """Median seconds of both, and theirs over ours of each pair."""
    taken = [(seconds_of(ours), seconds_of(theirs)) for _ in range(pairs)]
    our, their = zip(*taken, strict=True)
    return statistics.median(our), statistics.median(their), sorted(b / a for a, b in taken)


def read(path: Path) -> Documents:
    return [words for line in path.read_text(encoding="utf-8").splitlines() if (words := line.split())]


def read_books(path: Path) -> tuple[Documents, Documents]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    paragraphs = [words for text in texts for line in text.split("\n") if (words := line.split())]
    return [words for number, words in enumerate(paragraphs) if number % HELD_OUT], paragraphs[::HELD_OUT]


class Vocabulary:
    def __init__(self, documents: Documents) -> None:
        self.words = [END, *sorted({UNKNOWN, *(word for words in documents for word in words)})]
        self.ids = {word: number for number, word in enumerate(self.words)}

    def encode(self, documents: Documents) -> list[np.ndarray]:
        unknown = self.ids[UNKNOWN]
        return [np.array([*(self.ids.get(word, unknown) for word in words), 0], np.int32) for words in documents]


def train_ours(documents: list[np.ndarray], vocabulary: Vocabulary, order: int) -> NgramModel:
    return train(documents, NgramConfig(order=order), vocab_size=len(vocabulary.words), end_of_text_id=0, progress=Silent())


def perplexity(log_probabilities: np.ndarray) -> float:
    return math.exp(-log_probabilities.mean())


def measure_ours(training: list[np.ndarray], test: list[np.ndarray], vocabulary: Vocabulary, order: int) -> NgramModel:
    tokens = sum(map(len, training))
    model = train_ours(training, vocabulary, order)
    seconds = statistics.median(seconds_of(lambda: train_ours(training, vocabulary, order)) for _ in range(3))
    print(f"order {order}: trained on {tokens:,} tokens in {seconds:.2f} s, {tokens / seconds:,.0f} tokens/s")
    stream = np.concatenate(test)
    seconds = statistics.median(seconds_of(lambda: model.log_probabilities(stream)) for _ in range(PAIRS))
    print(f"order {order}: scored {len(stream):,} tokens in {seconds:.3f} s, {len(stream) / seconds:,.0f} tokens/s")
    print(f"order {order}: test perplexity {perplexity(model.log_probabilities(stream)):.2f}")
    return model


def beside_kenlm(model: NgramModel, vocabulary: Vocabulary, test: list[np.ndarray]) -> None:
    if importlib.util.find_spec("kenlm") is None:
        print("kenlm: not installed, not measured")
        return
    kenlm = importlib.import_module("kenlm")
    with tempfile.TemporaryDirectory() as name:
        write_arpa(model, Path(name) / "model.arpa", [word.replace(UNKNOWN, "<UNK-WORD>") for word in vocabulary.words])
        peer = kenlm.Model(str(Path(name) / "model.arpa"))
        save(model, Path(name))
        ours = load(Path(name))
        names = [word.replace(UNKNOWN, "<UNK-WORD>") for word in vocabulary.words]
        sentences = [" ".join(names[token] for token in ids[:-1]) for ids in test]
        theirs = np.array([score * math.log(10) for text in sentences for score, _, _ in peer.full_scores(text)])
        found = np.concatenate([ours.log_probabilities(ids) for ids in test])
        print(f"kenlm: largest difference of a token's log-probability {np.abs(found - theirs).max():.1e}")
        stream = np.concatenate(test)
        our, their, ratios = alternating(lambda: ours.log_probabilities(stream), lambda: [peer.score(s) for s in sentences])
        rate, peer_rate = (len(stream) / seconds for seconds in (our, their))
        print(f"kenlm: {peer_rate:,.0f} tokens/s, ours {rate:,.0f} tokens/s, ratio {spread(ratios)}")


def beside_nltk(training: Documents, test: Documents) -> None:
    if importlib.util.find_spec("nltk") is None:
        print("nltk: not installed, not measured")
        return
    lm = importlib.import_module("nltk.lm")
    pipeline = importlib.import_module("nltk.lm.preprocessing").padded_everygram_pipeline
    training = training[:NLTK_DOCUMENTS]
    vocabulary = Vocabulary(training)
    encoded = vocabulary.encode(training)

    def train_theirs() -> object:
        everygrams, padded = pipeline(NLTK_ORDER, training)
        peer = lm.KneserNeyInterpolated(NLTK_ORDER, discount=0.75)
        peer.fit(everygrams, padded)
        return peer

    our, their, ratios = alternating(lambda: train_ours(encoded, vocabulary, NLTK_ORDER), train_theirs, pairs=3)
    tokens = sum(map(len, encoded))
    print(f"nltk: order {NLTK_ORDER} on {tokens:,} tokens: {their:.2f} s, ours {our:.2f} s, ratio {spread(ratios)}")
    peer = train_theirs()
    model = train_ours(encoded, vocabulary, NLTK_ORDER)
    words = [word if word in vocabulary.ids else UNKNOWN for word in max(test, key=len)][:NLTK_QUERIES]
    theirs = [peer.score(word, ["<s>", "<s>", *words[:i]][-2:]) for i, word in enumerate(words)]
    ours = model.log_probabilities(np.array([vocabulary.ids[word] for word in words]))
    zero = sum(score == 0 for score in theirs)
    both = [(float(o), math.log(t)) for o, t in zip(ours, theirs, strict=True) if t > 0]
    our_perplexity, their_perplexity = (math.exp(-statistics.mean(column)) for column in zip(*both, strict=True))
    print(
        f"nltk: perplexity on {len(both)} tokens {their_perplexity:.1f}, ours {our_perplexity:.1f}; "
        f"{zero} more tokens have no probability in nltk"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds valid.txt and test.txt; or a .jsonl.gz file of books")
    parser.add_argument("--order", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.folder.is_dir():
        training, test = read(arguments.folder / "valid.txt"), read(arguments.folder / "test.txt")
    else:
        training, test = read_books(arguments.folder)
    vocabulary = Vocabulary(training)
    encoded, encoded_test = vocabulary.encode(training), vocabulary.encode(test)
    print(f"{len(vocabulary.words):,} words")
    print(f"{sum(map(len, encoded)):,} tokens to train on, {sum(map(len, encoded_test)):,} to score")
    for order in sorted({3, arguments.order}):
        model = measure_ours(encoded, encoded_test, vocabulary, order)
    beside_kenlm(model, vocabulary, encoded_test)
    beside_nltk(training, test)


if __name__ == "__main__":
    main()
