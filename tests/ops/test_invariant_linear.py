"""invariant_linear: a row's bits are its own, whatever it is batched with, in both directions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from op_checks import check_against_float64

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops import _library, invariant_linear, invariant_linear_reference

NAME = "invariant_linear"
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
SIZES = [(1, 16, 16), (3, 65, 70), (4, 512, 128), (7, 5, 3), (9, 1, 130)]  # rows, C, O


def made(rows: int, c: int, o: int, groups: int = 0, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(rows + c + o)
    lead = (groups,) if groups else ()
    x, weight = torch.randn(*lead, rows, c, generator=g), torch.randn(*lead, o, c, generator=g)
    return x.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_()


def native(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return invariant_linear(x, weight, impl="native")


@DTYPES
@pytest.mark.parametrize("groups", [0, 1, 3])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_result_and_gradients_match_float64(sizes: tuple[int, int, int], groups: int, dtype: torch.dtype) -> None:
    x, weight = made(*sizes, groups, dtype)
    check_against_float64(NAME, native, invariant_linear_reference, x, weight=weight)


def test_it_is_what_torch_calls_linear() -> None:
    x, weight = made(3, 8, 5, dtype=torch.float64)
    assert torch.allclose(native(x, weight), F.linear(x, weight), rtol=1e-14)


@pytest.mark.parametrize("instruction_set", _library._C.build_info()["cpu_instruction_sets"])
@pytest.mark.parametrize("threads", [1, 2])
@DTYPES
def test_a_row_and_its_gradient_have_the_same_bits_in_every_batch(
    dtype: torch.dtype, threads: int, instruction_set: str
) -> None:
    x, weight = made(11, 193, 210, dtype=dtype)
    upstream = torch.randn(11, 210, generator=torch.Generator().manual_seed(1), dtype=dtype)
    set_before, threads_before = _library._C.build_info()["cpu_instruction_set"], torch.get_num_threads()
    try:
        _library._C.use_instruction_set(instruction_set)
        torch.set_num_threads(threads)
        y = native(x, weight)
        (gradient,) = torch.autograd.grad(y, x, upstream)
        for first, last in ((0, 1), (3, 4), (2, 7), (1, 9), (10, 11)):
            part = x.detach()[first:last].clone().requires_grad_()
            alone = native(part, weight)
            assert torch.equal(alone, y[first:last])
            assert torch.equal(torch.autograd.grad(alone, part, upstream[first:last])[0], gradient[first:last])
    finally:
        torch.set_num_threads(threads_before)
        _library._C.use_instruction_set(set_before)


def test_strides_do_not_matter() -> None:
    x, weight = made(4, 6, 10)
    turned = weight.detach().t().contiguous().t()
    assert torch.equal(native(x.detach()[::2], turned), native(x.detach(), weight.detach())[::2])


@pytest.mark.parametrize("sizes", [(0, 4, 3), (2, 4, 0), (2, 0, 3)], ids=str)
def test_empty_batches_and_widths(sizes: tuple[int, int, int]) -> None:
    rows, c, o = sizes
    x, weight = torch.ones(rows, c, requires_grad=True), torch.ones(o, c, requires_grad=True)
    y = native(x, weight)
    assert torch.equal(y, torch.zeros(rows, o))
    y.sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) == 0.0
    assert weight.grad is not None
    assert float(weight.grad.abs().sum()) == 0.0


def test_gradients_of_gradients_are_exact() -> None:
    x, weight = made(3, 5, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(native, (x, weight))
    assert torch.autograd.gradgradcheck(native, (x, weight))


@pytest.mark.parametrize("transposed", [False, True])
def test_opcheck(transposed: bool) -> None:
    x, weight = made(3, 8, 8, groups=2)
    torch.library.opcheck(torch.ops.deltafast.invariant_linear, (x, weight, transposed))


def test_a_compiled_graph_holds_it_whole() -> None:
    x, weight = made(3, 40, 24)
    run = torch.compile(lambda x, w: invariant_linear(x, w) * 2, fullgraph=True, backend="aot_eager")
    assert torch.equal(run(x, weight), invariant_linear(x, weight) * 2)


def test_what_it_does_not_take_is_refused_in_words() -> None:
    x, weight = (t.detach() for t in made(3, 8, 5))
    for wrong, text in (
        (weight[:, :7], r"\[5, 7\] for \[3, 8\]"),
        (weight[None], r"must be \[O, C\] or \[G, O, C\]"),
        (weight.double(), "float64"),
        (weight.int(), "floating-point"),
        (weight.tolist(), "list"),
    ):
        with pytest.raises(InvalidInputError, match=text):
            invariant_linear(x, wrong)
    assert torch.equal(invariant_linear(x.half(), weight.half()), x.half() @ weight.half().mT)
    with pytest.raises(NativeOpError, match="float16"):
        invariant_linear(x.half(), weight.half(), impl="native")
