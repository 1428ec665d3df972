"""The CUDA kernels compute what they should: the tests for GPUs, on the emulation of csrc/emulation.

What it cannot show is what only a GPU has: its speed, its own rounding of library calls, memory that several threads
really write at once.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulation switches stacks as Linux does")
_MIN_PASSED = 650  # so that a change of the tests' parameters cannot empty the selection unseen


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory, repository_root: Path) -> Path:
    """The extension module with the emulated CUDA kernels in the place of the CPU kernels."""
    cmake, pybind11 = pytest.importorskip("cmake"), pytest.importorskip("pybind11")
    import torch

    folder = tmp_path_factory.mktemp("emulated")
    program = str(Path(cmake.CMAKE_BIN_DIR) / "cmake")
    options = {
        "CMAKE_BUILD_TYPE": "None",
        "CMAKE_LIBRARY_OUTPUT_DIRECTORY": folder,
        "DELTAFAST_EMULATE_CUDA": "ON",
        "DELTAFAST_TORCH_DIR": Path(torch.__file__).parent,
        "Python_EXECUTABLE": sys.executable,
        "pybind11_DIR": pybind11.get_cmake_dir(),
    }
    configure = [program, "-S", repository_root, "-B", folder / "build"]
    _run([*configure, *(f"-D{name}={value}" for name, value in options.items())], timeout=120)
    jobs = os.environ.get("MAX_JOBS") or str(os.cpu_count() or 1)
    _run([program, "--build", folder / "build", "--parallel", jobs], timeout=900)
    (module,) = folder.glob("_C*.so")
    return module


def _run(command: list[object], timeout: int, **options: object) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, **options)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def _environment(emulated: Path, repository_root: Path) -> dict[str, str]:
    folders = [str(repository_root), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "DELTAFAST_EMULATED": str(emulated), "PYTHONPATH": os.pathsep.join(folders)}


@pytest.mark.slow
def test_the_tests_for_gpus_pass_on_emulated_kernels(emulated: Path, repository_root: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "cuda_emulation", "-p", "no:cacheprovider"]
    command += ["tests/ops", "tests/generators/test_on_cuda.py"]
    output = _run(command, timeout=1200, cwd=repository_root, env=_environment(emulated, repository_root))
    summary = re.search(r"^(\d+) passed", output, re.MULTILINE)
    assert summary is not None, output[-2000:]
    assert int(summary[1]) >= _MIN_PASSED, output[-500:]
    assert "skipped" not in output.splitlines()[-1]


@pytest.mark.slow
def test_what_compute_sanitizer_is_given_agrees_on_emulated_kernels(emulated: Path, repository_root: Path) -> None:
    program = """
import cuda_emulation, torch
from benchmarks import gpu_small
torch.manual_seed(0)
for dtype in gpu_small._DTYPES["cuda"]:
    found = gpu_small.disagreements("cpu", dtype)
    assert not found, found
"""
    _run([sys.executable, "-c", program], timeout=300, cwd=repository_root, env=_environment(emulated, repository_root))


_KERNELS = """
#include <cuda_runtime.h>

__global__ void reverse(const float* x, float* y, bool synchronised) {
  __shared__ float kept[64];
  kept[threadIdx.x] = x[threadIdx.x];
  if (synchronised) __syncthreads();
  y[threadIdx.x] = kept[blockDim.x - 1 - threadIdx.x];
}

__global__ void turn_in_place(const float* x, float* y, bool synchronised) {
  __shared__ float kept[64];
  kept[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  const float other = kept[blockDim.x - 1 - threadIdx.x];
  if (synchronised) __syncthreads();
  kept[threadIdx.x] = -1.0f;  // written over what others may not have read
  y[threadIdx.x] = other;
}

__global__ void two_sums(const float* x, float* y, bool synchronised) {
  __shared__ float warps[2];
  float total = 0.0f;
  for (int turn = 0; turn < 2; ++turn) {
    float sum = x[threadIdx.x];
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffffu, sum, offset);
    if (synchronised) __syncthreads();  // before the sums of the turn before are written over
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum * float(turn + 1);
    __syncthreads();
    total += warps[0] + warps[1];
  }
  y[threadIdx.x] = total;
}

__global__ void split(const float* x, float* y, int threads) {
  float sum = x[threadIdx.x];
  if (int(threadIdx.x % 32) < threads) {
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  } else {
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
  }
  y[threadIdx.x] = sum;
}

__global__ void __launch_bounds__(32, 1) narrow(int) {}

__global__ void shift(const float* x, float* y, int by) {
  extern __shared__ float row[];
  row[int(threadIdx.x) + by] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = row[int(threadIdx.x) + by];
}

__global__ void some_wait(int waiting) {
  if (int(threadIdx.x) < waiting) __syncthreads();
}

__global__ void add_up(const float* x, float* y, int threads) {
  if (int(threadIdx.x) >= threads) return;
  float sum = x[threadIdx.x];
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  y[threadIdx.x] = sum;
}

extern "C" {
int run_reverse(const float* x, float* y, int synchronised) {
  reverse<<<1, 64>>>(x, y, synchronised != 0);
  return cudaGetLastError();
}
int run_turn_in_place(const float* x, float* y, int synchronised) {
  turn_in_place<<<1, 64>>>(x, y, synchronised != 0);
  return cudaGetLastError();
}
int run_two_sums(const float* x, float* y, int synchronised) {
  two_sums<<<1, 64>>>(x, y, synchronised != 0);
  return cudaGetLastError();
}
int run_split(const float* x, float* y, int threads) {
  split<<<1, 64>>>(x, y, threads);
  return cudaGetLastError();
}
int run_narrow(const float*, float*, int threads) {
  narrow<<<1, unsigned(threads)>>>(0);
  return cudaGetLastError();
}
int run_shift(const float* x, float* y, int by) {
  shift<<<dim3(1), dim3(64), 64 * sizeof(float)>>>(x, y, by);
  return cudaGetLastError();
}
int run_some_wait(const float*, float*, int waiting) {
  some_wait<<<2, 64>>>(waiting);
  return cudaGetLastError();
}
int run_add_up(const float* x, float* y, int threads) {
  add_up<<<1, 64>>>(x, y, threads);
  return cudaGetLastError();
}
int run_too_large(const float*, float*, int) {
  some_wait<<<1, 2048>>>(0);
  return cudaGetLastError();
}
}
"""
_SUMS = [float(sum(range(32)))] * 32 + [float(sum(range(32, 64)))] * 32  # of each half of 0..63
_LAUNCH_FAILURE, _INVALID_CONFIGURATION = 719, 9  # cudaError_t


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory, repository_root: Path, emulation: list[Path]) -> ctypes.CDLL:
    """Small kernels, some of them with a mistake, as a shared library."""
    import torch

    folder = tmp_path_factory.mktemp("kernels")
    (folder / "cuda").mkdir()
    (folder / "cuda" / "small.cu").write_text(_KERNELS, encoding="utf-8")
    csrc = repository_root / "csrc"
    _run([sys.executable, csrc / "emulation" / "translate.py", folder / "cuda", folder / "cpp"], timeout=60)
    headers = ["-I", csrc / "emulation", "-I", csrc, "-isystem", Path(torch.__file__).parent / "include"]
    sources = [folder / "cpp" / "small.cpp", *emulation]
    _run(["c++", "-std=c++20", "-O1", "-shared", "-fPIC", *headers, *sources, "-o", folder / "small.so"], timeout=120)
    return ctypes.CDLL(str(folder / "small.so"))


def _call(kernels: ctypes.CDLL, name: str, number: int) -> tuple[int, list[float]]:
    x, y = ((ctypes.c_float * 64)(*(float(i * filled) for i in range(64))) for filled in (1, 0))
    return getattr(kernels, name)(x, y, number), list(y)


def test_barriers_shared_memory_and_shuffles_work(kernels: ctypes.CDLL) -> None:
    assert _call(kernels, "run_reverse", 1) == (0, [float(63 - i) for i in range(64)])
    assert _call(kernels, "run_shift", 0) == (0, [float(i) for i in range(64)])
    assert _call(kernels, "run_add_up", 64) == (0, _SUMS)
    assert _call(kernels, "run_some_wait", 64)[0] == 0


@pytest.mark.parametrize("again", range(2))  # the order of threads turns round from launch to launch
@pytest.mark.parametrize("name", ["run_reverse", "run_turn_in_place", "run_two_sums"])
def test_a_missing_barrier_gives_another_result(kernels: ctypes.CDLL, name: str, again: int) -> None:
    code, right = _call(kernels, name, 1)
    assert code == 0
    for _ in range(1 + again):
        code, wrong = _call(kernels, name, 0)
    assert code == 0
    assert wrong != right


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("run_shift", 1),
        ("run_shift", -1),
        ("run_some_wait", 63),
        ("run_some_wait", 1),
        ("run_add_up", 40),
        ("run_split", 16),
        ("run_narrow", 33),
    ],
)
def test_what_a_gpu_would_do_wrong_is_an_error(kernels: ctypes.CDLL, name: str, number: int) -> None:
    assert _call(kernels, name, number)[0] == _LAUNCH_FAILURE
    assert _call(kernels, "run_reverse", 1)[0] == 0  # and nothing of it is left
    assert _call(kernels, "run_add_up", 64) == (0, _SUMS)
    assert _call(kernels, "run_split", 32)[0] == _call(kernels, "run_narrow", 32)[0] == 0


def test_a_grid_that_no_gpu_runs_is_refused(kernels: ctypes.CDLL) -> None:
    assert _call(kernels, "run_too_large", 0)[0] == _INVALID_CONFIGURATION
