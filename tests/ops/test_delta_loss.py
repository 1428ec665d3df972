"""delta_loss: the paper's formula, written down as a loop; its gradients, its noise, its sizes, its errors."""

from __future__ import annotations

import math

import pytest
import torch
from op_checks import DEVICES
from torch import Tensor

from deltafast.delta.networks import DeltaDecoder, DeltaEncoder
from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops import (
    DeltaSizes,
    _library,
    delta_loss,
    philox_normal_reference,
    split_weights,
    weight_count,
    weight_shapes,
)
from deltafast.ops.tolerance import allowed_error, max_error

NAME = "delta_loss"
SHIPPED = (DeltaSizes(6, 512, 32, 1, 16), 12, 7, 10)  # sizes, identities, frames, pairs
CASES = [
    SHIPPED,
    (DeltaSizes(3, 19, 6, 3, 5), 4, 5, 9),
    (DeltaSizes(2, 70, 33, 2, 7), 3, 2, 1),
    (DeltaSizes(1, 1, 1, 1, 1), 2, 3, 4),
    (DeltaSizes(2, 130, 40, 2, 24), 9, 12, 5),
    (DeltaSizes(1, 20, 45, 1, 15), 2, 7, 2),  # 12 bytes less than CUDA's 48 KiB of shared memory, without block_sum's
]
OPTIONS = {"noise_encoder": 0.3, "noise_decoder": 0.5, "lambda_a": 0.7, "lambda_b": 1.3}
NATIVE = [
    ("cpu", torch.float32),
    ("cpu", torch.float64),
    pytest.param("cuda", torch.float32, marks=pytest.mark.gpu),
    pytest.param("cuda", torch.float16, marks=pytest.mark.gpu),
    pytest.param("cuda", torch.bfloat16, marks=pytest.mark.gpu),
]


def draw_weights(sizes: DeltaSizes, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random weights of a trained network's size."""
    random = torch.Generator().manual_seed(1)
    parts = []
    for shape in weight_shapes(sizes).values():
        scale = 0.3 if shape[1] == 1 else shape[1] ** -0.5
        parts.append(scale * torch.randn(shape, generator=random, dtype=torch.float64).flatten())
    return torch.cat(parts).to(dtype)


def arguments(
    sizes: DeltaSizes, identities: int, frames: int, pairs: int, dtype: torch.dtype, device: str
) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(2)
    accumulate = torch.float64 if dtype == torch.float64 else torch.float32
    x = torch.randn(sizes.slots, identities, frames, sizes.w_dim, generator=random)
    made = {
        "x": x.to(dtype),
        "first": torch.randint(identities, (pairs,), generator=random),
        "second": torch.randint(identities, (pairs,), generator=random),
        "weights": draw_weights(sizes, accumulate),
        "seed": torch.tensor(-5),
        "step": torch.tensor(77),
        "first_sample": torch.tensor(2**33),
    }
    return {name: value.to(device) for name, value in made.items()}


def run(given: dict[str, Tensor], sizes: DeltaSizes, impl: str = "native", **options: float) -> list[Tensor]:
    """The loss, and its gradient for the weights."""
    weights = given["weights"].detach().clone().requires_grad_()
    network = {"width": sizes.width, "layers": sizes.layers, "dim": sizes.dim}
    loss = delta_loss(**{**given, "weights": weights}, **network, **{**OPTIONS, **options}, impl=impl)
    return [loss, *torch.autograd.grad(loss, weights)]


def exact(given: dict[str, Tensor], sizes: DeltaSizes, **options: float) -> list[Tensor]:
    wide = {name: t.double() if t.is_floating_point() else t for name, t in given.items()}
    return run(wide, sizes, "reference", **options)


@pytest.mark.parametrize(("sizes", "identities", "frames", "pairs"), CASES, ids=str)
@pytest.mark.parametrize(("device", "dtype"), NATIVE, ids=str)
def test_loss_and_every_gradient_match_float64(
    device: str, dtype: torch.dtype, sizes: DeltaSizes, identities: int, frames: int, pairs: int
) -> None:
    given = arguments(sizes, identities, frames, pairs, dtype, device)
    # Noise is drawn in float32 (test_philox.py); without it, what is not computed in float64 shows.
    options = {"noise_encoder": 0.0, "noise_decoder": 0.0} if dtype == torch.float64 else {}
    truth, plain = exact(given, sizes, **options), run(given, sizes, "reference", **options)
    ours = run(given, sizes, **options)
    assert ours[0].dtype == plain[0].dtype
    error, allowed = max_error(ours[0], truth[0]), allowed_error(NAME, "forward", plain[0], truth[0])
    assert error <= allowed, f"loss: error {error:.3e}, allowed {allowed:.3e}"
    named = [split_weights(gradients, sizes) for gradients in (ours[1], plain[1], truth[1])]
    for name in weight_shapes(sizes):  # each weight by its own scale
        result, torch_result, reference = (gradients[name] for gradients in named)
        error, allowed = max_error(result, reference), allowed_error(NAME, "backward", torch_result, reference)
        assert error <= allowed, f"{name}: error {error:.3e}, allowed {allowed:.3e}"


def test_the_reference_is_the_papers_formula() -> None:
    sizes, frames, pairs = DeltaSizes(3, 8, 6, 2, 2), 5, 4
    given = arguments(sizes, 4, frames, pairs, torch.float64, "cpu")
    encoder, decoder = DeltaEncoder(*sizes).double(), DeltaDecoder(*sizes).double()
    named = split_weights(given["weights"].requires_grad_(), sizes)
    noise = {name: given[name] for name in ("seed", "step", "first_sample")}
    noise_a, noise_b = (
        scale * philox_normal_reference(pairs, 24, stream=stream, **noise).double().reshape(pairs, 3, 1, 8)
        for stream, scale in ((0, 0.3), (1, 0.5))
    )

    def network(module: torch.nn.Module, prefix: str, *inputs: Tensor) -> Tensor:
        own = {name.removeprefix(prefix): t for name, t in named.items() if name.startswith(prefix)}
        result: Tensor = torch.func.functional_call(module, own, inputs)
        return result

    total = torch.zeros((), dtype=torch.float64)
    x = given["x"]
    for p in range(pairs):
        a, b = x[:, given["first"][p]], x[:, given["second"][p]]  # [S, n, C] each
        for i in range(frames):
            for j in range(frames):
                if i == j:
                    continue
                a_i, a_j, b_i, b_j = (t[:, k, None] for t, k in ((a, i), (a, j), (b, i), (b, j)))  # [S, 1, C]
                delta = network(encoder, "encoder.", a_i + noise_a[p], a_j + noise_a[p])  # [S, 1, D]
                a_hat = network(decoder, "decoder.", a_i + noise_b[p], delta) + a_i
                b_hat = network(decoder, "decoder.", b_i + noise_b[p], delta) + b_i
                total = total + 0.7 * (a_j - a_hat).square().sum() + 1.3 * (b_j - b_hat).square().sum()
    loop = total / (3 * pairs * frames * (frames - 1) * 8)
    for impl in ("reference", "native"):
        loss, gradient = run(given, sizes, impl)
        torch.testing.assert_close(loss, loop, rtol=2e-7, atol=0)  # the native noise is float32's
        expected = torch.autograd.grad(loop, given["weights"], retain_graph=True)[0]
        torch.testing.assert_close(gradient, expected, rtol=0, atol=2e-7 * float(expected.abs().max()))


def test_the_parameters_of_an_editor_have_these_names_and_shapes() -> None:
    for sizes in (case[0] for case in CASES):
        parts = {"encoder": DeltaEncoder(*sizes), "decoder": DeltaDecoder(*sizes)}
        named = {f"{p}.{name}": tuple(t.shape) for p, module in parts.items() for name, t in module.named_parameters()}
        assert named == weight_shapes(sizes)
        assert weight_count(sizes) == sum(math.prod(shape) for shape in named.values())


@pytest.mark.parametrize("device", DEVICES)
def test_each_lambda_weighs_its_own_identity(device: str) -> None:
    sizes = DeltaSizes(3, 19, 6, 1, 5)
    given = arguments(sizes, 4, 5, 3, torch.float32, device)
    given["first"][:], given["second"][:] = 0, 1
    other = {**given, "x": given["x"].clone()}
    other["x"][:, 1] += 1
    only_a = {"lambda_a": 1.0, "lambda_b": 0.0}
    assert torch.equal(run(given, sizes, **only_a)[0], run(other, sizes, **only_a)[0])  # b does not matter
    only_b = {"lambda_a": 0.0, "lambda_b": 1.0}
    assert not torch.equal(run(given, sizes, **only_b)[0], run(other, sizes, **only_b)[0])


@pytest.mark.parametrize("device", DEVICES)
def test_the_loss_of_a_batch_is_the_mean_of_its_parts(device: str) -> None:
    sizes = DeltaSizes(2, 70, 33, 2, 7)
    given = arguments(sizes, 6, 4, 8, torch.float32, device)
    whole = run(given, sizes)
    parts = []
    for start in (0, 2, 4, 6):
        part = {name: t[start : start + 2] if name in ("first", "second") else t for name, t in given.items()}
        part["first_sample"] = given["first_sample"] + start
        parts.append(run(part, sizes))
    for ours, mean in zip(whole, (torch.stack(kind).mean(0) for kind in zip(*parts, strict=True)), strict=True):
        torch.testing.assert_close(ours, mean, rtol=1e-5, atol=1e-5 * float(mean.detach().abs().max()))


@pytest.mark.parametrize("device", DEVICES)
def test_repeated_runs_are_equal_to_the_bit(device: str) -> None:
    sizes, *rest = SHIPPED
    given = arguments(sizes, *rest, torch.float32, device)
    first = run(given, sizes)
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, run(given, sizes), strict=True))


def test_neither_threads_nor_instruction_sets_matter() -> None:
    sizes, *rest = CASES[4]
    given = arguments(sizes, *rest, torch.float32, "cpu")
    threads, in_use = torch.get_num_threads(), _library._C.build_info()["cpu_instruction_set"]
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(run(given, sizes))
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
        expected_of = [result.detach() for result in results[0]]
        for name in _library._C.build_info()["cpu_instruction_sets"]:
            _library._C.use_instruction_set(name)
            for ours, expected in zip(run(given, sizes), expected_of, strict=True):
                torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    finally:
        torch.set_num_threads(threads)
        _library._C.use_instruction_set(in_use)


@pytest.mark.parametrize("device", DEVICES)
def test_latents_may_lie_anyhow(device: str) -> None:
    sizes = DeltaSizes(3, 19, 6, 3, 5)
    given = arguments(sizes, 4, 5, 9, torch.float32, device)
    expected = run(given, sizes)
    wider = torch.cat([given["x"], given["x"]], -1)[..., :19]
    turned = given["x"].transpose(0, 1).contiguous().transpose(0, 1)
    for x in (wider, turned):
        assert not x.is_contiguous()
        assert all(torch.equal(a, b) for a, b in zip(run({**given, "x": x}, sizes), expected, strict=True))


def _flat(given: dict[str, Tensor], sizes: DeltaSizes) -> tuple[object, ...]:
    return (*given.values(), sizes.width, sizes.layers, sizes.dim, *OPTIONS.values())


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    sizes = DeltaSizes(2, 20, 6, 2, 5)
    given = arguments(sizes, 3, 3, 2, torch.float32, device)
    given["weights"].requires_grad_()
    torch.library.opcheck(torch.ops.deltafast.delta_loss.default, _flat(given, sizes))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_breaks(device: str) -> None:
    sizes = DeltaSizes(2, 20, 6, 2, 5)
    given = arguments(sizes, 3, 3, 2, torch.float32, device)

    def step(weights: Tensor, **rest: Tensor) -> Tensor:
        return delta_loss(**rest, weights=weights * 2, width=6, layers=2, dim=5, **OPTIONS) + 1

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    given["weights"].requires_grad_()
    for moment in range(2):
        given["step"] = torch.tensor(moment, device=device)
        expected, result = step(**given), compiled(**given)
        assert torch.equal(result, expected)
        gradients = [torch.autograd.grad(loss, given["weights"])[0] for loss in (result, expected)]
        torch.testing.assert_close(*gradients)


@pytest.mark.gpu
def test_a_captured_graph_replays_with_fresh_noise() -> None:
    sizes, *rest = SHIPPED
    given = arguments(sizes, *rest, torch.float32, "cuda")
    run(given, sizes)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run(given, sizes)
        given["step"] += 1
    given["step"].fill_(5)
    for step in range(5, 8):
        graph.replay()
        expected = run({**given, "step": torch.tensor(step, device="cuda")}, sizes)
        assert all(torch.equal(a, b) for a, b in zip(captured, expected, strict=True))


def test_second_backward_is_refused_by_name() -> None:
    sizes = DeltaSizes(2, 20, 6, 2, 5)
    given = arguments(sizes, 3, 3, 2, torch.float32, "cpu")
    network = {"width": 6, "layers": 2, "dim": 5}
    weights = given.pop("weights").requires_grad_()
    with pytest.raises(NativeOpError, match="differentiated once only"):
        torch.autograd.grad(delta_loss(**given, weights=weights, **network), weights, create_graph=True)
    loss = delta_loss(**given, weights=weights, **network, impl="reference")
    (gradient,) = torch.autograd.grad(loss, weights, create_graph=True)
    gradient.square().sum().backward()
    assert weights.grad is not None


def test_half_precision_on_the_cpu_runs_the_reference_and_refuses_native() -> None:
    sizes = DeltaSizes(2, 20, 6, 2, 5)
    given = arguments(sizes, 3, 3, 2, torch.bfloat16, "cpu")
    assert torch.equal(run(given, sizes, "auto")[0], run(given, sizes, "reference")[0])
    with pytest.raises(NativeOpError, match="no native CPU kernel for bfloat16"):
        run(given, sizes)


BAD = [
    ({"x": torch.zeros(2, 3, 4)}, r"x must be a tensor \[slots, identities, frames, w_dim\]"),
    ({"x": torch.zeros(2, 3, 1, 20)}, "two frames or more"),
    ({"x": torch.zeros(2, 3, 3, 20, dtype=torch.int32)}, "x must be float32"),
    ({"x": torch.zeros(2, 3, 3, 20, requires_grad=True)}, "x is a constant"),
    ({"first": torch.zeros(0, dtype=torch.int64)}, "P at least 1"),
    ({"second": torch.zeros(3, dtype=torch.int64)}, "as many as first"),
    ({"first": torch.zeros(2)}, "first must be torch.int64"),
    ({"weights": torch.zeros(5)}, "weights must be torch.float32"),
    ({"weights": torch.zeros(1236, dtype=torch.float64)}, "weights must be torch.float32"),
    ({"seed": torch.tensor(1.0)}, "seed must be an int64 tensor"),
    ({"width": 0}, "width must be a whole number"),
    ({"noise_encoder": -1.0}, "noise_encoder must be finite"),
    ({"lambda_b": math.nan}, "lambda_b must be finite"),
    ({"impl": "fast"}, "impl must be"),
]


@pytest.mark.parametrize(("wrong", "text"), BAD, ids=[text[:32] for _, text in BAD])
def test_bad_input_is_named(wrong: dict[str, object], text: str) -> None:
    given = arguments(DeltaSizes(2, 20, 6, 2, 5), 3, 3, 2, torch.float32, "cpu")
    with pytest.raises(InvalidInputError, match=text):
        delta_loss(**{**given, "width": 6, "layers": 2, "dim": 5, **wrong})


def test_an_identity_that_is_not_there_is_named() -> None:
    sizes = DeltaSizes(2, 20, 6, 2, 5)
    given = arguments(sizes, 3, 3, 2, torch.float32, "cpu")
    given["second"][1] = 3
    with pytest.raises(RuntimeError, match="second holds 3, but x has identities 0 to 2"):
        run(given, sizes)
