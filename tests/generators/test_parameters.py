"""A generator's parameters are those of its checkpoint: training works on them, and every write to them is seen."""

from __future__ import annotations

import copy

import plain_generators
import pytest
import torch

from deltafast.generators.compiled import CapturedSynthesis

_PTI_RATE = 3e-4  # of Pivotal Tuning (arXiv 2106.05744): Adam, all weights


def _ws(generator, n=2, seed=3):
    ws = torch.randn(n, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(seed))
    return ws.to(generator.w_avg)


_CONSTANT = ("mapping.w_avg", "synthesis.resample_filter", ".noise_const")  # buffers of the originals


def _plain_network(generator):
    """The same network, z to images, in plain torch, whose parameters are the checkpoint's."""
    tensors = {name: tensor.detach().clone() for name, tensor in generator.tensors().items()}
    weights = [tensors[name].requires_grad_() for name in sorted(tensors) if not name.endswith(_CONSTANT)]
    config = generator.config

    def images(z, c):
        w = plain_generators.mapping(tensors, z, c)
        return plain_generators.stylegan2(
            tensors,
            w[:, None].expand(-1, generator.num_ws, -1),
            generator.img_resolution,
            architecture=config["synthesis_architecture"],
            equalised=config.get("equalised_convolutions", False),
        )

    return images, weights


def _losses(images, weights, given, target, steps=50):
    optimiser = torch.optim.Adam(weights, lr=_PTI_RATE)
    losses = []
    for _ in range(steps):
        loss = (images(*given) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize(
    ("dtype", "bound", "architecture", "equalised", "c_dim"),
    [
        (torch.float64, 1e-6, "skip", False, 0),
        (torch.float32, 1e-3, "skip", False, 0),
        (torch.float32, 1e-3, "skip", False, 3),
        (torch.float64, 1e-6, "resnet", False, 3),
        (torch.float64, 1e-6, "skip", True, 0),
    ],
)
def test_fifty_steps_of_adam_on_all_weights_go_as_with_the_original(
    tiny_stylegan2, dtype, bound, architecture, equalised, c_dim
):
    config = {"equalised_convolutions": equalised}
    generator = tiny_stylegan2(dtype=dtype, architecture=architecture, config=config, resolution=8, c_dim=c_dim)
    z = torch.randn(2, generator.z_dim, generator=torch.Generator().manual_seed(3)).to(dtype)
    c = torch.eye(2, c_dim, dtype=dtype) if c_dim else None
    target = tiny_stylegan2(seed=9, dtype=dtype, resolution=8, c_dim=c_dim)(z, c)
    plain, weights = _plain_network(generator)
    expected = _losses(plain, weights, (z, c), target)
    before = {name: weight.clone() for name, weight in generator.named_parameters()}
    generator.requires_grad_(True)
    found = _losses(generator, list(generator.parameters()), (z, c), target)
    assert ((found - expected).abs() / expected).max() <= bound
    assert expected[-1] < expected[0]  # it trains
    still = [name for name, weight in generator.named_parameters() if torch.equal(weight, before[name])]
    assert not still  # all of it, the mapping network too


def test_one_rate_trains_all_of_mobilestylegan(tiny_mobilestylegan):
    generator = tiny_mobilestylegan()
    ws, target = _ws(generator), tiny_mobilestylegan(seed=4).synthesis(_ws(generator, seed=8))
    generator.synthesis.requires_grad_(True)
    losses = _losses(generator.synthesis, list(generator.synthesis.parameters()), (ws,), target)
    assert losses[-1] < 0.9 * losses[0]
    assert losses.max() <= losses[0] * 1.01


@pytest.mark.slow
def test_one_rate_trains_all_of_the_published_mobilestylegan(mobilestylegan):
    generator = copy.deepcopy(mobilestylegan).requires_grad_(True)
    z = torch.randn(2, generator.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ws, target = generator.mapping(z[:1], None, 0.7), generator(z[1:], None, 0.7)
    losses = _losses(generator.synthesis, list(generator.synthesis.parameters()), (ws,), target, steps=3)
    assert (losses.diff() < 0).all()
    assert losses[-1] < 0.85 * losses[0]


def test_parameters_are_the_checkpoint_to_the_bit(tiny_stylegan2):
    generator = tiny_stylegan2(config={"mapping_lr_multiplier": 0.02})
    parameters = dict(generator.named_parameters())
    layer = generator.synthesis.convolutions[1]
    named = generator.tensors()
    assert torch.equal(layer.weight, named["synthesis.b8.conv0.weight"])
    assert parameters["synthesis.convolutions.1.constants.noise_strength"].shape == ()
    assert torch.equal(generator.mapping.layers[0].weight, named["mapping.fc0.weight"])


def _by_data(parameter, value):
    parameter.data.copy_(value)


def _by_new_data(parameter, value):
    parameter.data = value


def _by_no_grad(parameter, value):
    with torch.no_grad():
        parameter.copy_(value)


def _in_numpy(parameter, value):
    parameter.detach().numpy()[...] = value.numpy()


writes = pytest.mark.parametrize("write", [_by_data, _by_new_data, _by_no_grad, _in_numpy])


def _change_everything(generator, other, write):
    """Write the weights of `other` over those of `generator`, and its buffers with them."""
    for parameter, value in zip(generator.parameters(), other.parameters(), strict=True):
        write(parameter, value.detach().clone(memory_format=torch.preserve_format))
    for buffer, value in zip(generator.buffers(), other.buffers(), strict=True):
        buffer.copy_(value)


@writes
@pytest.mark.parametrize("gradient", [False, True])
def test_no_write_to_a_weight_leaves_a_stale_result(tiny, write, gradient):
    generator, other = tiny(seed=0), tiny(seed=1)
    ws = _ws(generator)
    with torch.set_grad_enabled(gradient):
        generator.synthesis(ws)
        _change_everything(generator, other, write)
        assert torch.equal(generator.synthesis(ws), other.synthesis(ws))


def test_a_single_changed_bit_is_seen(tiny_stylegan2):
    generator = tiny_stylegan2()
    ws = _ws(generator)
    generator.synthesis(ws)
    weight = generator.synthesis.convolutions[-1].weight
    weight.data.view(torch.int32)[1, 2, 0, 1] ^= 1
    fresh = copy.deepcopy(generator)
    assert torch.equal(generator.synthesis(ws), fresh.synthesis(ws))


def test_an_average_of_weights_is_followed_as_it_moves(tiny):
    average, trained = tiny(seed=0), tiny(seed=1)
    ws = _ws(average)
    for _ in range(3):
        for mean, new in zip(average.parameters(), trained.parameters(), strict=True):
            mean.data.mul_(0.5).add_(new.data, alpha=0.5)  # as rosinality's accumulate does
        assert torch.equal(average.synthesis(ws), copy.deepcopy(average).synthesis(ws))


def test_a_loaded_state_is_seen_by_a_recorded_synthesis(tiny):
    generator, other = tiny(seed=0), tiny(seed=1)
    run = CapturedSynthesis(generator.synthesis, 2, lambda call, device: call)
    ws = _ws(generator)
    before = run(ws)
    generator.load_state_dict(other.state_dict())
    assert not torch.allclose(run(ws), before)
    assert torch.equal(run(ws), other.synthesis(ws))


@pytest.mark.slow
@pytest.mark.parametrize("by", ["method", "torch"])
def test_a_compiled_synthesis_sees_changed_weights(tiny_stylegan2, by):
    generator, other = tiny_stylegan2(seed=0), tiny_stylegan2(seed=1)
    ws = _ws(generator)
    with torch.no_grad():
        run = generator.compiled() if by == "method" else torch.compile(generator.synthesis, fullgraph=True)
        for _ in range(2):  # the second call has packed weights to compare with
            assert torch.allclose(run(ws), generator.synthesis(ws), atol=1e-4)
        _change_everything(generator, other, _by_data)
        expected = other.synthesis(ws)
        assert (run(ws) - expected).abs().max() <= 1e-5 * expected.abs().max()
