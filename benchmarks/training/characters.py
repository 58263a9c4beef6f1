"""Seconds to nanoGPT's README result on a CPU: validation loss 1.88 on the characters of tinyshakespeare.

    python benchmarks/training/characters.py --nanogpt PATH/model.py --text input.txt --rounds 3

Theirs is the README's run: 4 layers, 4 heads, width 128, no dropout, 12 rows of 64 characters, AdamW to a rate of 1e-3, cosine
over 2,000 steps, fp32, nothing compiled. Ours is a `TrainingRun` of the Llama layout with the same context, layers and width,
and whatever else the engine offers: Muon, larger batches, a budget that ends where the result is reached, bf16 where the
processor has it. Both learn from the first 90% of the text. Every few steps, off the clock, one function takes the loss of
either model over all held-out characters, in windows of 64 side by side; the clock stops at the first loss of 1.88 or less,
or with the end of the run: `loss` says which.

Each run is a process of its own, in turn in every round. `training` counts steps alone; `whole` counts from the start of the
process (imports, start-up checks, compiling), less the measuring.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pairs import machine, nanogpt_module, ratios, spread

THREADS = 2
GOAL, CONTEXT, LAYERS, WIDTH = 1.88, 64, 4, 128
END = 0
"""The id of our end of text, which the text does not hold; characters follow."""
SETTINGS: dict[str, Any] = {"tokens": 540_000, "batch_tokens": 2048, "lr": 1e-2, "compile": True, "every": 15}
"""Of our run; `--ours` overrides them."""


def characters(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Ids of the training and the validation characters, and how many ids there are."""
    text = path.read_text(encoding="utf-8")
    ids_of = {character: number for number, character in enumerate(sorted(set(text)), start=1)}
    ids = np.array([ids_of[character] for character in text], np.int64)
    cut = int(0.9 * len(ids))
    return ids[:cut], ids[cut:], len(ids_of) + 1


def validation_loss(logits: Callable[[Any], Any], ids: np.ndarray) -> float:
    """Nats per character over all windows of `ids`."""
    import torch

    count = (len(ids) - 1) // CONTEXT
    inputs = torch.from_numpy(ids[: count * CONTEXT].reshape(count, CONTEXT))
    targets = torch.from_numpy(ids[1 : count * CONTEXT + 1].reshape(count, CONTEXT))
    with torch.no_grad():
        sums = [
            torch.nn.functional.cross_entropy(logits(rows).flatten(0, 1).float(), wanted.flatten(), reduction="sum")
            for rows, wanted in zip(inputs.split(256), targets.split(256), strict=True)
        ]
    return float(sum(sums)) / targets.numel()


def nanogpt(model_file: str, text: Path) -> Iterator[Callable[[], float]]:
    """After every 100 steps of the second half of the README's run: what measures it."""
    import torch

    training, held_out, vocabulary = characters(text)
    module = nanogpt_module(model_file)
    shape = {"n_layer": LAYERS, "n_head": 4, "n_embd": WIDTH, "block_size": CONTEXT, "vocab_size": vocabulary}
    model = module.GPT(module.GPTConfig(**shape, dropout=0.0, bias=False))
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")
    ids = torch.from_numpy(training)

    def loss() -> float:
        # without targets it gives the last position alone; with them, all
        return validation_loss(lambda rows: model(rows, rows)[0], held_out)

    for step in range(2000):
        warm = (step + 1) / 101 if step < 100 else 0.1 + 0.45 * (1 + math.cos(math.pi * (step - 100) / 1900))
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * warm
        starts = torch.randint(len(ids) - CONTEXT, (12,))
        rows = torch.stack([ids[start : start + CONTEXT + 1] for start in starts])
        model(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())[1].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step >= 1000 and (step + 1) % 100 == 0:
            yield loss


def ours(folder: Path, text: Path, settings: dict[str, Any], seed: int) -> Iterator[Callable[[], float]]:
    """After every few steps of the second half: what measures them."""
    from lmpipe.base.progress import Silent
    from lmpipe.models.llama.config import LlamaConfig
    from lmpipe.tokens.shards import ShardWriter
    from lmpipe.training.config import PhaseConfig
    from lmpipe.training.loop import Device, TrainingRun
    from lmpipe.training.process import settings_of_a_run

    training, held_out, vocabulary = characters(text)
    for split, ids in (("train", training), ("validation", held_out)):
        with ShardWriter(folder / split, vocab_size=vocabulary, end_of_text_id=END) as writer:
            writer.append([*ids.tolist(), END], len(ids))
    model = LlamaConfig(layers=LAYERS, width=WIDTH, heads=4, context=CONTEXT)
    phase = PhaseConfig.model_validate(
        {
            "name": "main",
            "on": "text",
            "tokens": settings["tokens"],
            "batch_tokens": settings["batch_tokens"],
            "optimizer": {"kind": "muon", "lr": settings["lr"]},
            "schedule": {"kind": "linear"},
            "precision": settings.get("precision", "auto"),
            "statistics": False,
        }
    )
    with settings_of_a_run("cpu", THREADS, compiled=settings["compile"]):
        run = TrainingRun(folder, model, phase, seed, Device("cpu", THREADS, settings["compile"]), Silent())
        run.check()
        while run.state.step < run.steps:
            run._one_step(folder, watched=False)
            late = run.state.step > run.steps // 2 and run.state.step % settings["every"] == 0
            if late or run.state.step == run.steps:
                yield lambda: validation_loss(run.state.model, held_out)


def reach(name: str, arguments: argparse.Namespace, started: float) -> dict[str, float]:
    """Train until the goal is reached; what it took. Runs in a process of its own."""
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(arguments.seed)
    settings = SETTINGS | json.loads(arguments.ours)
    with tempfile.TemporaryDirectory() as folder:
        work = (
            nanogpt(arguments.nanogpt, arguments.text)
            if name == "nanogpt"
            else ours(Path(folder), arguments.text, settings, arguments.seed)
        )
        off, off_processor, losses = 0.0, 0.0, [math.inf]
        first = time.perf_counter(), time.process_time()
        for measure in work:
            before, before_processor = time.perf_counter(), time.process_time()
            losses.append(measure())
            now, now_processor = time.perf_counter(), time.process_time()
            off, off_processor = off + now - before, off_processor + now_processor - before_processor
            if losses[-1] <= arguments.goal:
                break
        clock, processor = time.perf_counter() - off, time.process_time() - off_processor
    return {
        "loss": losses[-1],
        "measured": len(losses) - 1,
        "training": clock - first[0],
        "training, processor": processor - first[1],
        "whole": clock - started,
        "whole, processor": processor,
    }


def main() -> None:
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", required=True, help="nanoGPT's model.py")
    parser.add_argument("--text", type=Path, required=True, help="tinyshakespeare's input.txt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--goal", type=float, default=GOAL)
    parser.add_argument("--ours", default="{}", help=f"JSON over {json.dumps(SETTINGS)}")
    parser.add_argument("--only", nargs="+", default=["ours", "nanogpt"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        print(json.dumps(reach(arguments.serve, arguments, started)))
        return
    print(machine("torch"))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.only}
    for number in range(arguments.rounds):
        for name in arguments.only if number % 2 == 0 else reversed(arguments.only):
            own = ["--serve", name, "--seed", str(arguments.seed + number)]
            command = [sys.executable, __file__, *sys.argv[1:], *own]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(name, json.dumps({key: round(value, 3) for key, value in found[name][-1].items()}), flush=True)
    if set(found) == {"ours", "nanogpt"}:
        for what in ("training", "training, processor", "whole", "whole, processor"):
            mine, theirs = ([run[what] for run in found[name]] for name in ("ours", "nanogpt"))
            print(f"{what}: ours {spread(mine, 1)} s, nanoGPT {spread(theirs, 1)} s, ours takes {spread(ratios(mine, theirs))}")


if __name__ == "__main__":
    main()
