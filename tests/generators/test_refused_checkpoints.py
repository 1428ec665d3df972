"""What is no supported checkpoint says what it is and what to do, in one line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from small_generators import Persistent, dump

from deltafast.errors import CheckpointError
from deltafast.generators.load import load_generator

_INNER = dump({"G_ema": None})


def _refused(path, *words):
    with pytest.raises(CheckpointError) as caught:
        load_generator(path)
    message = str(caught.value)
    assert message.isprintable()
    assert caught.value.reason.strip()
    for word in words:
        assert word in message, message


def _zip(name="network.pkl", data=_INNER):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def _tar(mode):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        entry = tarfile.TarInfo("network.pkl")
        entry.size = len(_INNER)
        archive.addfile(entry, io.BytesIO(_INNER))
    return buffer.getvalue()


def _npz():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html>\n<html><head><title>Sign in</title>", ("web page", "download the file itself")),
        (b"\xef\xbb\xbf\n  <HTML><body>Quota exceeded", ("web page",)),
        (b"<?xml version='1.0'?><html xmlns=''>", ("web page",)),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 5\n", ("Git LFS", "git lfs pull")),
        (gzip.compress(_INNER, mtime=0), ("gzip", "unpack", "gunzip")),
        (lzma.compress(_INNER), ("xz file", "unpack", "unxz")),
        (bz2.compress(_INNER), ("bzip2", "unpack")),
        (_zip(), ("zip archive", "unpack", "network.pkl")),
        (_zip("readme.txt"), ("zip archive", "readme.txt")),
        (_tar("w:"), ("tar archive", "unpack")),
        (_tar("w:gz"), ("gzip", "unpack")),
        (_npz(), ("numpy arrays",)),
        (b'{"error": "not found"}', ("JSON",)),
        (b"Not found\n", ("text file",)),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), ("PNG",)),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), ("HDF5",)),
        (b"<?xml version='1.0'?><net name='x'/>", ("XML",)),
        (bytes(100), ("known format",)),
    ],
)
def test_files_of_other_kinds_are_named(data, words, tmp_path):
    path = tmp_path / "network.pkl"
    path.write_bytes(data)
    _refused(path, str(path), *words)


@pytest.mark.parametrize(
    "url",
    ["https://example.org/stylegan2-ffhq.pkl", "http://x/y.pt", "s3://bucket/key", "gs://bucket/key", "FTP://a/b"],
)
def test_a_web_address_is_told_to_be_downloaded(url):
    _refused(url, url, "web address", "download")


@pytest.mark.parametrize("path", ["no-such.pkl", "~nobody-of-this-name/x.pkl", "a\x00b.pkl", "x" * 5000, "", "a\nb"])
def test_paths_that_lead_nowhere(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_generator(path)
    assert caught.value.reason.strip()


def _networks(mapping, synthesis, kind="Generator"):
    return Persistent(kind, modules={"mapping": mapping, "synthesis": synthesis})


_INPUT = {"input": Persistent("SynthesisInput", buffers={"freqs": torch.zeros(2, 2)})}
_MAPPING = Persistent("MappingNetwork", buffers={"w_avg": torch.zeros(4)})
_XL_MAPPING = Persistent("MappingNetwork", modules={"embed_proj": Persistent("FullyConnectedLayer")})
_SYNTHESIS3 = Persistent("SynthesisNetwork", modules=_INPUT)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"G_ema": _networks(_MAPPING, _SYNTHESIS3)}, "StyleGAN3"),
        ({"synthesis.input.freqs": torch.zeros(2, 2), "mapping.w_avg": torch.zeros(2)}, "StyleGAN3"),
        ({"G_ema": _networks(_XL_MAPPING, _SYNTHESIS3)}, "StyleGAN-XL"),
        ({"G_ema": _networks(_MAPPING, _SYNTHESIS3, "SuperresGenerator")}, "StyleGAN-XL"),
        ({"G_ema.mapping.embed_proj.weight": torch.zeros(2, 2)}, "StyleGAN-XL"),
        ({"pytorch-lightning_version": "2.1.0", "state_dict": {"generator.x": torch.zeros(1)}}, "Lightning"),
        (
            {"GAN": {"S.net.0.weight": torch.zeros(1), "G.initial_block": torch.zeros(1)}, "version": "1.8"},
            "lucidrains",
        ),
        ({"generator": {"mapping.dense0.weight": torch.zeros(1)}, "generator_smooth": {}}, "genforce"),
        ({"synthesis.layer0.weight": torch.zeros(1), "mapping.dense0.weight": torch.zeros(1)}, "genforce"),
        ({"params_ema": {"style_mlp.1.weight": torch.zeros(1)}}, "BasicSR"),
        ({"G_ema": Persistent("TriPlaneGenerator")}, "EG3D"),
    ],
)
def test_networks_that_are_known_and_not_supported_are_named(content, name, tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(dump(content))
    _refused(path, name)
    if not any(isinstance(value, Persistent) for value in content.values()):
        torch.save(content, path)
        _refused(path, name)


def test_what_holds_no_generator_says_what_it_holds(tmp_path):
    for content, words in (
        ({"epoch": 3, "optimizer": {}}, ("epoch", "optimizer")),
        ({}, ("empty",)),
        ([1, 2, 3], ("list",)),
        (None, ("NoneType",)),
        ({"D": Persistent("Discriminator")}, ("D",)),
    ):
        path = tmp_path / "model.pkl"
        path.write_bytes(dump(content))
        _refused(path, "no StyleGAN2 generator", "expected", *words)


def test_a_program_of_torchscript_is_named(tmp_path):
    path = tmp_path / "model.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    _refused(path, "TorchScript", "state_dict")
