"""The one table of numerical tolerances.

An op may err by a stated multiple of the error that torch itself makes in the same precision, both against a float64
reference, and always by 1e-5 of the largest reference value. The multiples leave room for another order of summation;
they are no licence for a lower precision.
"""

from __future__ import annotations

import torch

__all__ = ["FLOOR", "MULTIPLES", "allowed_error", "max_error"]

FLOOR = 1e-5  # of max |reference|

# (op, direction) -> multiple of torch's own error
MULTIPLES = {
    ("activated_depthwise", "forward"): 2.0,
    ("activated_depthwise", "backward"): 3.0,
    ("delta_edit", "forward"): 2.0,
    ("delta_edit", "backward"): 3.0,
    ("delta_loss", "forward"): 3.0,
    ("delta_loss", "backward"): 3.0,
    ("epilogue_to_rgb", "forward"): 2.0,
    ("epilogue_to_rgb", "backward"): 3.0,
    ("filtered_epilogue", "forward"): 2.0,
    ("filtered_epilogue", "backward"): 3.0,
    ("modulated_conv2d", "forward"): 2.0,
    ("modulated_conv2d", "backward"): 3.0,
    ("modulated_epilogue", "forward"): 2.0,
    ("modulated_epilogue", "backward"): 3.0,
    ("separable_conv", "forward"): 2.0,
    ("separable_conv", "backward"): 3.0,
    ("subband_image", "forward"): 2.0,
    ("subband_image", "backward"): 3.0,
    ("to_rgb", "forward"): 2.0,
    ("to_rgb", "backward"): 3.0,
    ("upfirdn2d", "forward"): 2.0,
    ("upfirdn2d", "backward"): 3.0,
    ("wavelet_block", "forward"): 2.0,
    ("wavelet_block", "backward"): 3.0,
    ("wavelet_image", "forward"): 2.0,
    ("wavelet_image", "backward"): 3.0,
}


def max_error(result: torch.Tensor, reference: torch.Tensor) -> float:
    """Return max |result - reference| in float64; 0 for empty tensors, infinity where only one of them is NaN.

    Taken on the reference's device: results of a GPU can be gigabytes.
    """
    if reference.numel() == 0:
        return 0.0
    reference = reference.detach()
    result = result.detach().to(reference.device)
    difference = (result.double() - reference.double()).abs_()
    both_nan = result.isnan() & reference.isnan()
    difference = difference.masked_fill_(both_nan, 0.0).nan_to_num_(nan=float("inf"))
    return float(difference.max())


def allowed_error(op: str, direction: str, torch_result: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the largest error that `op` may make against `reference`, a float64 tensor.

    `torch_result` is what plain torch computes in the precision under test; `direction` is "forward" or "backward".
    """
    scale = float(reference.detach().abs().max()) if reference.numel() else 0.0
    return max(MULTIPLES[op, direction] * max_error(torch_result, reference), FLOOR * scale)
