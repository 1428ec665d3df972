"""delta_flow: what a flow promises, against Euler's rule and against itself with many more steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops import (
    delta_flow,
    delta_flow_reference,
    flow_activation,
    flow_coordinates,
    flow_coordinates_reference,
)
from deltafast.ops.delta_flow import MAX_FLOW_STEPS

Case = tuple[int, int, int, tuple[int, ...], int, int]
CASES: list[Case] = [  # samples, num_ws, w_dim, slots, width, layers
    (70, 16, 512, (0, 1, 2, 3, 4, 5), 32, 1),
    (5, 6, 16, (3, 0), 16, 1),
    (33, 3, 19, (1,), 7, 3),
    (1, 4, 70, (0, 1, 2, 3), 33, 2),
]


def arguments(
    samples: int,
    num_ws: int,
    w_dim: int,
    slots: tuple[int, ...],
    width: int,
    layers: int,
    *,
    dtype: torch.dtype = torch.float32,
    directions: int = 1,
) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(3)
    small = torch.float64 if dtype == torch.float64 else torch.float32
    s = len(slots)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(shape, generator=random) * scale).to(small)

    return {
        "ws": normal(samples, num_ws, w_dim).to(dtype),
        "alpha": normal(samples, scale=1.5),
        "direction": normal(directions, s, width, scale=0.5),
        "index": torch.tensor(slots, dtype=torch.int64),
        "latent_weight": normal(s, w_dim, width, scale=w_dim**-0.5),
        "latent_bias": normal(s, width),
        "hidden_weight": normal(layers - 1, s, width, width, scale=width**-0.5),
        "hidden_bias": normal(layers - 1, s, width),
        "output_weight": normal(s, width, w_dim, scale=width**-0.5),
    }


def flow(**options: object) -> Tensor:
    return delta_flow(**options, impl="auto")  # type: ignore[arg-type]


def kept(given: dict[str, Tensor], alpha: float) -> dict[str, object]:
    return {**given, "alpha": torch.full_like(given["alpha"], alpha)}


def test_no_steps_are_taken_where_the_end_is_reached_and_never_more_than_the_most() -> None:
    given = arguments(*CASES[1])
    far = flow(**{**given, "alpha": torch.full((5,), 1e3), "direction": given["direction"] * 1e-3}, steps=4)
    once = flow(**{**given, "alpha": torch.ones(5)}, steps=MAX_FLOW_STEPS)
    torch.testing.assert_close(far, once, rtol=1e-5, atol=1e-5)
    for value in (float("nan"), float("inf")):
        odd = flow(**{**given, "alpha": torch.tensor([0.5, value, 0.5, 0.5, 0.5])})
        assert not odd[1].isfinite().all()
        assert torch.equal(odd[[0, 2, 3, 4]], flow(**kept(given, 0.5))[[0, 2, 3, 4]])


def test_the_way_back_undoes_and_times_add_up() -> None:
    given = arguments(*CASES[0])
    ws = given["ws"]
    there = flow(**kept(given, 1.0))
    size = (there - ws).norm()
    assert size > 0.2 * ws[:, :6].norm()  # an edit worth the name
    back = flow(**{**kept(given, -1.0), "ws": there})
    assert (back - ws).norm() < 1e-3 * size
    halfway = flow(**{**kept(given, 0.6), "ws": flow(**kept(given, 0.4))})
    assert (halfway - there).norm() < 1e-3 * size
    quarters = flow(**{**kept(given, 0.75), "ws": flow(**kept(given, 0.25))})
    assert (quarters - there).norm() < 1e-6 * size  # the very same steps


def test_the_steps_come_within_a_thousandth_of_the_flow_itself() -> None:
    given = arguments(*CASES[0])
    found = flow(**kept(given, 3.0))
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
    found = flow(**given, steps=16)
    assert (found - w).norm() < 2e-3 * (w - given["ws"]).norm()


def test_twice_the_delta_is_twice_the_speed() -> None:
    given = arguments(*CASES[1], dtype=torch.float64)
    faster = flow(**{**kept(given, 0.5), "direction": 2 * given["direction"]}, steps=32)
    torch.testing.assert_close(faster, flow(**kept(given, 1.0), steps=16), rtol=1e-9, atol=1e-9)


def test_alpha_zero_and_other_slots_change_no_bit() -> None:
    given = arguments(*CASES[1])
    edited = flow(**given)
    assert torch.equal(edited[:, [1, 2, 4, 5]], given["ws"][:, [1, 2, 4, 5]])
    assert not torch.equal(edited, given["ws"])
    given["alpha"].zero_()
    assert torch.equal(flow(**given), given["ws"])


def test_latents_may_lie_anyhow_and_may_be_none() -> None:
    given = arguments(*CASES[2])
    expected = flow(**given)
    wider = torch.cat([given["ws"], given["ws"]], -1)[..., :19]
    assert torch.equal(flow(**{**given, "ws": wider}), expected)
    turned = given["ws"].transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(flow(**{**given, "ws": turned}), expected)
    empty = arguments(0, *CASES[2][1:])
    empty["output_weight"].requires_grad_()
    result = flow(**empty)
    assert result.shape == (0, 3, 19)
    (gradient,) = torch.autograd.grad(result.sum(), empty["output_weight"])
    assert not gradient.any()
    nowhere = arguments(4, 3, 19, (), 7, 1)
    assert torch.equal(flow(**nowhere), nowhere["ws"])


@pytest.mark.parametrize("layers", [1, 2])
def test_all_gradients_are_those_of_finite_differences(layers: int) -> None:
    given = arguments(3, 2, 5, (1,), 4, layers, dtype=torch.float64)
    index = given.pop("index")
    for tensor in given.values():
        tensor.requires_grad_(tensor.numel() > 0)
    names = list(given)
    assert torch.autograd.gradcheck(
        lambda *tensors: flow(index=index, steps=2, **dict(zip(names, tensors, strict=True))), tuple(given.values())
    )


def test_a_native_kernel_is_not_promised_before_it_is_there() -> None:
    given = arguments(*CASES[3])
    with pytest.raises(NativeOpError, match="delta_flow: there is no native kernel yet"):
        delta_flow(**given, impl="native")
    assert torch.equal(delta_flow(**given, impl="reference"), flow(**given))


def test_half_precision_is_rounded_once() -> None:
    given = arguments(3, 4, 10, (2, 0), 6, 1, dtype=torch.float16)
    wide = flow(**{**given, "ws": given["ws"].float()})
    assert torch.equal(flow(**given), wide.half())


BAD = [
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
