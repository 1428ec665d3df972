"""What people save a StyleGAN2 as, under whatever keys and prefixes, loads as the network that it is.

`../shared/fixtures/family` was written by the original implementations; the other files are made here.
"""

from __future__ import annotations

import collections
import io
import logging
import os
import pickle
import sys
import types
from pathlib import Path, PurePosixPath

import numpy as np
import plain_generators
import pytest
import torch
from small_generators import Persistent, ada_generator, dump, rosinality_state, stylegan2_tensors

from deltafast.errors import CheckpointError
from deltafast.generators.build import build_generator
from deltafast.generators.load import load_generator

_IMAGE, _MAPPING = 1e-5, 2e-6  # shares of the largest value, as in test_golden_values
_FAMILY = (
    *("ada-orig-32.pkl", "ada-relu-32.pkl", "ada-resnet-32.pkl", "ada-snapshot-foreign-32.pkl", "ada-tuple-32.pkl"),
    *("human-rectangular-32.pkl", "nv-state-dict-32.pt", "pti-whole-32.pt", "rosinality-dataparallel-32.pt"),
    *("rosinality-protocol4-32.pt", "rosinality-train-numpy-32.pt", "tf-skip-32.pkl"),
)


def _near(ours, golden, share):
    error, largest = (ours - golden).abs().max().item(), golden.abs().max().item()
    print(f"error {error:.2e}, {error / largest:.1e} of the largest value")
    assert error <= share * largest


@pytest.mark.parametrize("name", _FAMILY)
def test_files_of_the_original_implementations_match(name, shared_dir):
    folder = shared_dir / "fixtures" / "family"
    if not folder.is_dir():
        pytest.skip("no folder of formats beside the reference checkpoints")
    with np.load(folder / f"{name.rpartition('.')[0]}.npz") as archive:
        golden = {key: torch.from_numpy(archive[key]) for key in archive.files}
    generator = load_generator(folder / name)
    label = golden.get("c")
    w = generator.mapping(golden["z"], label)
    _near(w[:, 0], golden["w"] if golden["w"].ndim == 2 else golden["w"][:, 0], _MAPPING)
    if "w_psi07_cut3" in golden:
        _near(generator.mapping(golden["z"], label, 0.7, 3), golden["w_psi07_cut3"], _MAPPING)
    for mode in ("const", "none"):
        _near(generator.synthesis(golden["wplus"], noise_mode=mode), golden[f"img_{mode}"], _IMAGE)


# ---- state dicts, keys, prefixes, tuples -----------------------------------------------------------------------------


def _state(tensors, layers=("conv0",)):
    """NVIDIA's state dict for canonical tensors, its filters as buffers of each layer."""
    state = dict(tensors)
    taps = state.pop("synthesis.resample_filter")
    blocks = {name.split(".")[1] for name in tensors if name.startswith("synthesis.b")}
    for block in blocks:
        state[f"synthesis.{block}.resample_filter"] = taps
        for layer in (*layers, "conv1"):
            state[f"synthesis.{block}.{layer}.resample_filter"] = taps
    return state


def _expected(tensors, resolution=16, **config):
    return build_generator(tensors, {"architecture": "stylegan2", "img_resolution": resolution, **config}, "expected")


def _same(generator, tensors, **config):
    expected = _expected(tensors, **config)
    ws = torch.randn(1, expected.num_ws, expected.w_dim, generator=torch.Generator().manual_seed(1))
    assert torch.equal(generator.synthesis(ws), expected.synthesis(ws))
    z = torch.randn(2, expected.z_dim, generator=torch.Generator().manual_seed(2))
    label = torch.eye(2, expected.c_dim) if expected.c_dim else None
    assert torch.equal(generator.mapping(z, label), expected.mapping(z, label))


def _saved(tmp_path, content, name="model.pt", **options):
    torch.save(content, tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("given", [torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.zeros(5)])
def test_a_mean_code_that_is_none_is_estimated_and_that_is_said(tmp_path, caplog, given):
    state = rosinality_state()
    with caplog.at_level(logging.WARNING, "deltafast.checkpoints"):
        kept = load_generator(_saved(tmp_path, {"g_ema": state, "latent_avg": torch.tensor([[1.0, 2.0]] * 2)}))
        assert kept.w_avg.tolist() == [1.0, 2.0]
        assert not caplog.text
        estimated = load_generator(_saved(tmp_path, {"g_ema": state}))
        assert not caplog.text
        generator = load_generator(_saved(tmp_path, {"g_ema": state, "latent_avg": given}))
    assert "model.pt: latent_avg [" in caplog.text
    assert "estimated" in caplog.text
    assert torch.equal(generator.w_avg, estimated.w_avg)


@pytest.mark.parametrize("architecture", ["skip", "orig", "resnet"])
@pytest.mark.parametrize("width", [4, 2])
def test_a_state_dict_says_which_architecture_it_has(tmp_path, architecture, width):
    tensors = stylegan2_tensors(architecture=architecture, width_of_const=width, c_dim=2)
    generator = load_generator(_saved(tmp_path, _state(tensors)))
    _same(generator, tensors, synthesis_architecture=architecture)


@pytest.mark.parametrize(
    "key",
    [
        "G_ema",
        "g_ema",
        "ema",
        "params_ema",
        "generator",
        "netG",
        "G",
        "g",
        "state_dict",
        "model",
        "netG_ema",
        "g_running",
    ],
)
def test_a_generator_is_found_under_the_keys_that_people_use(tmp_path, key):
    tensors = stylegan2_tensors(resolution=8)
    content = {"iteration": 1000, "d": {"weight": torch.zeros(3)}, key: _state(tensors)}
    _same(load_generator(_saved(tmp_path, content)), tensors, resolution=8)
    nested = {"state_dict": {key: _state(tensors)}, "optimizer": {"state": {}}}
    _same(load_generator(_saved(tmp_path, nested)), tensors, resolution=8)


@pytest.mark.parametrize("prefix", ["module.", "decoder.", "G_ema.", "generator.", "netG.module.", "_orig_mod."])
def test_prefixes_are_taken_off(tmp_path, prefix):
    tensors = stylegan2_tensors(resolution=8)
    state = {f"{prefix}{name}": value for name, value in _state(tensors).items()}
    other = {"encoder.body.0.weight": torch.zeros(3), "D.b4.fc.weight": torch.zeros(2)}
    _same(load_generator(_saved(tmp_path, {"g_ema": state})), tensors, resolution=8)
    _same(load_generator(_saved(tmp_path, {**other, **state})), tensors, resolution=8)


def test_the_moving_average_goes_before_the_network_in_training(tmp_path):
    average, training = stylegan2_tensors(resolution=8, seed=1), stylegan2_tensors(resolution=8, seed=2)
    for content in (
        {"G": _state(training), "G_ema": _state(average)},
        {**{f"G.{n}": v for n, v in _state(training).items()}, **{f"G_ema.{n}": v for n, v in _state(average).items()}},
        (_state(training), {"b4.fc.weight": torch.zeros(2)}, _state(average)),
        [_state(average)],
    ):
        _same(load_generator(_saved(tmp_path, content)), average, resolution=8)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_modules_in_tuples_and_torch_files_of_any_protocol(tmp_path, protocol):
    tensors = stylegan2_tensors(resolution=8, c_dim=3)
    generator = ada_generator(tensors, 8)
    path = tmp_path / "tuple.pkl"
    path.write_bytes(dump((None, Persistent("Discriminator"), generator), protocol))
    _same(load_generator(path), tensors, resolution=8)
    for legacy in (False, True):
        options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": not legacy}
        _same(load_generator(_saved(tmp_path, _state(tensors), **options)), tensors, resolution=8)


def test_state_dicts_of_numpy_arrays_and_half_precision(tmp_path):
    tensors = stylegan2_tensors(resolution=8)
    arrays = {name: value.numpy() if value.ndim else np.float32(value) for name, value in _state(tensors).items()}
    (tmp_path / "arrays.pkl").write_bytes(pickle.dumps({"G_ema": arrays}))
    _same(load_generator(tmp_path / "arrays.pkl"), tensors, resolution=8)
    halves = {name: value.half() for name, value in _state(tensors).items()}
    rounded = {name: value.half().float() for name, value in tensors.items()}
    _same(load_generator(_saved(tmp_path, halves)), rounded, resolution=8)


# ---- objects beside and inside ---------------------------------------------------------------------------------------


class _Attack:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_foreign_objects_beside_the_generator_are_left_alone_and_named(tmp_path, caplog):
    tensors, marker = stylegan2_tensors(resolution=8), tmp_path / "executed"
    beside = {
        "D": torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)),
        "attack": _Attack(marker),
        "path": PurePosixPath("a/b"),
        "size": torch.Size([1, 2]),
        "float": np.float64(1.5),
        "text": np.array(["a", "b"]),
        "objects": np.array([{}, None], dtype=object),
        "counter": collections.Counter("abc"),
        "args": types.SimpleNamespace(lr=0.1, device=torch.device("cpu"), dtype=torch.float32),
        ("a", 1): {1: 2},
        "random": np.random.default_rng(0),
    }
    path = tmp_path / "snapshot.pkl"
    path.write_bytes(dump({**beside, "G_ema": ada_generator(tensors, 8)}))
    with caplog.at_level(logging.WARNING):
        _same(load_generator(path), tensors, resolution=8)
    (line,) = [record.getMessage() for record in caplog.records]
    for name in ("torch.nn.modules.conv.Conv2d", "mkdir", "collections.Counter"):
        assert name in line
    assert "\n" not in line
    _same(load_generator(_saved(tmp_path, {**beside, "g_ema": _state(tensors)})), tensors, resolution=8)
    assert not marker.exists()
    caplog.clear()
    path.write_bytes(dump({"G_ema": ada_generator(tensors, 8), "path": PurePosixPath("x"), "n": np.float32(1)}))
    load_generator(path)
    assert not caplog.records  # nothing foreign, nothing said


@pytest.mark.parametrize("place", ["module", "attribute", "hook", "parameter", "class", "unknown", "deep"])
def test_a_foreign_object_inside_the_generator_refuses(tmp_path, place):
    tensors, marker = stylegan2_tensors(resolution=8), tmp_path / "executed"
    generator = ada_generator(tensors, 8)
    layer = generator.meta["state"]["_modules"]["synthesis"].meta["state"]["_modules"]["b8"].meta["state"]
    attack = _Attack(marker)
    if place == "module":
        layer["_modules"]["attention"] = torch.nn.Conv2d(1, 1, 1)
    elif place == "attribute":
        layer["activation_function"] = attack
    elif place == "hook":
        layer["_forward_hooks"] = collections.OrderedDict({0: attack})
    elif place == "parameter":
        layer["_parameters"]["gamma"] = attack
    elif place == "class":
        layer["norm"] = torch.nn.BatchNorm2d
    elif place == "unknown":
        layer["_modules"]["attention"] = Persistent("Attention")
    else:
        layer["options"] = {"a": [({"b": {"c": attack}},)]}
    path = tmp_path / "model.pkl"
    path.write_bytes(dump({"G_ema": generator}))
    with pytest.raises(CheckpointError, match=r"(foreign object|unknown class) .* is part of the generator"):
        load_generator(path)
    assert not marker.exists()


@pytest.mark.parametrize("value", [_Attack("x"), os.system, torch.nn.Linear(2, 2)])
def test_a_foreign_object_in_the_generators_place_refuses_and_nothing_else_is_taken(tmp_path, value):
    content = {"G_ema": value, "G": _state(stylegan2_tensors(resolution=8))}
    with pytest.raises(CheckpointError, match=r"foreign object|no StyleGAN2"):
        load_generator(_saved(tmp_path, {"G_ema": value}))
    if not isinstance(value, torch.nn.Module):
        with pytest.raises(CheckpointError, match="foreign object"):
            load_generator(_saved(tmp_path, content))


def test_a_whole_module_of_rosinality_is_read_by_its_names(tmp_path):
    source = torch.nn.Module()
    classes = _rosinality_classes()
    with _importable("model", classes):
        source = _rosinality_module(classes)
        state = source.state_dict()
        path = _saved(tmp_path, {"g_ema": source})
        wrapped = _saved(tmp_path, torch.nn.DataParallel(source), "wrapped.pt")
        source.conv1.conv.demodulate = False
        changed = _saved(tmp_path, source, "changed.pt")
    expected = load_generator(_saved(tmp_path, {"g_ema": state}, "state.pt"))
    for file in (path, wrapped):
        assert load_generator(file).fingerprint == expected.fingerprint
    with pytest.raises(CheckpointError, match="demodulate"):
        load_generator(changed)


class _importable:  # noqa: N801  (a context)
    """Classes that can be pickled while it lasts, by the module's name."""

    def __init__(self, name, classes):
        self.name, self.module = name, types.ModuleType(name)
        for kind in classes.values():
            kind.__module__, kind.__qualname__ = name, kind.__name__
            setattr(self.module, kind.__name__, kind)

    def __enter__(self):
        sys.modules[self.name] = self.module

    def __exit__(self, *_):
        del sys.modules[self.name]


def _rosinality_classes():
    names = ("Generator", "PixelNorm", "EqualLinear", "ConstantInput", "StyledConv", "ModulatedConv2d", "Blur")
    names += ("NoiseInjection", "FusedLeakyReLU", "ToRGB", "Upsample")
    return {name: type(name, (torch.nn.Module,), {}) for name in names}


def _rosinality_module(classes):
    """A module laid out as rosinality's, 8 x 8 pixels; it holds weights and computes nothing."""
    g = torch.Generator().manual_seed(0)

    def module(name, children=(), **values):
        made = classes[name]()
        for key, value in values.items():
            if isinstance(value, tuple):
                setattr(made, key, torch.nn.Parameter(torch.randn(value, generator=g)))
            elif isinstance(value, torch.Tensor):
                made.register_buffer(key, value)
            else:
                setattr(made, key, value)
        for key, child in dict(children).items():
            setattr(made, key, child)
        return made

    def linear(out, inputs, **values):
        return module("EqualLinear", weight=(out, inputs), bias=(out,), **values)

    kernel = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 16

    def convolution(kernel_size, outputs, up=False, **values):
        children = {"modulation": linear(4, 8, lr_mul=1)}
        if up:
            children["blur"] = module("Blur", kernel=kernel)
        return module("ModulatedConv2d", children, weight=(1, outputs, 4, kernel_size, kernel_size), **values)

    def styled(up):
        children = {"conv": convolution(3, 4, up, demodulate=True), "noise": module("NoiseInjection", weight=(1,))}
        children["activate"] = module("FusedLeakyReLU", bias=(4,), negative_slope=0.2, scale=2**0.5)
        return module("StyledConv", children)

    def to_rgb(up):
        children = {"conv": convolution(1, 3, demodulate=False)}
        if up:
            children["upsample"] = module("Upsample", kernel=kernel)
        return module("ToRGB", children, bias=(1, 3, 1, 1))

    noises = torch.nn.Module()
    for k, size in enumerate((4, 8, 8)):
        noises.register_buffer(f"noise_{k}", torch.randn(1, 1, size, size, generator=g))
    children = {
        "style": torch.nn.Sequential(module("PixelNorm"), linear(8, 8, lr_mul=0.01), linear(8, 8, lr_mul=0.01)),
        "input": module("ConstantInput", input=(1, 4, 4, 4)),
        "conv1": styled(False),
        "to_rgb1": to_rgb(False),
        "convs": torch.nn.ModuleList([styled(True), styled(False)]),
        "to_rgbs": torch.nn.ModuleList([to_rgb(True)]),
        "noises": noises,
    }
    return module("Generator", children, size=8)


# ---- what changes the image is supported or refused ------------------------------------------------------------------


@pytest.mark.parametrize("taps", [(1, 1), (1, 2, 1), (1, 4, 6, 4, 1), (1, 2, 3, 4), (1, 5, 10, 10, 5, 1)])
def test_other_blur_kernels_give_the_image_that_they_define(tmp_path, taps):
    tensors = stylegan2_tensors(resolution=16, taps=taps)
    generator = load_generator(_saved(tmp_path, _state(tensors)))
    ws = torch.randn(1, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(3))
    double = plain_generators.cast(tensors, torch.float64)
    expected = plain_generators.stylegan2(double, ws.double(), 16).float()
    _near(generator.synthesis(ws), expected, _IMAGE)


def _refused(path, *words):
    with pytest.raises(CheckpointError) as caught:
        load_generator(path)
    message = str(caught.value)
    assert message.isprintable()
    assert str(path) in message
    for word in words:
        assert word in message, message


def test_blur_kernels_that_differ_or_do_not_sum_to_one_are_refused(tmp_path):
    tensors = stylegan2_tensors(resolution=8)
    state = _state(tensors)
    other = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])) / 16
    _refused(_saved(tmp_path, {**state, "synthesis.b8.resample_filter": other}), "different filters")
    changed = {name: value * 2 if name.endswith("resample_filter") else value for name, value in state.items()}
    _refused(_saved(tmp_path, changed), "sums to 2")
    with _importable("model", _rosinality_classes()):
        rosinality = _rosinality_module(_rosinality_classes()).state_dict()
    _refused(_saved(tmp_path, {**rosinality, "to_rgbs.0.upsample.kernel": other * 4}), "different blur kernels")


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_activations_are_read_from_the_module(tmp_path, activation):
    gain = {"relu": 2**0.5, "linear": 1.0}[activation]

    def edit(name, attributes):
        if "conv" in name.rpartition(".")[2]:
            attributes.update(activation=activation, act_gain=gain)

    tensors = stylegan2_tensors(resolution=8)
    (tmp_path / "model.pkl").write_bytes(dump({"G_ema": ada_generator(tensors, 8, edit=edit)}))
    _same(load_generator(tmp_path / "model.pkl"), tensors, resolution=8, activation=activation)


@pytest.mark.parametrize(("given", "expected"), [(0.995, 0.995), (1, 1.0), (None, 0.998), (2.0, None), ("x", None)])
def test_the_mean_code_moves_as_fast_as_the_checkpoint_says(tmp_path, given, expected):
    generator = ada_generator(stylegan2_tensors(resolution=8), 8)
    generator.meta["state"]["_modules"]["mapping"].meta["state"]["w_avg_beta"] = given
    path = tmp_path / "model.pkl"
    path.write_bytes(dump({"G_ema": generator}))
    if expected is None:
        _refused(path, "w_avg_beta")
        return
    loaded = load_generator(path)
    z, before = torch.randn(3, loaded.z_dim), loaded.w_avg.clone()
    w = loaded.mapping(z, update_emas=True)[:, 0]
    torch.testing.assert_close(loaded.w_avg, w.mean(0).lerp(before, expected))


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("activation", "swish"),
        ("act_gain", 1.0),
        ("up", 4),
        ("padding", 0),
        ("conv_clamp", "x"),
        ("conv_clamp", -1.0),
    ],
)
def test_attributes_that_change_the_image_and_are_not_supported_refuse(tmp_path, attribute, value):
    def edit(name, attributes):
        if name == "synthesis.b8.conv0":
            attributes[attribute] = value

    (tmp_path / "model.pkl").write_bytes(dump({"G_ema": ada_generator(stylegan2_tensors(resolution=8), 8, edit=edit)}))
    _refused(tmp_path / "model.pkl", attribute.removeprefix("act_"))


def test_weights_that_stylegan2_has_not_refuse(tmp_path):
    state = _state(stylegan2_tensors(resolution=8))
    _refused(_saved(tmp_path, {**state, "synthesis.b8.attention.weight": torch.zeros(2)}), "attention")
    _refused(_saved(tmp_path, {**state, "mapping.fc5.weight": torch.zeros(2, 2)}), "mapping.fc5")
    buffer = io.BytesIO()
    torch.save({**state, "synthesis.b16.conv1.weight": torch.zeros(2, 2, 3, 3)}, buffer)
    (tmp_path / "model.pt").write_bytes(buffer.getvalue())
    _refused(tmp_path / "model.pt", "synthesis.b16")


def test_home_is_expanded(tmp_path, monkeypatch):
    tensors = stylegan2_tensors(resolution=8)
    monkeypatch.setenv("HOME", str(tmp_path))
    _saved(tmp_path, _state(tensors))
    _same(load_generator("~/model.pt"), tensors, resolution=8)
    _same(load_generator(Path("~") / "model.pt"), tensors, resolution=8)
