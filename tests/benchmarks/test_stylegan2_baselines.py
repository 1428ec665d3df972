"""The baselines that StyleGAN2 is timed against make the same images as deltafast's own generator."""

from __future__ import annotations

import pytest
import torch

from benchmarks.baselines import stylegan2
from benchmarks.baselines.random_weights import CONFIG_E, random_stylegan2
from benchmarks.baselines.stylegan2 import ConvolutionsAlone, PlainStylegan2, compiled_baseline, plain_baselines
from deltafast.generators.base import Generator
from deltafast.ops.tolerance import max_error


@pytest.fixture(scope="module")
def generator() -> Generator:
    return random_stylegan2(32, 1024, conv_clamp=2.0)


def _ws(generator: Generator, n: int) -> torch.Tensor:
    return torch.randn(n, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("n", [1, 3])
def test_every_form_gives_our_images(generator: Generator, n: int) -> None:
    ws = _ws(generator, n)
    expected = generator.synthesis(ws)  # [N, 3, 32, 32]
    made = plain_baselines(generator)
    assert sorted({name.split(", ")[1] for name in made}) == ["grouped", "shared"]
    for name, synthesis in made.items():
        assert max_error(synthesis(ws), expected) <= 1e-5 * float(expected.abs().max()), name
    by_product = PlainStylegan2(generator, form="shared", channels_last=True, product=True)
    assert max_error(by_product(ws), expected) <= 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n", [1, 3])
def test_low_precision_is_used_at_the_top_only(generator: Generator, dtype: torch.dtype, n: int) -> None:
    ws = _ws(generator, n)
    expected = generator.synthesis(ws)
    for name, synthesis in plain_baselines(generator, low=dtype).items():
        image = synthesis(ws)
        assert image.dtype == torch.float32, name
        assert max_error(image, expected) <= 16 * torch.finfo(dtype).eps * float(expected.abs().max()), name
    top = PlainStylegan2(generator, form="ada", channels_last=True, low=dtype, low_blocks=2)
    assert [top.dtypes[size] for size in (4, 8, 16, 32)] == [torch.float32, torch.float32, dtype, dtype]


def test_the_form_of_stylegan2_ada_depends_on_dtype_and_batch(generator: Generator) -> None:
    ada = PlainStylegan2(generator, form="ada", channels_last=False)
    assert ada._is_grouped(torch.zeros(4, 1, 1, 1))
    assert ada._is_grouped(torch.zeros(1, 1, 1, 1, dtype=torch.float16))
    assert not ada._is_grouped(torch.zeros(4, 1, 1, 1, dtype=torch.float16))


@pytest.mark.slow
def test_the_compiled_form_gives_our_images() -> None:
    generator = random_stylegan2(8, 128)
    ws = _ws(generator, 2)
    with torch.inference_mode():
        expected = generator.synthesis(ws)
        assert max_error(compiled_baseline(generator)(ws), expected) <= 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_convolutions_alone_are_those_of_the_generator(
    generator: Generator, channels_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    for name in ("conv2d", "conv_transpose2d"):
        real = getattr(stylegan2.F, name)

        def counted(x: torch.Tensor, *rest: object, real: object = real, **options: object) -> torch.Tensor:
            seen.append(tuple(x.shape))
            assert callable(real)
            y = real(x, *rest, **options)
            assert isinstance(y, torch.Tensor)
            return y

        monkeypatch.setattr(stylegan2.F, name, counted)
    y = ConvolutionsAlone(generator, 2, channels_last=channels_last)()
    assert [shape[2] for shape in seen] == [4, 4, 8, 8, 16, 16, 32]  # each up-sampling convolution reads half its size
    assert y.shape == (2, 32, 32, 32)


def test_published_configurations_have_their_widths() -> None:
    tensors = random_stylegan2(64, CONFIG_E).tensors()
    assert tensors["synthesis.b64.conv1.weight"].shape == (256, 256, 3, 3)
    assert tensors["synthesis.b64.conv0.weight"].shape == (256, 512, 3, 3)
    assert tensors["synthesis.b32.conv1.weight"].shape == (512, 512, 3, 3)
