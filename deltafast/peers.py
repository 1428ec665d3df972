"""Processes that train one model together, as torchrun starts them; one process alone is a group of one."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn

from deltafast.errors import WorkerError

__all__ = ["Peers", "own_device", "peers"]

_TIMEOUT = timedelta(hours=6)  # the others wait while the first one does what takes long and cannot be shared
_times = itertools.count()  # how often this process has joined


@dataclass(frozen=True)
class Peers:
    """The processes of one training: this one is `rank` of `count`, and the first one writes the files."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and measures."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all are here."""
        self.sum(torch.zeros(()))

    def share(self, size: int) -> slice:
        """Return this process's part of a batch of `size`; the parts are disjoint, and together the whole."""
        return slice(size * self.rank // self.count, size * (self.rank + 1) // self.count)

    def weight(self, size: int) -> float:
        """Return what the mean over this process's part of a batch of `size` counts in the gradient of `together`.

        With it the result is the gradient of the mean over the whole batch.
        """
        part = self.share(size)
        return float(self.count * (part.stop - part.start) / size)

    def together(self, module: nn.Module) -> nn.Module:
        """Return a module whose backward pass leaves the mean of all processes' gradients (DDP); alone itself."""
        if self.count == 1:
            return module
        return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.count > 1:
            value = value.clone()
            torch.distributed.all_reduce(value)
        return value


@contextlib.contextmanager
def peers(device: torch.device | str = "cpu") -> Iterator[Peers]:
    """Yield the processes that torchrun started with this one, joined; without torchrun a group of one.

    They speak through gloo, of what lies on CUDA devices through NCCL where torch has it. Raises `WorkerError` where
    they do not find each other.
    """
    if not _by_torchrun() or torch.distributed.is_initialized():
        yield _joined() if _by_torchrun() else Peers()
        return
    # not every build of torch has these
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]
    from torch.distributed.rendezvous import rendezvous

    cuda = torch.device(device).type == "cuda" and torch.distributed.is_nccl_available()
    if cuda:
        torch.cuda.set_device(device)
    try:
        store, rank, count = next(rendezvous("env://"))
        store.set_timeout(_TIMEOUT)
        # torchrun's store outlives a restart: whoever began again first would read where the others were before it
        store = PrefixStore(f"{os.environ['TORCHELASTIC_RESTART_COUNT']}/{count}/{next(_times)}", store)
        torch.distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_TIMEOUT, store=store, rank=rank, world_size=count
        )
    except (RuntimeError, ValueError) as error:
        raise WorkerError(f"the processes that torchrun started do not find each other: {error}") from error
    try:
        yield _joined()
    finally:
        torch.distributed.destroy_process_group()


def own_device(device: str | None) -> str | None:
    """Return the device for this process: of "cuda" under torchrun the GPU that is its own, else `device` as it is."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and _by_torchrun() else device


def _by_torchrun() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()


def _joined() -> Peers:
    return Peers(torch.distributed.get_rank(), torch.distributed.get_world_size())
