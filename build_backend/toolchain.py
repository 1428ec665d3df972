"""Where torch and nvcc are found, and how CMake builds deltafast._C from them; needs no setuptools.

    python build_backend/toolchain.py --inplace [--python-headers FOLDER]

builds the module into deltafast/ of this checkout. Environment: MAX_JOBS (parallel compilations),
TORCH_CUDA_ARCH_LIST, CUDA_HOME, DELTAFAST_TORCH_DIR (folder of the torch package to build against),
DELTAFAST_NO_CUDA=1 (CPU package although nvcc is there).
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import site
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINIMUM_TORCH = (2, 10)
DEFAULT_ARCHITECTURES = ("75", "80", "90", "100", "120")  # 80's code runs on 86 and 89 too
DEFAULT_PTX = "80"
FIRST_WITH_SM_90A = (12, 0)
_FAMILIES = {"turing": "7.5", "ampere": "8.0 8.6", "ada": "8.9", "hopper": "9.0", "blackwell": "10.0 12.0"}


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
    default, what this nvcc does not know is left out. Beside 90 comes 90a, for the translation units of
    kernels/cuda/sm90 alone. Raises SystemExit for a list that cannot be read.
    """
    names = _named_architectures(nvcc)
    if "90-real" in names and "90a-real" not in names and nvcc.version >= FIRST_WITH_SM_90A:
        names.insert(names.index("90-real") + 1, "90a-real")
    return names


def _named_architectures(nvcc: Nvcc) -> list[str]:
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


def build(target: Path, build_dir: Path, *, debug: bool = False, python_headers: Path | None = None) -> None:
    """Configure and build the CMake project in `build_dir`, so that the module is at `target`.

    `python_headers`: folder with Python.h, where the interpreter's own are not installed. Raises SystemExit, with a
    sentence, where something is missing or fails.
    """
    refuse_unknown_platform()
    torch = find_torch()
    if torch is None:
        raise SystemExit(
            "deltafast: no torch 2.10 or newer with headers was found to build against. Install torch first, or "
            "point DELTAFAST_TORCH_DIR at the folder of an installed torch package."
        )
    print(f"deltafast: building against torch {torch.version} in {torch.folder}", flush=True)
    try:
        import pybind11
    except ImportError as error:
        raise SystemExit("deltafast: pybind11 was not found; install the package pybind11.") from error
    build_dir.mkdir(parents=True, exist_ok=True)
    command = [
        *cmake_command(),
        f"-S{ROOT}",
        f"-B{build_dir}",
        "-GNinja",
        f"-DCMAKE_BUILD_TYPE={'Debug' if debug else 'Release'}",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        f"-DDELTAFAST_TORCH_DIR={torch.folder}",
        f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target.parent}",
        *([] if python_headers is None else [f"-DPython_INCLUDE_DIR={python_headers}"]),
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
    nvcc = find_nvcc() if platform.system() == "Linux" else None
    if nvcc is None:
        print("deltafast: no nvcc found (CUDA_HOME, PATH, nvidia-cuda-nvcc); building the CPU package.")
        return ["-DDELTAFAST_CUDA_ARCHITECTURES="]
    names = cuda_architectures(nvcc)
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


def main() -> None:
    """Build into the checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inplace", action="store_true", required=True, help="put the module into deltafast/")
    parser.add_argument("--python-headers", type=Path, help="folder with Python.h, where they are not installed")
    options = parser.parse_args()
    module = ROOT / "deltafast" / f"_C{sysconfig.get_config_var('EXT_SUFFIX')}"
    build_dir = ROOT / "build" / f"inplace-{sys.implementation.cache_tag}" / "cmake"
    build(module, build_dir, python_headers=options.python_headers)


if __name__ == "__main__":
    main()
