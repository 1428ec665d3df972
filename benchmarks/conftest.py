"""How benchmarks are timed: on every device there is, on inputs that no cache holds, each beside its reference.

`timed(call, inputs)` measures `call(*inputs)` under pytest-benchmark. The inputs are copied until they fill more than
the caches, and the copies are taken in turn. On CUDA the clock is made of CUDA events.
"""

from __future__ import annotations

import itertools
import os
import platform
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

_MORE_THAN_CACHES = 256 * 2**20  # bytes; an H200's L2 holds 60 MB, a server CPU's last level about as much


class _EventClock:
    """Seconds of GPU time since the first call: `time.perf_counter` for what runs on the current CUDA stream."""

    def __init__(self) -> None:
        self._last: torch.cuda.Event | None = None
        self._seconds = 0.0

    def __call__(self) -> float:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        event.synchronize()
        if self._last is not None:
            self._seconds += self._last.elapsed_time(event) / 1e3  # summed in double: elapsed_time itself is fp32 ms
        self._last = event
        return self._seconds


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device in turn; CUDA is skipped where there is none."""
    found = torch.device(request.param)
    if found.type == "cuda":
        request.node.add_marker(pytest.mark.benchmark(timer=_EventClock()))
    return found


@pytest.fixture
def timed(request: pytest.FixtureRequest, device: torch.device) -> Callable[..., None]:
    """Return `timed(call, inputs, moved=bytes)`; `moved`, the bytes that must be read and written, gives GB/s."""
    benchmark: Any = request.getfixturevalue("benchmark")

    def run(call: Callable[..., Any], inputs: list[Tensor | None], *, moved: int = 0) -> None:
        size = sum(value.nbytes for value in inputs if value is not None)
        copies = [inputs]
        while size and len(copies) * size < _MORE_THAN_CACHES:
            copies.append([None if value is None else value.clone() for value in inputs])
        turn: Iterator[list[Tensor | None]] = itertools.cycle(copies)
        benchmark.pedantic(lambda: call(*next(turn)), warmup_rounds=5, rounds=_rounds(call, inputs), iterations=1)
        benchmark.extra_info.update(device=_device_name(device), threads=torch.get_num_threads())
        if moved and benchmark.stats is not None:
            benchmark.extra_info["GB/s at the median"] = moved / benchmark.stats.stats.median / 1e9

    def _rounds(call: Callable[..., Any], inputs: list[Tensor | None]) -> int:
        clock = benchmark._timer
        call(*inputs)
        begun = clock()
        call(*inputs)
        return max(5, min(200, int(1.5 / max(clock() - begun, 1e-6))))

    return run


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Add to the JSON what the timings depend on."""
    import deltafast

    machine_info.update(
        torch=torch.__version__,
        torch_cuda=torch.version.cuda,
        torch_threads=torch.get_num_threads(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        cores=os.cpu_count(),
        gpu=_device_name(torch.device("cuda")) if torch.cuda.is_available() else None,
        deltafast=deltafast.__version__,
    )
    machine_info["node"] = platform.machine()  # in place of the host's name, which says nothing to others


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
