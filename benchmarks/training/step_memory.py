"""Peak memory of a training step beside transformers' Trainer; and of an evaluation at a vocabulary of 128,000.

    pip install accelerate            # transformers' Trainer needs it
    python benchmarks/training/step_memory.py [--only ours trainer ...]

Every contender is a process of its own. `whole` is what it ever had (libraries, building, compiling); `steps` is the peak of
three steps after two that warm up (Linux: the mark is set back before them); `libraries` is what was there before any model.
Training: 5 layers, width 384, vocabulary 4,096, 16 rows of 256 tokens (10.4 million parameters), AdamW.

Evaluation: 1 layer, width 64, fp32, so that logits are what takes memory; loss and next-token accuracy of so many documents of
128 tokens. The Trainer is asked for accuracy by `compute_metrics`, with its defaults (8 documents a batch): then it keeps all
logits until the end. Without `compute_metrics` it gives the loss alone and keeps none.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pairs import machine

LAYERS, WIDTH, HEADS, INNER = 5, 384, 6, 1024
VOCABULARY, CONTEXT, ROWS, THREADS = 4096, 256, 16, 2
WARM, STEPS = 2, 3
LARGE_VOCABULARY, LENGTH = 128_000, 128
TRAINING = {
    "ours": "lmpipe, as a run: precision auto, compiled",
    "ours-fp32": "lmpipe, fp32, not compiled",
    "trainer": "Trainer, CPU default: fp32, eager",
    "trainer-bf16": "Trainer, bf16=True, torch_compile=True",
}
EVALUATION = {"ours-evaluation": "lmpipe", "trainer-evaluation": "Trainer.evaluate with accuracy"}


def mebibytes(mark: str) -> int:
    """`VmRSS` or `VmHWM` (the peak since it was set back) of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(mark)) // 1024


def set_back() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def train_ours(folder: Path, name: str) -> dict[str, int]:
    from lmpipe.base.progress import Silent
    from lmpipe.models.llama.config import LlamaConfig
    from lmpipe.training.calibration import _write_random_tokens
    from lmpipe.training.config import PhaseConfig
    from lmpipe.training.loop import Device, TrainingRun
    from lmpipe.training.process import settings_of_a_run

    compiled = "fp32" not in name
    precision: Literal["auto", "fp32"] = "auto" if compiled else "fp32"
    model = LlamaConfig(layers=LAYERS, width=WIDTH, heads=HEADS, context=CONTEXT, feed_forward=INNER)
    phase = PhaseConfig(name="memory", on="random", tokens=10**9, batch_tokens=ROWS * CONTEXT, precision=precision)
    _write_random_tokens(folder, VOCABULARY, CONTEXT, phase)
    libraries = mebibytes("VmRSS")
    with settings_of_a_run("cpu", THREADS, compiled=compiled):
        run = TrainingRun(folder, model, phase, 0, Device("cpu", THREADS, compiled), Silent())
        run.check()
        for number in range(WARM + STEPS):
            if number == WARM:
                whole = mebibytes("VmHWM")
                set_back()
            run._one_step(folder, watched=False)
    steps = mebibytes("VmHWM")
    return {"libraries": libraries, "whole": max(whole, steps), "steps": steps}


def train_theirs(folder: Path, name: str) -> dict[str, int]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    shape = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    libraries = mebibytes("VmRSS")
    config = LlamaConfig(**shape, vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, tie_word_embeddings=True)
    ids = torch.randint(0, VOCABULARY, (8 * ROWS, CONTEXT))
    whole = [0]

    class Mark(TrainerCallback):
        def on_step_begin(self, arguments: Any, state: Any, *_: Any, **__: Any) -> None:
            if state.global_step == WARM:
                whole[0] = mebibytes("VmHWM")
                set_back()

    options: dict[str, Any] = {"bf16": "bf16" in name, "torch_compile": "bf16" in name}
    arguments = TrainingArguments(
        str(folder), use_cpu=True, max_steps=WARM + STEPS, per_device_train_batch_size=ROWS, weight_decay=0.1,
        save_strategy="no", report_to=[], disable_tqdm=True, logging_strategy="no", **options,
    )  # fmt: skip
    rows = [{"input_ids": row, "labels": row} for row in ids]
    Trainer(model=LlamaForCausalLM(config), args=arguments, train_dataset=rows, callbacks=[Mark()]).train()
    steps = mebibytes("VmHWM")
    return {"libraries": libraries, "whole": max(whole[0], steps), "steps": steps}


def evaluate_ours(folder: Path, documents: int) -> dict[str, int]:
    import torch

    from lmpipe.base.progress import Silent
    from lmpipe.evaluation.scoring import score_windows
    from lmpipe.evaluation.subject import Subject
    from lmpipe.evaluation.units import lay_out
    from lmpipe.models.llama.config import LlamaConfig
    from lmpipe.models.llama.model import Llama
    from lmpipe.tokens.loader import evaluation_windows
    from lmpipe.tokens.shards import ShardWriter, TokenShards

    with ShardWriter(folder, vocab_size=LARGE_VOCABULARY, end_of_text_id=0) as writer:
        for row in np.random.default_rng(0).integers(1, LARGE_VOCABULARY, (documents, LENGTH - 1)):
            writer.append([*row.tolist(), 0], LENGTH - 1)
    model = Llama(LlamaConfig(layers=1, width=64, heads=1, context=LENGTH), LARGE_VOCABULARY).eval()
    subject = Subject(model, context_length=LENGTH, vocab_size=LARGE_VOCABULARY, device=torch.device("cpu"))
    shards = TokenShards(folder)
    units = lay_out(shards, [b"", *[b"x"] * (LARGE_VOCABULARY - 1)])
    libraries = mebibytes("VmRSS")
    windows = evaluation_windows(shards, LENGTH)
    score_windows(
        subject.decoder, windows, units, device=subject.device, progress=Silent(), tokens_at_once=subject.tokens_at_once
    )
    return {"libraries": libraries, "whole": mebibytes("VmHWM")}


def evaluate_theirs(folder: Path, documents: int) -> dict[str, int]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

    shape = {"hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = LlamaConfig(**shape, vocab_size=LARGE_VOCABULARY, max_position_embeddings=LENGTH, tie_word_embeddings=True)
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(0, LARGE_VOCABULARY, (documents, LENGTH))]

    def accuracy(found: Any) -> dict[str, float]:
        return {"accuracy": float((found.predictions[:, :-1].argmax(-1) == found.label_ids[:, 1:]).mean())}

    arguments = TrainingArguments(str(folder), use_cpu=True, report_to=[], disable_tqdm=True)
    trainer = Trainer(model=LlamaForCausalLM(config), args=arguments, eval_dataset=rows, compute_metrics=accuracy)
    libraries = mebibytes("VmRSS")
    trainer.evaluate()
    return {"libraries": libraries, "whole": mebibytes("VmHWM")}


def serve(name: str, documents: int) -> dict[str, int]:
    import torch

    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        if name in EVALUATION:
            return (evaluate_ours if "ours" in name else evaluate_theirs)(Path(folder), documents)
        return (train_ours if "ours" in name else train_theirs)(Path(folder), name)


def measured(name: str, documents: int = 0) -> dict[str, int]:
    command = [sys.executable, __file__, "--serve", name, "--documents", str(documents)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*TRAINING, *EVALUATION], default=[*TRAINING, *EVALUATION])
    parser.add_argument("--documents", nargs="+", type=int, default=[16, 64, 128], help="so many are evaluated")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        print(json.dumps(serve(arguments.serve, arguments.documents[0])))
        return
    print(machine("torch", "transformers"))
    for name in arguments.only:
        if name in TRAINING:
            print(f"{TRAINING[name]}: {json.dumps(measured(name))} MiB", flush=True)
        else:
            for documents in arguments.documents:
                print(f"{EVALUATION[name]}, {documents} documents: {json.dumps(measured(name, documents))} MiB", flush=True)


if __name__ == "__main__":
    main()
