"""The in-tree build backend: setuptools' own, and where torch and nvcc are found.

pip builds in an environment of its own that holds no torch. Asking for one there would download a second torch,
perhaps another one than the user's. So the torch of the *target* environment is looked for first (pip runs the target's
interpreter, whose `sysconfig` still names its site-packages), and torch is asked for only where there is none.
"""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401  (the hooks that a frontend calls)
    build_editable,
    build_sdist,
    build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

MINIMUM_TORCH = (2, 10)
DEFAULT_ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")
DEFAULT_PTX = "80"
_FAMILIES = {"turing": "7.5", "ampere": "8.0 8.6", "ada": "8.9", "hopper": "9.0", "blackwell": "10.0 12.0"}


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    return build_meta.get_requires_for_build_wheel(config_settings) + _torch_requirement()


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    return build_meta.get_requires_for_build_editable(config_settings) + _torch_requirement()


def get_requires_for_build_sdist(config_settings: Any = None) -> list[str]:
    return build_meta.get_requires_for_build_sdist(config_settings)


def _torch_requirement() -> list[str]:
    return [] if find_torch() else ["torch>=" + ".".join(map(str, MINIMUM_TORCH))]


@dataclass(frozen=True)
class Torch:
    """An installed torch: its package folder and its version, read without importing it."""

    folder: Path
    version: str


def find_torch() -> Torch | None:
    """Return the torch to build against, or None: `DELTAFAST_TORCH_DIR`, the target environment, this environment.

    Raises SystemExit where DELTAFAST_TORCH_DIR is set and holds no usable torch.
    """
    explicit = os.environ.get("DELTAFAST_TORCH_DIR")
    if explicit:
        found = _torch_in(Path(explicit))
        if not found:
            raise SystemExit(
                f"deltafast: DELTAFAST_TORCH_DIR={explicit} is no torch package folder of version "
                f"{'.'.join(map(str, MINIMUM_TORCH))} or newer with its headers (torch/include)."
            )
        return found
    folders = [sysconfig.get_path("platlib"), sysconfig.get_path("purelib"), *sys.path]
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    for folder in folders:
        if folder and (found := _torch_in(Path(folder) / "torch")):
            return found
    return None


def _torch_in(folder: Path) -> Torch | None:
    try:
        text = (folder / "version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"^__version__\s*=\s*['\"](\d+)\.(\d+)([^'\"]*)['\"]", text, re.MULTILINE)
    if not match or (int(match[1]), int(match[2])) < MINIMUM_TORCH:
        return None
    if not (folder / "include/torch/csrc/stable/library.h").is_file():
        return None
    return Torch(folder.resolve(), f"{match[1]}.{match[2]}{match[3]}")


@dataclass(frozen=True)
class Nvcc:
    """A CUDA compiler and the version of its toolkit, such as (13, 0)."""

    path: Path
    version: tuple[int, int]


def find_nvcc() -> Nvcc | None:
    """Return the nvcc of `CUDA_HOME`, of the PATH, or of the PyPI package nvidia-cuda-nvcc; None without one."""
    candidates = [Path(home) / "bin/nvcc" for name in ("CUDA_HOME", "CUDA_PATH") if (home := os.environ.get(name))]
    if on_path := shutil.which("nvcc"):
        candidates.append(Path(on_path))
    for folder in dict.fromkeys([sysconfig.get_path("platlib"), *sys.path]):
        candidates += sorted(Path(folder or ".").glob("nvidia/cu[0-9]*/bin/nvcc"), reverse=True)
    candidates.append(Path("/usr/local/cuda/bin/nvcc"))
    for path in candidates:
        if not path.is_file():
            continue
        try:
            text = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        if match := re.search(r"release (\d+)\.(\d+)", text):
            return Nvcc(path, (int(match[1]), int(match[2])))
    return None


def cuda_architectures(nvcc: Nvcc) -> list[str]:
    """Return CMake's names of the architectures to compile for, such as ["75-real", "80-virtual"].

    `TORCH_CUDA_ARCH_LIST` ("8.0;9.0+PTX", spaces and commas allowed, family names too) replaces the default; of the
    default, what this nvcc does not know is left out. Raises SystemExit for a list that cannot be read.
    """
    wanted = os.environ.get("TORCH_CUDA_ARCH_LIST", "").strip()
    if not wanted:
        known = _known_architectures(nvcc)
        names = [f"{arch}-real" for arch in DEFAULT_ARCHITECTURES if arch in known]
        return [*names, f"{DEFAULT_PTX}-virtual"] if DEFAULT_PTX in known else names
    names = []
    for entry in re.split(r"[;,\s]+", wanted):
        family, _, ptx = entry.lower().partition("+")
        for item in (_FAMILIES.get(family) or family).split():
            match = re.fullmatch(r"(\d+)\.(\d)([af]?)", item)
            if not match or ptx not in ("", "ptx"):
                raise SystemExit(
                    f"deltafast: cannot read {entry!r} in TORCH_CUDA_ARCH_LIST={wanted!r}; expected compute "
                    'capabilities such as "8.0;9.0+PTX".'
                )
            arch = match[1] + match[2] + match[3]
            names.append(f"{arch}-real")
            if ptx:
                names.append(f"{arch}-virtual")
    return list(dict.fromkeys(names))


def _known_architectures(nvcc: Nvcc) -> set[str]:
    try:
        text = subprocess.run([nvcc.path, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return set(DEFAULT_ARCHITECTURES)
    return set(re.findall(r"compute_(\d+)\b", text))
