"""Builds deltafast._C with CMake and Ninja; everything else about the package is in pyproject.toml.

Environment: MAX_JOBS (parallel compilations), TORCH_CUDA_ARCH_LIST, CUDA_HOME, DELTAFAST_TORCH_DIR (folder of the
torch package to build against), DELTAFAST_NO_CUDA=1 (CPU package although nvcc is there).
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "build_backend"))
import deltafast_build as backend  # noqa: E402


class CMakeBuild(build_ext):
    """Configures and builds the CMake project, and puts the module where setuptools wants it."""

    def build_extension(self, ext: Extension) -> None:
        refuse_unknown_platform()
        torch = backend.find_torch()
        if torch is None:
            raise SystemExit(
                "deltafast: no torch 2.10 or newer with headers was found to build against. Install torch first, or "
                "point DELTAFAST_TORCH_DIR at the folder of an installed torch package."
            )
        print(f"deltafast: building against torch {torch.version} in {torch.folder}")
        import pybind11

        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        build_dir = Path(self.build_temp).resolve() / "cmake"
        build_dir.mkdir(parents=True, exist_ok=True)
        command = [
            *cmake_command(),
            f"-S{ROOT}",
            f"-B{build_dir}",
            "-GNinja",
            f"-DCMAKE_BUILD_TYPE={'Debug' if self.debug else 'Release'}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DDELTAFAST_TORCH_DIR={torch.folder}",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target.parent}",
            *ninja_option(),
            *cuda_options(),
        ]
        target.parent.mkdir(parents=True, exist_ok=True)
        run([*command])
        run([*cmake_command(), "--build", str(build_dir), "--parallel", str(job_count())])
        if not target.is_file():
            raise SystemExit(f"deltafast: the build ended without {target.name}; see its output above.")


def refuse_unknown_platform() -> None:
    machine, system = platform.machine().lower(), platform.system()
    if sys.maxsize < 2**32 or machine not in ("x86_64", "amd64", "aarch64", "arm64"):
        raise SystemExit(f"deltafast: {machine!r} processors are not supported, only 64-bit x86-64 and aarch64.")
    if system not in ("Linux", "Darwin", "Windows"):
        raise SystemExit(f"deltafast: {system} is not supported; Linux is, macOS and Windows build for the CPU.")
    if platform.python_implementation() != "CPython":
        raise SystemExit(f"deltafast: {platform.python_implementation()} is not supported, only CPython.")


def cuda_options() -> list[str]:
    if os.environ.get("DELTAFAST_NO_CUDA", "") not in ("", "0"):
        print("deltafast: DELTAFAST_NO_CUDA is set; building the CPU package.")
        return ["-DDELTAFAST_CUDA_ARCHITECTURES="]
    nvcc = backend.find_nvcc() if platform.system() == "Linux" else None
    if nvcc is None:
        print("deltafast: no nvcc found (CUDA_HOME, PATH, nvidia-cuda-nvcc); building the CPU package.")
        return ["-DDELTAFAST_CUDA_ARCHITECTURES="]
    names = backend.cuda_architectures(nvcc)
    print(f"deltafast: CUDA {nvcc.version[0]}.{nvcc.version[1]} ({nvcc.path}) for {' '.join(names)}")
    return [f"-DCMAKE_CUDA_COMPILER={nvcc.path}", f"-DDELTAFAST_CUDA_ARCHITECTURES={';'.join(names)}"]


def cmake_command() -> list[str]:
    try:
        import cmake
    except ImportError:
        return ["cmake"]
    return [str(Path(cmake.CMAKE_BIN_DIR) / "cmake")]


def ninja_option() -> list[str]:
    try:
        import ninja
    except ImportError:
        return []
    return [f"-DCMAKE_MAKE_PROGRAM={Path(ninja.BIN_DIR) / 'ninja'}"]


def job_count() -> int:
    """Parallel compilations: MAX_JOBS, else one for each core this process may use."""
    try:
        return max(1, int(os.environ["MAX_JOBS"]))
    except (KeyError, ValueError):
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError as error:
        raise SystemExit("deltafast: cmake was not found; install the packages cmake and ninja.") from error
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"deltafast: `{Path(command[0]).name}` failed with exit code {error.returncode}.") from error


setup(ext_modules=[Extension("deltafast._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
