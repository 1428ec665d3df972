"""modulated_conv2d: the library's convolution or the CPU's own, each with style, filter and epilogue around it."""

from __future__ import annotations

import pytest
import torch
from op_checks import DEVICES, LAYOUTS, NATIVE, check_against_float64, image

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops import _library, modulated_conv2d, modulated_conv2d_reference, pack_conv3x3, setup_filter
from deltafast.ops.tolerance import allowed_error, max_error

NAME = "modulated_conv2d"
FILTER = [1.0, 3.0, 3.0, 1.0]
# (N, C, H, W), outputs; among them chunks of several samples, odd sizes, counts that are no multiple of a vector
SHAPES = [((2, 3, 5, 7), 4), ((1, 40, 4, 4), 70), ((3, 8, 17, 9), 33), ((2, 1, 1, 1), 1), ((1, 64, 33, 40), 32)]


def arguments(
    x: torch.Tensor, outputs: int, up: int, kernel: int = 3, maps: int = 1, requires_grad: bool = True
) -> dict[str, torch.Tensor]:
    """All tensors beside x and the filter."""
    n, c, h, w = x.shape
    g = torch.Generator().manual_seed(7)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    made = {
        "weight": (torch.randn(outputs, c, kernel, kernel, generator=g) / (kernel * c**0.5)).to(x.dtype),
        "style": (torch.rand(n, c, generator=g) + 0.5).to(dtype),
        "demod": (torch.rand(n, outputs, generator=g) + 0.5).to(dtype),
        "noise": torch.randn(maps, 1, up * h, up * w, generator=g).to(dtype),
        "noise_strength": torch.tensor(0.3, dtype=dtype),
        "bias": torch.randn(outputs, generator=g).to(dtype),
        "next_style": torch.randn(n, outputs, generator=g).to(dtype),
    }
    return {k: v.to(x.device).requires_grad_(requires_grad) for k, v in made.items()}


def options(up: int, device: str = "cpu") -> dict[str, object]:
    return {"up": up, "f": setup_filter(FILTER).to(device) if up == 2 else None}


def checked(x: torch.Tensor, given: dict[str, torch.Tensor], up: int, **constants: object) -> None:
    fixed = {**options(up, str(x.device)), **constants}

    def native(x: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        return modulated_conv2d(x, **tensors, **fixed, impl="native")

    def reference(x: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        return modulated_conv2d_reference(x, **tensors, **fixed)

    check_against_float64(NAME, native, reference, x, **given)


@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("device", "dtype"), NATIVE, ids=str)
def test_result_and_all_gradients_match_float64(device: str, dtype: torch.dtype, layout: str, up: int) -> None:
    for shape, outputs in SHAPES:
        x = image(shape, layout, dtype, device).requires_grad_()
        given = arguments(x, outputs, up, maps=shape[0])
        clamp = 1.5 if dtype in (torch.float32, torch.float64) else None
        checked(x, given, up, clamp=clamp)


@pytest.mark.parametrize(("device", "dtype"), NATIVE, ids=str)
def test_a_kernel_of_one_pixel(device: str, dtype: torch.dtype) -> None:
    x = image((2, 12, 6, 5), "channels_last", dtype, device).requires_grad_()
    checked(x, arguments(x, 7, 1, kernel=1), 1)


@pytest.mark.parametrize("left_out", ["style", "demod", "noise", "noise_strength", "bias", "next_style"])
@pytest.mark.parametrize("up", [1, 2])
def test_every_argument_can_be_left_out(left_out: str, up: int) -> None:
    x = image((2, 12, 6, 5), "channels_last", torch.float32, "cpu").requires_grad_()
    given = arguments(x, 9, up)
    if left_out == "noise":
        del given["noise_strength"]
    del given[left_out]
    checked(x, given, up, negative_slope=0.1, gain=1.0)
    with torch.no_grad():
        packed = pack_conv3x3(given["weight"], up=up)
        y = modulated_conv2d(x, **given, **options(up), packed=packed, impl="native")
        torch.testing.assert_close(y, modulated_conv2d_reference(x, **given, **options(up)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("device", DEVICES)
def test_a_filter_that_is_not_separable(device: str, up: int) -> None:
    f = setup_filter([[1.0, 2.0], [3.0, 4.0]]).to(device)
    x = image((2, 8, 5, 6), "channels_last", torch.float32, device).requires_grad_()
    checked(x, arguments(x, 6, 2), 2, f=f)


# ---- the CPU's own convolution --------------------------------------------------------------------------------------


def tiles_are_right(x: torch.Tensor, outputs: int, up: int, **constants: object) -> None:
    given = arguments(x, outputs, up, maps=x.shape[0], requires_grad=False)
    fixed = {**options(up), **constants}
    packed = pack_conv3x3(given["weight"], up=up)
    y = modulated_conv2d(x, **given, **fixed, packed=packed, impl="native")
    plain = modulated_conv2d_reference(x, **given, **fixed)
    exact = modulated_conv2d_reference(x.double(), **{k: v.double() for k, v in given.items()}, **fixed)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert max_error(y, exact) <= allowed_error(NAME, "forward", plain, exact)


@pytest.mark.parametrize("name", _library._C.build_info()["cpu_instruction_sets"])
@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_tiles_match_float64_on_every_instruction_set(layout: str, up: int, name: str) -> None:
    in_use = _library._C.build_info()["cpu_instruction_set"]
    try:
        _library._C.use_instruction_set(name)
        for shape, outputs in SHAPES:
            tiles_are_right(image(shape, layout, torch.float32, "cpu"), outputs, up, clamp=1.5)
    finally:
        _library._C.use_instruction_set(in_use)


@pytest.mark.parametrize("up", [1, 2])
def test_tiles_of_wide_layers_and_of_many_samples(up: int) -> None:
    tiles_are_right(image((1, 512, 6, 6), "channels_last", torch.float32, "cpu"), 288, up)
    tiles_are_right(image((37, 20, 4, 4), "channels_last", torch.float32, "cpu"), 40, up)


@pytest.mark.parametrize("up", [1, 2])
def test_tiles_do_not_depend_on_the_number_of_threads(up: int) -> None:
    x = image((2, 48, 40, 36), "channels_last", torch.float32, "cpu")
    given = arguments(x, 96, up, requires_grad=False)
    packed, threads, results = pack_conv3x3(given["weight"], up=up), torch.get_num_threads(), []
    try:
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            results.append(modulated_conv2d(x, **given, **options(up), packed=packed, impl="native"))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[1], results[2])


def test_a_sample_has_the_same_bits_alone_as_in_its_batch() -> None:
    x = image((5, 24, 10, 10), "channels_last", torch.float32, "cpu")
    weight = arguments(x, 40, 1, requires_grad=False)["weight"]
    packed = pack_conv3x3(weight)
    together = modulated_conv2d(x, weight, packed=packed)
    alone = torch.cat([modulated_conv2d(sample, weight, packed=packed) for sample in x.split(1)])
    assert torch.equal(together, alone)


def test_nan_stays_where_it_belongs_and_clamps_hold() -> None:
    x = image((1, 4, 12, 12), "channels_last", torch.float32, "cpu") * 1e30
    x[0, 0, 0, 0] = float("nan")
    weight = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    y = modulated_conv2d(x, weight, packed=pack_conv3x3(weight), clamp=2.0)
    assert y[0, :, :2, :2].isnan().all()
    assert not y[0, :, 4:, 4:].isnan().any()
    assert float(y.nan_to_num().abs().max()) == 2.0


def test_where_a_gradient_is_needed_the_librarys_convolution_runs() -> None:
    x = image((2, 12, 6, 5), "channels_last", torch.float32, "cpu")
    for up in (1, 2):
        given = arguments(x, 9, up, requires_grad=False)
        packed = pack_conv3x3(given["weight"], up=up)
        for name in given:
            given[name].requires_grad_(True)
            y = modulated_conv2d(x, **given, **options(up), packed=packed)
            assert torch.autograd.grad(y.sum(), given[name])[0].abs().sum() > 0, name
            given[name].requires_grad_(False)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("up", [1, 2])
def test_empty_batch(device: str, up: int) -> None:
    x = torch.zeros(0, 6, 4, 4, device=device)
    given = arguments(x, 5, up)
    y = modulated_conv2d(x, **given, **options(up, device), impl="native")
    assert y.shape == (0, 5, 4 * up, 4 * up)
    y.sum().backward()
    assert given["bias"].grad is not None
    if device == "cpu":
        packed = pack_conv3x3(given["weight"], up=up)
        with torch.no_grad():
            assert modulated_conv2d(x, **given, **options(up), packed=packed).shape == y.shape


# ---- torch around it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("up", [1, 2])
def test_opcheck(up: int) -> None:
    x = image((2, 5, 4, 6), "channels_last", torch.float32, "cpu")
    given = arguments(x, 7, up, requires_grad=False)
    packed = pack_conv3x3(given.pop("weight"), up=up)
    small = list(given.values()) if up == 1 else [given["style"], *[None] * 5]
    op = torch.ops.deltafast.modulated_conv3x3.default
    torch.library.opcheck(op, (x, packed, 7, up == 2, up == 1, *small, 0.2, 1.4, 2.0))
    torch.library.opcheck(torch.ops.deltafast.pack_conv3x3.default, (torch.randn(7, 5, 3, 3), up == 2))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("up", [1, 2])
def test_compiles_without_graph_breaks(device: str, up: int) -> None:
    x = image((2, 4, 6, 6), "channels_last", torch.float32, device).requires_grad_()
    given = arguments(x, 5, up)
    fixed = options(up, device)

    def layer(x: torch.Tensor, packed: torch.Tensor | None, **given: torch.Tensor) -> torch.Tensor:
        return modulated_conv2d(x * 2.0, **given, **fixed, packed=packed, clamp=1.0) + 1.0

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    expected, result = layer(x, None, **given), compiled(x, None, **given)
    torch.testing.assert_close(result, expected)
    wanted = [x, *given.values()]
    for ours, eager in zip(
        torch.autograd.grad(result.sum(), wanted), torch.autograd.grad(expected.sum(), wanted), strict=True
    ):
        torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-5)
    if device == "cpu":
        packed = pack_conv3x3(given["weight"], up=up)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x, packed, **given), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_autocast_and_deterministic_algorithms(device: str) -> None:
    x = image((2, 8, 6, 6), "channels_last", torch.float32, device)
    for up in (1, 2):
        given = arguments(x, 6, up)
        expected = modulated_conv2d(x, **given, **options(up, device))
        with torch.autocast(device, dtype=torch.bfloat16):
            y = modulated_conv2d(x, **given, **options(up, device))
        y.float().square().sum().backward()
        assert all(t.grad is not None and t.grad.isfinite().all() for t in given.values())
        assert (y - expected).abs().max() <= 0.05 * expected.abs().max()
        torch.use_deterministic_algorithms(True)
        try:
            runs = [modulated_conv2d(x, **given, **options(up, device)) for _ in range(2)]
            grads = [torch.autograd.grad(run.square().sum(), list(given.values())) for run in runs]
        finally:
            torch.use_deterministic_algorithms(False)
        assert torch.equal(*runs)
        assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_second_backward_is_refused_by_name() -> None:
    x = image((1, 2, 4, 4), "channels_last", torch.float32, "cpu").requires_grad_()
    weight = torch.randn(3, 2, 3, 3)
    (grad,) = torch.autograd.grad(modulated_conv2d(x, weight).square().sum(), x, create_graph=True)
    with pytest.raises(NativeOpError, match="differentiated once only"):
        grad.sum().backward()
    (grad,) = torch.autograd.grad(modulated_conv2d(x, weight, impl="reference").square().sum(), x, create_graph=True)
    grad.sum().backward()
    assert x.grad is not None
    y = torch.ops.deltafast.modulated_conv3x3(x, pack_conv3x3(weight), 3, False, True, *[None] * 6, 0.2, 1.4, None)
    with pytest.raises(NativeOpError, match="has no gradient"):
        y.sum().backward()


def test_half_precision_on_the_cpu_runs_the_reference_and_refuses_native() -> None:
    x = image((1, 2, 4, 4), "channels_last", torch.bfloat16, "cpu")
    weight = torch.randn(3, 2, 3, 3).bfloat16()
    assert torch.equal(modulated_conv2d(x, weight), modulated_conv2d_reference(x, weight))
    with pytest.raises(NativeOpError, match="no native CPU kernel for bfloat16"):
        modulated_conv2d(x, weight, impl="native")


W3 = torch.zeros(5, 2, 3, 3)
BAD = [
    ({"x": torch.zeros(2, 4, 4)}, r"x must be \[N, C, H, W\]"),
    ({"weight": torch.zeros(5, 3, 3, 3)}, r"weight must be \[O, C, k, k\] with C = 2"),
    ({"weight": torch.zeros(5, 2, 5, 5)}, "kernels must be 3x3 or 1x1, got 5x5"),
    ({"weight": W3.double()}, "weight must be of x's dtype"),
    ({"weight": torch.zeros(5, 2, 3, 3, device="meta")}, "weight is on meta, but x is on cpu"),
    ({"style": torch.zeros(1, 3)}, r"style must be \[N, C\] = \[1, 2\]"),
    ({"demod": torch.zeros(1, 2)}, r"modulated_conv2d: demod must be \[N, C\] = \[1, 5\]"),
    ({"noise": torch.zeros(1, 1, 3, 4)}, r"noise must be \[N or 1, 1, H, W\]"),
    ({"up": 3}, "up must be 1 or 2, got 3"),
    ({"up": 2}, "up=2 takes the filter f"),
    ({"f": torch.ones(4)}, "up=1 takes none"),
    ({"up": 2, "f": torch.ones(4), "weight": torch.zeros(5, 2, 1, 1)}, "up=2 takes a 3x3 kernel"),
    ({"up": 2, "f": torch.ones(1)}, "at least 2 taps"),
    ({"packed": torch.zeros(16, 32, 32)}, "packed must be what pack_conv3x3 makes of this weight for up=1"),
    ({"clamp": 0.0}, "clamp must be positive"),
    ({"impl": "fast"}, "impl must be"),
]


@pytest.mark.parametrize(("wrong", "text"), BAD, ids=[text[:28] + str(i) for i, (_, text) in enumerate(BAD)])
def test_bad_input_is_named(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        modulated_conv2d(**{"x": torch.zeros(1, 2, 4, 4), "weight": W3, **wrong})


@pytest.mark.parametrize(
    ("weight", "up", "text"),
    [
        (torch.zeros(5, 2, 1, 1), 1, r"weight must be \[O, C, 3, 3\]"),
        ([1.0], 1, "got list"),
        (W3.half(), 1, "float32 on the CPU"),
        (W3, 4, "up must be 1 or 2"),
    ],
)
def test_only_float32_kernels_of_three_pixels_are_packed(weight: object, up: int, text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        pack_conv3x3(weight, up=up)
