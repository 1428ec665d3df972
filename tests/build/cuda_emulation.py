"""A pytest plugin: tests for "cuda" run on CPU tensors, on the emulated CUDA kernels of csrc/emulation.

    DELTAFAST_EMULATED=_C.so python -m pytest -p cuda_emulation tests/ops

Runs the tests that have "cuda" as their device, and no others; what needs more of CUDA than the kernels is left out.
Where a test runs on "cpu" too, its opchecks leave the trace with sizes as symbols to that run: it is a trace of the
op's Python, the same on either device, and nearly all of the time of an opcheck.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def _load() -> None:
    """Let the emulated module be `deltafast._C`, and let ops hand it what CUDA kernels take."""
    import torch

    assert torch.__version__  # imported because the module needs its libraries
    spec = importlib.util.spec_from_file_location("deltafast._C", Path(os.environ["DELTAFAST_EMULATED"]))
    assert spec is not None
    assert spec.loader is not None
    sys.modules["deltafast._C"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["deltafast._C"])
    from deltafast.ops import _library, devices

    assert _library._C.build_info()["cuda_toolkit"] == "emulated"
    _library._KERNELS["cpu"] = "cuda"
    devices.CUDA_KERNEL_DEVICES = frozenset({"cpu", "cuda"})


_load()
_UNTRACED = ("test_schema", "test_autograd_registration", "test_faketensor")
_traced_elsewhere: set[str] = set()  # ids of tests that run on "cpu" with the same other parameters


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests whose device is "cuda", and give them the CPU as their device."""
    kept, others = [], []
    on_cpu = {item.nodeid.replace("cpu", "cuda") for item in items if "cpu" in item.nodeid}
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if parameters.get("device") != "cuda":
            others.append(item)
            continue
        parameters["device"] = "cpu"
        if item.nodeid in on_cpu:
            _traced_elsewhere.add(item.nodeid)
        item.own_markers = [mark for mark in item.own_markers if mark.name != "gpu"]
        kept.append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Leave the trace of opchecks to the test on "cpu", where there is one."""
    import torch

    real = torch.library.opcheck

    def untraced(*arguments: Any, **options: Any) -> Any:
        return real(*arguments, **{"test_utils": _UNTRACED, **options})

    if item.nodeid in _traced_elsewhere:
        torch.library.opcheck = untraced
    try:
        return (yield)
    finally:
        torch.library.opcheck = real
