"""epilogue_to_rgb: a block's last epilogue and its image in one pass, in every layout, precision and size."""

from __future__ import annotations

import pytest
import torch
from op_checks import CUDA, DEVICES, LAYOUTS, NATIVE, NATIVE_CUDA, check_against_float64, image

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops import epilogue_to_rgb, setup_filter
from deltafast.ops.tolerance import allowed_error, max_error

NAME = "epilogue_to_rgb"
SHAPES = [(2, 3, 6, 8), (1, 70, 4, 4), (3, 8, 16, 16), (16, 1, 2, 2), (1, 512, 4, 6), (1, 64, 34, 30)]
TAPS = [1.0, 3.0, 3.0, 2.0]


def arguments(x: torch.Tensor, colours: int = 3, maps: int | None = None) -> dict[str, torch.Tensor]:
    """All tensors beside x and the filter."""
    n, c, h, w = x.shape
    g = torch.Generator().manual_seed(7)
    made = {
        "demod": torch.rand(n, c, generator=g) + 0.5,
        "noise": torch.randn(n if maps is None else maps, 1, h, w, generator=g),
        "noise_strength": torch.tensor(0.3),
        "bias": torch.randn(c, generator=g),
        "rgb_weight": torch.randn(colours, c, 1, 1, generator=g) / c**0.5,
        "rgb_style": torch.rand(n, c, generator=g) + 0.5,
        "rgb_bias": torch.randn(colours, generator=g),
        "skip": torch.randn(n, colours, h // 2, w // 2, generator=g),
        "next_style": torch.rand(n, c, generator=g) + 0.5,
    }
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return {k: v.to(x.device, x.dtype if k == "rgb_weight" else dtype) for k, v in made.items()}


def checked(
    x: torch.Tensor, given: dict[str, torch.Tensor], taps: object = TAPS, impl: str = "native", **options: object
) -> None:
    """Hold both results against the reference in float64."""
    f = setup_filter(taps).to(x.device) if "skip" in given else None

    def call(impl: str, x: torch.Tensor, tensors: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        y, made = epilogue_to_rgb(x, **tensors, f=f, **options, impl=impl)
        assert y is not None
        return y, made

    exact = call("reference", x.double(), {k: v.double() for k, v in given.items()})
    results = zip(call(impl, x, given), call("reference", x, given), exact, strict=True)
    for result, (ours, plain, truth) in enumerate(results):
        assert ours.dtype == plain.dtype
        error, allowed = max_error(ours, truth), allowed_error(NAME, "forward", plain, truth)
        assert error <= allowed, f"result {result}: error {error:.3e}, allowed {allowed:.3e}"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("device", "dtype"), NATIVE_CUDA, ids=str)
def test_both_results_match_float64(device: str, dtype: torch.dtype, shape: tuple[int, ...], layout: str) -> None:
    x = image(shape, layout, dtype, device)
    checked(x, arguments(x))


@pytest.mark.parametrize("device", CUDA)
def test_limits_on_activations_and_on_the_image(device: str) -> None:
    x = image((2, 24, 8, 6), "channels_last", torch.float32, device)
    checked(x, arguments(x, maps=1), clamp=0.7, rgb_clamp=0.9, gain=1.5, negative_slope=0.1)


@pytest.mark.parametrize(("device", "dtype"), NATIVE_CUDA, ids=str)
@pytest.mark.parametrize("colours", [1, 2, 4, 8])
def test_any_number_of_image_channels(device: str, dtype: torch.dtype, colours: int) -> None:
    x = image((2, 20, 6, 4), "channels_last", dtype, device)
    checked(x, arguments(x, colours))


@pytest.mark.parametrize("device", CUDA)
@pytest.mark.parametrize("taps", [[1.0, 2.0], list(range(1, 17)), [[1.0, 2.0], [3.0, 4.0]]], ids=str)
def test_any_filter(device: str, taps: object) -> None:
    x = image((2, 8, 6, 10), "channels_last", torch.float32, device)
    checked(x, arguments(x), taps)


@pytest.mark.parametrize("device", CUDA)
@pytest.mark.parametrize("left_out", ["demod", "noise", "noise_strength", "bias", "rgb_bias", "skip", "next_style"])
def test_every_argument_can_be_left_out(device: str, left_out: str) -> None:
    x = image((2, 12, 5 if left_out == "skip" else 6, 4), "channels_last", torch.float32, device)
    given = arguments(x)
    del given[left_out]
    checked(x, given)


@pytest.mark.parametrize("device", DEVICES)
def test_without_the_activations_the_image_is_the_same(device: str) -> None:
    x = image((2, 40, 8, 6), "channels_last", torch.float32, device)
    f = setup_filter(TAPS).to(device)
    given = arguments(x)
    y, made = epilogue_to_rgb(x, **given, f=f)
    nothing, alone = epilogue_to_rgb(x, **given, f=f, keep=False)
    assert y is not None
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert nothing is None
    assert made.is_contiguous()
    assert torch.equal(made, alone)


@pytest.mark.parametrize("left_out", ["skip", "next_style", None])
@pytest.mark.parametrize(("device", "dtype"), NATIVE, ids=str)
def test_where_a_gradient_is_wanted_it_and_the_results_match_float64(
    device: str, dtype: torch.dtype, left_out: str | None
) -> None:
    x = image((2, 40, 8, 6), "channels_last", dtype, device).requires_grad_()
    given = {k: v.requires_grad_() for k, v in arguments(x).items() if k != left_out}
    f = None if left_out == "skip" else setup_filter(TAPS).to(device)

    def both(impl: str):
        def run(x: torch.Tensor, **given: torch.Tensor) -> torch.Tensor:
            y, made = epilogue_to_rgb(x, **given, f=f, impl=impl)
            assert y is not None
            return torch.cat([y.to(made.dtype).flatten(), made.flatten()])

        return run

    check_against_float64(NAME, both("auto"), both("reference"), x, **given)


@pytest.mark.parametrize("device", CUDA)
def test_where_its_kernel_cannot_run_auto_takes_the_two_ops_and_native_is_refused(device: str) -> None:
    for channels, colours, message in (
        (2056, 3, "at most 2048 channels, got 2056"),
        (1120, 8, "at most 1117 channels, got 1120"),
        (20, 9, "at most 8 image channels, asked for 9"),
    ):
        x = image((1, channels, 2, 2), "channels_last", torch.float32, device)
        checked(x, arguments(x, colours), impl="auto")
        with pytest.raises(NativeOpError, match=f"epilogue_to_rgb: the native kernel .*{message}"):
            epilogue_to_rgb(x, **arguments(x, colours), f=setup_filter(TAPS).to(device), impl="native")
    x = image((1, 8, 2, 2), "channels_last", torch.float32, device).requires_grad_()
    with pytest.raises(NativeOpError, match="epilogue_to_rgb: the native kernel has no gradient"):
        epilogue_to_rgb(x, **arguments(x), f=setup_filter(TAPS).to(device), impl="native")


def test_on_a_cpu_native_is_refused() -> None:
    x = image((1, 8, 2, 2), "channels_last", torch.float32, "cpu")
    with pytest.raises(NativeOpError, match="epilogue_to_rgb: there is no native CPU kernel, only one for CUDA"):
        epilogue_to_rgb(x, **arguments(x), f=setup_filter(TAPS), impl="native")


@pytest.mark.parametrize("device", DEVICES)
def test_empty_batch(device: str) -> None:
    x = torch.zeros(0, 5, 4, 4, device=device)
    y, made = epilogue_to_rgb(x, **arguments(x), f=setup_filter(TAPS).to(device))
    assert y is not None
    assert y.shape == (0, 5, 4, 4)
    assert made.shape == (0, 3, 4, 4)


@pytest.mark.parametrize("device", DEVICES)
def test_repeated_runs_are_equal_to_the_bit(device: str) -> None:
    x = image((2, 48, 32, 32), "channels_last", torch.float32, device)
    runs = [epilogue_to_rgb(x, **arguments(x), f=setup_filter(TAPS).to(device), clamp=1.0) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("device", CUDA)
def test_opcheck(device: str) -> None:
    x = image((2, 5, 6, 4), "channels_last", torch.float32, device)
    given = arguments(x)
    own = torch.randn(2, 3, 5, device=device)
    small = [given[k] for k in ("demod", "noise", "noise_strength", "bias", "next_style")]
    for keep in (True, False):
        rest = (own, given["rgb_bias"], 1.0, given["skip"], setup_filter(TAPS).to(device), 4.0, keep)
        torch.library.opcheck(torch.ops.deltafast.epilogue_to_rgb.default, (x, *small, 0.2, 1.4, None, *rest))


@pytest.mark.parametrize("device", DEVICES)
def test_it_compiles_into_one_graph(device: str) -> None:
    x = image((2, 8, 6, 4), "channels_last", torch.float32, device)
    f, given = setup_filter(TAPS).to(device), arguments(x)
    compiled = torch.compile(
        lambda x, f, **given: epilogue_to_rgb(x, **given, f=f), fullgraph=True, backend="aot_eager"
    )
    for ours, expected in zip(compiled(x, f, **given), epilogue_to_rgb(x, **given, f=f), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("device", CUDA)
def test_a_gradient_through_the_kernel_itself_is_refused(device: str) -> None:
    x = image((1, 4, 2, 2), "channels_last", torch.float32, device).requires_grad_()
    own = torch.randn(1, 3, 4, device=device)
    none = [None] * 5
    y, _ = torch.ops.deltafast.epilogue_to_rgb(x, *none, 0.2, 1.0, None, own, None, None, None, None, 4.0, True)
    with pytest.raises(NativeOpError, match="has no gradient"):
        y.sum().backward()


def test_wrong_arguments_are_named() -> None:
    x = image((2, 4, 6, 6), "contiguous", torch.float32, "cpu")
    given = arguments(x)
    f = setup_filter(TAPS)
    wrong = {
        "rgb_weight must be": {"rgb_weight": torch.zeros(3, 5, 1, 1)},
        "rgb_style must be": {"rgb_style": torch.zeros(2, 5)},
        "rgb_bias must be": {"rgb_bias": torch.zeros(4)},
        "next_style must be": {"next_style": torch.zeros(1, 4)},
        "skip must be": {"skip": torch.zeros(2, 3, 6, 6)},
        "rgb_clamp must be positive": {"rgb_clamp": 0.0},
    }
    for message, change in wrong.items():
        with pytest.raises(InvalidInputError, match=f"epilogue_to_rgb: {message}"):
            epilogue_to_rgb(x, **{**given, **change}, f=f)
    with pytest.raises(InvalidInputError, match="belong together"):
        epilogue_to_rgb(x, **given)
