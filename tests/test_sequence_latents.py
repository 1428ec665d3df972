"""The latents file: what is written is read, and what is broken is refused in words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from deltafast.errors import InvalidInputError
from deltafast.sequence_latents import GeneratorId, SequenceLatents, load_latents

VALUES = [-1.0, 0.0, 1.0]


def _latents(names: tuple[str, ...] = ("female", "male", "x", "y", "z")) -> SequenceLatents:
    random = torch.Generator().manual_seed(1)
    tensors = {("yaw", name): torch.randn(3, 4, 8, generator=random) for name in names}
    return SequenceLatents({"yaw": VALUES}, list(names), tensors, GeneratorId("g", "f" * 64, "w", ("b4.conv1",)), "s")


def test_file_round_trip_keeps_everything(tmp_path: Path) -> None:
    latents = _latents()
    latents.save(tmp_path / "latents.safetensors")
    read = load_latents(tmp_path / "latents.safetensors")
    assert torch.equal(read.stack("yaw"), latents.stack("yaw"))
    assert (read.attributes, read.identities, read.generator, read.source) == (
        latents.attributes,
        latents.identities,
        latents.generator,
        latents.source,
    )
    assert (read.num_ws, read.w_dim) == (4, 8)
    assert read.digest("yaw") == latents.digest("yaw")


def test_half_precision_halves_the_file_and_is_read_as_fp32(tmp_path: Path) -> None:
    latents = _latents()
    latents.save(tmp_path / "whole.safetensors")
    latents.save(tmp_path / "half.safetensors", half=True)
    sizes = {name: (tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half")}
    assert sizes["half"] < 0.75 * sizes["whole"]
    read = load_latents(tmp_path / "half.safetensors").stack("yaw")
    assert read.dtype == torch.float32
    assert torch.allclose(read, latents.stack("yaw"), rtol=1e-3, atol=1e-6)


def test_frames_that_share_memory_can_be_saved(tmp_path: Path) -> None:
    neutral = torch.randn(3, 4, 8)
    shared = SequenceLatents(
        {"yaw": VALUES, "light": VALUES},
        ["a", "b"],
        {(t, i): neutral for t in ("yaw", "light") for i in ("a", "b")},
        GeneratorId("g", "f", "w"),
    )
    shared.save(tmp_path / "latents.safetensors")
    assert torch.equal(load_latents(tmp_path / "latents.safetensors").latents["light", "b"], neutral)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.full((3, 4, 8), float("nan")), "NaN"),
        (torch.zeros(2, 4, 8), r"\[2, 4, 8\]"),
        (torch.zeros(3, 4, 9), r"\[3, 4, 9\]"),
        (torch.zeros(3, 4, 8, dtype=torch.int64), "int64"),
        (None, "missing"),
    ],
)
def test_bad_tensors_are_named(tensor: torch.Tensor | None, words: str) -> None:
    tensors = dict(_latents(("female", "male", "x")).latents)
    if tensor is None:
        del tensors["yaw", "x"]
    else:
        tensors["yaw", "x"] = tensor
    with pytest.raises(InvalidInputError, match=words) as caught:
        SequenceLatents({"yaw": VALUES}, ["female", "male", "x"], tensors, GeneratorId("g", "f", "w"))
    assert "yaw/x" in str(caught.value)


@pytest.mark.parametrize("values", [[0.0], [0.0, 1.0, 1.0], [0.0, 2.0, 1.0]])
def test_values_must_be_monotonic(values: list[float]) -> None:
    tensors = {("yaw", "a"): torch.zeros(len(values), 4, 8)}
    with pytest.raises(InvalidInputError, match="rising or falling"):
        SequenceLatents({"yaw": values}, ["a"], tensors, GeneratorId("g", "f", "w"))


def test_surplus_tensors_are_refused_and_the_callers_own_are_left_alone() -> None:
    tensors = {("yaw", name): torch.zeros(3, 4, 8, dtype=torch.float64) for name in ("a", "b")}
    made = SequenceLatents({"yaw": VALUES}, ["a", "b"], tensors, GeneratorId("g", "f", "w"))
    assert made.latents["yaw", "a"].dtype == torch.float32
    assert tensors["yaw", "a"].dtype == torch.float64
    tensors = {("pitch", "a"): torch.zeros(()), **tensors}
    with pytest.raises(InvalidInputError, match=r"\('pitch', 'a'\) are of none"):
        SequenceLatents({"yaw": VALUES}, ["a", "b"], tensors, GeneratorId("g", "f", "w"))


@pytest.mark.parametrize("bad", ["", "x" * 201, "\u202e", "a\nb", "\udc80"])
def test_names_that_could_not_be_read_again_are_refused_before_they_are_written(bad: str) -> None:
    names: dict[str, str] = {"name": "g", "fingerprint": "f", "w_space": "w"}
    for key in names:
        generator = SimpleNamespace(**{**names, key: bad}, num_ws=4, w_dim=8)
        with pytest.raises(InvalidInputError, match=f"a generator's {key} is"):
            GeneratorId.of(generator)
        with pytest.raises(InvalidInputError, match=f"a generator's {key} is"):
            SequenceLatents({"yaw": VALUES}, ["a"], {}, GeneratorId(**{**names, key: bad}))
    with pytest.raises(InvalidInputError, match="an attribute is"):
        SequenceLatents({bad: VALUES}, ["a"], {}, GeneratorId(**names))
    with pytest.raises(InvalidInputError, match="an identity is"):
        SequenceLatents({"yaw": VALUES}, [bad], {}, GeneratorId(**names))


def test_values_that_no_file_holds_are_refused() -> None:
    tensors = {("yaw", "a"): torch.zeros(2, 4, 8)}
    with pytest.raises(InvalidInputError, match="values"):
        SequenceLatents({"yaw": [0.0, float("inf")]}, ["a"], tensors, GeneratorId("g", "f", "w"))


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "latents.safetensors"
    _latents().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInputError, match=r"latents\.safetensors cannot be read"):
        load_latents(path)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load_latents(tmp_path / "absent.safetensors")
    save_file({"ws": torch.zeros(1)}, path)
    with pytest.raises(InvalidInputError, match="deltafast project"):
        load_latents(path)


def test_another_format_version_is_said(tmp_path: Path) -> None:
    path = tmp_path / "latents.safetensors"
    save_file({"ws": torch.zeros(1)}, path, {"deltafast": json.dumps({"format": "deltafast-latents", "version": 9})})
    with pytest.raises(InvalidInputError, match="version 9"):
        load_latents(path)


def test_split_is_seeded_disjoint_and_keeps_the_papers_heads() -> None:
    latents = _latents()
    training, held_out = latents.split_identities(2, seed=3)
    assert set(training.identities) | set(held_out.identities) == set(latents.identities)
    assert not set(training.identities) & set(held_out.identities)
    assert {"female", "male"} <= set(training.identities)
    assert len(held_out.identities) == 2
    assert latents.split_identities(2, seed=3)[1].identities == held_out.identities
    assert len({tuple(latents.split_identities(2, seed=s)[1].identities) for s in range(10)}) > 1
    with pytest.raises(InvalidInputError, match="hold out 5 of 5"):
        latents.split_identities(5)


def test_unknown_names_list_what_there_is() -> None:
    latents = _latents()
    with pytest.raises(InvalidInputError, match="there are yaw"):
        latents.stack("smile")
    with pytest.raises(InvalidInputError, match="no such identity: nobody"):
        latents.select(["nobody"])
    assert latents.digest("yaw") != replace(latents, identities=["male", "female", "x", "y", "z"]).digest("yaw")
