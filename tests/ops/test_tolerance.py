"""The table of tolerances lets nothing pass that computes in a lower precision than it should."""

from __future__ import annotations

import pytest
import torch
from op_checks import check_against_float64, image

from deltafast.ops import upfirdn2d_reference
from deltafast.ops.tolerance import allowed_error, max_error


def _resample(x: torch.Tensor) -> torch.Tensor:
    return upfirdn2d_reference(x, torch.tensor([0.1, 0.3, 0.6]), up=2, padding=2)


@pytest.mark.parametrize(("computed", "lower"), [(torch.float64, torch.float32), (torch.float32, torch.bfloat16)])
def test_a_kernel_that_computes_in_a_lower_precision_fails(computed: torch.dtype, lower: torch.dtype) -> None:
    x = image((2, 3, 9, 7), "contiguous", computed, "cpu").requires_grad_()
    check_against_float64("upfirdn2d", _resample, _resample, x)
    with pytest.raises(AssertionError, match="upfirdn2d forward 0: error"):
        check_against_float64("upfirdn2d", lambda x: _resample(x.to(lower)).to(computed), _resample, x)


def test_errors_are_measured_where_both_are_numbers() -> None:
    exact = torch.tensor([1.0, float("nan"), 4.0], dtype=torch.float64)
    assert max_error(torch.tensor([1.5, float("nan"), 4.0]), exact) == 0.5
    assert max_error(torch.tensor([1.0, 0.0, 4.0]), exact) == float("inf")
    assert max_error(exact[:0], exact[:0]) == 0.0


def test_an_op_of_its_own_multiple_and_the_common_one() -> None:
    exact, plain = torch.ones(3, dtype=torch.float64), torch.full((3,), 1.25)
    assert allowed_error("upfirdn2d", "forward", plain, exact) == 0.5
    assert allowed_error("upfirdn2d", "backward", plain, exact) == 0.75
    assert allowed_error("delta_loss", "forward", plain, exact) == 0.75
