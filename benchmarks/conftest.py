"""How benchmarks are timed: on every device there is, on inputs that no cache holds, each beside its reference.

`timed(call, inputs)` measures `call(*inputs)` under pytest-benchmark: see clock.py for the clocks, ceilings.py and
floor.py for what a result is compared with. With `--rehearse` everything runs on the CPU as it would on a GPU, on the
smallest sizes: for machines without one, and for the tests.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.ceilings import Ceilings, measure_ceilings
from benchmarks.clock import MORE_THAN_CACHES, ColdInputs, EventClock, HostEvent, Inputs, clock_for, rounds_within
from benchmarks.timing_report import keep_timing, machine, write_report

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
    """Return `timed(call, inputs, case=, contender=, baseline=, moved=, floor_s=, images=, kernels_alone=)`.

    `case` names what several contenders do, `contender` one of them, `baseline` says that it is none of ours: the
    headlines compare them. `moved`, the bytes that must be read and written, gives GB/s; `floor_s`, the least seconds,
    gives the share of the floor; `images`, those of one call, gives images/s. `kernels_alone`: on a GPU, time what the
    kernels take, without the launches from Python, which otherwise count where they take longer.
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
        kernels_alone: bool = False,
    ) -> None:
        cold = ColdInputs(inputs, device, more_than=2**20 if rehearse else MORE_THAN_CACHES)
        launch_s = cold.cover(call) if kernels_alone else 0.0
        seconds = request.config.option.benchmark_seconds
        rounds = 2 if rehearse else rounds_within(seconds, _once(call, inputs))
        warm_up = 1 if rehearse else 5
        benchmark.pedantic(call, setup=lambda: (tuple(cold()), {}), warmup_rounds=warm_up, rounds=rounds, iterations=1)
        info = benchmark.extra_info
        info.update(device=_device_name(device), threads=torch.get_num_threads(), copies_of_inputs=cold.count)
        if launch_s:
            info.update(launch_s=launch_s, clearings=cold.clearings)
        if case:
            info.update(case=case, contender=contender, baseline=baseline)
        if benchmark.stats is None:
            return
        stats = benchmark.stats.stats
        median = stats.median
        if moved:
            info["GB/s at the median"] = moved / median / 1e9
        if floor_s:
            info.update(floor_s=floor_s, share_of_floor=floor_s / median)
        if images:
            info["images/s at the median"] = images / median
        row = {"name": f"{request.node.nodeid} timing", "median_s": median, "q1_s": stats.q1, "q3_s": stats.q3}
        keep_timing(request.config, row | {"rounds": stats.rounds, **info})

    def _once(call: Callable[..., Any], inputs: Inputs) -> float:
        clock = clock_for(device)
        call(*inputs)
        begun = clock()
        call(*inputs)
        elapsed: float = clock() - begun
        return elapsed

    return run


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Add to pytest-benchmark's own JSON what the timings depend on."""
    machine_info.update(machine(), rehearsal=bool(config.option.rehearse))
    machine_info["node"] = platform.machine()  # in place of the host's name, which says nothing to others


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show the one table, and write it as JSON and as a picture."""
    for line in write_report(config):
        terminalreporter.write_line(line)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
