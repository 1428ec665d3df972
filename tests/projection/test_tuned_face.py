"""A tuned face's file: small, the same bytes for the same face, of one generator, and refused where it is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mesh_faces import landmarks

from deltafast.errors import InvalidInputError
from deltafast.generators.base import Generator
from deltafast.generators.load import save_generator
from deltafast.projection import TunedFace, is_tuned_file, load_face, tuned_face


@pytest.fixture
def face(tiny_generator: Generator) -> TunedFace:
    random = np.random.default_rng(0)
    ws = tiny_generator.w_avg.expand(1, tiny_generator.num_ws, -1) + 0.1
    return TunedFace.of(tiny_generator, ws, random.integers(0, 255, (64, 64, 3), dtype=np.uint8), "5" * 64)


def test_a_face_is_read_as_it_was_written_and_the_same_face_gives_the_same_bytes(
    face: TunedFace, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        face.save(tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert is_tuned_file(tmp_path / "a.safetensors")
    again = load_face(tmp_path / "a.safetensors")
    assert torch.equal(again.ws, face.ws)
    assert np.array_equal(again.photo, face.photo)
    assert (again.generator, again.source, again.fingerprint) == (face.generator, face.source, face.fingerprint)


def test_the_largest_face_fits_into_twelve_megabytes(
    tiny_generator: Generator, face: TunedFace, tmp_path: Path
) -> None:
    large = TunedFace.of(tiny_generator, face.ws, np.zeros((1500, 1500, 3), np.uint8))
    assert large.photo.shape == (1024, 1024, 3)
    large.save(tmp_path / "large.safetensors")
    assert (tmp_path / "large.safetensors").stat().st_size < 12_000_000


def test_a_generator_with_a_face_is_another_of_the_same_w_space(
    face: TunedFace, tiny_generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned_face, "load_face_landmarks", landmarks)
    tuned = face.tuned(tiny_generator)
    other = TunedFace.of(tiny_generator, face.ws, 255 - face.photo)
    assert len({tuned.fingerprint, other.fingerprint, tiny_generator.fingerprint}) == 3
    assert tuned.w_space == tiny_generator.w_space
    shown = tuned.synthesis(face.ws)
    torch.testing.assert_close(shown, torch.from_numpy(face.photo).permute(2, 0, 1)[None] / 127.5 - 1, atol=0.1, rtol=0)
    with pytest.raises(InvalidInputError, match=r"TunedFace\.save"):
        save_generator(tuned, tmp_path / "tuned.safetensors")
    with pytest.raises(InvalidInputError, match="load the one that it was made with"):
        face.tuned(tuned)


def test_what_is_no_face_is_refused_by_name(face: TunedFace, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    save_file({"ws": face.ws}, path)
    assert not is_tuned_file(path)
    with pytest.raises(InvalidInputError, match="no tuned face"):
        load_face(path)
    face.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load_face(path)
    with pytest.raises(InvalidInputError, match="32 to 1024"):
        TunedFace(face.ws, face.photo[:16, :16], face.generator)
    with pytest.raises(InvalidInputError, match="finite"):
        TunedFace(face.ws * float("nan"), face.photo, face.generator)
