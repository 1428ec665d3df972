"""A synthesis that stops early gives the network's own activations, and a preview of the picture is fitted to them."""

from __future__ import annotations

import copy

import plain_generators
import pytest
import torch

from deltafast.errors import InvalidInputError
from deltafast.generators.preview import Preview
from deltafast.generators.synthesis import SynthesisNetwork
from deltafast.ops import separable_conv


def _ws(generator, n=2, seed=3):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, generator.num_ws, generator.w_dim, generator=g)


def _plain_features(generator, ws, resolution, noise_mode="const"):
    tensors = plain_generators.cast(generator.tensors(), torch.float64)
    if generator.config["architecture"] == "mobilestylegan":
        return plain_generators.mobilestylegan(tensors, ws.double(), noise_mode, resolution)
    architecture = generator.config["synthesis_architecture"]
    return plain_generators.stylegan2(
        tensors,
        ws.double(),
        generator.img_resolution,
        noise_mode,
        architecture=architecture,
        features_at=resolution,
    )


@pytest.mark.parametrize("noise_mode", ["const", "none"])
def test_features_are_what_the_paper_defines_at_every_resolution(tiny, noise_mode):
    generator = tiny(resolution=32)
    ws = _ws(generator)
    resolutions = generator.synthesis.feature_resolutions
    assert resolutions[-1] in (16, 32)
    for resolution in resolutions:
        wanted = _plain_features(generator, ws, resolution, noise_mode)
        with torch.no_grad():
            found = generator.synthesis.features(ws, resolution, noise_mode)
        assert found.shape == wanted.shape
        assert found.shape[2] == resolution
        assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("architecture", ["orig", "resnet"])
def test_networks_without_images_between_have_features_too(tiny_stylegan2, architecture):
    generator = tiny_stylegan2(architecture=architecture)
    ws = _ws(generator)
    wanted = _plain_features(generator, ws, 8)
    assert (generator.synthesis.features(ws, 8) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_features_are_differentiable_in_the_latents(tiny):
    generator = copy.deepcopy(tiny()).double()
    ws = _ws(generator, 1).double().requires_grad_()
    probe = torch.randn(1, generator.num_ws, generator.w_dim, dtype=torch.float64)
    (grad,) = torch.autograd.grad(generator.synthesis.features(ws, 8).square().sum(), ws)
    with torch.no_grad():
        ahead, behind = (_plain_features(generator, ws + s * 1e-6 * probe, 8).square().sum() for s in (1, -1))
    assert float((grad * probe).sum()) == pytest.approx(float(ahead - behind) / 2e-6, rel=1e-5)


def test_a_preview_of_a_picture_that_is_linear_in_its_features_is_that_picture(tiny_stylegan2):
    generator = tiny_stylegan2(architecture="orig")  # one 1x1 convolution behind the last features
    ws = _ws(generator, 1)
    with torch.no_grad():
        image = generator.synthesis(ws)
        moved = ws.clone()
        moved[:, :-1] += 0.3 * torch.randn(1, generator.num_ws - 1, generator.w_dim)  # that convolution's style stays
        wanted = generator.synthesis(moved)
    preview = Preview(generator.synthesis, 16, scale=1)
    preview.fit(ws, image)
    assert (preview(moved) - wanted).square().mean() <= 1e-4 * wanted.square().mean()
    assert (image - wanted).square().mean() > 1e-2 * wanted.square().mean()


def test_a_preview_of_few_pixels_and_many_features_is_the_reduced_picture(tiny_mobilestylegan):
    generator = tiny_mobilestylegan(resolution=64)
    ws = _ws(generator, 1)
    with torch.no_grad():
        image = generator.synthesis(ws)
    preview = Preview(generator.synthesis, 8)
    preview.fit(ws, image)
    shown = preview(ws)
    small = torch.nn.functional.avg_pool2d(image, 4)
    assert shown.shape == small.shape == (1, 3, 16, 16)
    mean = small.mean((2, 3), keepdim=True)
    assert (shown - small).square().mean() < 0.7 * (small - mean).square().mean()  # noise explains little more


def test_pictures_given_one_after_the_other_count_like_those_given_at_once(tiny):
    generator = tiny(resolution=32)
    ws = _ws(generator, 3)
    with torch.no_grad():
        images = generator.synthesis(ws)
    once, twice = (Preview(generator.synthesis, 8) for _ in range(2))
    once.fit(ws, images)
    twice.fit(ws[:1], images[:1])
    alone = twice(ws[1:2])
    twice.fit(ws[1:], images[1:])
    assert (once(ws) - twice(ws)).abs().max() <= 1e-3 * once(ws).abs().max()
    assert not torch.allclose(alone, twice(ws[1:2]))


def test_features_of_a_first_layer_are_what_the_blocks_second_convolution_reads(tiny_mobilestylegan):
    synthesis = tiny_mobilestylegan(resolution=32).synthesis
    ws = torch.randn(2, synthesis.num_ws, synthesis.w_dim, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        styles = synthesis.styles(ws)
        for block, resolution in enumerate(synthesis.feature_resolutions):
            first = synthesis.features(ws, resolution, first_layer=True)
            assert first.shape[2] == resolution
            layer = synthesis._layer(2 * block + 2, styles, "const", first)
            found = separable_conv(first, *layer[:4], style=layer.style)
            wanted = synthesis.features(ws, resolution)
            assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_pictures_of_another_preview_count_as_much_as_they_did_there(tiny_mobilestylegan):
    generator = tiny_mobilestylegan(resolution=32)
    ws = _ws(generator, 2)
    with torch.no_grad():
        images = generator.synthesis(ws)
    common, own, by_hand, other = (
        Preview(generator.synthesis, 8, first_layer=one) for one in (True, True, True, False)
    )
    with pytest.raises(InvalidInputError, match="one that is fitted"):
        own.begin_with(common)
    common.fit(ws[:1], images[:1], 0.1)
    own.begin_with(common)
    own.fit(ws[1:], images[1:])
    for k, weight in enumerate((0.1, 1.0)):
        by_hand.fit(ws[k : k + 1], images[k : k + 1], weight)
    assert torch.equal(own(ws), by_hand(ws))
    with pytest.raises(InvalidInputError, match="scale and layer"):
        other.begin_with(common)


def test_what_cannot_be_previewed_is_refused_in_words(tiny):
    generator = tiny(resolution=32)
    synthesis, ws = generator.synthesis, _ws(generator, 1)
    with pytest.raises(InvalidInputError, match=r"at the resolutions .*8, 16"):
        synthesis.features(ws, 12)
    with pytest.raises(InvalidInputError, match=r"stops at one of the resolutions .*8, 16"):
        Preview(synthesis, 64)
    with pytest.raises(InvalidInputError, match="no larger than"):
        Preview(synthesis, 16, scale=4)
    with pytest.raises(InvalidInputError, match="call fit"):
        Preview(synthesis, 8)(ws)
    with pytest.raises(InvalidInputError, match=r"images must be \[1, 3, 32, 32\]"):
        Preview(synthesis, 8).fit(ws, torch.zeros(1, 3, 16, 16))


def test_a_network_that_cannot_stop_says_so(tiny, tiny_stylegan2):
    generator = tiny()
    blocks = tiny_stylegan2().synthesis
    with pytest.raises(InvalidInputError, match="first layer are not"):
        blocks.features(_ws(tiny_stylegan2()), 8, first_layer=True)
    with pytest.raises(InvalidInputError, match="whole blocks alone"):
        Preview(blocks, 8, first_layer=True)

    class Whole(SynthesisNetwork):
        dtype, tensors, forward = torch.float32, None, None

    with pytest.raises(InvalidInputError, match="resolutions none"):
        Whole().features(_ws(generator), 8)
