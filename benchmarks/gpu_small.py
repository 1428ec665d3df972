"""Every CUDA kernel once, forward and backward, on sizes small enough for compute-sanitizer; checked on the CPU."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from deltafast.ops import modulated_epilogue, setup_filter, upfirdn2d

_RELATIVE = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}  # of the largest reference value


def _epilogue(impl: str, channels_last: bool) -> Callable[..., Tensor]:
    def run(x: Tensor, demod: Tensor, noise: Tensor, strength: Tensor, bias: Tensor, style: Tensor) -> Tensor:
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return modulated_epilogue(x, demod, noise, strength, bias, next_style=style, clamp=4.0, impl=impl)

    return run


def _resample(impl: str, up: int, down: int, channels_last: bool) -> Callable[..., Tensor]:
    def run(x: Tensor) -> Tensor:
        taps = setup_filter([1, 3, 3, 1]).to(x.device)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return upfirdn2d(x, taps, up=up, down=down, padding=(2, 1), gain=float(up * up), impl=impl)

    return run


def _results(call: Callable[..., Tensor], inputs: list[Tensor], device: str) -> list[Tensor]:
    """Return the output and the gradients of all inputs, on the CPU in float64."""
    leaves = [value.detach().to(device).requires_grad_() for value in inputs]
    out = call(*leaves)  # [N, C, H, W]
    weights = torch.linspace(-1, 1, out.numel(), device=device).reshape(out.shape).to(out.dtype)
    gradients = torch.autograd.grad((out * weights).sum(), leaves)
    return [value.detach().cpu().double() for value in (out, *gradients)]


def main() -> None:
    """Compare every case with the reference on the CPU; exit code 1 where one differs."""
    torch.manual_seed(0)
    wrong = []
    for dtype, relative in _RELATIVE.items():
        for channels_last in (False, True):
            x = torch.randn(2, 5, 7, 9).to(dtype)
            small = [torch.rand(2, 5) + 0.5, torch.randn(2, 1, 7, 9), torch.tensor(0.3), torch.randn(5)]
            style = torch.randn(2, 5)
            cases: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], list[Tensor]]] = {
                "epilogue": (
                    _epilogue("native", channels_last),
                    _epilogue("reference", channels_last),
                    [x, *small, style],
                )
            }
            for up, down in ((1, 1), (2, 1), (1, 2)):
                cases[f"upfirdn2d up={up} down={down}"] = (
                    _resample("native", up, down, channels_last),
                    _resample("reference", up, down, channels_last),
                    [x],
                )
            for name, (native, reference, inputs) in cases.items():
                seen = _results(native, inputs, "cuda")
                expected = _results(reference, [value.double() for value in inputs], "cpu")
                for index, (a, b) in enumerate(zip(seen, expected, strict=True)):
                    error = (a - b).abs().max().item()
                    if not error <= relative * max(b.abs().max().item(), 1e-3):
                        wrong.append(f"{name} {dtype} channels_last={channels_last} result {index}: error {error:.3g}")
    torch.cuda.synchronize()
    print("\n".join(wrong) or "all kernels agree with the reference")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
