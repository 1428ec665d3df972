"""The one table of numerical tolerances.

An op may err by a stated multiple of the error that torch itself makes in the same precision, both against a float64
reference, and always by a share of the largest reference value: where torch happens to be exact, another order of
summation is no mistake. The multiples leave room for that order; they are no licence for a lower precision, and the
share for float64 is one that a kernel which computes in float32 does not meet.
"""

from __future__ import annotations

import torch

__all__ = ["FLOAT64_FLOOR", "FLOOR", "MULTIPLES", "allowed_error", "max_error"]

FLOOR = 1e-5  # of max |reference|
FLOAT64_FLOOR = 1e-12  # where the op computes in float64

# direction, or (op, direction) where an op has its own -> multiple of torch's own error
MULTIPLES: dict[str | tuple[str, str], float] = {
    "forward": 2.0,
    "backward": 3.0,
    ("delta_loss", "forward"): 3.0,
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
    multiple = MULTIPLES.get((op, direction), MULTIPLES[direction])
    floor = FLOAT64_FLOOR if torch_result.dtype == torch.float64 else FLOOR
    return max(multiple * max_error(torch_result, reference), floor * scale)
