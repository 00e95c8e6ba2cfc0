"""Train in several processes at once: each takes its share of the same batches (torch.distributed).

Gradients are averaged over the lists of a whole batch, so that several processes learn as one does. Without a process
group there is one process, and everything here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from models.contract.arrays import Ints


class ProcessesDifferError(RuntimeError):
    """Report processes of one training that do not train the same."""


@dataclass(frozen=True)
class Processes:
    """Hold the number of processes that train together, and the rank of this one."""

    rank: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> Processes:
        """Ask the process group, if there is one."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def writes(self) -> bool:
        """Tell whether this process writes the files and shows the progress."""
        return self.rank == 0

    def share(self, rows: Ints) -> tuple[Ints, float]:
        """Take this process's rows of a batch, and the weight of their mean loss.

        The mean of all processes' weighted losses is the mean over `rows`. A process for which none are left computes
        one row for nothing, since all must take part.
        """
        if self.count == 1:
            return rows, 1.0
        own = rows[self.rank :: self.count]
        return (own, len(own) * self.count / len(rows)) if len(own) else (rows[:1], 0.0)

    def batches(self, count: int, size: int) -> Ints | None:
        """Number the rows of this process's batches of `size`; None for all rows."""
        if self.count == 1:
            return None
        starts = range(self.rank * size, count, self.count * size)
        parts = [np.arange(start, min(start + size, count)) for start in starts]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def sum(self, value: float) -> float:
        """Add up a number of every process."""
        if self.count == 1:
            return value
        # Of NCCL every tensor must be on a GPU.
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        total = torch.tensor(value, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return float(total)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Average the gradients of all processes, which begin with the weights of the first."""
        if self.count == 1:
            return model
        # Which embeddings a batch uses differs, and buffers never change.
        return DistributedDataParallel(model, find_unused_parameters=True, broadcast_buffers=False)

    def agree(self, identity: Mapping[str, str]) -> None:
        """Wait for all, and raise `ProcessesDifferError` naming the first difference in what they train."""
        if self.count == 1:
            return
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, dict(identity))
        for rank, other in enumerate(found):
            for key in sorted(found[0].keys() | other.keys()):
                if found[0].get(key) != other.get(key):
                    then, now = found[0].get(key), other.get(key)
                    raise ProcessesDifferError(
                        f"process {rank} does not train as process 0: {key} is {now}, not {then}"
                    )

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            dist.barrier()

    def seeds(self, *numbers: int) -> list[int]:
        """Make the entropy of this process's own random numbers."""
        return [*numbers, self.rank] if self.count > 1 else [*numbers]


def claim_device(device: torch.device) -> torch.device:
    """Take a GPU for this process, and make it the current one.

    By ``LOCAL_RANK``, as torchrun and Ray number the processes of a machine.
    """
    if device.type != "cuda" or Processes.here().count == 1:
        return device
    own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    torch.cuda.set_device(own)  # NCCL takes the current one, and fails where two processes have the same.
    return own


def started_by_torchrun() -> bool:
    """Tell whether ``torchrun`` started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


@contextmanager
def torchrun_group(device: torch.device) -> Iterator[None]:
    """Join the processes that ``torchrun`` started, if it did, while the block runs.

    Each takes a GPU of its own if `device` is one.
    """
    if not started_by_torchrun():
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        claim_device(device)
        yield
    finally:
        dist.destroy_process_group()
