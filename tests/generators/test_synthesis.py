"""Properties that hold for both kinds of synthesis network."""

from __future__ import annotations

import copy

import plain_generators
import pytest
import torch

from benchmarks.contenders import torch_itself
from deltafast.errors import InvalidInputError
from deltafast.generators import stylegan2_backends
from deltafast.generators.base import match_slots
from deltafast.generators.mobilestylegan import mobilestylegan_names
from deltafast.generators.stylegan2 import stylegan2_slots
from deltafast.ops import modulated_conv2d
from deltafast.ops.tolerance import max_error


def _ws(generator, n=2, seed=3, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, generator.num_ws, generator.w_dim, generator=g).to(dtype)


def _plain(generator, ws, noise_mode="const", clamp=None):
    tensors = plain_generators.cast(generator.tensors(), torch.float64)
    if generator.config["architecture"] == "mobilestylegan":
        return plain_generators.mobilestylegan(tensors, ws.double(), noise_mode)
    config = generator.config
    return plain_generators.stylegan2(
        tensors,
        ws.double(),
        generator.img_resolution,
        noise_mode,
        clamp,
        config["synthesis_architecture"],
        config.get("activation", "lrelu"),
        config.get("equalised_convolutions", False),
    )


@pytest.mark.parametrize("noise_mode", ["const", "none"])
def test_the_network_is_what_its_paper_defines(tiny, noise_mode):
    generator = tiny()
    ws = _ws(generator, 3)  # every slot its own code
    reference = _plain(generator, ws, noise_mode)
    image = generator.synthesis(ws, noise_mode=noise_mode)
    assert image.dtype == torch.float32
    assert image.shape == (3, 3, generator.img_resolution, generator.img_resolution)
    assert (image - reference).abs().max() <= 1e-5 * reference.abs().max()


def test_float64_is_exact_with_and_without_gradients(tiny):
    generator = tiny(dtype=torch.float64)
    ws = _ws(generator).double().requires_grad_()
    image = generator.synthesis(ws)
    assert image.dtype == torch.float64
    with torch.no_grad():
        assert (generator.synthesis(ws) - image).abs().max() <= 1e-12 * image.abs().max()
    assert (image - _plain(generator, ws)).abs().max() <= 1e-9 * image.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_within_its_own_rounding(tiny, dtype):
    generator = tiny()
    ws = _ws(generator, 3)
    reference = _plain(generator, ws)
    low = copy.deepcopy(generator).to(dtype)
    assert low.dtype == dtype
    assert low.mapping.w_avg.dtype == torch.float32
    assert low.mapping.layers[0].weight.dtype == torch.float32
    image = low.synthesis(ws)
    assert image.dtype == torch.float32
    plain = torch_itself(generator, dtype)(ws)  # the same network in plain torch, every convolution in `dtype`
    assert max_error(image, reference) <= 2 * max_error(plain, reference)


def test_half_precision_stands_styles_beyond_its_range(tiny_stylegan2, monkeypatch):
    generator = tiny_stylegan2()
    ws = _ws(generator) * 1e6  # styles of millions; demodulation takes them out again
    reference = generator.synthesis(ws, noise_mode="none")
    features = []

    def convolve(*inputs, **options):
        features.append(modulated_conv2d(*inputs, **options))
        return features[-1]

    monkeypatch.setattr(stylegan2_backends, "modulated_conv2d", convolve)
    copy.deepcopy(generator).half().synthesis(ws, noise_mode="none")
    assert len(features) == 5
    assert all(bool(torch.isfinite(x).all()) for x in features)
    assert torch.isfinite(reference).all()


@pytest.mark.parametrize("architecture", ["skip", "orig", "resnet"])
@pytest.mark.parametrize("activation", ["lrelu", "relu", "linear"])
def test_every_architecture_and_activation_is_what_it_says(tiny_stylegan2, architecture, activation):
    generator = tiny_stylegan2(architecture=architecture, config={"activation": activation}, conv_clamp=3.0)
    ws = _ws(generator, 3)
    reference = _plain(generator, ws, clamp=3.0)
    for run in (generator.synthesis, torch.no_grad()(generator.synthesis)):
        assert (run(ws) - reference).abs().max() <= 1e-5 * reference.abs().max()


@pytest.mark.parametrize("taps", [(1, 2, 1), (1, 4, 6, 4, 1), (1, 1), (1, 2, 3), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("architecture", ["skip", "resnet"])
def test_filters_of_any_length_up_sample_as_the_original_does(tiny_stylegan2, taps, architecture):
    generator = tiny_stylegan2(taps=taps, architecture=architecture)
    ws = _ws(generator, 2)
    reference = _plain(generator, ws)
    for run in (generator.synthesis, torch.no_grad()(generator.synthesis)):
        assert (run(ws) - reference).abs().max() <= 1e-5 * reference.abs().max()


def test_a_narrow_constant_makes_narrow_images(tiny_stylegan2):
    generator = tiny_stylegan2(width_of_const=2)
    ws = _ws(generator, 2)
    image = generator.synthesis(ws)
    reference = _plain(generator, ws)
    assert image.shape == (2, 3, 16, 8)
    assert generator.synthesis.img_size == (16, 8)
    assert (image - reference).abs().max() <= 1e-5 * reference.abs().max()


def test_weights_with_an_equalised_rate_are_scaled_before_they_are_demodulated(tiny_stylegan2):
    generator = tiny_stylegan2(config={"equalised_convolutions": True})
    ws = _ws(generator, 2) * 1e-4  # so small that the epsilon of demodulation shows
    generator.synthesis.styles.bias.zero_()
    reference = _plain(generator, ws)
    image = generator.synthesis(ws)
    assert (image - reference).abs().max() <= 1e-5 * reference.abs().max()
    generator.config["equalised_convolutions"] = False
    assert not torch.allclose(reference, _plain(generator, ws), rtol=1e-3)


_WIDE = {"stylegan2": {"width": 40, "w_dim": 96, "z_dim": 96}, "mobilestylegan": {"w_dim": 96}}


@pytest.mark.parametrize("kind", ["stylegan2", "mobilestylegan"])
@pytest.mark.parametrize("noise_mode", ["const", "none"])
def test_a_sample_has_the_same_bits_whatever_it_is_batched_with(tiny_stylegan2, tiny_mobilestylegan, kind, noise_mode):
    generator = {"stylegan2": tiny_stylegan2, "mobilestylegan": tiny_mobilestylegan}[kind](**_WIDE[kind])
    z = torch.randn(7, generator.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        codes = generator.mapping(z)
        assert torch.equal(codes, torch.cat([generator.mapping(part) for part in z.split(1)]))
        ws = _ws(generator, 7)
        together = generator.synthesis(ws, noise_mode)
        for size in (1, 2, 3, 5):
            assert torch.equal(together, torch.cat([generator.synthesis(w, noise_mode) for w in ws.split(size)]))
        ws[1:] += 1
        assert torch.equal(generator.synthesis(ws, noise_mode)[0], together[0])


@pytest.mark.parametrize("kind", ["stylegan2", "resnet", "mobilestylegan"])
@pytest.mark.parametrize("trained", [False, True])
def test_with_gradients_too_a_sample_has_the_same_bits(tiny_stylegan2, tiny_mobilestylegan, kind, trained):
    options = _WIDE[kind] if kind in _WIDE else {**_WIDE["stylegan2"], "architecture": kind}
    generator = (tiny_mobilestylegan if kind == "mobilestylegan" else tiny_stylegan2)(**options).requires_grad_(trained)
    z = torch.randn(5, generator.z_dim, generator=torch.Generator().manual_seed(0))

    def images_and_gradients(part):
        part = part.clone().requires_grad_()
        images = generator(part)
        (images * images).sum().backward()
        return images.detach(), part.grad

    for size in (1, 2, 3):
        parts = [images_and_gradients(part) for part in z.split(size)]
        for together, apart in zip(images_and_gradients(z), zip(*parts, strict=True), strict=True):
            assert torch.equal(together, torch.cat(apart))


@pytest.mark.slow
def test_a_face_has_the_same_bits_whatever_it_is_batched_with(mobilestylegan):
    z = torch.randn(3, 512, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ws = mobilestylegan.mapping(z)
        together = mobilestylegan.synthesis(ws)
        assert torch.equal(mobilestylegan.synthesis(mobilestylegan.mapping(z[1:2])), together[1:2])
        assert torch.equal(mobilestylegan.synthesis(ws[1:]), together[1:])


def test_an_empty_batch_gives_no_images(tiny):
    generator = tiny()
    assert generator.synthesis(_ws(generator, 0)).shape == (0, 3, generator.img_resolution, generator.img_resolution)


def test_noise_modes(tiny):
    generator = tiny()
    ws = _ws(generator, 1).expand(64, -1, -1)
    const = generator.synthesis(ws)
    assert torch.equal(const, generator.synthesis(ws))
    none = generator.synthesis(ws, noise_mode="none")
    torch.manual_seed(5)
    random = generator.synthesis(ws, noise_mode="random")
    assert not torch.equal(random[0], random[1])
    torch.manual_seed(5)
    assert torch.equal(random, generator.synthesis(ws, noise_mode="random"))
    # fixed and random noise move the image by the same order of size
    fixed, fresh = (const - none).std().item(), (random - none).std().item()
    assert 0.5 < fresh / fixed < 2.0


def test_random_noise_of_mobilestylegan_has_the_folded_strength(tiny_mobilestylegan):
    generator = tiny_mobilestylegan()
    for constants in generator.synthesis.constants:
        expected = constants.noise_const.square().mean().sqrt()
        assert torch.allclose(constants.noise("random", 1)[1], expected)


def test_gradients_of_w_are_right_to_float64(tiny):
    generator = tiny(resolution=16, w_dim=4, dtype=torch.float64)  # few enough for finite differences
    ws = _ws(generator, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(generator.synthesis, (ws,), fast_mode=True, nondet_tol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_in_low_precision_point_the_same_way(tiny, dtype):
    generator = tiny(dtype=torch.float64)
    ws = _ws(generator, 2, dtype=torch.float64).requires_grad_()
    (exact,) = torch.autograd.grad(generator.synthesis(ws).square().mean(), ws)
    low = copy.deepcopy(generator).float().to(dtype)
    ws = ws.detach().float().requires_grad_()
    (gradient,) = torch.autograd.grad(low.synthesis(ws).square().mean(), ws)
    assert gradient.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(gradient.double().flatten(), exact.flatten(), dim=0)
    assert cosine > (0.99 if dtype == torch.bfloat16 else 1 - 1e-9)


def test_no_gradient_is_asked_of_the_weights(tiny):
    generator = tiny()
    assert not generator.training
    assert not any(parameter.requires_grad for parameter in generator.parameters())


def test_training_the_weights_gives_them_gradients(tiny):
    generator = tiny(dtype=torch.float64).requires_grad_(True)
    generator.synthesis(_ws(generator, 1).double()).square().mean().backward()
    missing = [name for name, p in generator.synthesis.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_changed_weights_change_the_demodulation(tiny_stylegan2):
    generator = tiny_stylegan2()
    ws = _ws(generator)
    generator.synthesis(ws)
    with torch.no_grad():
        generator.synthesis.convolutions[2].weight[:, 0] *= 3
    reference = _plain(generator, ws)
    assert (generator.synthesis(ws) - reference).abs().max() <= 1e-5 * reference.abs().max()


@pytest.mark.parametrize("clamp", [0.5, 2.0])
def test_conv_clamp_limits_activations(tiny_stylegan2, clamp):
    generator = tiny_stylegan2(conv_clamp=clamp)
    ws = _ws(generator, 2)
    reference = _plain(generator, ws, clamp=clamp)
    assert (generator.synthesis(ws) - reference).abs().max() <= 1e-5 * reference.abs().max()
    assert not torch.allclose(reference, _plain(generator, ws))


def test_moving_to_another_device_and_back_keeps_shapes(tiny):
    generator = tiny()
    meta = copy.deepcopy(generator).to("meta")
    image = meta.synthesis(_ws(generator).to("meta"))
    assert image.device.type == "meta"
    assert image.shape == (2, 3, generator.img_resolution, generator.img_resolution)


def test_a_state_dict_carries_the_whole_generator(tiny):
    first, second = tiny(seed=0), tiny(seed=1)
    ws = _ws(first)
    assert not torch.allclose(first.synthesis(ws), second.synthesis(ws))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.synthesis(ws), second.synthesis(ws))


@pytest.mark.parametrize(
    ("ws", "text"),
    [
        (torch.zeros(2, 16), "unsqueeze"),
        (torch.zeros(2, 3, 16), "ws must be"),
        (torch.zeros(2, 6, 17), "ws must be"),
        (torch.zeros(2, 6, 16, dtype=torch.long), "floating point"),
    ],
)
def test_wrong_latents_are_refused_in_words(tiny_stylegan2, ws, text):
    with pytest.raises(InvalidInputError, match=text):
        tiny_stylegan2().synthesis(ws)


def test_an_unknown_noise_mode_is_refused(tiny):
    generator = tiny()
    with pytest.raises(InvalidInputError, match="const, random, none"):
        generator.synthesis(_ws(generator), noise_mode="fixed")


def test_autocast_is_harmless(tiny):
    generator = tiny()
    ws = _ws(generator).requires_grad_()
    reference = generator.synthesis(ws).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image = generator.synthesis(ws)
    image.square().mean().backward()
    assert torch.isfinite(ws.grad).all()
    assert (image.detach() - reference).abs().max() <= 0.1 * reference.abs().max()


@pytest.mark.slow
def test_compiled_synthesis_gives_the_same_images(tiny_mobilestylegan):
    generator = tiny_mobilestylegan(resolution=16)
    ws = _ws(generator)
    with torch.no_grad():
        expected = generator.synthesis(ws)
        assert (generator.compiled()(ws) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_without_a_compiler_synthesis_runs_uncompiled_and_says_so(tiny_mobilestylegan, monkeypatch):
    def no_backend(graph, inputs):
        raise RuntimeError("no C++ compiler found")

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: real(module, backend=no_backend))
    torch.compiler.reset()
    generator = tiny_mobilestylegan(resolution=16)
    ws = _ws(generator)
    run = generator.compiled()
    with pytest.warns(RuntimeWarning, match="runs uncompiled"):
        image = run(ws)
    assert torch.equal(image, generator.synthesis(ws))


def test_slots_are_named_after_the_layers_that_read_them():
    assert stylegan2_slots(16) == ("b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1", "b16.torgb")
    assert len(stylegan2_slots(1024)) == 18
    mobile = mobilestylegan_names(1024)[2]
    assert len(mobile) == 16
    assert tuple(mobile[:15]) == stylegan2_slots(1024)[:15]


def test_slots_of_mobilestylegan_and_stylegan2_match_as_designed():
    mobile, full = mobilestylegan_names(1024)[2], stylegan2_slots(1024)
    assert match_slots(mobile, full) == (*range(16), 15, 15)
    assert match_slots(full, mobile) == tuple(range(16))
    assert match_slots(full, full) == tuple(range(18))
    # a 512 x 512 network shares the convolutions, and nothing of the block at 1024
    assert match_slots(stylegan2_slots(512), full) == (*range(15), None, None, None)
