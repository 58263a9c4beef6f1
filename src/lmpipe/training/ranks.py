"""The processes that train one model together, and the few things they tell one another.

    batch number p (the same on all)   rank 0: first rows   rank 1: next rows   ...
    gradients                          added up in fp32 after the last backward pass, then the same update everywhere
    decisions                          made from what was added up, or told by the first: nobody decides alone

All hold all weights. A process that is alone says nothing and waits for nobody, so that training reads the same for one and for
many. Does not know: models, objectives, the loop; who started the processes (`launching.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from lmpipe.base.errors import TrainingError

TOGETHER_BYTES = 32 << 20
"""Smaller tensors are sent together until they are as many bytes: a message of its own costs more than copying."""
PATIENCE = timedelta(minutes=30)
"""How long a process waits for another: the first one may be writing a large checkpoint, or compiling."""


@dataclass(frozen=True)
class Ranks:
    """One of `count` processes: number `rank`, from 0."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"
    """Where the tensors must lie that are sent."""

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes, checks and reports."""
        return self.rank == 0

    def share(self, rows: int, *, evenly: bool = False, where: str = "") -> range:
        """The rows of a batch that are this process's: neighbours, at most one more than another process has, or `evenly` many.

        >>> [Ranks(rank, 3).share(8) for rank in range(3)]
        [range(0, 2), range(2, 5), range(5, 8)]

        Raises:
            TrainingError: naming the field `where`, when the rows are too few, or cannot be divided as they should be.
        """
        if evenly and rows % self.count:
            raise TrainingError(
                f"a batch has {rows} rows, and {self.count} processes that hold a model in parts must have equally many",
                where=where,
                expected=f"a multiple of {self.count} rows",
                fix="change batch_tokens or the number of processes, or leave --shard out",
            )
        if rows < self.count:
            raise TrainingError(
                f"a batch has {rows} rows, and {self.count} processes are to share them",
                where=where,
                expected="at least one row for each",
                fix=f"raise batch_tokens, or take at most {rows} processes",
            )
        return range(self.rank * rows // self.count, (self.rank + 1) * rows // self.count)

    def totals(self, numbers: Sequence[float]) -> list[float]:
        """Each number, added up over all processes in double precision."""
        if self.count == 1:
            return list(numbers)
        together = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(together)
        return [float(number) for number in together.tolist()]

    def any(self, flag: bool) -> bool:
        """Whether any process says yes."""
        return self.totals([float(flag)])[0] > 0

    def told(self, number: int) -> int:
        """The first process's number."""
        return int(self.totals([float(number) if self.is_first else 0.0])[0])

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """Every process's tensor, in order; all have one shape."""
        if self.count == 1:
            return [tensor]
        mine = tensor.to(self.device)
        found = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(found, mine)
        return [each.to(tensor.device) for each in found]

    def wait(self) -> None:
        """Until all have come here."""
        if self.count > 1:
            dist.barrier()

    @torch.no_grad()
    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Make each tensor, in place, the sum over all processes, which is then the same to the last bit everywhere."""
        if self.count == 1:
            return
        for group in _groups(tensors):
            if len(group) == 1 and group[0].is_contiguous():
                dist.all_reduce(group[0])
                continue
            flat = torch.cat([tensor.flatten() for tensor in group])
            dist.all_reduce(flat)
            for tensor, total in zip(group, torch.split(flat, [tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(total.view_as(tensor))


ALONE = Ranks()
"""The only process."""


def _groups(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of together at most `TOGETHER_BYTES`, or a single larger one."""
    group: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if group and size + tensor.nbytes > TOGETHER_BYTES:
            yield group
            group, size = [], 0
        group.append(tensor)
        size += tensor.nbytes
    if group:
        yield group


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """This process among those that torchrun's variables name (RANK, WORLD_SIZE, MASTER_ADDR ...): gloo on a CPU, NCCL on GPUs,
    of which each process takes the one of its number on this machine."""
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, count = next(rendezvous("env://", timeout=PATIENCE))
    # Started again, processes find the same store, with the addresses of those that died.
    attempt = PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, store=attempt, rank=rank, world_size=count, timeout=PATIENCE)
    try:
        yield Ranks(rank, count, device)
    finally:
        dist.destroy_process_group()
