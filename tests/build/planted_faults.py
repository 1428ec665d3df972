"""Kernels with faults planted in their text, all of them in one library, chosen by number at run time.

A fault is pairs of texts: an expression, or statements that end with a semicolon or a comment behind one, and what
stands there instead. The kernel compiles once: `right` becomes `planted == 7 ? wrong : right`.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from deltafast.ops import modulated_epilogue_reference, upfirdn2d_reference

Faults = dict[str, tuple[str, ...]]

_RUN = """
#include "emulation/grid.h"
#include "kernels/implicit_conv.h"
@INCLUDES@
static int planted = 0;
@KERNEL@
using namespace deltafast;
struct Arguments {
  int form, batch, inputs, in_h, in_w, outputs, out_h, out_w;
  const void *x, *weight;
  void* y;
  const float *demod, *noise, *bias, *style, *filter, *rgb;
  float* image;
};
extern "C" const char* problem() {
  static std::string text;
  text = emulation::take_text();
  return text.c_str();
}
extern "C" int run(int fault, const Arguments* arguments) {
  const Arguments& a = *arguments;
  planted = fault;
  ImplicitConvParams p;
  p.form = ConvForm(a.form);
  p.inputs = a.inputs;
  p.in_h = a.in_h, p.in_w = a.in_w, p.out_h = a.out_h, p.out_w = a.out_w;
  p.x = a.x, p.weight = a.weight, p.filter = a.filter, p.filter_gain = 4.0f;
  p.activates = p.form != ConvForm::kUp;
  EpilogueParams<float>& e = p.epilogue;
  e.batch = a.batch, e.channels = a.outputs, e.pixels = int64_t(a.out_h) * a.out_w;
  e.y = a.y, e.demod = a.demod, e.noise = a.noise, e.bias = a.bias, e.style = a.style;
  e.noise_stride = e.pixels;
  e.activation = {0.2f, 1.5f, 100.0f};
  if (a.image) {
    p.rgb.batch = a.batch, p.rgb.channels = a.outputs, p.rgb.colours = 3, p.rgb.clamp = 1e9f;
    p.rgb.height = a.out_h, p.rgb.width = a.out_w, p.rgb.weight = a.rgb, p.rgb.y = a.image;
  }
  @LAUNCH@
}
"""


class _Arguments(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("form", "batch", "inputs", "in_h", "in_w", "outputs", "out_h", "out_w")),
        *(
            (name, ctypes.c_void_p)
            for name in ("x", "weight", "y", "demod", "noise", "bias", "style", "filter", "rgb", "image")
        ),
    ]


@dataclass(frozen=True)
class Case:
    """A convolution of fp16 values, by the number of its form, and the results in float64."""

    form: int
    x: torch.Tensor
    weight: torch.Tensor
    small: dict[str, torch.Tensor]
    y: torch.Tensor
    image: torch.Tensor | None


def planted_in(text: str, faults: Faults) -> str:
    """Return the kernel `text` with all of the `faults`, of which `planted` says the number from 1 on."""
    places: dict[str, list[tuple[int, str]]] = {}
    for number, (name, edits) in enumerate(faults.items(), 1):
        for right, wrong in zip(edits[::2], edits[1::2], strict=True):
            assert text.count(right) == 1, f"{name}: {right!r} is {text.count(right)} times in the kernel"
            places.setdefault(right, []).append((number, wrong))

    def choice(found: re.Match[str]) -> str:
        right = found[0]
        if ";" in right:
            made = "".join(f"if (planted == {number}) {{ {wrong}\n}} else " for number, wrong in places[right])
            return f"{made}{{ {right}\n}}"
        made = "".join(f"planted == {number} ? ({wrong}) : " for number, wrong in places[right])
        return f"({made}({right}))"

    return re.sub("|".join(re.escape(right) for right in places), choice, text)


def build(
    folder: Path, csrc: Path, emulation: list[Path], parts: tuple[str, ...], faults: Faults, launch: str
) -> ctypes.CDLL:
    """Compile the files `parts` of kernels/cuda with their faults, on the emulation; `launch` is how `p` is run."""
    kernels = folder / "kernels" / "cuda"
    subprocess.run([sys.executable, csrc / "emulation" / "translate.py", csrc / "kernels/cuda", kernels], check=True)
    text = "".join((kernels / part).read_text(encoding="utf-8") for part in parts)
    includes = set(re.findall(r"^#include .*$", text, re.MULTILINE))
    includes -= {f'#include "kernels/cuda/{part}"' for part in parts}
    text = re.sub(r"^#(include|pragma once|line).*$", "", text, flags=re.MULTILINE)
    source = _RUN.replace("@INCLUDES@", "\n".join(sorted(includes))).replace("@LAUNCH@", launch)
    (folder / "faults.cpp").write_text(source.replace("@KERNEL@", planted_in(text, faults)), encoding="utf-8")
    headers = ["-I", folder, "-I", csrc / "emulation", "-I", csrc, "-isystem", Path(torch.__file__).parent / "include"]
    command = ["c++", "-std=c++20", "-O1", "-fPIC", "-shared", "-w", "-DDELTAFAST_MAX_BLOCKS=2", *headers]
    command += [folder / "faults.cpp", *emulation, "-o", folder / "faults.so"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return ctypes.CDLL(str(folder / "faults.so"))


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape) + sum(shape)))


def case(form: str, inputs: int, outputs: int, height: int, width: int) -> Case:
    """Return a case of the form "plain" (with its epilogue and image), "up" (the sums) or "up, filtered" (all)."""
    x = _random(1, inputs, height, width).half().contiguous(memory_format=torch.channels_last)
    weight = (_random(outputs, inputs, 3, 3) / (9 * inputs) ** 0.5).half().contiguous(memory_format=torch.channels_last)
    small = {"filter": torch.tensor([0.1, 0.2, 0.3, 0.4])}  # lopsided: a filter turned round is another one
    if form == "plain":
        u = F.conv2d(x.double(), weight.double(), padding=1)
    else:
        u = F.conv_transpose2d(x.double(), weight.double().transpose(0, 1), stride=2)
    if form == "up":
        return Case(2, x, weight, small, u, None)
    if form == "up, filtered":
        u = upfirdn2d_reference(u, small["filter"], padding=(1, 1, 1, 1), gain=4.0)
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
    return Case(0 if form == "plain" else 4, x, weight, small, v * wide["style"][:, :, None, None], image)


def agrees(library: ctypes.CDLL, number: int, given: Case) -> bool:
    """Whether the kernel with this fault (0: none) launches, and its results are those of the case."""
    y = torch.full(given.y.shape, float("nan"), dtype=torch.float16).contiguous(memory_format=torch.channels_last)
    image = torch.full(given.image.shape, float("nan")) if given.image is not None else None
    tensors = {"x": given.x, "weight": given.weight, "y": y, **given.small}
    if image is not None:
        tensors["image"] = image
    sizes = {"form": given.form, "batch": 1, "inputs": given.x.shape[1], "outputs": given.weight.shape[0]}
    sizes |= {"in_h": given.x.shape[2], "in_w": given.x.shape[3], "out_h": y.shape[2], "out_w": y.shape[3]}
    arguments = _Arguments(**sizes, **{name: tensor.data_ptr() for name, tensor in tensors.items()})
    if library.run(number, ctypes.byref(arguments)):
        return False
    results = [(y, given.y)] + ([(image, given.image)] if image is not None and given.image is not None else [])
    return all(bool((result.double() - truth).abs().max() <= 4e-3 * truth.abs().max()) for result, truth in results)
