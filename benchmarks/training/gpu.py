"""Decoders of 125M, 350M and 1B parameters on one GPU: tokens per second and MFU, ours beside Transformers and nanoGPT.

    pip install accelerate            # transformers' Trainer needs it
    python benchmarks/training/gpu.py --nanogpt PATH/model.py [--sizes 350m 1b] [--rows 16]
    python benchmarks/training/gpu.py --device cpu --sizes toy --plain --steps 2      # what the tests run

Every contender is a process of its own, one after the other on the device, twice in turn; told are tokens per second of the
median step after warm-up, and the share of the device's bf16 matrix rate (MFU): of the rate its maker names, where we know it,
and of the largest that products of 8,192 squared reach in the same run. FLOPs are counted alike for all: 6 per weight that
multiplies and token, and 12 x layers x width x context for attention (Chowdhery et al. 2022).

    ours           a `TrainingRun`: bf16 over fp32 masters, compiled, packed rows through FlexAttention, loss in parts, Muon
    ours-adamw     the same with AdamW, as the others have
    trainer        transformers' Llama under the Trainer: bf16=True, torch_compile=True, fused AdamW
    nanogpt        nanoGPT's model and optimiser: bf16 autocast, compiled

Tokens are made up, in documents of 500 (ours keeps to their borders; the others attend over them). Loss parity: our Llama and
transformers' start from the same files and take the same batches with the same AdamW; the losses of each step are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from pairs import machine, nanogpt_module, spread

SIZES = {"toy": (2, 64, 2, 64, 512), "125m": (12, 768, 12, 1024, 50304), "350m": (24, 1024, 16, 1024, 50304)}
SIZES["1b"] = (18, 2048, 16, 1024, 50304)
"""Layers, width, heads, context, vocabulary; the Llama layout with tied head has 124, 360 and 1,014 million parameters."""
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "RTX 4090": 165e12}
"""Dense bf16 FLOP/s as the makers' data sheets have them (of the SXM boards), by a part of the device's name."""
WARM, PARITY_STEPS, PARITY_RATE = 3, 8, 1e-3
TOLERANCE = 0.01
"""By which share losses in bf16 may differ."""


class Bench:
    def __init__(self, size: str, arguments: argparse.Namespace) -> None:
        self.layers, self.width, self.heads, self.context, self.vocabulary = SIZES[size]
        self.device, self.compiled, self.steps, self.rows = (
            arguments.device,
            not arguments.plain,
            arguments.steps,
            arguments.rows,
        )
        self.batch_tokens = arguments.accumulation * self.rows * self.context
        self.accumulation, self.nanogpt_file = arguments.accumulation, arguments.nanogpt
        inner = -(-8 * self.width // 3 // 64) * 64
        per_layer = 4 * self.width**2 + 3 * self.width * inner
        self.inner = inner
        multiplied = self.layers * per_layer + self.vocabulary * self.width
        self.flops_per_token = 6 * multiplied + 12 * self.layers * self.width * self.context

    def wait(self) -> None:
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()

    def timed(self, step: Any) -> list[float]:
        seconds = []
        for _ in range(WARM + self.steps):
            started = time.perf_counter()
            step()
            self.wait()
            seconds.append(time.perf_counter() - started)
        return seconds[WARM:]

    def run_of(self, folder: Path, optimizer: dict[str, Any], start: Path | None = None) -> Any:
        from lmpipe.base.progress import Silent
        from lmpipe.models.llama.config import LlamaConfig
        from lmpipe.training.config import PhaseConfig
        from lmpipe.training.loop import Device, TrainingRun

        shape = {"layers": self.layers, "width": self.width, "heads": self.heads, "context": self.context}
        model = LlamaConfig(**shape, feed_forward=self.inner, tie_embeddings=True)
        values = {"name": "speed", "on": "random", "tokens": 10**12, "statistics": False, "schedule": {"kind": "constant"}}
        sizes = {"batch_tokens": self.batch_tokens, "micro_batch_tokens": self.rows * self.context}
        phase = PhaseConfig.model_validate({**values, **sizes, "optimizer": optimizer})
        return TrainingRun(folder, model, phase, 0, Device(self.device, 2, self.compiled), Silent(), start)

    def write(self, folder: Path, document: int) -> Path:
        from lmpipe.tokens.shards import ShardWriter

        generator = np.random.default_rng(0)
        size = max(64 * self.batch_tokens, 4 * document)
        for split in ("train", "validation"):
            with ShardWriter(folder / split, vocab_size=self.vocabulary, end_of_text_id=0) as writer:
                for _ in range(size // document):
                    # each token stands near the one before it: there is something to learn
                    steps = generator.integers(1, 9, document - 1)
                    writer.append([*(1 + np.cumsum(steps) % (self.vocabulary - 1)).tolist(), 0], document)
        return folder

    def ours(self, folder: Path, optimizer: str) -> dict[str, Any]:
        from lmpipe.training.process import settings_of_a_run

        self.write(folder, min(500, self.context // 2))
        with settings_of_a_run(self.device, 2, compiled=self.compiled):
            run = self.run_of(folder, {"kind": optimizer})
            return {"seconds": self.timed(lambda: run._one_step(folder, watched=False))}

    def hugging_face(self) -> Any:
        from transformers import LlamaConfig, LlamaForCausalLM

        shape = {"hidden_size": self.width, "intermediate_size": self.inner, "num_hidden_layers": self.layers}
        shape |= {"num_attention_heads": self.heads, "max_position_embeddings": self.context, "vocab_size": self.vocabulary}
        return LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=True))

    def trainer(self, folder: Path) -> dict[str, Any]:
        import torch
        from transformers import Trainer, TrainerCallback, TrainingArguments

        bench, seconds = self, list[float]()

        class Clock(TrainerCallback):
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                self.started = time.perf_counter()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                bench.wait()
                seconds.append(time.perf_counter() - self.started)

        ids = torch.randint(0, self.vocabulary, (8 * self.rows * self.accumulation, self.context))
        options: dict[str, Any] = {"bf16": True, "torch_compile": self.compiled, "use_cpu": self.device == "cpu"}
        arguments = TrainingArguments(
            str(folder), max_steps=WARM + self.steps, per_device_train_batch_size=self.rows, weight_decay=0.1,
            gradient_accumulation_steps=self.accumulation, save_strategy="no", report_to=[], disable_tqdm=True,
            logging_strategy="no", **options,
        )  # fmt: skip
        rows = [{"input_ids": row, "labels": row} for row in ids]
        Trainer(model=self.hugging_face(), args=arguments, train_dataset=rows, callbacks=[Clock()]).train()
        return {"seconds": seconds[WARM:]}

    def nanogpt(self) -> dict[str, Any]:
        import torch

        module = nanogpt_module(self.nanogpt_file)
        shape = {"n_layer": self.layers, "n_head": self.heads, "n_embd": self.width}
        config = module.GPTConfig(**shape, block_size=self.context, vocab_size=self.vocabulary, dropout=0.0, bias=False)
        model = module.GPT(config).to(self.device)
        optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), self.device)
        forward = torch.compile(model) if self.compiled else model
        ids = torch.randint(0, self.vocabulary, (self.accumulation, self.rows, self.context + 1), device=self.device)

        def step() -> None:
            for rows in ids:
                with torch.autocast(self.device, torch.bfloat16):
                    loss = forward(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())[1] / self.accumulation
                loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        flops = 6 * (12 * self.layers * self.width**2 + self.vocabulary * self.width)
        return {"seconds": self.timed(step), "flops_per_token": flops + 12 * self.layers * self.width * self.context}

    def parity(self, folder: Path) -> dict[str, Any]:
        """Losses of the same steps by our engine and by a plain loop around transformers' model."""
        import torch
        from transformers import AutoModelForCausalLM

        from lmpipe.models import families
        from lmpipe.training.process import settings_of_a_run

        self.write(folder, 4 * self.context)  # few borders, which both keep to
        adamw = {"kind": "adamw", "lr": PARITY_RATE, "weight_decay": 0.0}
        with settings_of_a_run(self.device, 2, compiled=self.compiled):
            run = self.run_of(folder, adamw)
            weights = {name: weight.detach().cpu() for name, weight in run.state.optimizer.weights().items()}
            families.save(run.state.model, folder / "start", end_of_text_id=0, state=weights)
            batches = [run.batch(number) for number in range(PARITY_STEPS)]
            for _ in range(PARITY_STEPS):
                run._one_step(folder, watched=False)
            mine = [row["loss"] for row in run.state.curve if "loss" in row][:PARITY_STEPS]
        del run
        model = AutoModelForCausalLM.from_pretrained(folder / "start", dtype=torch.float32).to(self.device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=PARITY_RATE, betas=(0.9, 0.95), weight_decay=0.0)
        theirs = []
        for inputs, targets, segments in batches:
            total, count = 0.0, inputs.size
            pieces = [torch.from_numpy(array).to(self.device).split(self.rows) for array in (inputs, targets, segments)]
            for ids, wanted, documents in zip(*pieces, strict=True):
                same = (documents[:, None, :, None] == documents[:, None, None, :]).tril()
                with torch.autocast(self.device, torch.bfloat16):
                    logits = model(input_ids=ids, attention_mask=torch.where(same, 0.0, -1e9).to(torch.bfloat16)).logits
                loss = (
                    torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), wanted.flatten(), reduction="sum") / count
                )
                loss.backward()
                total += loss.item()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            theirs.append(total)
        return {"ours": mine, "transformers": theirs}

    def matrix_rate(self) -> dict[str, Any]:
        import torch

        size = 8192 if self.device == "cuda" else 512
        a, b = (torch.randn(size, size, device=self.device, dtype=torch.bfloat16) for _ in range(2))
        return {"seconds": self.timed(lambda: a @ b), "flops": 2 * size**3}


def serve(name: str, size: str, arguments: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    bench = Bench(size, arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if name in ("ours", "ours-adamw"):
            return bench.ours(folder, "muon" if name == "ours" else "adamw")
        if name in ("trainer", "parity"):
            return bench.trainer(folder) if name == "trainer" else bench.parity(folder)
        return bench.nanogpt() if name == "nanogpt" else bench.matrix_rate()


def asked(name: str, size: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--serve", name, "--size", size]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"{size} {name}: did not run to its end", flush=True)
        return {}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def measure(size: str, names: list[str], arguments: argparse.Namespace, peaks: dict[str, float]) -> None:
    bench = Bench(size, arguments)
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(arguments.rounds):
        for name in names if number % 2 == 0 else reversed(names):
            if found := asked(name, size):
                speed = bench.batch_tokens / statistics.median(found["seconds"])
                speeds[name].append(speed)
                flops = found.get("flops_per_token", bench.flops_per_token)
                shares = ", ".join(f"{speed * flops / peak:.3f} of {what}" for what, peak in peaks.items())
                print(f"{size} {name}: {speed:,.0f} tokens/s, MFU {shares}", flush=True)
    for name, values in speeds.items():
        pairs = list(zip(speeds["ours"], values, strict=False)) if "ours" in speeds else []
        if name != "ours" and pairs:
            print(f"{size}: ours faster than {name} by {spread([mine / other for mine, other in pairs])}")


def tell_parity(size: str) -> bool:
    found = asked("parity", size)
    if not found:
        return False
    apart = [abs(a - b) / b for a, b in zip(found["ours"], found["transformers"], strict=True)]
    held = max(apart) <= TOLERANCE
    print(f"{size} loss parity, {len(apart)} steps: largest difference {max(apart):.2%}, {'held' if held else 'NOT HELD'}")
    print(f"  ours {[round(x, 4) for x in found['ours']]}, transformers {[round(x, 4) for x in found['transformers']]}")
    return held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", help="nanoGPT's model.py; without it nanoGPT is not measured")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["125m", "350m", "1b"])
    parser.add_argument("--only", nargs="+", default=["ours", "ours-adamw", "trainer", "nanogpt"])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--rows", type=int, default=16, help="rows at once")
    parser.add_argument("--accumulation", type=int, default=4, help="passes per optimiser step")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--plain", action="store_true", help="compile nothing")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--size", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        with contextlib.redirect_stdout(sys.stderr):
            answer = serve(arguments.serve, arguments.size, arguments)
        print(json.dumps(answer))
        return 0
    names = [name for name in arguments.only if name != "nanogpt" or arguments.nanogpt]
    print(machine("torch", "transformers"))
    peaks = {}
    if arguments.device == "cuda":
        device = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], stdout=subprocess.PIPE, text=True)
        print(device.stdout.strip())
        peaks = {f"the {name}'s named rate": peak for name, peak in PEAKS.items() if name in device.stdout}
    found = asked("matrix-rate", arguments.sizes[0])
    if found:
        peaks["the measured rate"] = found["flops"] / min(found["seconds"])
        print(f"bf16 products: {peaks['the measured rate'] / 1e12:.2f} TFLOP/s")
    held = [tell_parity(size) for size in arguments.sizes]
    for size in arguments.sizes:
        measure(size, names, arguments, peaks)
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
