"""How benchmarks are timed: on every device there is, on inputs that no cache holds, each beside its reference.

`timed(call, inputs)` measures `call(*inputs)` under pytest-benchmark: see clock.py for the clocks, ceilings.py and
floor.py for what a result is compared with. With `--rehearse` everything runs on the CPU as it would on a GPU, on the
smallest sizes: for machines without one, and for the tests.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.ceilings import Ceilings, measure_ceilings
from benchmarks.clock import MORE_THAN_CACHES, ColdInputs, EventClock, HostEvent, Inputs, clock_for, rounds_within

_SECONDS = 1.0  # of one case
_SHRINK = 32  # the ceilings' sizes, where they are rehearsed


@pytest.fixture(scope="session")
def rehearse(request: pytest.FixtureRequest) -> bool:
    """Whether only the control flow matters."""
    return bool(request.config.option.rehearse)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, rehearse: bool) -> torch.device:
    """Each device in turn; CUDA is skipped where there is none."""
    found = torch.device(request.param)
    clock = EventClock(HostEvent) if rehearse else clock_for(found)
    request.node.add_marker(pytest.mark.benchmark(timer=clock))
    return found


@pytest.fixture(scope="session")
def ceilings(rehearse: bool) -> Callable[[torch.device, torch.dtype], Ceilings]:
    """Return the measured ceilings of a device for a dtype; each is measured once a session."""
    measured: dict[tuple[torch.device, torch.dtype], Ceilings] = {}

    def get(device: torch.device, dtype: torch.dtype) -> Ceilings:
        key = device, dtype
        if key not in measured:
            measured[key] = measure_ceilings(device, dtype, shrink=_SHRINK if rehearse else 1)
        return measured[key]

    return get


@pytest.fixture
def timed(request: pytest.FixtureRequest, device: torch.device, rehearse: bool) -> Callable[..., None]:
    """Return `timed(call, inputs, case=, contender=, baseline=, moved=, floor_s=, images=)`.

    `case` names what several contenders do, `contender` one of them, `baseline` says that it is none of ours: the
    headlines compare them. `moved`, the bytes that must be read and written, gives GB/s; `floor_s`, the least seconds,
    gives the share of the floor; `images`, those of one call, gives images/s.
    """
    benchmark: Any = request.getfixturevalue("benchmark")

    def run(
        call: Callable[..., Any],
        inputs: Inputs,
        *,
        case: str = "",
        contender: str = "",
        baseline: bool = False,
        moved: int = 0,
        floor_s: float = 0.0,
        images: int = 0,
    ) -> None:
        cold = ColdInputs(inputs, device, more_than=2**20 if rehearse else MORE_THAN_CACHES)
        rounds = 2 if rehearse else rounds_within(_SECONDS, _once(call, inputs))
        warm_up = 1 if rehearse else 5
        benchmark.pedantic(call, setup=lambda: (tuple(cold()), {}), warmup_rounds=warm_up, rounds=rounds, iterations=1)
        info = benchmark.extra_info
        info.update(device=_device_name(device), threads=torch.get_num_threads(), copies_of_inputs=cold.count)
        if case:
            info.update(case=case, contender=contender, baseline=baseline)
        if benchmark.stats is None:
            return
        median = benchmark.stats.stats.median
        if moved:
            info["GB/s at the median"] = moved / median / 1e9
        if floor_s:
            info.update(floor_s=floor_s, share_of_floor=floor_s / median)
        if images:
            info["images/s at the median"] = images / median

    def _once(call: Callable[..., Any], inputs: Inputs) -> float:
        clock = clock_for(device)
        call(*inputs)
        begun = clock()
        call(*inputs)
        elapsed: float = clock() - begun
        return elapsed

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
        rehearsal=bool(config.option.rehearse),
    )
    machine_info["node"] = platform.machine()  # in place of the host's name, which says nothing to others


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
