"""Likelihood tasks of lm-evaluation-harness: our model behind its interface, beside its own backend for Transformers.

    python benchmarks/tasks/suites.py                       # 60 questions of each kind, 3 rounds
    python benchmarks/tasks/suites.py --questions 200 --rounds 5

The same weights (by chance), tokenizer, questions and threads; each round asks both, in turn; the backend at the batch
size of 1, 8 and 32 that was fastest in a first round. Questions: a choice among four answers after a context (ARC,
HellaSwag), one of four letters (MMLU), and the probability of a whole text (WikiText). Given are processor seconds,
since clocks of a shared machine mean little, and the greatest difference of a log probability.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from lmpipe.base.progress import Silent
from lmpipe.evaluation.harness_model import HarnessModel
from lmpipe.models.families import save
from lmpipe.models.llama.config import LlamaConfig
from lmpipe.models.llama.model import Llama
from lmpipe.tokens.config import BpeConfig
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.training import train_on_texts

VOCABULARY, CONTEXT = 4096, 512
BATCHES = (1, 8, 32)


def sentences(chance: random.Random, words: list[str], count: int) -> str:
    return " ".join(f"The {' '.join(chance.choices(words, k=chance.randint(5, 14)))}." for _ in range(count))


def questions(kind: str, count: int, words: list[str]) -> list[Instance]:
    chance = random.Random(kind)
    asked = []
    for number in range(count):
        context = sentences(chance, words, chance.randint(3, 14))
        if kind == "text":
            asked.append(Instance("loglikelihood_rolling", {}, (context * 2,), number))
            continue
        answers = (
            [f" {letter}" for letter in "ABCD"] if kind == "letter" else [f" {sentences(chance, words, 1)}" for _ in "1234"]
        )
        asked += [Instance("loglikelihood", {}, (context, answer), number) for answer in answers]
    return asked


def made(folder: Path, words: list[str]) -> tuple[HarnessModel, Callable[[int], HFLM]]:
    chance = random.Random(1)
    texts = [sentences(chance, words, 40) for _ in range(100)]
    train_on_texts(texts, BpeConfig(vocab_size=VOCABULARY, train_on="x"), folder, progress=Silent())
    torch.manual_seed(1)
    tokenizer = load_tokenizer(folder)
    model = Llama(LlamaConfig(layers=6, width=384, heads=6, context=CONTEXT), tokenizer.vocab_size).eval()
    save(model, folder, end_of_text_id=tokenizer.end_of_text_id)
    ours = HarnessModel(model, tokenizer, progress=Silent())
    return ours, lambda batch: HFLM(pretrained=str(folder), device="cpu", batch_size=batch, dtype="float32")


def ask(model: Any, kind: str, asked: list[Instance]) -> tuple[float, list[float]]:
    started = time.process_time()
    if kind == "text":
        answers = model.loglikelihood_rolling(asked, disable_tqdm=True)
    else:
        answers = [log_probability for log_probability, _ in model.loglikelihood(asked, disable_tqdm=True)]
    return time.process_time() - started, answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    chance = random.Random(0)
    words = [
        "".join(chance.choices(["ba", "ko", "ri", "ten", "mu", "sal", "dor", "vi"], k=chance.randint(1, 4)))
        for _ in range(3000)
    ]
    print(
        f"torch {torch.__version__}, {arguments.threads} threads, 6 layers of width 384, {arguments.questions} questions each"
    )
    with tempfile.TemporaryDirectory() as name:
        ours, theirs_at = made(Path(name), words)
        print("| questions | ours, s | backend, s (batch) | ratio | greatest difference, nats |\n|---|---|---|---|---|")
        for kind in ("answer", "letter", "text"):
            asked = questions(kind, arguments.questions, words)
            batch = min(BATCHES, key=lambda size: ask(theirs_at(size), kind, asked)[0])
            backend = theirs_at(batch)
            pairs = [(ask(ours, kind, asked), ask(backend, kind, asked)) for _ in range(arguments.rounds)]
            ratios = [theirs[0] / mine[0] for mine, theirs in pairs]
            apart = max(abs(a - b) for a, b in zip(pairs[0][0][1], pairs[0][1][1], strict=True))
            seconds = [statistics.median(side[0] for side in sides) for sides in zip(*pairs, strict=True)]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"| {kind} | {seconds[0]:.1f} | {seconds[1]:.1f} ({batch}) | {spread} | {apart:.1e} |", flush=True)


if __name__ == "__main__":
    main()
