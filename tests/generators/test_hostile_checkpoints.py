"""A checkpoint is hostile until proven otherwise: nothing in it runs, and every refusal names the file and why."""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import pickle
import shutil
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_generators import Persistent, ada_generator, dump, mobilestylegan_tensors, stylegan2_tensors

from deltafast.errors import CheckpointError
from deltafast.generators.load import load_generator, save_generator
from deltafast.sequence_latents import GeneratorId
from deltafast.untrusted.checks import reading
from deltafast.untrusted.pickled_values import Record
from deltafast.untrusted.torch_file import read_pickle_bytes


def _refused(path, *words):
    """`load_generator` refuses the file in one line that names it and says `words`."""
    with pytest.raises(CheckpointError) as caught:
        load_generator(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert "Traceback" not in message
    for word in words:
        assert word in message, message
    return message


def _write(tmp_path, data, name="checkpoint.pkl"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def _unpickled(path):
    with reading(lambda reason: CheckpointError(path, reason)):
        return read_pickle_bytes(path.read_bytes())


class _Attack:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self._call = (function, arguments)

    def __reduce__(self):
        return self._call


# ---- what is understood, so that the refusals below mean something ----------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_of_stylegan2_ada_is_read_and_its_source_is_not_run(tmp_path, protocol):
    marker = tmp_path / "executed"
    tensors = stylegan2_tensors(c_dim=3)
    source = f"open({str(marker)!r}, 'w').close()"
    content = {
        "G": None,
        "D": Persistent("Discriminator", source=source),
        "G_ema": ada_generator(tensors, 16, conv_clamp=256, source=source),
        "training_set_kwargs": {"path": "x.zip", "sizes": np.arange(4.0), "one": np.float32(2)},
    }
    generator = load_generator(_write(tmp_path, dump(content, protocol)))
    assert not marker.exists()
    assert (generator.c_dim, generator.num_ws, generator.synthesis.conv_clamp) == (3, 6, 256)
    for name, tensor in generator.tensors().items():
        assert torch.allclose(tensor, tensors[name], rtol=1e-5, atol=1e-7), name


def test_numpy_values_arrive_as_plain_numbers(tmp_path):
    content = {"array": np.arange(6, dtype=">f8").reshape(2, 3), "scalar": np.int32(7), "set": {"a"}}
    read = _unpickled(_write(tmp_path, pickle.dumps(content, 4)))
    assert read["array"].values.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read["scalar"] == 7
    assert read["set"] == {"a"}


@pytest.mark.parametrize("wrap", ["e4e", "training", "bare", "legacy"])
def test_the_ways_in_which_rosinality_networks_are_stored(tmp_path, shared_dir, wrap):
    source = torch.load(shared_dir / "fixtures" / "rosinality-64-narrow.pt", weights_only=True)
    expected = load_generator(shared_dir / "fixtures" / "rosinality-64-narrow.pt")
    state, path = source["g_ema"], tmp_path / "model.pt"
    if wrap == "e4e":
        decoder = {f"decoder.{name}": value for name, value in state.items()}
        encoder = {"encoder.body.0.weight": torch.zeros(3)}
        latent_avg = source["latent_avg"].repeat(10, 1)
        content = {"state_dict": {**encoder, **decoder}, "latent_avg": latent_avg, "opts": {"lr": 0.1}}
        torch.save(content, path)
    elif wrap == "training":
        torch.save({"g": {}, "d": {}, "g_ema": state, "args": argparse.Namespace(size=64), **source}, path)
    elif wrap == "bare":
        torch.save(state, path)
    else:
        torch.save(source, path, _use_new_zipfile_serialization=False)
    generator = load_generator(path)
    if wrap == "bare":  # no mean latent in it: computed from the mapping network
        z = torch.randn(500, 512, generator=torch.Generator().manual_seed(9))
        mean = generator.mapping.code(z).mean(0)
        assert torch.nn.functional.cosine_similarity(generator.w_avg, mean, dim=0) > 0.9
    else:
        assert generator.fingerprint == expected.fingerprint


def test_our_own_files_come_back_to_the_bit(tmp_path, tiny):
    generator = tiny()
    save_generator(generator, tmp_path / "own.safetensors")
    again = load_generator(tmp_path / "own.safetensors", dtype=torch.bfloat16)
    assert again.fingerprint == generator.fingerprint
    assert again.w_space == generator.w_space
    assert again.dtype == torch.bfloat16
    ws = torch.randn(1, generator.num_ws, generator.w_dim)
    assert torch.equal(load_generator(tmp_path / "own.safetensors").synthesis(ws), generator.synthesis(ws))


def test_the_fingerprint_knows_every_weight(tiny_stylegan2):
    assert tiny_stylegan2(seed=0).fingerprint == tiny_stylegan2(seed=0).fingerprint
    assert tiny_stylegan2(seed=0).fingerprint != tiny_stylegan2(seed=1).fingerprint


# ---- what is no checkpoint --------------------------------------------------------------------------------------


def test_a_missing_file_a_folder_an_empty_file_and_noise(tmp_path):
    _refused(tmp_path / "none.pkl", "no such file")
    _refused(tmp_path, "folder")
    _refused(_write(tmp_path, b""), "empty")
    _refused(_write(tmp_path, b"\x00" * 4096), "known format")
    _refused(_write(tmp_path, b"<html>not found</html>"), "web page")


def test_an_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(ValueError, match="bfloat16"):
        load_generator(tmp_path / "none.pkl", dtype=torch.int8)


# ---- pickles ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "arguments"),
    [(os.system, ("true",)), (eval, ("1",)), (open, ("x", "w")), (getattr, (1, "real")), (shutil.rmtree, ("/x",))],
)
def test_a_foreign_global_is_named_and_not_called(tmp_path, function, arguments, monkeypatch):
    data = pickle.dumps({"G_ema": _Attack(function, *arguments)}, 4)
    message = _refused(_write(tmp_path, data), "foreign object")
    assert function.__name__ in message


@pytest.mark.parametrize("module", ["torch", "numpy", "deltafast.files", "torch_utils.persistence"])
def test_no_other_name_of_a_known_module_is_given_out(tmp_path, module):
    _refused(_write(tmp_path, f"\x80\x02c{module}\nload\n.".encode("latin1")), "foreign object", f"{module}.load")


def test_every_truncation_is_refused(tmp_path):
    data = dump({"G_ema": ada_generator(stylegan2_tensors(resolution=8), 8)})
    for size in [2, 3, 10, *range(100, len(data), len(data) // 25), len(data) - 1]:
        _refused(_write(tmp_path, data[:size]))


def test_damage_anywhere_is_refused_or_harmless(tmp_path):
    data = dump({"G_ema": ada_generator(stylegan2_tensors(resolution=8, layers=1), 8)})
    g = np.random.default_rng(0)
    refusals = []
    for _ in range(25):
        damaged = bytearray(data)
        for position in g.integers(2, len(data), 4):
            damaged[position] = g.integers(256)
        try:
            load_generator(_write(tmp_path, bytes(damaged)))
        except CheckpointError as error:
            refusals.append(str(error))
    assert refusals
    assert not any("\n" in refusal for refusal in refusals)


@pytest.mark.parametrize(
    "tail",
    [
        b"B\xff\xff\xff\x7f.",  # bytes of 2 GB that are not there
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x00.",  # bytes of 72 PB
        b"\x96\xff\xff\xff\xff\xff\xff\xff\x00.",  # a bytearray, allocated before it is read
        b"\x8d\xff\xff\xff\xff\xff\xff\x00\x00.",  # text
        b"\x95\xff\xff\xff\xff\xff\xff\xff\x00.",  # a frame
        b"Nr\xff\xff\xff\x7f0N.",  # a memo of 2 billion entries
        b"\x8b\xff\xff\xff\x7f.",  # an integer of 2 GB
    ],
)
def test_huge_claims_allocate_nothing(tmp_path, tail):
    _refused(_write(tmp_path, b"\x80\x05" + tail))


def test_what_reads_the_file_cannot_be_changed_by_it(tmp_path):
    for state in (b"}", b"N}\x8c\x05_callNs\x86"):
        data = b"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x93" + state + b"b."
        _refused(_write(tmp_path, data))
    assert _unpickled(_write(tmp_path, pickle.dumps(collections.OrderedDict(a=1), 4))) == {"a": 1}


def test_objects_with_keys_that_take_for_ever_to_hash_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="tuple"):
        _unpickled(_write(tmp_path, b"\x80\x02}(N)t" + b"Ns."))


def _tensor_pickle(size, stride, offset=0, values=4):
    return pickle.dumps(_Attack(torch._utils._rebuild_tensor_v2, _Storage(values), offset, size, stride, False, {}), 4)


class _Storage:
    def __init__(self, values):
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # typed storages are what those pickles hold
            torch.save(torch.zeros(values).storage(), buffer, _use_new_zipfile_serialization=False)
        self._data = buffer.getvalue()

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self._data,)


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((10**6,), (1,), 0),
        ((2, 3), (3, 1), 0),
        ((4,), (1,), 1),
        ((10**9, 10**9), (0, 0), 0),
        ((-1,), (1,), 0),
        ((2,), (10**12,), 0),
        ((2, 2), (2,), 0),
        (("4",), (1,), 0),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, size, stride, offset):
    good = _unpickled(_write(tmp_path, _tensor_pickle((2, 2), (2, 1))))
    assert torch.equal(good, torch.zeros(2, 2))
    with pytest.raises(CheckpointError, match=r"shape|larger|hostile|claims"):
        _unpickled(_write(tmp_path, _tensor_pickle(size, stride, offset)))


def test_foreign_objects_inside_a_storage_are_refused(tmp_path):
    buffer = io.BytesIO()
    torch.save(_Attack(os.system, "true"), buffer)
    _refused(
        _write(tmp_path, pickle.dumps({"G_ema": _Attack(torch.storage._load_from_bytes, buffer.getvalue())}, 4)),
        "foreign object",
    )


def test_numpy_arrays_of_objects_are_refused(tmp_path):
    _refused(_write(tmp_path, pickle.dumps({"G_ema": np.array([{}, None], dtype=object)}, 4)), "no StyleGAN2 generator")


def test_a_module_that_contains_itself_ends(tmp_path):
    record = b"\x80\x04" + b"\x8c\x17torch_utils.persistence\x8c\x1b_reconstruct_persistent_obj\x93"
    record += b"(\x8c\x04type\x8c\x05class\x8c\x0aclass_name\x8c\x01G\x8c\x05state}d\x85R\x94"
    loop = b"(\x8c\x08_modules(\x8c\x01ah\x00ddb."  # its state: {"_modules": {"a": itself}}
    _refused(_write(tmp_path, record + loop), "contain themselves")


def test_records_are_plain_data(tmp_path):
    read = _unpickled(_write(tmp_path, dump(Persistent("Any", source="import os", level=3))))
    assert isinstance(read, Record)
    assert read.class_name == "Any"
    assert read.state["level"] == 3


# ---- zip files --------------------------------------------------------------------------------------------------


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\x80\x02}.")
        archive.writestr("bomb/data/0", bytes(5_000_000))
    assert path.stat().st_size < 100_000
    _refused(path, "zip bomb")


def test_an_archive_whose_entries_overlap_is_refused(tmp_path):
    data = bytearray(_torch_bytes({"g_ema": {}, "latent_avg": torch.zeros(4096)}))
    directory = data.find(b"PK\x01\x02")
    while directory >= 0:  # every entry claims 1 GB
        data[directory + 20 : directory + 28] = struct.pack("<II", 1 << 30, 1 << 30)
        directory = data.find(b"PK\x01\x02", directory + 4)
    _refused(_write(tmp_path, bytes(data), "model.pt"))


def _torch_bytes(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("new_format", [True, False])
def test_a_truncated_pt_file(tmp_path, new_format):
    state = {"style.1.weight": torch.zeros(64, 64)}
    data = _torch_bytes({"g_ema": state}, _use_new_zipfile_serialization=new_format)
    for share in (0.1, 0.5, 0.9, 0.999):
        _refused(_write(tmp_path, data[: int(len(data) * share)], "model.pt"))


@pytest.mark.parametrize("new_format", [True, False])
def test_a_pt_file_with_a_foreign_global(tmp_path, new_format):
    content = {"g_ema": _Attack(os.system, "true")}
    data = _torch_bytes(content, _use_new_zipfile_serialization=new_format)
    _refused(_write(tmp_path, data, "model.pt"), "system")


def test_a_pt_file_without_a_generator(tmp_path):
    _refused(_write(tmp_path, _torch_bytes({"model": {}}), "model.pt"), "no StyleGAN2 generator", "model")
    _refused(_write(tmp_path, _torch_bytes([1, 2]), "model.pt"), "list")


def test_an_expanded_tensor_claims_more_than_the_file_holds(tmp_path):
    state = {"style.1.weight": torch.zeros(1, 1).expand(10**6, 10**6), "style.1.bias": torch.zeros(1)}
    _refused(_write(tmp_path, _torch_bytes({"g_ema": state}), "model.pt"), "claims")


def test_a_foreign_zip_file_and_a_false_wheel(tmp_path):
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    _refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("random_face/data/SynthesisNetwork.xml", "<!DOCTYPE x [<!ENTITY a 'a'>]><net/>")
    _refused(path, "sha256")


# ---- contents ---------------------------------------------------------------------------------------------------


def test_stylegan3_is_refused_by_name(tmp_path):
    layers = {"input": Persistent("SynthesisInput", buffers={"freqs": torch.zeros(2, 2)})}
    networks = {
        "synthesis": Persistent("SynthesisNetwork", modules=layers, img_resolution=256),
        "mapping": Persistent("MappingNetwork", buffers={"w_avg": torch.zeros(4)}),
    }
    _refused(_write(tmp_path, dump({"G_ema": Persistent("Generator", modules=networks)})), "StyleGAN3")


def test_other_architectures_are_refused_by_name(tmp_path):
    def edited(architecture, blocks):
        def edit(name, attributes):
            if name in blocks:
                attributes["architecture"] = architecture

        return _write(tmp_path, dump({"G_ema": ada_generator(stylegan2_tensors(), 16, edit=edit)}))

    _refused(edited("resnet", ["synthesis.b8"]), "'resnet', 'skip'", "throughout")
    _refused(edited("dense", ["synthesis.b4", "synthesis.b8", "synthesis.b16"]), "'dense'")
    _refused(edited(["skip"], ["synthesis.b4", "synthesis.b8", "synthesis.b16"]), "a list")
    _refused(_write(tmp_path, dump(("G", "D", "Gs"))), "no StyleGAN2 generator", "tuple")
    _refused(_write(tmp_path, dump({"G_ema": {}})), "no StyleGAN2 generator")


@pytest.mark.parametrize("change", ["missing", "shape", "nan", "inf", "kind"])
@pytest.mark.parametrize("name", ["synthesis.b8.conv0.weight", "synthesis.b16.torgb.bias", "mapping.fc1.bias"])
def test_damaged_weights_are_refused_by_their_name(tmp_path, change, name):
    tensors = stylegan2_tensors()
    generator = ada_generator(tensors, 16)
    state = generator.meta["state"]
    for part in name.split(".")[:-1]:
        state = state["_modules"][part].meta["state"]
    parameters, leaf = state["_parameters"], name.rpartition(".")[2]
    if change == "missing":
        del parameters[leaf]
    elif change == "shape":
        parameters[leaf] = torch.zeros(2, 2, 2)
    elif change == "kind":
        parameters[leaf] = "text"
    else:
        with torch.no_grad():
            parameters[leaf].view(-1)[3 % parameters[leaf].numel()] = float(change)
    words = {"nan": "NaN", "inf": "not finite", "missing": "missing", "kind": "expected a tensor", "shape": "shape"}
    _refused(_write(tmp_path, dump({"G_ema": generator})), name, words[change])


@pytest.mark.parametrize("resolution", [48, 2, 8192, "16", None, True])
def test_an_impossible_resolution_is_refused(tmp_path, resolution):
    def edit(name, attributes):
        if name == "synthesis":
            attributes["img_resolution"] = resolution

    generator = ada_generator(stylegan2_tensors(), 16, edit=edit)
    _refused(_write(tmp_path, dump({"G_ema": generator})), "img_resolution")


# ---- safetensors ------------------------------------------------------------------------------------------------


def _own_file(tmp_path, tensors, **changes):
    path = tmp_path / "own.safetensors"
    config = {"architecture": "mobilestylegan", "img_resolution": 32, **changes.pop("config", {})}
    from deltafast.generators.checkpoints.native import write_native

    write_native(path, tensors, config)
    return path


def test_a_generator_named_after_its_file_can_be_written_and_read(tmp_path):
    own = _own_file(tmp_path, mobilestylegan_tensors())
    data = dump({"G_ema": ada_generator(stylegan2_tensors(), 16)})
    for path in (
        own.rename(tmp_path / "\u202eevil.safetensors"),
        _write(tmp_path, data, "x" * 240 + ".pkl"),
        _write(tmp_path, data, "\udcff.pkl"),
    ):
        generator = load_generator(path)
        assert generator.name.isprintable()
        assert 0 < len(generator.name) <= 200
        GeneratorId.of(generator)


def test_altered_truncated_and_foreign_safetensors(tmp_path):
    path = _own_file(tmp_path, mobilestylegan_tensors())
    load_generator(path)
    data = path.read_bytes()
    for size in (9, 40, len(data) // 2, len(data) - 1):
        _refused(_write(tmp_path, data[:size], "cut.safetensors"))
    _refused(_write(tmp_path, data[:-4] + b"\x00\x00\x80\x3f", "altered.safetensors"), "altered")
    claims = json.dumps({"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    huge = struct.pack("<Q", len(claims)) + claims
    _refused(_write(tmp_path, huge, "huge.safetensors"), "damaged")
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    _refused(tmp_path / "foreign.safetensors", "not of a generator")


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"architecture": "stylegan9"}, "stylegan9"),
        ({"img_resolution": 33}, "img_resolution"),
        ({"img_resolution": 64}, "missing"),
        ({"img_resolution": 8}, "at least 16"),
        ({"name": "a\x1b[2Jb"}, "the generator's name"),
        ({"name": 3}, "the generator's name"),
        ({"w_space": "\u202e"}, "the generator's w_space"),
        ({"version_1_fingerprint": {"0" * 64: "of another"}}, "no table of sha256 digests"),
        ({"version_1_fingerprint": "0" * 64}, "no table of sha256 digests"),
        ({"architecture": "stylegan2"}, "missing"),
    ],
)
def test_a_config_that_does_not_fit_the_weights(tmp_path, config, word):
    _refused(_own_file(tmp_path, mobilestylegan_tensors(), config=config), word)


@pytest.mark.parametrize("build", [stylegan2_tensors, mobilestylegan_tensors])
def test_every_weight_is_needed_and_checked(tmp_path, build):
    tensors = build()
    architecture = build.__name__.removesuffix("_tensors")
    config = {"architecture": architecture, "img_resolution": 16 if architecture == "stylegan2" else 32}
    load_generator(_own_file(tmp_path, tensors, config=config))
    for name, tensor in tensors.items():
        rest = {key: value for key, value in tensors.items() if key != name}
        if name not in ("mapping.fc1.weight",):  # without it the mapping network ends earlier; its bias is then extra
            _refused(_own_file(tmp_path, rest, config=config), name.rpartition(".")[0].split(".")[0])
        wrong = {**rest, name: torch.zeros(*tensor.shape, 2)}
        _refused(_own_file(tmp_path, wrong, config=config), name, "shape")
        _refused(_own_file(tmp_path, {**rest, name: tensor * float("nan")}, config=config), name, "NaN")
    _refused(_own_file(tmp_path, {**tensors, "extra": torch.zeros(1)}, config=config), "unexpected weight extra")
