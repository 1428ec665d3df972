"""Every kernel once, forward and backward, on sizes small enough for compute-sanitizer, against float64 on the CPU.

    python -m benchmarks.gpu_small [--device cuda] [--op NAME] [--evidence FILE]

Exit code 1 where a result is further off than the table of tolerances allows. With `--evidence` every result leaves a
row as it comes: name, op, direction, dtype, error, allowed, ok.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.evidence import LOST_DEVICE, Evidence, Row
from benchmarks.precision import float32_is_exact
from deltafast.ops import (
    DeltaSizes,
    activated_depthwise,
    conv_to_rgb,
    delta_edit,
    delta_flow,
    delta_loss,
    epilogue_to_rgb,
    filtered_epilogue,
    modulated_conv2d,
    modulated_epilogue,
    philox4x32,
    philox_normal,
    setup_filter,
    subband_image,
    to_rgb,
    upfirdn2d,
    weight_count,
)
from deltafast.ops.devices import takes_cuda_kernels
from deltafast.ops.tolerance import allowed_error, max_error

_CUDA_ALONE = {"activated_depthwise", "epilogue_to_rgb", "subband_image"}
_DTYPES = {"cuda": (torch.float32, torch.float16, torch.bfloat16), "cpu": (torch.float32,)}


@dataclass(frozen=True)
class Case:
    """A call of one op with either implementation (`impl` is its first argument) on tensors that want gradients."""

    op: str
    what: str
    call: Callable[..., Tensor]
    inputs: list[Tensor]


def _epilogue(channels_last: bool) -> Callable[..., Tensor]:
    def run(impl: str, x: Tensor, d: Tensor, noise: Tensor, strength: Tensor, bias: Tensor, style: Tensor) -> Tensor:
        x = _laid_out(x, channels_last)
        return modulated_epilogue(x, d, noise, strength, bias, next_style=style, clamp=4.0, impl=impl)

    return run


def _resample(up: int, down: int, channels_last: bool) -> Callable[..., Tensor]:
    def run(impl: str, x: Tensor) -> Tensor:
        taps, x = setup_filter([1, 3, 3, 1]).to(x.device), _laid_out(x, channels_last)
        return upfirdn2d(x, taps, up=up, down=down, padding=(2, 1), gain=float(up * up), impl=impl)

    return run


def _filtered(channels_last: bool, taps: list[float]) -> Callable[..., Tensor]:
    def run(impl: str, x: Tensor, d: Tensor, noise: Tensor, strength: Tensor, bias: Tensor, style: Tensor) -> Tensor:
        f, x = setup_filter(taps).to(x.device), _laid_out(x, channels_last)
        pad, rest = len(taps) // 2, (len(taps) - 1) // 2
        return filtered_epilogue(
            x, f, d, noise, strength, bias, padding=(pad, rest, pad, rest), next_style=style, clamp=4.0, impl=impl
        )

    return run


def _convolution(up: int) -> Callable[..., Tensor]:
    def run(impl: str, x: Tensor, weight: Tensor, style: Tensor, demod: Tensor, bias: Tensor) -> Tensor:
        f = setup_filter([1, 3, 3, 1]).to(x.device) if up == 2 else None
        return modulated_conv2d(x, weight, style, demod, bias=bias, up=up, f=f, impl=impl)

    return run


def _implicit(path: str, up: int, fused: bool) -> Callable[..., Tensor]:
    """On tensor cores where the dtype allows; fused, the kernels without a gradient: that of what is returned is 0."""

    def run(impl: str, *tensors: Tensor) -> Tensor:
        x, weight, style, demod, bias = (t.detach() for t in tensors) if fused else tensors
        f = setup_filter([1, 3, 3, 1]).to(x.device) if up == 2 else None
        how = _tensor_cores(path, impl, x)
        # With gradients, none of it has a kink, at which rounding to the other side is an error of a gradient's size.
        bends = {"clamp": 4.0} if fused else {"negative_slope": 1.0}
        y = modulated_conv2d(x, weight, style, demod, bias=bias, up=up, f=f, **bends, impl=how)
        return y + sum(0 * t.sum() for t in tensors).to(y.dtype) if fused else y

    return run


def _implicit_block_end(path: str) -> Callable[..., Tensor]:
    def run(impl: str, *tensors: Tensor) -> Tensor:
        x, weight, demod, bias, rgb_weight, style, skip = (t.detach() for t in tensors)
        rgb = {"rgb_weight": rgb_weight, "rgb_style": style, "skip": skip, "f": setup_filter([1, 3, 3, 1]).to(x.device)}
        how = _tensor_cores(path, impl, x)
        y, image = conv_to_rgb(x, weight, demod, bias=bias, **rgb, next_style=style, clamp=4.0, impl=how)
        assert y is not None
        made = torch.cat([y.to(image.dtype), image], 1)  # [N, O + 3, H, W]
        return made + sum(0 * t.sum() for t in tensors).to(made.dtype)

    return run


def _tensor_cores(path: str, impl: str, x: Tensor) -> str:
    if impl != "native":
        return impl
    return path if x.dtype in (torch.float16, torch.bfloat16) else "auto"


# Kernel -> its path, layers (up, side, inputs, outputs, height, width) that fill no tile, and outputs with an image.
_IMPLICIT: dict[str, tuple[str, tuple[tuple[int, ...], ...], tuple[int, ...]]] = {
    "implicit_conv": (
        "mma",
        ((1, 3, 40, 24, 9, 18), (1, 3, 24, 72, 17, 18), (1, 1, 40, 72, 9, 18), (2, 3, 24, 40, 7, 15)),
        (24, 64),
    ),
    "wgmma_conv": (
        "wgmma",
        ((1, 3, 72, 40, 17, 18), (1, 3, 24, 136, 9, 18), (1, 1, 40, 72, 9, 18), (2, 3, 24, 72, 7, 16)),
        (40, 72),
    ),
}


def _implicit_cases(op: str, dtype: torch.dtype) -> Iterator[Case]:
    path, layers, with_image = _IMPLICIT[op]
    for up, side, c, o, h, w in layers:
        x, kernel = torch.randn(2, c, h, w).to(dtype), (torch.randn(o, c, side, side) / (side * c**0.5)).to(dtype)
        small = [torch.rand(2, c) + 0.5, torch.rand(2, o) + 0.5, torch.randn(o)]
        for fused in (False, True):
            what = f"{side}x{side} {o} outputs up={up}{' fused' if fused else ''}"
            yield Case(op, what, _implicit(path, up, fused), [x, kernel, *small])
    for o in with_image:
        x, kernel = torch.randn(2, 8, 18, 18).to(dtype), (torch.randn(o, 8, 3, 3) / 9).to(dtype)
        rgb = [torch.randn(3, o, 1, 1).to(dtype) / o**0.5, torch.rand(2, o) + 0.5, torch.randn(2, 3, 9, 9)]
        end = [x, kernel, torch.rand(2, o) + 0.5, torch.randn(o), *rgb]
        yield Case(op, f"{o} outputs with image", _implicit_block_end(path), end)


def _to_rgb(impl: str, x: Tensor, weight: Tensor, style: Tensor, bias: Tensor, skip: Tensor) -> Tensor:
    return to_rgb(x, weight, style, bias, skip=skip, f=setup_filter([1, 3, 3, 1]).to(x.device), impl=impl)


def _block_end(impl: str, *tensors: Tensor) -> Tensor:
    """Both results of the fused kernel, which has no gradient: that of what is returned here is 0."""
    x, demod, bias, weight, style, skip = (t.detach() for t in tensors)
    rgb = {"rgb_weight": weight, "rgb_style": style, "skip": skip, "f": setup_filter([1, 3, 3, 1]).to(x.device)}
    y, image = epilogue_to_rgb(x, demod, bias=bias, **rgb, next_style=style, clamp=4.0, impl=impl)
    assert y is not None
    made = torch.cat([y.to(image.dtype), image], 1)  # [N, C + 3, H, W]
    return made + sum(0 * t.sum() for t in tensors).to(made.dtype)


def _last_block_end(impl: str, *tensors: Tensor) -> Tensor:
    """The image alone, with noise and a limit on it."""
    x, noise, strength, weight, style = (t.detach() for t in tensors)
    rgb = {"rgb_weight": weight, "rgb_style": style, "rgb_clamp": 2.0}
    _, image = epilogue_to_rgb(x, None, noise, strength, **rgb, keep=False, impl=impl)
    return image + sum(0 * t.sum() for t in tensors).to(image.dtype)


def _training_step(x: Tensor, sizes: DeltaSizes) -> Callable[..., Tensor]:
    """A training step of E and D on constant latents `x`; it reads the weights, flat."""

    def run(impl: str, weights: Tensor) -> Tensor:
        device = weights.device
        latents = x.to(device, torch.float64 if weights.dtype == torch.float64 else x.dtype)
        index = torch.arange(5, device=device) % x.shape[1]
        key = {name: torch.tensor(3, device=device) for name in ("seed", "step", "first_sample")}
        network = {"width": sizes.width, "layers": sizes.layers, "dim": sizes.dim}
        noise = {"noise_encoder": 0.1, "noise_decoder": 0.5}
        return delta_loss(latents, index, 1 - index % 2, weights, **network, **key, **noise, impl=impl)

    return run


def _edit(impl: str, ws: Tensor, alpha: Tensor, direction: Tensor, mean: Tensor, *layers: Tensor) -> Tensor:
    names = ("latent_weight", "latent_bias", "hidden_weight", "hidden_bias", "output_weight")
    index = torch.tensor([2, 0], device=ws.device)
    constants = {"mean": mean.detach(), "scale": torch.tensor(0.7, device=ws.device)}
    edited = delta_edit(ws, alpha, direction, index, **constants, **dict(zip(names, layers, strict=True)), impl=impl)
    return edited + 0 * mean.sum().to(edited.dtype)  # the mean is a constant; its gradient is 0


def _flow(impl: str, ws: Tensor, alpha: Tensor, direction: Tensor, *layers: Tensor) -> Tensor:
    names = ("latent_weight", "latent_bias", "hidden_weight", "hidden_bias", "output_weight")
    index = torch.tensor([2, 0], device=ws.device)
    moved = delta_flow(ws, alpha, direction, index, **dict(zip(names, layers, strict=True)), impl=impl)
    return moved + 0 * layers[3].sum().to(moved.dtype)  # of one layer, the hidden biases are empty and reach nothing


def _depthwise(wavelet: bool) -> Callable[..., Tensor]:
    def run(impl: str, u: Tensor, depthwise: Tensor, noise: Tensor, bias: Tensor, style: Tensor) -> Tensor:
        return activated_depthwise(u, depthwise, noise, bias, style=style, wavelet=wavelet, impl=impl)

    return run


def _subbands(impl: str, x: Tensor, bias: Tensor) -> Tensor:
    return subband_image(x, bias, impl=impl)


def _laid_out(x: Tensor, channels_last: bool) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if channels_last else x


def cases(dtype: torch.dtype) -> Iterator[Case]:
    """Return every op on odd sizes and on sizes that are moved 16 bytes at a time, in both layouts."""
    for sizes in (DeltaSizes(2, 19, 6, 2, 5), DeltaSizes(2, 64, 32, 1, 16)):
        s, c, width = sizes.slots, sizes.w_dim, sizes.width
        weights = 0.3 * torch.randn(weight_count(sizes))
        step = _training_step(torch.randn(s, 3, 4, c).to(dtype), sizes)
        yield Case("delta_loss", f"{sizes}", step, [weights])
        hidden = [torch.randn(sizes.layers, s, width, width) / width, torch.randn(sizes.layers, s, width)]
        layers = [torch.randn(s, c, width) / c, torch.randn(s, width), *hidden, torch.randn(s, width, c) / width]
        code = [torch.randn(37), torch.randn(1, 2, s, width), torch.randn(s, c)]
        yield Case("delta_edit", f"{sizes}", _edit, [torch.randn(37, 3, c).to(dtype), *code, *layers])
        hidden = [torch.randn(sizes.layers - 1, s, width, width) / width, torch.randn(sizes.layers - 1, s, width)]
        alpha = torch.linspace(-1, 0.6, 11)  # few steps: every one takes dozens of barriers
        flow = [alpha, torch.randn(1, s, width), *layers[:2], *hidden, layers[-1]]
        yield Case("delta_flow", f"{sizes}", _flow, [torch.randn(11, 3, c).to(dtype), *flow])
    for channels_last in (False, True):
        layout = "channels-last" if channels_last else "contiguous"
        for c, h, w in ((5, 7, 9), (16, 8, 8)):
            x = torch.randn(2, c, h, w).to(dtype)
            small = [torch.rand(2, c) + 0.5, torch.randn(2, 1, h, w), torch.tensor(0.3), torch.randn(c)]
            yield Case("modulated_epilogue", layout, _epilogue(channels_last), [x, *small, torch.randn(2, c)])
            for taps in ([1, 3, 3, 1], [1, 2, 1]):
                call = _filtered(channels_last, taps)
                yield Case("filtered_epilogue", f"{len(taps)} taps {layout}", call, [x, *small, torch.randn(2, c)])
            for up, down in ((1, 1), (2, 1), (1, 2)):
                yield Case("upfirdn2d", f"up={up} down={down} {layout}", _resample(up, down, channels_last), [x])

    for c, h, w in ((5, 6, 10), (64, 8, 34)):
        x, weight, style = torch.randn(2, c, h, w).to(dtype), torch.randn(3, c, 1, 1) / c**0.5, torch.rand(2, c) + 0.5
        yield Case(
            "to_rgb", "", _to_rgb, [x, weight.to(dtype), style, torch.randn(3), torch.randn(2, 3, h // 2, w // 2)]
        )
        end = [torch.rand(2, c) + 0.5, torch.randn(c), weight.to(dtype), style, torch.randn(2, 3, h // 2, w // 2)]
        yield Case("epilogue_to_rgb", "", _block_end, [x, *end])
        for colours in (2, 5):
            last = [torch.randn(1, 1, h, w), torch.tensor(0.3), torch.randn(colours, c, 1, 1).to(dtype) / c**0.5, style]
            yield Case("epilogue_to_rgb", f"{colours} image channels alone", _last_block_end, [x, *last])
        kernel = (torch.randn(16, c, 3, 3) / (3 * c**0.5)).to(dtype)
        for up in (1, 2):
            inputs = [x, kernel, style, torch.rand(2, 16) + 0.5, torch.randn(16)]
            yield Case("modulated_conv2d", f"up={up}", _convolution(up), inputs)
    yield from _implicit_cases("implicit_conv", dtype)
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() == (9, 0):  # elsewhere there is no wgmma
        yield from _implicit_cases("wgmma_conv", dtype)
    yield Case("subband_image", "", _subbands, [torch.randn(2, 12, 5, 7).to(dtype), torch.randn(12)])
    for c, h, w in ((5, 7, 9), (72, 9, 18)):  # the second has several tiles, and groups of channels that are cut off
        for wavelet, width in ((False, c), (True, 4 * c)):
            u = torch.randn(2, width, h, w).to(dtype)
            small = [torch.randn(c, 1, 3, 3), torch.randn(2, 1, h, w), torch.randn(width), torch.randn(2, width)]
            yield Case("activated_depthwise", f"wavelet={wavelet}", _depthwise(wavelet), [u, *small])


def _results(case: Case, impl: str, device: str, dtype: torch.dtype | None) -> list[Tensor]:
    """Return the output and the gradients of all inputs; all computed in `dtype`, or each input in its own (None)."""
    leaves = [value.detach().to(device, dtype).requires_grad_() for value in case.inputs]
    out = case.call(impl, *leaves)
    weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape).to(case.inputs[0].dtype)  # alike in every dtype
    return [out.detach(), *torch.autograd.grad(out, leaves, weights.to(out))]


def _compared(case: Case, device: str, dtype: torch.dtype) -> Iterator[Row]:
    """Yield a row for each result of a case.

    Where a rehearsal on a CPU meets an op that has a kernel for CUDA alone, what stands in for it runs.
    """
    by_cuda_kernels = takes_cuda_kernels(torch.empty(0, device=device))
    impl = "native" if by_cuda_kernels or case.op not in _CUDA_ALONE else "auto"
    native = _results(case, impl, device, None)
    plain = _results(case, "reference", "cpu", None)
    exact = _results(case, "reference", "cpu", torch.float64)
    for index, (ours, theirs, truth) in enumerate(zip(native, plain, exact, strict=True)):
        direction = "backward" if index else "forward"
        error, allowed = max_error(ours, truth), allowed_error(case.op, direction, theirs, truth)
        yield _row(case.op, f"{case.what} {dtype} result {index}", direction, dtype, error, allowed)


def _row(op: str, what: str, direction: str, dtype: torch.dtype, error: float, allowed: float) -> Row:
    name = f"{op} {what}"
    row = {"name": name, "op": op, "direction": direction, "dtype": str(dtype).removeprefix("torch.")}
    row |= {"error": error, "allowed": allowed, "ok": error <= allowed}
    return row if row["ok"] else row | {"reason": f"error {error:.3g}, allowed {allowed:.3g}"}


def _philox(device: str) -> Iterator[Row]:
    """Yield a row for the integers, which are the same to the bit everywhere, and one for the normals."""
    random = torch.Generator().manual_seed(0)
    counters, keys = torch.randint(2**32, (1000, 4), generator=random), torch.randint(2**32, (2,), generator=random)
    plain = philox4x32(counters, keys, impl="reference")
    off = max_error(philox4x32(counters.to(device), keys.to(device), impl="native"), plain)
    yield _row("philox", "words", "forward", torch.int64, off, 0.0)
    place = {name: torch.tensor(3 + k) for k, name in enumerate(("seed", "step", "first_sample"))}
    there = {name: value.to(device) for name, value in place.items()}
    exact = philox_normal(5, 131, **place, stream=7, impl="reference")
    off = max_error(philox_normal(5, 131, **there, stream=7, impl="native"), exact)
    yield _row("philox", "normals", "forward", torch.float32, off, 1e-6)


def check(device: str, op: str, evidence: Evidence) -> None:
    """Compare all cases of `op` ("" for every one), each result a row of `evidence`."""
    if op in ("", "philox") and not evidence.seen("philox"):
        evidence.begin("philox")
        for row in _philox(device):
            evidence.add(**row)
        evidence.add(name="philox", ok=True)
    for dtype in _DTYPES[device]:
        torch.manual_seed(0)
        for place, case in enumerate(cases(dtype)):
            name = f"{case.op} {place} {case.what} {dtype}"
            if op not in ("", case.op) or evidence.seen(name):
                continue
            evidence.begin(name)
            try:
                for row in _compared(case, device, dtype):
                    evidence.add(**row)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # of CUDA or of the op
                evidence.add(name=name, op=case.op, ok=False, reason=str(error)[:1000])
                if "CUDA error" in str(error):
                    sys.exit(LOST_DEVICE)
            else:
                evidence.add(name=name, ok=True)


def disagreements(device: str, dtype: torch.dtype) -> list[str]:
    """Return a line for each result of a native kernel that is further off than allowed."""
    rows = [row for case in cases(dtype) for row in _compared(case, device, dtype)]
    rows += [] if dtype is not torch.float32 else _philox(device)
    return [f"{row['name']}: {row['reason']}" for row in rows if not row["ok"]]


def main() -> None:
    """Compare; exit code 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=sorted(_DTYPES))
    parser.add_argument("--op", default="", help="this op's cases alone")
    parser.add_argument("--evidence", type=Path, help="file for a JSON row of every result")
    options = parser.parse_args()
    float32_is_exact()
    evidence = Evidence(options.evidence)
    check(options.device, options.op, evidence)
    if options.device == "cuda":
        torch.cuda.synchronize()
    wrong = [f"{row['name']}: {row['reason']}" for row in evidence.rows if not row.get("ok", True)]
    print("\n".join(wrong) or f"{options.op or 'all kernels'}: as the reference")
    sys.exit(1 if wrong or not evidence.rows else 0)


if __name__ == "__main__":
    main()
