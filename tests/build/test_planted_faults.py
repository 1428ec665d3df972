"""The emulation knows tensor cores and warpgroups: both convolutions are right on it, and planted faults are found."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest
import tensor_core_faults
import warpgroup_faults
from planted_faults import agrees, build

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulation switches stacks as Linux does")

_KERNELS = {"tensor cores": tensor_core_faults, "warpgroups": warpgroup_faults}
_RIGHT = [(kernel, name) for kernel, module in _KERNELS.items() for name in module.CASES]
_WRONG = [(kernel, fault) for kernel, module in _KERNELS.items() for fault in module.FAULTS]


@pytest.fixture(scope="module")
def libraries(
    tmp_path_factory: pytest.TempPathFactory, repository_root: Path, emulation: list[Path]
) -> dict[str, ctypes.CDLL]:
    """Each kernel, right and with each fault, as a shared library."""
    csrc = repository_root / "csrc"
    return {
        kernel: build(tmp_path_factory.mktemp("faults"), csrc, emulation, module.PARTS, module.FAULTS, module.LAUNCH)
        for kernel, module in _KERNELS.items()
    }


def _found(library: ctypes.CDLL, kernel: str, fault: str) -> bool:
    """Whether the fault shows in the cases of its kind: those that up-sample, or the others."""
    module = _KERNELS[kernel]
    up = fault.startswith("up")
    cases = [given for name, given in module.CASES.items() if (name == "up") == up]
    return not all(agrees(library, 1 + list(module.FAULTS).index(fault), given) for given in cases)


@pytest.mark.parametrize(("kernel", "name"), _RIGHT)
def test_the_kernel_is_right_on_the_emulation(libraries: dict[str, ctypes.CDLL], kernel: str, name: str) -> None:
    assert agrees(libraries[kernel], 0, _KERNELS[kernel].CASES[name])


@pytest.mark.parametrize(("kernel", "fault"), _WRONG)
def test_a_planted_fault_is_found(libraries: dict[str, ctypes.CDLL], kernel: str, fault: str) -> None:
    assert _found(libraries[kernel], kernel, fault)


@pytest.mark.parametrize("kernel", _KERNELS)
def test_nothing_is_left_of_a_fault(libraries: dict[str, ctypes.CDLL], kernel: str) -> None:
    given = next(iter(_KERNELS[kernel].CASES.values()))
    assert not agrees(libraries[kernel], 1, given)
    assert agrees(libraries[kernel], 0, given)
