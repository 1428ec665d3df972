"""StyleGAN2's modulated convolution with everything that follows it, without ever building per-sample weights."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from deltafast.errors import InvalidInputError
from deltafast.ops._arguments import check_image, check_optional
from deltafast.ops._epilogue import Epilogue
from deltafast.ops._library import runs_natively
from deltafast.ops._register import register
from deltafast.ops.by_sample import by_small_sample
from deltafast.ops.conv_path import ConvImpl, chosen_path, other_impl
from deltafast.ops.devices import takes_cuda_kernels
from deltafast.ops.filtered_epilogue import filtered_epilogue
from deltafast.ops.implicit_conv import convolve, convolve_activated, form_of
from deltafast.ops.modulated_epilogue import modulated_epilogue
from deltafast.ops.upfirdn2d import upfirdn2d, upfirdn2d_reference

__all__ = ["modulated_conv2d", "modulated_conv2d_reference", "pack_conv3x3"]

_OP = "modulated_conv2d"
_INPUT_STEP, _OUTPUT_STEP = 16, 32  # kConvInputStep, kConvOutputStep in csrc/kernels/modulated_conv3x3.h
_MAX_TAPS = 16
_FILTER_GAIN = 4.0  # of up-sampling by 2 along both axes
_KERNEL_TAPS = 4  # kUpTaps in csrc/kernels/cuda/up_filter.cuh


def modulated_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    style: torch.Tensor | None = None,
    demod: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    noise_strength: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    up: int = 1,
    f: torch.Tensor | None = None,
    packed: torch.Tensor | None = None,
    next_style: torch.Tensor | None = None,
    negative_slope: float = 0.2,
    gain: float = math.sqrt(2.0),
    clamp: float | None = None,
    impl: ConvImpl = "auto",
) -> torch.Tensor:
    """Convolve by weights modulated per sample, up-sample, and apply noise, bias, activation and the next style.

    Arguments:
      x: `[N, C, H, W]`; float32, float64, float16 or bfloat16; brought to channels-last where it is not.
      weight: `[O, C, 3, 3]` or `[O, C, 1, 1]`, of x's dtype, shared by all samples.
      style: `[N, C]`, multiplied into x; None where x has it already (`next_style` of the layer before).
      demod: `[N, O]`, demodulation coefficients; None stands for 1. With squared weights summed once,
        `squares = weight.square().sum((2, 3))`, they are `rsqrt(style.square() @ squares.t() + 1e-8)` (eq. 3 of the
        paper); in float16, divide weight and style by their largest values first and multiply demod by the same.
      noise, noise_strength, bias, next_style, negative_slope, gain, clamp: as in `modulated_epilogue`, for `[N, O, H',
        W']`.
      up: 1, or 2: a transposed 3x3 convolution with stride 2 followed by the filter f, to twice the size.
      f: float32 `[k]` or `[kh, kw]`, the filter of up=2, as `setup_filter` makes it.
      packed: the weight as `pack_conv3x3` makes it; on CPUs, in float32 and where nothing needs a gradient, the 3x3
        convolution then runs in this package's own kernel, Winograd's with about half the multiplications, in one pass
        with its style and epilogue. Without it torch's convolution runs: oneDNN's or cuDNN's.
      impl: "auto", "native" or "reference"; "native" stands for the kernels of `modulated_epilogue`,
        `filtered_epilogue` or `upfirdn2d` around that convolution. On CUDA, "cudnn", "mma" and "wgmma" say which
        convolution runs: cuDNN's, or one of this package's own on tensor cores (float16 and bfloat16, channels by
        eights; "mma" from compute capability 8.0 on, "wgmma" on 9.0 alone), in one pass with all that follows it where
        nothing needs a gradient ("wgmma" filters an up-sampled result apart). With "auto" and "native", `chosen_path`
        says.

    Result: `[N, O, H', W']`, H' = up * H and W' alike, of x's dtype, channels-last.

    Equivalent to (up=1):
        y = F.conv2d(x * style[:, :, None, None], weight, padding=weight.shape[2] // 2)
        modulated_epilogue(y, demod, noise, noise_strength, bias, next_style=next_style, ...)
    and (up=2, f of 4 taps):
        y = F.conv_transpose2d(x * style[:, :, None, None], weight.transpose(0, 1), stride=2)
        modulated_epilogue(upfirdn2d(y, f, padding=1, gain=4.0), demod, ...)

    Differentiable once in all tensors but f and packed; differentiating the native gradient again raises
    `NativeOpError` (impl="reference" can be differentiated any number of times).
    Raises `InvalidInputError` for wrong shapes, dtypes, devices or values, and `NativeOpError` where impl="native" has
    no kernel. Source: StyleGAN2 (arXiv 1912.04958), section 2.2.
    """
    _check(x, weight, style, up, f, packed)
    epilogue = Epilogue(demod, noise, noise_strength, bias, next_style, negative_slope, gain, clamp)
    epilogue.check(_OP, x, (x.shape[2] * up, x.shape[3] * up), channels=weight.shape[0])
    path, others = chosen_path(_OP, x, weight, impl, up=up), other_impl(impl)
    native = runs_natively(_OP, x, others)
    x = x.contiguous(memory_format=torch.channels_last)
    if not native:
        return _reference(x, weight, style, epilogue, up, f)
    if path != "cudnn":
        form = form_of(weight, up)
        x = _styled(x, style)
        fuses = up == 1 or (path == "mma" and _four_taps(f))
        if fuses and not _wants_gradient(x, weight, *epilogue.tensors):
            return convolve_activated(x, weight, form, path, epilogue, f, _FILTER_GAIN)
        y = convolve(x, weight, form, path)
    elif packed is not None and _packed_serves(x, weight, style, *epilogue.tensors):
        y = _convolve_packed(x, packed, weight.shape[0], up, style, epilogue)
        if up == 1:
            return y
    else:
        y = _convolve(x, weight, style, up)
    if up == 1:
        return modulated_epilogue(y, **epilogue.named, impl=others)
    assert f is not None
    padding = _filter_padding(f)
    if f.dim() == 1 and f.numel() <= _MAX_TAPS:
        return filtered_epilogue(y, f, **epilogue.named, padding=padding, filter_gain=_FILTER_GAIN, impl=others)
    return modulated_epilogue(upfirdn2d(y, f, padding=padding, gain=4.0, impl=others), **epilogue.named, impl=others)


def modulated_conv2d_reference(
    x: torch.Tensor,
    weight: torch.Tensor,
    style: torch.Tensor | None = None,
    demod: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    noise_strength: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    up: int = 1,
    f: torch.Tensor | None = None,
    next_style: torch.Tensor | None = None,
    negative_slope: float = 0.2,
    gain: float = math.sqrt(2.0),
    clamp: float | None = None,
) -> torch.Tensor:
    """Compute `modulated_conv2d` in plain torch: the same arguments and result. Raises what torch raises."""
    epilogue = Epilogue(demod, noise, noise_strength, bias, next_style, negative_slope, gain, clamp)
    return _reference(x.contiguous(memory_format=torch.channels_last), weight, style, epilogue, up, f)


def _reference(
    x: torch.Tensor,
    weight: torch.Tensor,
    style: torch.Tensor | None,
    epilogue: Epilogue,
    up: int,
    f: torch.Tensor | None,
) -> torch.Tensor:
    y = _convolve(x, weight, style, up)
    if up == 2:
        assert f is not None
        y = upfirdn2d_reference(y, f, padding=_filter_padding(f), gain=4.0)
    return epilogue.apply(y)


def pack_conv3x3(weight: torch.Tensor, *, up: int = 1) -> torch.Tensor:
    """Transform a weight for the CPU kernel of `modulated_conv2d`: once, for as long as the weight does not change.

    `weight` is float32 `[O, C, 3, 3]` on the CPU; `up` as in `modulated_conv2d`. The result, float32 `[16 or 25,
    O rounded up to 32, C rounded up to 16]`, is for that kernel alone: its order depends on the processor.
    Raises `InvalidInputError` for another shape, dtype or device.
    """
    if not isinstance(weight, torch.Tensor) or weight.dim() != 4 or tuple(weight.shape[2:]) != (3, 3):
        got = list(weight.shape) if isinstance(weight, torch.Tensor) else type(weight).__name__
        raise InvalidInputError(f"pack_conv3x3: weight must be [O, C, 3, 3], got {got}")
    if weight.dtype != torch.float32 or weight.device.type not in ("cpu", "meta"):
        raise InvalidInputError(
            f"pack_conv3x3: weight must be float32 on the CPU, got {weight.dtype} on {weight.device}"
        )
    if up not in (1, 2):
        raise InvalidInputError(f"pack_conv3x3: up must be 1 or 2, got {up}")
    packed: torch.Tensor = torch.ops.deltafast.pack_conv3x3(weight.detach(), up == 2)
    return packed


def _convolve(x: torch.Tensor, weight: torch.Tensor, style: torch.Tensor | None, up: int) -> torch.Tensor:
    x = _styled(x, style)

    def plain(part: torch.Tensor) -> torch.Tensor:
        if up == 2:
            y = F.conv_transpose2d(part, weight.transpose(0, 1), stride=2)  # [N, O, 2 H + 1, 2 W + 1]
        else:
            y = F.conv2d(part, weight, padding=weight.shape[2] // 2)  # [N, O, H, W]
        return y.contiguous(memory_format=torch.channels_last)

    return by_small_sample(plain, x, weight.numel() * x.shape[2] * x.shape[3])


def _styled(x: torch.Tensor, style: torch.Tensor | None) -> torch.Tensor:
    return x if style is None else x * style.to(x.dtype)[:, :, None, None]  # [N, C, H, W]


def _convolve_packed(
    x: torch.Tensor,
    packed: torch.Tensor,
    outputs: int,
    up: int,
    style: torch.Tensor | None,
    epilogue: Epilogue,
) -> torch.Tensor:
    """Run the CPU kernel: with its epilogue for up=1, the transposed convolution alone for up=2."""
    activates = up == 1
    own = epilogue if activates else Epilogue()
    y: torch.Tensor = torch.ops.deltafast.modulated_conv3x3(
        x, packed, outputs, up == 2, activates, None if style is None else style.to(x.dtype), *own.for_kernel(x)
    )
    return y


def _packed_serves(x: torch.Tensor, *others: torch.Tensor | None) -> bool:
    """Whether the CPU kernel serves: float32, nothing that needs a gradient."""
    if takes_cuda_kernels(x) or x.device.type != "cpu" or x.dtype != torch.float32:
        return False
    return not _wants_gradient(x, *others)


def _wants_gradient(*tensors: torch.Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def _four_taps(f: torch.Tensor | None) -> bool:
    return f is not None and f.dim() == 1 and f.numel() == _KERNEL_TAPS


def _filter_padding(f: torch.Tensor) -> tuple[int, int, int, int]:
    """How the 2 H + 1 rows of the transposed convolution are padded to give 2 H."""
    height, width = f.shape[0], f.shape[-1]
    return (width - 1) // 2, (width - 2) // 2, (height - 1) // 2, (height - 2) // 2


def _check(
    x: torch.Tensor,
    weight: torch.Tensor,
    style: torch.Tensor | None,
    up: int,
    f: torch.Tensor | None,
    packed: torch.Tensor | None,
) -> None:
    check_image(_OP, x)
    n, c = x.shape[0], x.shape[1]
    if not isinstance(weight, torch.Tensor) or weight.dim() != 4 or weight.shape[1] != c or 0 in weight.shape:
        got = list(weight.shape) if isinstance(weight, torch.Tensor) else type(weight).__name__
        raise InvalidInputError(f"{_OP}: weight must be [O, C, k, k] with C = {c}, got {got}")
    if tuple(weight.shape[2:]) not in ((1, 1), (3, 3)):
        raise InvalidInputError(f"{_OP}: kernels must be 3x3 or 1x1, got {weight.shape[2]}x{weight.shape[3]}")
    if weight.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
        raise InvalidInputError(f"{_OP}: weight must be of x's dtype, {x.dtype}, got {weight.dtype}")
    if weight.device != x.device:
        raise InvalidInputError(f"{_OP}: weight is on {weight.device}, but x is on {x.device}")
    check_optional(_OP, "style", style, x, (n, c), "[N, C]")
    if up not in (1, 2):
        raise InvalidInputError(f"{_OP}: up must be 1 or 2, got {up}")
    if up == 2 and weight.shape[2] != 3:
        raise InvalidInputError(f"{_OP}: up=2 takes a 3x3 kernel, got 1x1")
    if (f is None) != (up == 1):
        raise InvalidInputError(f"{_OP}: up=2 takes the filter f, and up=1 takes none")
    if f is not None and (f.shape[0] < 2 or f.shape[-1] < 2):
        raise InvalidInputError(f"{_OP}: f must have at least 2 taps along each axis, got {list(f.shape)}")
    if packed is not None:
        products = 25 if up == 2 else 16
        shape = (products, -(-weight.shape[0] // _OUTPUT_STEP) * _OUTPUT_STEP, -(-c // _INPUT_STEP) * _INPUT_STEP)
        if weight.shape[2] != 3 or not isinstance(packed, torch.Tensor) or tuple(packed.shape) != shape:
            raise InvalidInputError(f"{_OP}: packed must be what pack_conv3x3 makes of this weight for up={up}")


def _fake_conv(x: torch.Tensor, packed: torch.Tensor, outputs: int, up: bool, *_: Any) -> torch.Tensor:
    n, h, w = x.shape[0], x.shape[2], x.shape[3]
    shape = (n, outputs, 2 * h + 1, 2 * w + 1) if up else (n, outputs, h, w)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _fake_pack(weight: torch.Tensor, up: bool) -> torch.Tensor:
    o, c = weight.shape[0], weight.shape[1]
    shape = (25 if up else 16, (o + _OUTPUT_STEP - 1) // _OUTPUT_STEP * _OUTPUT_STEP)
    return weight.new_empty((*shape, (c + _INPUT_STEP - 1) // _INPUT_STEP * _INPUT_STEP))


_INSTEAD = "Call modulated_conv2d, which takes oneDNN's convolution where one is needed."
register("modulated_conv3x3", fake=_fake_conv, differentiable=False, instead=_INSTEAD)
register("pack_conv3x3", fake=_fake_pack, differentiable=False, instead=_INSTEAD)
