"""delta_flow: the edit as a flow, forward and backward, in every size and precision, and what a flow promises."""

from __future__ import annotations

import importlib

import pytest
import torch
from op_checks import CUDA, DEVICES, NATIVE, check_against_float64
from torch import Tensor

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops import (
    _library,
    delta_flow,
    delta_flow_reference,
    flow_activation,
    flow_coordinates,
    flow_coordinates_reference,
)
from deltafast.ops.delta_flow import MAX_FLOW_STEPS
from deltafast.ops.tolerance import allowed_error, max_error

module = importlib.import_module("deltafast.ops.delta_flow")  # the name is the function's too
NAME = "delta_flow"
HALVES = (torch.float16, torch.bfloat16)
Case = tuple[int, int, int, tuple[int, ...], int, int]
CASES: list[Case] = [  # samples, num_ws, w_dim, slots, width, layers
    (70, 16, 512, (0, 1, 2, 3, 4, 5), 32, 1),
    (5, 6, 16, (3, 0), 16, 1),
    (33, 3, 19, (1,), 7, 3),
    (1, 4, 70, (0, 1, 2, 3), 33, 2),
]
# on CUDA, small enough to be emulated: whole bands of eight paths and a part of one, more components than a warp
CUDA_CASES: list[Case] = [(11, 3, 19, (2, 0), 9, 2), (17, 2, 40, (1,), 33, 1)]
SIZES = [
    *((device, dtype, case) for device, dtype in (("cpu", torch.float32), ("cpu", torch.float64)) for case in CASES),
    *(pytest.param("cuda", torch.float32, case, marks=pytest.mark.gpu) for case in CUDA_CASES),
    *(pytest.param("cuda", dtype, (3, 2, 8, (1,), 5, 1), marks=pytest.mark.gpu) for dtype in HALVES),
]
ALONG = [("cpu", CASES[0]), pytest.param("cuda", (9, 2, 64, (0, 1), 32, 1), marks=pytest.mark.gpu)]


def arguments(
    samples: int,
    num_ws: int,
    w_dim: int,
    slots: tuple[int, ...],
    width: int,
    layers: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    directions: int = 1,
) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(3)
    small = torch.float64 if dtype == torch.float64 else torch.float32
    s = len(slots)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(shape, generator=random) * scale).to(device, small)

    return {
        "ws": normal(samples, num_ws, w_dim).to(dtype),
        "alpha": normal(samples, scale=1.5),
        "direction": normal(directions, s, width, scale=0.5),
        "index": torch.tensor(slots, dtype=torch.int64, device=device),
        "latent_weight": normal(s, w_dim, width, scale=w_dim**-0.5),
        "latent_bias": normal(s, width),
        "hidden_weight": normal(layers - 1, s, width, width, scale=width**-0.5),
        "hidden_bias": normal(layers - 1, s, width),
        "output_weight": normal(s, width, w_dim, scale=width**-0.5),
    }


def trainable(given: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, value in given.items():
        if name != "index" and value.numel():
            value.requires_grad_()
    return given


def native(**options: object) -> Tensor:
    return delta_flow(**options, impl="native")  # type: ignore[arg-type]


def checked(given: dict[str, Tensor]) -> None:
    """Hold result and gradients against float64; the int64 index stays as it is."""
    index = given.pop("index")
    check_against_float64(
        NAME,
        lambda **o: native(index=index, **o),
        lambda **o: delta_flow_reference(index=index, **o),
        **trainable(given),
    )


def kept(given: dict[str, Tensor], alpha: float) -> dict[str, object]:
    return {**given, "alpha": torch.full_like(given["alpha"], alpha)}


@pytest.mark.parametrize(("device", "dtype", "case"), SIZES, ids=str)
def test_result_and_all_gradients_match_float64(device: str, dtype: torch.dtype, case: Case) -> None:
    for directions in (1, case[0]):
        checked(arguments(*case, dtype=dtype, device=device, directions=directions))


def in_one_pass(given: dict[str, Tensor]) -> None:
    """Hold the result where no gradient is wanted, which a CPU computes in one pass, against float64."""
    wide = {name: t.double() if t.is_floating_point() else t for name, t in given.items()}
    plain, truth = delta_flow_reference(**given), delta_flow_reference(**wide)
    result = native(**given)
    assert result.dtype == given["ws"].dtype
    assert max_error(result, truth) <= allowed_error(NAME, "forward", plain, truth)


@pytest.mark.parametrize("case", [*CASES, (3, 2, 65, (1, 0), 5, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_edit_in_one_pass_matches_float64(dtype: torch.dtype, case: Case) -> None:
    for directions in (1, case[0]):
        in_one_pass(arguments(*case, dtype=dtype, directions=directions))


def test_threads_change_no_bit() -> None:
    given = arguments(100, 4, 40, (2, 0), 16, 2)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = native(**given)
        torch.set_num_threads(3)
        assert torch.equal(native(**given), alone)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", _library._C.build_info()["cpu_instruction_sets"])
def test_every_instruction_set_gives_the_same_result(name: str) -> None:
    in_use = _library._C.build_info()["cpu_instruction_set"]
    try:
        _library._C.use_instruction_set(name)
        checked(arguments(*CASES[3]))
        in_one_pass(arguments(*CASES[3]))
    finally:
        _library._C.use_instruction_set(in_use)


@pytest.mark.parametrize("device", DEVICES)
def test_long_paths_and_their_gradients_match_float64(device: str) -> None:
    given = arguments(9, 3, 19, (2,), 9, 2, device=device)
    given["alpha"] = torch.linspace(-3.0, 3.0, 9, device=device)  # up to 13 steps; 0 among them
    given["direction"] = given["direction"] * 0.4
    checked(given)


@pytest.mark.parametrize("device", DEVICES)
def test_more_paths_than_the_gradient_has_parts_and_than_a_wide_band_takes(device: str) -> None:
    many = arguments(265, 2, 8, (1,), 5, 1, device=device)  # 34 bands of eight for the gradient's 32 parts
    many["alpha"] = many["alpha"] / 10
    checked(many)
    most = arguments(1030, 2, 8, (0,), 5, 1, device=device)  # beyond 1,024 a CUDA block takes 32 paths
    most["alpha"] = most["alpha"] / 10
    in_one_pass(most)


@pytest.mark.parametrize("device", CUDA)
def test_what_does_not_fit_a_block_is_the_references_unless_a_kernel_is_asked_for(device: str) -> None:
    for width, wanted in ((64, True), (230, False)):
        given = arguments(2, 2, 6, (1,), width, 1, device=device)
        given["ws"].requires_grad_(wanted)
        assert torch.equal(delta_flow(**given), delta_flow_reference(**given))
        with pytest.raises(RuntimeError, match="more shared memory"):
            torch.autograd.backward(native(**given).sum() + 0 * given["ws"].sum())


def test_no_steps_are_taken_where_the_end_is_reached_and_never_more_than_the_most() -> None:
    given = arguments(*CASES[1])
    far = native(**{**given, "alpha": torch.full((5,), 1e3), "direction": given["direction"] * 1e-3}, steps=4)
    once = native(**{**given, "alpha": torch.ones(5)}, steps=MAX_FLOW_STEPS)
    torch.testing.assert_close(far, once, rtol=1e-5, atol=1e-5)
    for value in (float("nan"), float("inf")):
        odd = native(**{**given, "alpha": torch.tensor([0.5, value, 0.5, 0.5, 0.5])})
        assert not odd[1].isfinite().all()
        assert torch.equal(odd[[0, 2, 3, 4]], native(**kept(given, 0.5))[[0, 2, 3, 4]])


@pytest.mark.parametrize(("device", "case"), ALONG)
def test_the_way_back_undoes_and_times_add_up(device: str, case: Case) -> None:
    given = arguments(*case, device=device)
    ws = given["ws"]
    there = native(**kept(given, 1.0))
    size = (there - ws).norm()
    assert size > 0.2 * ws[:, :6].norm()  # an edit worth the name
    back = native(**{**kept(given, -1.0), "ws": there})
    assert (back - ws).norm() < 1e-3 * size
    halfway = native(**{**kept(given, 0.6), "ws": native(**kept(given, 0.4))})
    assert (halfway - there).norm() < 1e-3 * size
    quarters = native(**{**kept(given, 0.75), "ws": native(**kept(given, 0.25))})
    assert (quarters - there).norm() < 1e-6 * size  # the very same steps


@pytest.mark.parametrize(("device", "case"), ALONG)
def test_the_steps_come_within_a_thousandth_of_the_flow_itself(device: str, case: Case) -> None:
    given = arguments(*case, device=device)
    found = native(**kept(given, 3.0))
    exact = delta_flow_reference(
        **{k: t.double() if t.is_floating_point() else t for k, t in kept(given, 3.0).items()}, steps=64
    )
    assert (found.double() - exact).norm() < 1e-3 * (exact - given["ws"].double()).norm()


def test_the_coordinates_are_eulers_rule_on_the_latents_themselves_as_steps_grow_small() -> None:
    given = arguments(4, 2, 12, (0, 1), 6, 2, dtype=torch.float64)
    w = given["ws"].clone()
    for _ in range(4000):
        h = flow_activation(torch.einsum("nsc,sch->nsh", w, given["latent_weight"]) + given["latent_bias"])
        h = flow_activation(torch.einsum("nsh,shk->nsk", h, given["hidden_weight"][0]) + given["hidden_bias"][0])
        rate = torch.einsum("nsh,shc->nsc", h * given["direction"], given["output_weight"])
        w = w + given["alpha"][:, None, None] / 4000 * rate
    found = native(**given, steps=16)
    assert (found - w).norm() < 2e-3 * (w - given["ws"]).norm()


def test_twice_the_delta_is_twice_the_speed() -> None:
    given = arguments(*CASES[1], dtype=torch.float64)
    faster = native(**{**kept(given, 0.5), "direction": 2 * given["direction"]}, steps=32)
    torch.testing.assert_close(faster, native(**kept(given, 1.0), steps=16), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("device", "dtype"), NATIVE, ids=str)
def test_alpha_zero_and_other_slots_change_no_bit(device: str, dtype: torch.dtype) -> None:
    given = arguments(*CASES[1], dtype=dtype, device=device)
    edited = native(**given)
    assert torch.equal(edited[:, [1, 2, 4, 5]], given["ws"][:, [1, 2, 4, 5]])
    assert not torch.equal(edited, given["ws"])
    given["alpha"].zero_()
    assert torch.equal(native(**given), given["ws"])


@pytest.mark.parametrize("device", DEVICES)
def test_latents_may_lie_anyhow_and_may_be_none(device: str) -> None:
    given = arguments(*CASES[2], device=device)
    expected = native(**given)
    wider = torch.cat([given["ws"], given["ws"]], -1)[..., :19]
    assert torch.equal(native(**{**given, "ws": wider}), expected)
    turned = given["ws"].transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(native(**{**given, "ws": turned}), expected)
    empty = trainable(arguments(0, *CASES[2][1:], device=device))
    result = native(**empty)
    assert result.shape == (0, 3, 19)
    (gradient,) = torch.autograd.grad(result.sum(), empty["output_weight"])
    assert not gradient.any()
    nowhere = arguments(4, 3, 19, (), 7, 1, device=device)
    assert torch.equal(native(**nowhere), nowhere["ws"])


@pytest.mark.parametrize(
    ("device", "samples", "band"), [("cpu", 70, 32), pytest.param("cuda", 20, 8, marks=CUDA[0].marks)]
)
def test_a_path_depends_on_nothing_else_in_its_batch(device: str, samples: int, band: int) -> None:
    given = arguments(3, 6, 32, (0, 1), 32, 1, device=device)
    slots, width = 2, 32
    random = torch.Generator().manual_seed(1)
    start = torch.randn(slots, samples, width, generator=random).to(device)
    alpha = torch.randn(samples, generator=random).to(device)
    mixing = torch.bmm(given["output_weight"], given["latent_weight"])[None]
    rest = (given["direction"].transpose(0, 1), mixing, given["hidden_bias"])
    whole = flow_coordinates(start, alpha, *rest, impl="native")
    assert torch.equal(flow_coordinates(start, alpha, *rest, impl="native"), whole)
    parts = [flow_coordinates(start[:, k], alpha[k], *rest, impl="native") for k in (slice(0, band), slice(band, None))]
    assert torch.equal(torch.cat(parts, 1), whole)


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    random = torch.Generator().manual_seed(1)
    for layers, directions in ((1, 1), (2, 5)):
        shapes = ((2, 5, 6), (5,), (2, directions, 6), (layers, 2, 6, 6), (layers - 1, 2, 6))
        tensors = [(torch.randn(s, generator=random) * 0.5).to(device).requires_grad_(0 not in s) for s in shapes]
        torch.library.opcheck(torch.ops.deltafast.delta_flow.default, (*tensors, 4))
        start, alpha, direction, mixing, bias = (t.detach() for t in tensors)
        flat = (start, start, alpha, direction, mixing, mixing.transpose(2, 3).contiguous(), bias, 4)
        torch.library.opcheck(torch.ops.deltafast.delta_flow_backward.default, flat)


def test_opcheck_of_the_edit_in_one_pass() -> None:
    ws, *rest = (t for t in arguments(3, 4, 10, (2, 0), 6, 2).values())
    alpha, direction, index, latent_weight, latent_bias, hidden_weight, hidden_bias, output_weight = rest
    mixing = torch.cat([torch.bmm(output_weight, latent_weight)[None], hidden_weight])
    flat = (ws, alpha, direction.transpose(0, 1), index, latent_weight, latent_bias, mixing, hidden_bias, output_weight)
    torch.library.opcheck(torch.ops.deltafast.delta_flow_edit.default, (*flat, 4))
    with pytest.raises(NativeOpError, match="delta_flow_edit: the native kernel has no gradient"):
        torch.ops.deltafast.delta_flow_edit(ws.clone().requires_grad_(), *flat[1:], 4).sum().backward()


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_breaks(device: str) -> None:
    given = trainable(arguments(3, 4, 10, (2, 0), 6, 2, device=device))

    def edit(ws: Tensor, **rest: Tensor) -> Tensor:
        return delta_flow(ws * 2, **rest) + 1

    compiled = torch.compile(edit, fullgraph=True, backend="aot_eager")
    expected, result = edit(**given), compiled(**given)
    torch.testing.assert_close(result, expected)
    wanted = [t for t in given.values() if t.requires_grad]
    for ours, eager in zip(
        torch.autograd.grad(result.square().sum(), wanted),
        torch.autograd.grad(expected.square().sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(ours, eager)


def test_a_second_gradient_is_refused_by_name_and_the_reference_has_it() -> None:
    given = trainable(arguments(3, 4, 10, (2, 0), 6, 2, dtype=torch.float64))
    (first,) = torch.autograd.grad(delta_flow_reference(**given).square().sum(), given["alpha"], create_graph=True)
    assert torch.autograd.grad(first.square().sum(), given["ws"])[0].any()
    (first,) = torch.autograd.grad(native(**given).square().sum(), given["alpha"], create_graph=True)
    with pytest.raises(NativeOpError, match="delta_flow: the native kernel can be differentiated once only"):
        torch.autograd.grad(first.square().sum(), given["ws"])


def test_half_precision_is_rounded_once() -> None:
    given = arguments(3, 4, 10, (2, 0), 6, 1, dtype=torch.float16)
    wide = native(**{**given, "ws": given["ws"].float()})
    assert torch.equal(native(**given), wide.half())


def test_what_a_cuda_block_does_not_hold_is_the_references_and_refused_as_native(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "runs_natively", lambda _op, _x, _impl, kernels=("cpu", "cuda"): "cuda" in kernels)
    for impl, width, layers, expected in (
        ("auto", 32, 1, True),
        ("native", 32, 1, True),
        ("auto", 1024, 1, False),
    ):
        assert module._native("delta_flow", torch.zeros(1), impl, width, layers, False) is expected
    impl, width, layers = "native", 1024, 1
    with pytest.raises(NativeOpError, match="delta_flow: a width of 1024 in 1 layers"):
        module._native("delta_flow", torch.zeros(1), impl, width, layers, False)


@pytest.mark.gpu
def test_a_width_beyond_a_cuda_block_runs_the_reference() -> None:
    given = arguments(3, 4, 10, (2, 0), 4096, 1, device="cuda")
    torch.testing.assert_close(delta_flow(**given), delta_flow_reference(**given))
    with pytest.raises(NativeOpError, match="a width of 4096"):
        native(**given)


BAD = [
    ({"index": torch.tensor([1, 1])}, "index must name distinct"),
    ({"index": torch.tensor([0, 4])}, "0 to 3; got"),
    ({"index": torch.tensor([-1, 0])}, "0 to 3; got"),
    ({"ws": torch.zeros(2, 4)}, r"ws must be a tensor \[N, num_ws, w_dim\]"),
    ({"ws": torch.zeros(3, 4, 10, dtype=torch.int64)}, "ws must be float32"),
    ({"index": torch.zeros(2)}, "index must be int64"),
    ({"index": torch.arange(5)}, "they must be distinct"),
    ({"alpha": torch.zeros(2)}, r"alpha must be \[N\] = \[3\]"),
    ({"direction": torch.zeros(2, 2, 6)}, "direction must be for one sample or for 3"),
    ({"direction": torch.zeros(1, 2, 5)}, "direction must be"),
    ({"latent_weight": torch.zeros(10, 6)}, "latent_weight must be a tensor"),
    ({"output_weight": torch.zeros(2, 10, 6)}, "output_weight must be"),
    ({"hidden_bias": torch.zeros(2, 2, 6)}, "hidden_bias must be"),
    ({"latent_bias": torch.zeros(2, 6, device="meta")}, "latent_bias is on meta"),
    ({"steps": 0}, "steps must be a whole number from 1"),
    ({"steps": 2.5}, "steps must be a whole number from 1"),
    ({"impl": "fast"}, "impl must be"),
]


@pytest.mark.parametrize(("wrong", "text"), BAD, ids=[text[:32] for _, text in BAD])
def test_bad_input_is_named(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        delta_flow(**{**arguments(3, 4, 10, (2, 0), 6, 2), **wrong})  # type: ignore[arg-type]


BAD_COORDINATES = [
    ({"start": torch.zeros(2, 6)}, r"start must be a float32 or float64 tensor \[S, N, width\]"),
    ({"start": torch.zeros(2, 3, 6, dtype=torch.float16)}, "start must be a float32 or float64"),
    ({"direction": torch.zeros(2, 2, 6)}, "direction must be for one sample or for 3"),
    ({"alpha": torch.zeros(3, dtype=torch.float64)}, "alpha must be torch.float32 as start is"),
    ({"mixing": torch.zeros(0, 2, 6, 6)}, "mixing must hold at least one layer"),
    ({"mixing": torch.zeros(1, 2, 6, 5)}, "mixing must be"),
    ({"bias": torch.zeros(1, 2, 6)}, "bias must be"),
]


@pytest.mark.parametrize(("wrong", "text"), BAD_COORDINATES, ids=[text[:32] for _, text in BAD_COORDINATES])
def test_bad_coordinates_are_named(wrong: dict[str, Tensor], text: str) -> None:
    given = {
        "start": torch.zeros(2, 3, 6),
        "alpha": torch.zeros(3),
        "direction": torch.zeros(2, 1, 6),
        "mixing": torch.zeros(1, 2, 6, 6),
        "bias": torch.zeros(0, 2, 6),
    }
    assert not flow_coordinates_reference(**given, steps=2).any()
    with pytest.raises(InvalidInputError, match=text):
        flow_coordinates(**{**given, **wrong})
