"""delta_edit: w + D(w, αΔ) − D(w, 0) and all its gradients, in every size, layout and precision."""

from __future__ import annotations

import importlib

import pytest
import torch
from op_checks import DEVICES, check_against_float64
from torch import Tensor

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops import _library, delta_edit, delta_edit_reference

module = importlib.import_module("deltafast.ops.delta_edit")  # the name is the function's too
NAME = "delta_edit"
CASES = [  # samples, num_ws, w_dim, slots, width, layers
    (70, 16, 512, (0, 1, 2, 3, 4, 5), 32, 1),
    (5, 6, 16, (3, 0), 16, 1),
    (33, 3, 19, (1,), 7, 3),
    (1, 4, 70, (0, 1, 2, 3), 33, 2),
]
NATIVE = [
    ("cpu", torch.float32),
    ("cpu", torch.float64),
    pytest.param("cuda", torch.float32, marks=pytest.mark.gpu),
    pytest.param("cuda", torch.float16, marks=pytest.mark.gpu),
    pytest.param("cuda", torch.bfloat16, marks=pytest.mark.gpu),
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
    device: str = "cpu",
    directions: int = 1,
    raw: bool = False,
) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(3)
    small = torch.float64 if dtype == torch.float64 else torch.float32
    s = len(slots)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(shape, generator=random) * scale).to(device, small)

    made = {
        "ws": normal(samples, num_ws, w_dim).to(dtype),
        "alpha": normal(samples),
        "direction": normal(directions, 2, s, width),
        "index": torch.tensor(slots, dtype=torch.int64, device=device),
        "mean": normal(s, w_dim),
        "scale": torch.tensor(0.7, device=device, dtype=small),
        "latent_weight": normal(s, w_dim, width, scale=w_dim**-0.5),
        "latent_bias": normal(s, width),
        "hidden_weight": normal(layers - 1, s, width, width, scale=width**-0.5),
        "hidden_bias": normal(layers - 1, s, width),
        "output_weight": normal(s, width, w_dim, scale=width**-0.5),
    }
    if raw:
        made["output_bias"] = normal(s, w_dim)
    return made


def trainable(given: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, value in given.items():
        if name not in ("index", "mean", "scale") and value.numel():
            value.requires_grad_()
    return given


def native(*args: Tensor, **options: Tensor) -> Tensor:
    return delta_edit(*args, **{k: v for k, v in options.items()}, impl="native")  # type: ignore[arg-type]


def checked(given: dict[str, Tensor]) -> None:
    """Hold result and gradients against float64; the int64 index stays as it is."""
    index = given.pop("index")

    def with_index(op: object, **options: Tensor) -> Tensor:
        result: Tensor = op(index=index, **options)  # type: ignore[operator]
        return result

    check_against_float64(
        NAME, lambda **o: with_index(native, **o), lambda **o: with_index(delta_edit_reference, **o), **trainable(given)
    )


@pytest.mark.parametrize("raw", [False, True], ids=["edit", "raw"])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(("device", "dtype"), NATIVE, ids=str)
def test_result_and_all_gradients_match_float64(
    device: str, dtype: torch.dtype, case: tuple[int, int, int, tuple[int, ...], int, int], raw: bool
) -> None:
    for directions in (1, case[0]):
        checked(arguments(*case, dtype=dtype, device=device, directions=directions, raw=raw))


@pytest.mark.parametrize("name", _library._C.build_info()["cpu_instruction_sets"])
def test_every_instruction_set_gives_the_same_result(name: str) -> None:
    in_use = _library._C.build_info()["cpu_instruction_set"]
    try:
        _library._C.use_instruction_set(name)
        checked(arguments(*CASES[3]))
    finally:
        _library._C.use_instruction_set(in_use)


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
    empty = arguments(0, *CASES[2][1:], device=device)
    assert native(**empty).shape == (0, 3, 19)
    nowhere = arguments(4, 3, 19, (), 7, 1, device=device)
    assert torch.equal(native(**nowhere), nowhere["ws"])


@pytest.mark.parametrize("device", DEVICES)
def test_repeated_runs_and_batch_splits_are_equal_to_the_bit(device: str) -> None:
    given = arguments(*CASES[0], device=device)
    whole = native(**given)
    assert torch.equal(native(**given), whole)
    rows = (slice(0, 32), slice(32, 70))
    parts = [native(**{**given, "ws": given["ws"][k], "alpha": given["alpha"][k]}) for k in rows]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    for raw in (False, True):
        given = trainable(arguments(3, 4, 10, (2, 0), 6, 2, device=device, raw=raw))
        flat = [*given.values()] + ([] if raw else [None])
        torch.library.opcheck(torch.ops.deltafast.delta_edit.default, tuple(flat))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_breaks(device: str) -> None:
    given = trainable(arguments(3, 4, 10, (2, 0), 6, 2, device=device))

    def edit(ws: Tensor, **rest: Tensor) -> Tensor:
        return delta_edit(ws * 2, **rest) + 1

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


def test_second_order_gradients_are_the_references() -> None:
    given = trainable(arguments(3, 4, 10, (2, 0), 6, 2, dtype=torch.float64))
    gradients = []
    for op in (native, delta_edit_reference):
        (first,) = torch.autograd.grad(op(**given).square().sum(), given["alpha"], create_graph=True)
        gradients.append(torch.autograd.grad(first.square().sum(), [given["ws"], given["latent_weight"]]))
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected)


def test_half_precision_on_the_cpu_runs_the_reference_and_refuses_native() -> None:
    given = arguments(3, 4, 10, (2, 0), 6, 1, dtype=torch.float16)
    assert torch.equal(delta_edit(**given), delta_edit_reference(**given))
    with pytest.raises(NativeOpError, match="no native CPU kernel for float16"):
        native(**given)


def test_what_a_cuda_block_does_not_hold_is_the_references_and_refused_as_native(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "runs_natively", lambda _op, _x, _impl, kernels=("cpu", "cuda"): "cuda" in kernels)
    for impl, width, layers, expected in (
        ("auto", 32, 1, True),
        ("native", 32, 1, True),
        ("auto", 768, 1, False),
    ):
        assert module._native(torch.zeros(1, 4, 8), impl, width, layers) is expected
    impl, width, layers = "native", 768, 1
    with pytest.raises(NativeOpError, match="delta_edit: a width of 768 in 1 layers"):
        module._native(torch.zeros(1, 4, 8), impl, width, layers)


@pytest.mark.gpu
def test_a_width_beyond_a_cuda_block_runs_the_reference() -> None:
    given = arguments(3, 4, 10, (2, 0), 4096, 1, device="cuda")
    torch.testing.assert_close(delta_edit(**given), delta_edit_reference(**given))
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
    ({"direction": torch.zeros(2, 2, 2, 6)}, "direction must be for one sample or for 3"),
    ({"direction": torch.zeros(1, 2, 2, 5)}, "direction must be"),
    ({"latent_weight": torch.zeros(10, 6)}, "latent_weight must be a tensor"),
    ({"output_weight": torch.zeros(2, 10, 6)}, "output_weight must be"),
    ({"hidden_bias": torch.zeros(2, 2, 6)}, "hidden_bias must be"),
    ({"mean": torch.zeros(2, 10, requires_grad=True)}, "mean and scale are constants"),
    ({"latent_bias": torch.zeros(2, 6, device="meta")}, "latent_bias is on meta"),
    ({"output_bias": torch.zeros(2, 9)}, "output_bias must be"),
    ({"impl": "fast"}, "impl must be"),
]


@pytest.mark.parametrize(("wrong", "text"), BAD, ids=[text[:32] for _, text in BAD])
def test_bad_input_is_named(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        delta_edit(**{**arguments(3, 4, 10, (2, 0), 6, 2), **wrong})  # type: ignore[arg-type]
