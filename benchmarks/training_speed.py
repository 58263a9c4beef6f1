"""Tokens trained per second on a CPU: ours beside nanoGPT and transformers' Trainer, at one shape.

    pip install accelerate            # transformers' Trainer needs it
    [SPEED_SHAPE=10m] python benchmarks/training_speed.py --nanogpt PATH/model.py --rounds 5 --out FILE.json

Every contender lives in a process of its own, compiled and warmed up before anything is timed, and all others sleep while one
trains: the rounds alternate, each round gives one ratio per peer, and what is told is their median, lowest and highest. Only
optimiser steps are timed (forward, backward, clip, AdamW), on random tokens that are made before. The peers differ from ours
where they are other programs: nanoGPT is a GPT-2 (LayerNorm, GELU, learned positions) of about as many parameters,
and attends over the whole row; ours keeps to the borders between documents. The Trainer's
steps include its own loop: fetching a batch and its callbacks. nanoGPT's `model.py` is loaded from the given path.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "training"))
from pairs import nanogpt_module

SHAPES = {"quickstart": (4, 192, 3, 512), "10m": (5, 384, 6, 1024)}
"""Layers, width, heads, and the inner width of the Llama layout's feed-forward; the larger has 10.4 million parameters."""
SHAPE = os.environ.get("SPEED_SHAPE", "quickstart")
LAYERS, WIDTH, HEADS, INNER = SHAPES[SHAPE]
VOCABULARY, CONTEXT, ROWS = 4096, 256, 16
MICRO_ROWS = 16
THREADS = 2
CONTENDERS = {
    "ours": "lmpipe, as a run: precision auto, compiled",
    "nanogpt": "nanoGPT, CPU default: fp32, eager",
    "nanogpt-compiled": "nanoGPT, fp32, compiled",
    "nanogpt-bf16": "nanoGPT, bf16 autocast, compiled",
    "trainer": "transformers Trainer, CPU default: fp32, eager",
    "trainer-compiled": "transformers Trainer, fp32, torch_compile=True",
    "trainer-bf16": "transformers Trainer, bf16=True, torch_compile=True",
}
Steps = Callable[[int], list[float]]
"""Trains so many steps; gives the seconds of each."""


def ours(folder: Path) -> Steps:
    """The steps of a real `TrainingRun`."""
    from lmpipe.base.progress import Silent
    from lmpipe.models.llama.config import LlamaConfig
    from lmpipe.training.calibration import _write_random_tokens
    from lmpipe.training.config import PhaseConfig
    from lmpipe.training.loop import Device, TrainingRun
    from lmpipe.training.process import settings_of_a_run

    model = LlamaConfig(layers=LAYERS, width=WIDTH, heads=HEADS, context=CONTEXT)
    batch = ROWS * CONTEXT
    phase = PhaseConfig(
        name="speed", on="random", tokens=1000 * batch, batch_tokens=batch, micro_batch_tokens=MICRO_ROWS * CONTEXT
    )
    _write_random_tokens(folder, VOCABULARY, CONTEXT, phase)
    stack = contextlib.ExitStack()
    stack.enter_context(settings_of_a_run("cpu", THREADS, compiled=True))  # until the process ends
    run = TrainingRun(folder, model, phase, 0, Device("cpu", THREADS, True), Silent())
    return _timed(lambda: run._one_step(folder, watched=False))


def nanogpt(model_file: str, compiled: bool, bf16: bool) -> Steps:
    """nanoGPT's model and optimiser, stepped as its train.py does without accumulation."""
    import torch

    module = nanogpt_module(model_file)
    shape = {"n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "block_size": CONTEXT, "vocab_size": VOCABULARY}
    model = module.GPT(module.GPTConfig(**shape, dropout=0.0, bias=False))
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
    forward = torch.compile(model) if compiled else model
    ids = torch.randint(0, VOCABULARY, (64, ROWS, CONTEXT + 1))
    number = iter(range(10**9))

    def step() -> None:
        rows = ids[next(number) % len(ids)]
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            _, loss = forward(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()

    return _timed(step)


def trainer(folder: Path, compiled: bool, bf16: bool) -> Steps:
    """`LlamaForCausalLM` under transformers' Trainer; a callback takes the time between a step's begin and end."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    shape = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    config = LlamaConfig(**shape, vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, tie_word_embeddings=True)
    model = LlamaForCausalLM(config)
    ids = torch.randint(0, VOCABULARY, (64 * ROWS, CONTEXT))
    rows = [{"input_ids": row, "labels": row} for row in ids]
    seconds: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Times each step."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            """Start."""
            self.started = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            """Stop."""
            seconds.append(time.perf_counter() - self.started)

    def steps(count: int) -> list[float]:
        seconds.clear()
        options: dict[str, Any] = {"bf16": bf16, "torch_compile": compiled}
        arguments = TrainingArguments(
            str(folder), use_cpu=True, max_steps=count + 1, per_device_train_batch_size=ROWS, weight_decay=0.1,
            save_strategy="no", report_to=[], disable_tqdm=True, logging_strategy="no", **options,
        )  # fmt: skip
        Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Clock()]).train()
        return seconds[1:]  # the first of each call also prepares the Trainer (and compiles, the first time)

    return steps


def _timed(step: Callable[[], object]) -> Steps:
    def steps(count: int) -> list[float]:
        seconds = []
        for _ in range(count):
            started = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - started)
        return seconds

    return steps


def serve(name: str, nanogpt_file: str) -> None:
    """One contender: reads a number of steps per line, answers with their seconds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        if name == "ours":
            steps = ours(Path(folder))
        else:
            bf16 = name.endswith("bf16")
            compiled = bf16 or name.endswith("compiled")
            steps = nanogpt(nanogpt_file, compiled, bf16) if "nanogpt" in name else trainer(Path(folder), compiled, bf16)
        for line in sys.stdin:
            print(json.dumps(steps(int(line))), file=answers, flush=True)


class Contender:
    """A process that trains when told to."""

    def __init__(self, name: str, nanogpt_file: str) -> None:
        command = [sys.executable, __file__, "--serve", name, "--nanogpt", nanogpt_file]
        environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )

    def steps(self, count: int) -> list[float]:
        """Train; seconds of each step."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(count, file=self.process.stdin, flush=True)
        answer: list[float] = json.loads(self.process.stdout.readline() or "[]")
        if not answer:
            raise SystemExit(f"a contender ended: {self.process.args}")
        return answer


def measure(names: list[str], nanogpt_file: str, rounds: int, steps: int) -> dict[str, list[float]]:
    """Tokens per second of every contender in every round."""
    contenders = {name: Contender(name, nanogpt_file) for name in names}
    try:
        for name, contender in contenders.items():
            contender.steps(2)
            print(f"warm: {name}", file=sys.stderr, flush=True)
        speeds: dict[str, list[float]] = {name: [] for name in names}
        for number in range(rounds):
            for name in names if number % 2 == 0 else reversed(names):
                speeds[name].append(ROWS * CONTEXT / statistics.median(contenders[name].steps(steps)))
            print(json.dumps({name: round(values[-1]) for name, values in speeds.items()}), file=sys.stderr, flush=True)
    finally:
        for contender in contenders.values():
            contender.process.kill()
            contender.process.wait()
    return speeds


def machine() -> dict[str, str]:
    """Processor, its matrix instructions, versions, date."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    values = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    flags = [flag for flag in values.get("flags", "").split() if flag.startswith(("avx512", "amx", "avx2"))]
    packages = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "accelerate")]
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": values.get("model name", platform.processor()),
        "threads": str(THREADS),
        "flags": " ".join(flags),
        "versions": ", ".join([f"Python {platform.python_version()}", *packages]),
        "load when it began": f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} processors",
    }


def table(speeds: dict[str, list[float]]) -> str:
    """Markdown."""
    lines = ["| contender | tokens/s, median (lowest to highest) | ours is faster by |", "|---|---|---|"]
    for name, values in speeds.items():
        ratios = [mine / other for mine, other in zip(speeds["ours"], values, strict=True)]
        speed = f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"
        ratio = "" if name == "ours" else f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {CONTENDERS[name]} | {speed} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", required=True, help="nanoGPT's model.py")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="optimiser steps per contender and round")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.nanogpt)
        return
    about = machine()
    speeds = measure(arguments.only, arguments.nanogpt, arguments.rounds, arguments.steps)
    shape = f"{LAYERS} layers, width {WIDTH}, {HEADS} heads, vocabulary {VOCABULARY}, {ROWS} rows of {CONTEXT} tokens"
    print(f"{shape}\n{arguments.rounds} rounds of {arguments.steps} steps")
    print("\n".join(f"{key}: {value}" for key, value in about.items()), table(speeds), sep="\n\n")
    if arguments.out:
        arguments.out.write_text(json.dumps({"shape": shape, "machine": about, "tokens_per_second": speeds}, indent=1))


if __name__ == "__main__":
    main()
