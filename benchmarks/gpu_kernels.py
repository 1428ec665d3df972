"""The one list of CUDA kernels: what `make gpu` checks, times and puts into the ledger. A new kernel is a line here.

Each has its small cases in gpu_small.py, under the name of its op, and its timing in a benchmark whose case begins with
`timed_as`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kernel:
    """A row of the ledger.

    `op`: whose small cases in gpu_small.py run it; `direction`: which of their results it makes ("forward",
    "backward", or "" for both). `source`: its file in csrc/kernels/cuda. `timed_as`: how the names of its benchmark's
    cases begin, "" where it has none of its own.
    """

    name: str
    op: str
    direction: str
    source: str
    timed_as: str = ""


KERNELS = (
    Kernel(
        "activated depthwise, forward",
        "activated_depthwise",
        "forward",
        "activated_depthwise.cu",
        "activated_depthwise",
    ),
    Kernel("activated depthwise, backward", "activated_depthwise", "backward", "activated_depthwise.cu"),
    Kernel("delta edit, forward (backward: cuBLAS)", "delta_edit", "", "delta_edit.cu", "edit, "),
    Kernel("delta flow, forward", "delta_flow", "forward", "delta_flow.cu"),
    Kernel("delta flow, backward", "delta_flow", "backward", "delta_flow.cu"),
    Kernel("delta loss with its gradients: embed", "delta_loss", "", "delta_loss.cu", "delta training step"),
    Kernel("delta pairs: the same step's frame pairs, and the sums over blocks", "delta_loss", "", "delta_pairs.cu"),
    Kernel("delta weights: the same step's large gradients", "delta_loss", "", "delta_weights.cu"),
    Kernel(
        "epilogue to rgb, forward (with gradients: the kernels of the modulated epilogue and to rgb)",
        "epilogue_to_rgb",
        "forward",
        "epilogue_to_rgb.cu",
        "epilogue_to_rgb",
    ),
    Kernel(
        "filtered epilogue, forward (backward: the kernels of upfirdn2d and of the modulated epilogue)",
        "filtered_epilogue",
        "",
        "filtered_epilogue.cu",
        "filtered_epilogue",
    ),
    Kernel(
        "implicit conv: 3x3 and 1x1 on tensor cores, with epilogue and image",
        "implicit_conv",
        "",
        "implicit_conv.cu",
        "implicit_conv",
    ),
    Kernel(
        "implicit conv stride 2: up-sampling, filtered too, and its data gradient",
        "implicit_conv",
        "",
        "implicit_conv_stride.cu",
        "implicit_conv up",
    ),
    Kernel(
        "modulated epilogue, forward", "modulated_epilogue", "forward", "modulated_epilogue.cu", "modulated_epilogue"
    ),
    Kernel("modulated epilogue, backward", "modulated_epilogue", "backward", "modulated_epilogue.cu"),
    Kernel("philox, words and normals", "philox", "", "philox.cu"),
    Kernel("subband image, forward and backward", "subband_image", "", "subband_image.cu", "subband_image"),
    Kernel("to rgb, forward (backward: cuBLAS)", "to_rgb", "", "to_rgb.cu", "to_rgb"),
    Kernel("upfirdn2d, forward", "upfirdn2d", "forward", "upfirdn2d.cu", "upfirdn2d"),
    Kernel("upfirdn2d, backward (the same kernel, transposed)", "upfirdn2d", "backward", "upfirdn2d.cu"),
    Kernel(
        "wgmma conv: the convolution on warpgroups of sm_90a, all forms, with epilogue and image",
        "wgmma_conv",
        "",
        "sm90/wgmma_conv.cu",
        "wgmma_conv",
    ),
)

# Checked as the kernels are, but no kernel of ours runs in it alone: it is not for compute-sanitizer, which would
# instrument cuDNN's.
AROUND_CUDNN = ("modulated_conv2d",)


def ops() -> list[str]:
    """Return the ops of all kernels, each once, in the list's order."""
    return list(dict.fromkeys(kernel.op for kernel in KERNELS))
