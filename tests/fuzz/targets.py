"""Every reader of files that nobody vouches for, each with small valid files that mutations start from."""

from __future__ import annotations

import collections
import io
import json
import pickle
import tarfile
import types
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from small_generators import ada_generator, dump, mobilestylegan_tensors, rosinality_state, stylegan2_tensors
from small_tensorflow import tensorflow_pickle

from deltafast.delta import DeltaConfig, Editor, EditorInfo, load_editor
from deltafast.editing.latent_files import read_latent_file
from deltafast.errors import CheckpointError, DeltafastError, EditorError, EncoderError, InvalidInputError, ResumeError
from deltafast.files import read_json
from deltafast.generators.build import build_generator
from deltafast.generators.load import load_generator, save_generator
from deltafast.projection import TunedFace, load_face
from deltafast.projection.encoder import load_encoder
from deltafast.runs import load_state, save_state
from deltafast.sequence_latents import GeneratorId, SequenceLatents, load_latents
from deltafast.untrusted.tar_file import tar_members

__all__ = ["TARGETS", "Target"]


@dataclass(frozen=True)
class Target:
    """A reader: the one type of error it may raise, the name of its files, how often it is tried, and its seeds."""

    name: str
    read: Callable[[Path], Any]
    error: type[DeltafastError]
    suffix: str
    weight: int
    seeds: Callable[[Path], list[bytes]]


def _torch(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def _latents_pt(_: Path) -> list[bytes]:
    ws = torch.linspace(-1, 1, 12).reshape(1, 3, 4)
    return [
        _torch(ws),
        _torch({"ws": ws, "note": "x", "sizes": torch.Size([1, 3])}),
        _torch({"w": ws[:, 0], "path": Path("a/b"), "n": np.float32(3), "a": np.arange(3.0)}, pickle_protocol=4),
        _torch(ws.half().expand(2, 3, 4), _use_new_zipfile_serialization=False),
        _torch([ws], pickle_protocol=5),
        pickle.dumps({"ws": [1.0, {"a": (2, None)}]}, 2),
    ]


def _arrays(save_with: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    save_with(buffer)
    return buffer.getvalue()


def _latents_npy(_: Path) -> list[bytes]:
    ws = np.linspace(-1, 1, 12).reshape(1, 3, 4)
    kinds = [ws.astype(kind) for kind in ("<f4", ">f8", "<f2")]
    found = [_arrays(lambda f, a=array: np.save(f, a)) for array in kinds]
    found.append(_arrays(lambda f: np.lib.format.write_array(f, kinds[0], version=(2, 0))))
    found.append(_arrays(lambda f: np.save(f, np.asfortranarray(kinds[0]))))
    return found


def _latents_npz(_: Path) -> list[bytes]:
    ws = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 4)
    return [
        _arrays(lambda f: np.savez(f, ws=ws)),
        _arrays(lambda f: np.savez_compressed(f, w=ws, other=ws)),
    ]


def _latents_safetensors(_: Path) -> list[bytes]:
    ws = torch.linspace(-1, 1, 12).reshape(1, 3, 4)
    return [save({"ws": ws}), save({"w": ws.half(), "x": ws}, {"a": "b"})]


_SETTINGS = {"a": [1, 2.5, None]}
_GENERATOR = GeneratorId("g", "f" * 64, "w", ("b4.conv1", "b8.conv0"))


def _sequences(folder: Path) -> list[bytes]:
    path = folder / "sequences.safetensors"
    tensors = {("yaw", name): torch.ones(2, 2, 3) for name in "ab"}
    SequenceLatents({"yaw": [0.0, 1.0]}, ["a", "b"], tensors, _GENERATOR).save(path)
    return [path.read_bytes()]


def _faces(folder: Path) -> list[bytes]:
    path = folder / "face.safetensors"
    TunedFace(torch.ones(1, 2, 3), np.full((32, 32, 3), 7, np.uint8), _GENERATOR, "5" * 64).save(path)
    return [path.read_bytes()]


def _editors(folder: Path) -> list[bytes]:
    path = folder / "editor.safetensors"
    Editor(EditorInfo("yaw", (-1.0, 0.0, 1.0), 2, 3, (0,), _GENERATOR, DeltaConfig(dim=1, width=2))).save(path)
    return [path.read_bytes()]


def _encoders(_: Path) -> list[bytes]:
    """Only the metadata is right: a whole encoder has millions of weights."""
    config = {"resolution": 32, "num_ws": 2, "w_dim": 3, "groups": [[0, 1], [1, 2]], "hidden": 2}
    head = {"format": "deltafast-encoder", "version": "1", "config": json.dumps(config)}
    return [save({"w_avg": torch.zeros(3)}, {**head, "w_space": "w", "generator": "g"})]


def _states(folder: Path) -> list[bytes]:
    path = folder / "run.state"
    save_state(path, {"weights": torch.ones(4), "step": 3, "rows": [{"a": torch.ones(2).half()}]}, _SETTINGS)
    return [path.read_bytes()]


def _texts(_: Path) -> list[bytes]:
    values = ({"a": [1, 2.5, "x", None, True], "b": {"c": {}}}, [[[1]], {"x": "\u00fc"}], 1e300)
    return [json.dumps(value, indent=indent).encode() for value in values for indent in (None, 1)]


def _archives(_: Path) -> list[bytes]:
    found = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            for name in ("a.png", "b/" + 110 * "c" if form != tarfile.USTAR_FORMAT else "c.pt"):
                info = tarfile.TarInfo(name)
                info.size = 5
                archive.addfile(info, io.BytesIO(b"12345"))
        found.append(buffer.getvalue())
    return found


def _own_generators(folder: Path) -> list[bytes]:
    found = []
    for tensors, config in (
        (
            stylegan2_tensors(resolution=8, width=2, w_dim=3, z_dim=3),
            {"architecture": "stylegan2", "img_resolution": 8},
        ),
        (mobilestylegan_tensors(resolution=16, w_dim=3), {"architecture": "mobilestylegan", "img_resolution": 16}),
    ):
        path = folder / "own.safetensors"
        save_generator(build_generator(tensors, config, "seed"), path)
        found.append(path.read_bytes())
    return found


def _pickles(_: Path) -> list[bytes]:
    tensors = stylegan2_tensors(resolution=8, width=1, w_dim=2, z_dim=2, layers=1)
    generator = ada_generator(tensors, 8)
    small = {"a": (1, 2.5, None, "x", b"y"), "b": [{"c": {1, 2}}], "d": np.arange(3.0), "e": np.float64(2)}
    small["f"] = collections.OrderedDict(x=Path("p"), y=torch.Size([2]))
    return [
        dump({"G_ema": generator}),
        dump((None, None, generator), 2),
        *(pickle.dumps(small, p) for p in (2, 3, 4, 5)),
    ]


def _torch_files(_: Path) -> list[bytes]:
    state = rosinality_state()
    args = types.SimpleNamespace(size=8)
    return [
        _torch({"g_ema": state, "latent_avg": torch.zeros(2)}),
        _torch({"module." + name: value for name, value in state.items()}, pickle_protocol=4),
        _torch({"state_dict": {f"decoder.{n}": v for n, v in state.items()}, "opts": args, "n": np.float32(1)}),
        _torch(state, _use_new_zipfile_serialization=False),
    ]


def _tensorflow(_: Path) -> list[bytes]:
    tensors = stylegan2_tensors(resolution=8, width=1, w_dim=2, z_dim=2, layers=1)
    return [tensorflow_pickle(tensors, 8, protocol=protocol) for protocol in (2, 4)]


def _wrapped(_: Path) -> list[bytes]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.pkl", b"\x80\x02.")
    texts = (b"<!DOCTYPE html><html>", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", b'{"error": 404}')
    return [buffer.getvalue(), *texts, b"\x1f\x8b\x08\x00" + bytes(20), bytes(257) + b"ustar\x0000" + bytes(200)]


def _read_generator(path: Path) -> None:
    generator = load_generator(path)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in generator.tensors().values())


TARGETS = (
    Target("latents .pt", read_latent_file, InvalidInputError, ".pt", 10, _latents_pt),
    Target("latents .npy", read_latent_file, InvalidInputError, ".npy", 18, _latents_npy),
    Target("latents .npz", read_latent_file, InvalidInputError, ".npz", 10, _latents_npz),
    Target("latents .safetensors", read_latent_file, InvalidInputError, ".safetensors", 14, _latents_safetensors),
    Target("sequence latents", load_latents, InvalidInputError, ".safetensors", 10, _sequences),
    Target("tuned faces", load_face, InvalidInputError, ".safetensors", 6, _faces),
    Target("editors", load_editor, EditorError, ".safetensors", 8, _editors),
    Target("encoders", load_encoder, EncoderError, ".safetensors", 1, _encoders),
    Target("states of runs", lambda path: load_state(path, _SETTINGS), ResumeError, ".state", 8, _states),
    Target("tar archives", lambda path: list(tar_members(path)), InvalidInputError, ".tar", 10, _archives),
    Target("JSON", read_json, InvalidInputError, ".json", 20, _texts),
    Target("generators .safetensors", _read_generator, CheckpointError, ".safetensors", 2, _own_generators),
    Target("generators .pkl", _read_generator, CheckpointError, ".pkl", 2, _pickles),
    Target("generators .pt", _read_generator, CheckpointError, ".pt", 2, _torch_files),
    Target("generators of TensorFlow", _read_generator, CheckpointError, ".pkl", 1, _tensorflow),
    Target("what is no generator", _read_generator, CheckpointError, ".pkl", 4, _wrapped),
)
