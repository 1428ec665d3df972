"""Every reader of files that nobody vouches for: sizes, numbers, nesting and names are checked, and one type is raised.

The kinds are tried on every reader to which they apply; `../shared/cases` holds files that once broke one.
"""

from __future__ import annotations

import io
import json
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from deltafast.delta import DeltaConfig, Editor, EditorInfo, load_editor
from deltafast.editing.latent_files import read_latent_file
from deltafast.errors import DeltafastError, EditorError, EncoderError, InvalidInputError, ResumeError
from deltafast.files import read_json
from deltafast.projection.encoder import load_encoder
from deltafast.runs import load_state
from deltafast.sequence_latents import GeneratorId, SequenceLatents, load_latents

_READERS: dict[str, tuple[Callable[[Path], Any], type[DeltafastError], str]] = {
    "latents .pt": (read_latent_file, InvalidInputError, "x.pt"),
    "latents .npy": (read_latent_file, InvalidInputError, "x.npy"),
    "latents .npz": (read_latent_file, InvalidInputError, "x.npz"),
    "latents .safetensors": (read_latent_file, InvalidInputError, "x.safetensors"),
    "sequences": (load_latents, InvalidInputError, "x.safetensors"),
    "editor": (load_editor, EditorError, "x.safetensors"),
    "encoder": (load_encoder, EncoderError, "x.safetensors"),
    "state of a run": (lambda path: load_state(path, {}), ResumeError, "x.state"),
    "JSON": (read_json, InvalidInputError, "x.json"),
}
_GENERATOR = GeneratorId("g", "f" * 64, "w")


def _refused(reader: str, path: Path, *words: str) -> str:
    """The reader refuses the file by its own error type, in one printable line that names the file."""
    read, kind, _ = _READERS[reader]
    with pytest.raises(kind) as caught:
        read(path)
    message = str(caught.value)
    assert type(caught.value) is kind
    assert path.name in message
    assert message.isprintable()
    assert len(message) < 1000
    for word in words:
        assert word in message, message
    return message


def _editor_file(path: Path, **changes: Any) -> Path:
    """An editor of a few weights, with other facts in its metadata."""
    config = DeltaConfig(dim=2, width=3)
    info = EditorInfo("yaw", (-1.0, 0.0, 1.0), 4, 5, (0, 2), _GENERATOR, config)
    Editor(info).save(path)
    head = json.loads(_metadata(path)["deltafast"])
    head["info"] |= changes
    save_file(load_file(path), path, {"deltafast": json.dumps(head)})
    return path


def _metadata(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    found: dict[str, str] = header["__metadata__"]
    return found


def _sequences_file(path: Path, **changes: Any) -> Path:
    tensors = {("yaw", name): torch.randn(2, 3, 4) for name in "ab"}
    SequenceLatents({"yaw": [0.0, 1.0]}, ["a", "b"], tensors, _GENERATOR).save(path)
    head = json.loads(_metadata(path)["deltafast"]) | changes
    save_file(load_file(path), path, {"deltafast": json.dumps(head)})
    return path


def test_what_the_changed_files_are_made_of_is_read(tmp_path: Path) -> None:
    assert load_editor(_editor_file(tmp_path / "e.safetensors")).attribute == "yaw"
    assert load_latents(_sequences_file(tmp_path / "s.safetensors")).identities == ["a", "b"]


# ---- whatever a reader raises is caught in one place -----------------------------------------------------------------


@pytest.mark.parametrize("reader", _READERS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\x80",
        b"\x80\x02.",
        b"PK\x03\x04",
        b"PK\x05\x06" + bytes(18),
        b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((((",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
        b"\xff\xff\xff\xff\xff\xff\xff\x7f{}",
        b"\x02\x00\x00\x00\x00\x00\x00\x00{}",
        b"{" * 10_000,
        b"\x00" * 4096,
        b"<html><body>404</body></html>",
        b"\x1f\x8b\x08\x00" + bytes(100),
        bytes(range(256)) * 8,
    ],
)
def test_junk_is_refused_by_the_readers_own_error(reader: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / _READERS[reader][2]
    path.write_bytes(data)
    _refused(reader, path)


@pytest.mark.parametrize("reader", [name for name in _READERS if name != "state of a run"])
def test_a_missing_file_and_a_folder_are_refused_by_the_readers_own_error(reader: str, tmp_path: Path) -> None:
    path = tmp_path / _READERS[reader][2]
    _refused(reader, path)
    path.mkdir()
    _refused(reader, path)


@pytest.mark.parametrize("suffix", [".pt", ".npy", ".npz", ".safetensors"])
def test_every_truncation_of_latents_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    ws = torch.randn(2, 3, 4)
    if suffix == ".pt":
        torch.save({"ws": ws}, path)
    elif suffix == ".npy":
        np.save(path, ws.numpy())
    elif suffix == ".npz":
        np.savez_compressed(path, ws=ws.numpy())
    else:
        save_file({"ws": ws}, path)
    assert torch.equal(read_latent_file(path), ws)
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:size])
        _refused(f"latents {suffix}", path)


def test_files_that_once_broke_a_reader(shared_dir: Path) -> None:
    cases = shared_dir / "cases"
    if not cases.is_dir():
        pytest.skip("no folder of cases beside the reference checkpoints")
    seen = 0
    for path in sorted(cases.iterdir()):
        for reader, (_, _, name) in _READERS.items():
            if path.suffix == Path(name).suffix and path.stem != "README":
                _refused(reader, path)
                seen += 1
    assert seen > 10


# ---- sizes are bounded before anything is allocated ------------------------------------------------------------------


def _npy_header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _nothing_is_allocated(reader: str, path: Path, *words: str) -> None:
    tracemalloc.start()
    try:
        _refused(reader, path, *words)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 20, 1 << 20, 512), (0, 1 << 62, 1 << 62), (1 << 62, 1 << 62)])
def test_an_array_that_claims_more_than_its_file_holds(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(_npy_header(shape) + bytes(64))
    _nothing_is_allocated("latents .npy", path)


def test_an_archive_that_unpacks_to_a_thousand_times_its_size(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("ws.npy", "w") as entry:
        entry.write(_npy_header((300, 1 << 18)))
        for _ in range(300):
            entry.write(bytes(1 << 20))
    assert path.stat().st_size < 1_000_000
    _nothing_is_allocated("latents .npz", path, "bomb")


def test_a_tensor_expanded_to_many_times_its_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(torch.zeros(1, 1, 1).expand(1 << 20, 16, 512), path)
    assert path.stat().st_size < 2000
    _nothing_is_allocated("latents .pt", path, "claims")


def test_a_w_code_expanded_over_its_slots_is_ordinary(tmp_path: Path) -> None:
    path, w = tmp_path / "x.pt", torch.randn(40, 1, 16)
    torch.save(w.expand(-1, 18, -1), path)
    assert torch.equal(read_latent_file(path), w.expand(-1, 18, -1))


@pytest.mark.parametrize("name", ["num_ws", "w_dim"])
@pytest.mark.parametrize("value", [10**18, 0, -1, 1.5, "4", None, True])
def test_an_editor_of_impossible_sizes(name: str, value: object, tmp_path: Path) -> None:
    _nothing_is_allocated("editor", _editor_file(tmp_path / "x.safetensors", **{name: value}), name)


def test_an_editor_file_larger_than_editors_are(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"delta": torch.zeros(2_000_000)}, path, _metadata(_editor_file(tmp_path / "e.safetensors")))
    _refused("editor", path, "at most 5000000")


def test_a_file_that_is_cut_short_later_does_not_end_the_process(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"ws": torch.ones(64, 64, 16)}, path)
    ws = read_latent_file(path)
    path.write_bytes(path.read_bytes()[:200])
    assert float(ws.sum()) == ws.numel()


# ---- numbers are finite ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("suffix", [".pt", ".npy", ".npz", ".safetensors"])
def test_latents_that_are_not_finite(suffix: str, value: float, tmp_path: Path) -> None:
    path, ws = tmp_path / f"x{suffix}", torch.zeros(1, 3, 4)
    ws[0, 2, 3] = value
    if suffix == ".pt":
        torch.save(ws, path)
    elif suffix == ".npy":
        np.save(path, ws.numpy())
    elif suffix == ".npz":
        np.savez(path, ws.numpy())
    else:
        save_file({"ws": ws}, path)
    _refused(f"latents {suffix}", path, "NaN or infinity")


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", "[1, {'a': [NaN]}]".replace("'", '"')])
def test_json_that_holds_no_finite_number(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    _refused("JSON", path)


def test_an_editor_whose_facts_are_not_finite(tmp_path: Path) -> None:
    for change in ({"values": [0.0, float("nan")]}, {"values": [0.0, float("inf")]}, {"training": {"x": float("nan")}}):
        _refused("editor", _editor_file(tmp_path / "x.safetensors", **change))
    _refused("editor", _editor_file(tmp_path / "x.safetensors", values=[1.0]), "values")


# ---- nesting is bounded ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [70, 2_000, 100_000])
def test_deep_nesting_is_refused_everywhere(depth: int, tmp_path: Path) -> None:
    deep = "[" * depth + "]" * depth
    path = tmp_path / "x.json"
    path.write_text(deep)
    _refused("JSON", path, "nest")
    for reader in ("editor", "sequences"):
        path = tmp_path / _READERS[reader][2]
        save_file({"x": torch.zeros(1)}, path, {"deltafast": deep})
        _refused(reader, path, "nest")
    for reader in ("latents .pt", "state of a run"):
        path = tmp_path / _READERS[reader][2]
        path.write_bytes(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".")
        _refused(reader, path)


def test_json_that_is_nested_as_ours_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a": [[[[[[1.5, "NaN", null]]]]]]}')
    assert read_json(path) == {"a": [[[[[[1.5, "NaN", None]]]]]]}


# ---- names are printable ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a\x1b[31mb", "a\nb", "a\x00b", "\u202eb", "x" * 1000, "\x7f"])
def test_names_with_control_characters_are_refused_and_not_printed(name: str, tmp_path: Path) -> None:
    _refused("editor", _editor_file(tmp_path / "x.safetensors", attribute=name), "name")
    generator = {"name": name, "fingerprint": "f", "w_space": "w", "slots": []}
    _refused("editor", _editor_file(tmp_path / "x.safetensors", generator=generator), "name")
    _refused("sequences", _sequences_file(tmp_path / "x.safetensors", generator=generator), "name")
    _refused("sequences", _sequences_file(tmp_path / "x.safetensors", attributes={name: [0.0, 1.0]}), "name")
    _refused("sequences", _sequences_file(tmp_path / "x.safetensors", identities=["a", name]), "name")
    if name:
        path = tmp_path / "x.safetensors"
        save_file({name: torch.zeros(1, 3, 4)}, path)
        _refused("latents .safetensors", path, "name")


# ---- nothing is executed ---------------------------------------------------------------------------------------------


class _Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_objects_beside_latents_are_left_alone_and_not_made(protocol: int, tmp_path: Path) -> None:
    path, marker, ws = tmp_path / "x.pt", tmp_path / "executed", torch.randn(1, 3, 4)
    torch.save({"by": _Attack(marker), "ws": ws}, path, pickle_protocol=protocol)
    assert torch.equal(read_latent_file(path), ws)
    torch.save(_Attack(marker), path, pickle_protocol=protocol)
    _refused("latents .pt", path)
    np.save(tmp_path / "x.npy", np.array([_Attack(marker)]), allow_pickle=True)
    _refused("latents .npy", tmp_path / "x.npy", "plain numbers")
    (tmp_path / "x.pt").write_bytes(pickle.dumps(_Attack(marker), protocol))
    _refused("latents .pt", path)
    assert not marker.exists()
