"""Model FLOPs of a training step as a share of what the machine's matrix products reach in the same run.

    pip install accelerate            # transformers' Trainer needs it
    SPEED_SHAPE=10m python benchmarks/training/matrix_rate.py --nanogpt PATH/model.py --rounds 5

The contenders are those of `benchmarks/training_speed.py`, each in a process of its own and asleep while another works. In
every round a product of two 2,048 by 2,048 matrices is timed before and after each contender's steps, in the precision that
ours resolves to here; the faster of the two is the rate. FLOPs are the model's: 6 per weight that multiplies and token, and 12
x layers x width x context for attention.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

from pairs import machine, spread

sys.path.insert(0, str(Path(__file__).parents[1]))
import training_speed as speed

SIDE, PRODUCTS = 2048, 5


def flops_per_token(name: str) -> float:
    width, inner, layers = speed.WIDTH, speed.INNER, speed.LAYERS
    per_layer = 12 * width**2 if name.startswith("nanogpt") else 4 * width**2 + 3 * width * inner
    return 6.0 * (layers * per_layer + speed.VOCABULARY * width) + 12.0 * layers * width * speed.CONTEXT


def matrix_rate(precision: str) -> float:
    """FLOP/s of the fastest of some products."""
    import torch

    torch.set_num_threads(speed.THREADS)
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(SIDE, SIDE, dtype=kind), torch.randn(SIDE, SIDE, dtype=kind)
    seconds = []
    for _ in range(PRODUCTS):
        started = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - started)
    return 2 * SIDE**3 / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", required=True, help="nanoGPT's model.py")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(speed.CONTENDERS), default=["ours", "nanogpt-bf16", "trainer-bf16"])
    arguments = parser.parse_args()
    from lmpipe.training.config import resolve_precision

    precision = resolve_precision("auto", "cpu")
    print(machine("torch", "transformers"))
    print(f"{speed.LAYERS} layers, width {speed.WIDTH}, context {speed.CONTEXT}, batch {speed.ROWS * speed.CONTEXT:,}")
    contenders = {name: speed.Contender(name, arguments.nanogpt) for name in arguments.only}
    shares: dict[str, list[float]] = {name: [] for name in contenders}
    rates = []
    try:
        for contender in contenders.values():
            contender.steps(2)
        for number in range(arguments.rounds):
            for name in arguments.only if number % 2 == 0 else reversed(arguments.only):
                before = matrix_rate(precision)
                seconds = statistics.median(contenders[name].steps(arguments.steps))
                rates.append(max(before, matrix_rate(precision)))
                flops = speed.ROWS * speed.CONTEXT * flops_per_token(name)
                shares[name].append(flops / seconds / rates[-1])
    finally:
        for contender in contenders.values():
            contender.process.kill()
            contender.process.wait()
    print(f"{precision} products: {spread([rate / 1e9 for rate in rates], 0)} GFLOP/s")
    for name, values in shares.items():
        print(f"{speed.CONTENDERS[name]}: {spread(values)} of the matrix rate")


if __name__ == "__main__":
    main()
