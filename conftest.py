"""Settings of every pytest run: the option `--benchmark`, and what happens to GPU tests without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

_BENCHMARKS = Path(__file__).resolve().parent / "benchmarks"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--benchmark`, which pytest-benchmark itself does not have."""
    parser.addoption(
        "--benchmark",
        action="store_true",
        dest="run_benchmarks",
        help="run the benchmarks in benchmarks/ (and, unless paths are given, nothing else)",
    )
    parser.addoption(
        "--rehearse",
        action="store_true",
        help="with --benchmark: the smallest sizes and two rounds, to see whether everything runs; no figure counts",
    )
    parser.addoption(
        "--benchmark-seconds", type=float, default=1.0, help="with --benchmark: how long each case is timed for"
    )
    parser.addoption(
        "--benchmark-report",
        type=Path,
        default=Path(".benchmarks"),
        help="with --benchmark: folder for the table as benchmark.json and benchmark.png",
    )


def pytest_configure(config: pytest.Config) -> None:
    """With `--benchmark` collect benchmarks/ instead of tests/ unless a path is given, and show our table alone."""
    if config.option.run_benchmarks:
        config.option.benchmark_quiet = True
    if config.option.run_benchmarks and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = [str(_BENCHMARKS)]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip benchmarks that were not asked for, and GPU tests where torch finds no GPU, each with its reason."""
    no_gpu = None
    for item in items:
        if _BENCHMARKS in item.path.parents and not config.option.run_benchmarks:
            item.add_marker(pytest.mark.skip(reason="a benchmark: run with --benchmark"))
        if item.get_closest_marker("gpu") is not None:
            no_gpu = _reason_without_gpu() if no_gpu is None else no_gpu
            if no_gpu:
                item.add_marker(pytest.mark.skip(reason=no_gpu))


def _reason_without_gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "needs a CUDA device, and torch finds none"
    from benchmarks.precision import float32_is_exact

    float32_is_exact()
    return ""
