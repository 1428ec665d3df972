"""Photos become faces: projected, those that cannot be named, and compared with their projections."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from deltafast.errors import InvalidInputError
from deltafast.evaluation.face_sets import face_set_of_photos, projection_figures
from deltafast.evaluation.readings import FaceReader
from deltafast.faces.meter import FaceMeter
from deltafast.files import write_png
from deltafast.generators.base import Generator


@pytest.mark.slow
def test_photos_are_projected_and_measured_beside_their_projections(
    mobilestylegan: Generator, meter: FaceMeter, shared_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(shared_dir / "data" / "portraits" / "female-1.jpg", folder)
    (folder / "torn.png").write_bytes(b"\x89PNG torn")
    faces = face_set_of_photos(mobilestylegan, folder)
    assert faces.labels == ("female-1",)
    assert faces.latents.shape == (1, 16, 512)
    assert list(faces.facts["skipped"]) == ["torn.png"]
    figures = projection_figures(faces, FaceReader(mobilestylegan, meter, tmp_path / "work"), meter)
    assert figures is not None
    assert figures["photos_without_face"] == 0
    assert 0.2 < figures["distance"]["mean"] < 1.0  # a look-alike, not the photo itself
    (folder / "female-1.jpg").unlink()
    with pytest.raises(InvalidInputError, match=r"no picture that can be projected \(torn.png"):
        face_set_of_photos(mobilestylegan, folder)


def test_an_empty_folder_has_no_faces(tiny_generator: Generator, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no pictures"):
        face_set_of_photos(tiny_generator, tmp_path)
    write_png(tmp_path / "nobody.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InvalidInputError, match=r"nobody\.png"):
        face_set_of_photos(tiny_generator, tmp_path)
