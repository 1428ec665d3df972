"""Loads the extension module `deltafast._C` and decides which implementation of an op runs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Literal

import torch

from deltafast.errors import BuildError, InvalidInputError, NativeOpError

Impl = Literal["auto", "native", "reference"]


def load_library(package_dir: Path | None = None) -> Any:
    """Import `deltafast._C` (which registers `torch.ops.deltafast`) and return it.

    Raises `BuildError` that says what is there instead: nothing, a build for another Python, or one that does not
    load beside this torch.
    """
    folder = package_dir or Path(__file__).resolve().parent.parent
    try:
        return importlib.import_module("deltafast._C")
    except ImportError as error:
        raise BuildError(_missing_library_text(folder, error)) from error


def _missing_library_text(folder: Path, error: ImportError) -> str:
    python = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"
    found = sorted(path.name for path in folder.glob("_C*.so")) + sorted(path.name for path in folder.glob("_C*.pyd"))
    remedy = "Build it with `pip install .` in the source folder (or `pip install -e .` to work on it)."
    if not isinstance(error, ModuleNotFoundError):
        return (
            f"deltafast._C in {folder} does not load beside torch {torch.__version__}: {error}. "
            f"deltafast needs torch 2.10 or newer. {remedy}"
        )
    if found:
        return f"deltafast._C in {folder} was built for another Python than {python}: {', '.join(found)}. {remedy}"
    return f"deltafast._C, the compiled kernels, is missing from {folder} ({python}). {remedy}"


_C = load_library()
HAS_CUDA_KERNELS: bool = _C.build_info()["cuda_toolkit"] is not None
HAS_SM90_KERNELS: bool = "90a-real" in _C.build_info()["cuda_architectures"].split()

# Which kernels a device's tensors go to, and the dtypes that these take.
_KERNELS = {"cpu": "cpu", "cuda": "cuda"}
_NATIVE_DTYPES = {
    "cpu": (torch.float32, torch.float64),
    "cuda": (torch.float32, torch.float16, torch.bfloat16),
}


def runs_natively(op: str, x: torch.Tensor, impl: Impl, kernels: tuple[str, ...] = ("cpu", "cuda")) -> bool:
    """Return whether `op` runs its native kernel for `x` under `impl`; `kernels` are those that the op has.

    Raises `InvalidInputError` for an unknown `impl`, and `NativeOpError` where "native" is asked for and no kernel
    exists for the device and dtype of `x`.
    """
    if impl == "reference":
        return False
    if impl not in ("auto", "native"):
        raise InvalidInputError(f"{op}: impl must be 'auto', 'native' or 'reference', got {impl!r}")
    why_not = _why_not_native(x, kernels)
    if impl == "native" and why_not:
        raise NativeOpError(f"{op}: {why_not}. Use impl='auto' or impl='reference'.")
    return not why_not


def _why_not_native(x: torch.Tensor, kernels: tuple[str, ...]) -> str:
    """Say why no native kernel takes `x`; empty where one does."""
    kind = _KERNELS.get(x.device.type, "")
    if not kind:
        return f"there is no native kernel for device type '{x.device.type}'"
    if kind not in kernels:
        return f"there is no native {kind.upper()} kernel, only one for {', '.join(kernels).upper()}"
    if kind == "cuda" and not HAS_CUDA_KERNELS:
        return "this build of deltafast has no CUDA kernels (it was built where no nvcc was found)"
    if x.dtype in _NATIVE_DTYPES[kind]:
        return ""
    names = ", ".join(str(dtype).removeprefix("torch.") for dtype in _NATIVE_DTYPES[kind])
    return f"there is no native {kind.upper()} kernel for {str(x.dtype).removeprefix('torch.')}, only for {names}"
