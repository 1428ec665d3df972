"""The emulation knows tensor cores: the convolution's kernel is right on it, and planted faults are found."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from deltafast.ops.implicit_conv import pack_implicit_conv

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulation switches stacks as Linux does")

_PARTS = ("conv_tile.cuh", "up_filter.cuh", "implicit_conv.cuh")
_NONE = ("", "")
# What is wrong -> text of the kernel, and what stands there instead.
_FAULTS = {
    "nothing": _NONE,
    "no wait for copies": ("wait_copies<Tile::kStages - 2>();", ""),
    "a wait for one group too few": ("wait_copies<Tile::kStages - 2>();", "wait_copies<Tile::kStages - 1>();"),
    "no barrier behind the wait": ("__syncthreads();  // everyone's copies", "// everyone's copies"),
    "copies not made a group": ("commit_copies();  // one group", "// one group"),
    "a stage filled before everyone has read it": (
        "wait_copies<Tile::kStages - 2>();\n    __syncthreads();  // everyone's copies have landed, and the stage of "
        "the item before is free\n    load(item + Tile::kStages - 1);",
        "load(item + Tile::kStages - 1);\n    wait_copies<Tile::kStages - 1>();\n    __syncthreads();\n",
    ),
    "one stage too few": ("stage = item % Tile::kStages;\n      const", "stage = 0;\n      const"),
    "fragment of inputs: halves exchanged": ("2 * step + lane / 16)", "2 * step + 1 - lane / 16)"),
    "fragment of inputs: rows for halves": ("2 * step + lane / 16)", "2 * step + lane / 8 % 2)"),
    "fragment of weights: columns for halves": ("lane / 16 * 8 + lane % 8", "lane / 8 % 2 * 8 + lane % 8"),
    "fragment of sums: rows exchanged": ("[q % 2 * 2 + j % 2]", "[(1 - q % 2) * 2 + j % 2]"),
    "fragment of sums: channels in another order": ("[4 * group + j / 2][q", "[4 * group + j % 4][q"),
    "weights stored without the swizzle": (
        "to + swizzled<Tile>(i / Tile::kPacks, i % Tile::kPacks)",
        "to + i * kPackBytes",
    ),
    "inputs read without the swizzle": (
        "swizzled<Tile>(y * Tile::kInColumns + x, ",
        "kPackBytes * ((y * Tile::kInColumns + x) * Tile::kPacks + ",
    ),
    "a wrong stride of rows": ("swizzled<Tile>(y * Tile::kInColumns + x,", "swizzled<Tile>(y * 16 + x,"),
    "no zeros beside the image": ("x >= 0 && x < p.in_w && channel", "channel"),
    "no zeros behind the last channel": ("&& channel < inputs", ""),
    "a halo on the wrong side": ("int first_x = corner.x * Tile::kStride - Tile::kBefore", "int first_x = corner.x"),
    "weights of the first tile alone": ("if (!kept || item < work.chunks)", "if (item < work.chunks)"),
    "copies to half a pack": (
        "copy_async(to + swizzled<Tile>(row, pack),",
        "copy_async(8 + to + swizzled<Tile>(row, pack),",
    ),
    "a stage behind the ends of shared memory": (
        "Tile::kStages * Tile::kInputBytes + places",
        "Tile::kInputBytes + places",
    ),
    "shared memory not asked for": (
        "cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)",
        "cudaFuncAttributeMaxDynamicSharedMemorySize, 0",
    ),
    "half a warp multiplies": (
        "add_tap<T, Tile>(weights, Tile::kSide",
        "if (threadIdx.x % 32 < 16) add_tap<T, Tile>(weights, Tile::kSide",
    ),
    "sums not begun anew": ("sums[phase][r][n][i] = 0.0f", "sums[phase][r][n][i] += 0.0f"),
    "colours of two lanes alone": ("colours[q][k] += __shfl_xor_sync(0xffffffffu, colours[q][k], 2);", ""),
    "up: no barrier before the filter": ("__syncthreads();\n  // A thread walks", "// A thread walks"),
    "up: a tap in the wrong phase": ("before_y ? 2 : phase_y", "before_y ? 1 : phase_y"),
    "up: tiles that do not overlap": ("kRows - 2 * kEarly", "kRows"),
    "up: columns taken one too far": ("column + 1 + t", "column + t"),
}

_RUN = """
#include "emulation/grid.h"
#include "kernels/implicit_conv.h"
@INCLUDES@
@COPIES@
using namespace deltafast;
struct Arguments {
  int form, batch, inputs, in_h, in_w, outputs, out_h, out_w;
  const void *x, *packed;
  void* y;
  const float *demod, *noise, *bias, *style, *filter, *rgb;
  float* image;
};
template <int kFault>
int run(const Arguments& a);
@RUNS@
extern "C" int run_fault(int fault, const Arguments* arguments) {
  using Run = int (*)(const Arguments&);
  static const Run runs[] = {@NAMES@};
  return runs[fault](*arguments);
}
"""
_ONE_RUN = """
template <>
int run<@I@>(const Arguments& a) {
  ImplicitConvParams p;
  p.form = ConvForm(a.form);
  p.inputs = a.inputs;
  p.in_h = a.in_h, p.in_w = a.in_w, p.out_h = a.out_h, p.out_w = a.out_w;
  p.x = a.x, p.packed = a.packed, p.filter = a.filter, p.filter_gain = 4.0f;
  p.activates = true;
  EpilogueParams<float>& e = p.epilogue;
  e.batch = a.batch, e.channels = a.outputs, e.pixels = int64_t(a.out_h) * a.out_w;
  e.y = a.y, e.demod = a.demod, e.noise = a.noise, e.bias = a.bias, e.style = a.style;
  e.noise_stride = e.pixels;
  e.activation = {0.2f, 1.5f, 100.0f};
  if (a.image) {
    p.rgb.batch = a.batch, p.rgb.channels = a.outputs, p.rgb.colours = 3, p.rgb.clamp = 1e9f;
    p.rgb.height = a.out_h, p.rgb.width = a.out_w, p.rgb.weight = a.rgb, p.rgb.y = a.image;
  }
  namespace faulty = cuda::fault@I@;
  using Plain = faulty::ConvTile<ConvForm::kPlain, false, 4, 2, 1>;
  using Up = faulty::ConvTile<ConvForm::kUpFiltered, false, 4, 2, 1>;
  return p.form == ConvForm::kPlain ? faulty::launch_conv<__half, Plain>(p, nullptr)
                                    : faulty::launch_conv<__half, Up>(p, nullptr);
}
"""


class _Arguments(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("form", "batch", "inputs", "in_h", "in_w", "outputs", "out_h", "out_w")),
        *(
            (name, ctypes.c_void_p)
            for name in ("x", "packed", "y", "demod", "noise", "bias", "style", "filter", "rgb", "image")
        ),
    ]


@dataclass(frozen=True)
class _Case:
    """A convolution of fp16 values with its epilogue, and the result in float64."""

    form: int
    x: torch.Tensor
    weight: torch.Tensor
    small: dict[str, torch.Tensor]
    y: torch.Tensor
    image: torch.Tensor | None


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape) + sum(shape)))


def _case(form: str, inputs: int, outputs: int, height: int, width: int) -> _Case:
    from deltafast.ops import modulated_epilogue_reference, upfirdn2d

    x = _random(1, inputs, height, width).half().contiguous(memory_format=torch.channels_last)
    weight = (_random(outputs, inputs, 3, 3) / (9 * inputs) ** 0.5).half()
    small = {"filter": torch.tensor([0.1, 0.2, 0.3, 0.4])}  # lopsided: a filter turned round is another one
    if form == "plain":
        u = F.conv2d(x.double(), weight.double(), padding=1)
    else:
        u = F.conv_transpose2d(x.double(), weight.double().transpose(0, 1), stride=2)
        u = upfirdn2d(u, small["filter"], padding=(1, 1, 1, 1), gain=4.0, impl="reference")
    small |= {
        "demod": _random(1, outputs).abs() + 0.5,
        "noise": _random(1, 1, *u.shape[2:]),
        "bias": _random(outputs),
        "style": _random(1, outputs).abs() + 0.5,
        "rgb": _random(1, 3, outputs),
    }
    wide = {name: t.double() for name, t in small.items()}
    v = modulated_epilogue_reference(u, wide["demod"], wide["noise"], None, wide["bias"], gain=1.5, clamp=100.0)
    image = torch.einsum("nko,nohw->nkhw", wide["rgb"], v) if form == "plain" else None
    return _Case(0 if form == "plain" else 4, x, weight, small, v * wide["style"][:, :, None, None], image)


_CASES = {
    "kept weights": _case("plain", 40, 24, 9, 34),
    "streamed weights": _case("plain", 72, 24, 9, 17),
    "up": _case("up", 40, 24, 7, 15),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, repository_root: Path) -> ctypes.CDLL:
    """The kernel, right and with each fault, as a shared library."""
    folder, csrc = tmp_path_factory.mktemp("faults"), repository_root / "csrc"
    translate = [
        sys.executable,
        csrc / "emulation" / "translate.py",
        csrc / "kernels" / "cuda",
        folder / "kernels" / "cuda",
    ]
    subprocess.run(translate, check=True, timeout=60)
    text = "".join((folder / "kernels" / "cuda" / part).read_text(encoding="utf-8") for part in _PARTS)
    includes = set(re.findall(r"^#include .*$", text, re.MULTILINE))
    includes -= {f'#include "kernels/cuda/{part}"' for part in _PARTS}
    text = re.sub(r"^#(include|pragma once|line).*$", "", text, flags=re.MULTILINE)
    copies, runs = [], []
    for number, (name, (right, wrong)) in enumerate(_FAULTS.items()):
        assert not right or text.count(right) == 1, f"{name}: {right!r} is {text.count(right)} times in the kernel"
        copy = text.replace(right, wrong) if right else text
        copies.append(copy.replace("namespace deltafast::cuda {", f"namespace deltafast::cuda::fault{number} {{"))
        runs.append(_ONE_RUN.replace("@I@", str(number)))
    source = _RUN.replace("@INCLUDES@", "\n".join(sorted(includes))).replace("@COPIES@", "\n".join(copies))
    source = source.replace("@RUNS@", "\n".join(runs))
    source = source.replace("@NAMES@", ", ".join(f"run<{number}>" for number in range(len(_FAULTS))))
    (folder / "faults.cpp").write_text(source, encoding="utf-8")
    headers = ["-I", folder, "-I", csrc / "emulation", "-I", csrc, "-isystem", Path(torch.__file__).parent / "include"]
    parts = [csrc / "emulation" / f"{name}.cpp" for name in ("grid", "asynchronous_copy", "tensor_core")]
    command = ["c++", "-std=c++20", "-fPIC", "-w", "-DDELTAFAST_MAX_BLOCKS=2", *headers]
    for level, source in (("-O0", folder / "faults.cpp"), *(("-O2", part) for part in parts)):
        _build([*command, level, "-c", source, "-o", folder / f"{source.stem}.o"])
    _build(["c++", "-shared", *sorted(folder.glob("*.o")), "-o", folder / "faults.so"])
    return ctypes.CDLL(str(folder / "faults.so"))


def _build(command: list[object]) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]


def _agrees(library: ctypes.CDLL, fault: str, case: _Case) -> bool:
    """Whether the kernel with this fault launches, and its result is that of the case."""
    form = "plain" if case.form == 0 else "up"
    y = torch.full(case.y.shape, float("nan"), dtype=torch.float16).contiguous(memory_format=torch.channels_last)
    image = torch.full(case.image.shape, float("nan")) if case.image is not None else None
    tensors = {"x": case.x, "packed": pack_implicit_conv(case.weight, form), "y": y, **case.small}
    if image is not None:
        tensors["image"] = image
    sizes = {"form": case.form, "batch": 1, "inputs": case.x.shape[1], "outputs": case.weight.shape[0]}
    sizes |= {"in_h": case.x.shape[2], "in_w": case.x.shape[3], "out_h": y.shape[2], "out_w": y.shape[3]}
    arguments = _Arguments(**sizes, **{name: tensor.data_ptr() for name, tensor in tensors.items()})
    if library.run_fault(list(_FAULTS).index(fault), ctypes.byref(arguments)):
        return False
    results = [(y, case.y)] + ([(image, case.image)] if image is not None and case.image is not None else [])
    return all(bool((result.double() - truth).abs().max() <= 4e-3 * truth.abs().max()) for result, truth in results)


@pytest.mark.parametrize("case", _CASES)
def test_the_kernel_is_right_on_the_emulation(library: ctypes.CDLL, case: str) -> None:
    assert _agrees(library, "nothing", _CASES[case])


@pytest.mark.parametrize("fault", [name for name in _FAULTS if name != "nothing"])
def test_a_planted_fault_is_found(library: ctypes.CDLL, fault: str) -> None:
    cases = [_CASES["up"]] if fault.startswith("up") else [_CASES["kept weights"], _CASES["streamed weights"]]
    assert not all(_agrees(library, fault, case) for case in cases)
    assert _agrees(library, "nothing", cases[0])  # and nothing of it is left
