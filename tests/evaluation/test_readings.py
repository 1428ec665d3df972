"""Readings are kept, shared between processes, and made anew where they are damaged."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from small_faces import DrawnMeter

from deltafast.errors import InvalidInputError
from deltafast.evaluation.feature_networks import FeatureNetwork
from deltafast.evaluation.readings import FaceReader, to_pixels
from deltafast.faces.meter import Face, FaceMeter
from deltafast.generators.base import Generator
from deltafast.generators.load import save_generator
from deltafast.generators.seeds import latents_from_seeds


def test_everything_is_read_once(drawn_reader: FaceReader, tiny_generator: Generator) -> None:
    latents = latents_from_seeds(tiny_generator, range(3))
    first = drawn_reader.read(latents, features=True)
    assert drawn_reader.synthesised == 3
    assert first.missing == 0
    assert first.landmarks.shape == (3, 68, 2)
    features = drawn_reader.features(latents)
    assert features.shape == (3, 48)
    assert drawn_reader.synthesised == 3  # left by `read`
    again = FaceReader(tiny_generator, DrawnMeter(), drawn_reader.work)  # type: ignore[arg-type]
    second = again.read(latents)
    assert again.synthesised == 0
    np.testing.assert_array_equal(first.descriptors, second.descriptors)
    for name, values in first.measures.items():
        np.testing.assert_array_equal(values, second.measures[name])
    small = drawn_reader.thumbnails(latents, 16)
    assert small.shape == (3, 16, 16, 3)
    assert drawn_reader.synthesised == 6


def test_damaged_files_are_made_anew(
    drawn_reader: FaceReader, tiny_generator: Generator, coarse_network: FeatureNetwork
) -> None:
    latents = latents_from_seeds(tiny_generator, range(1))
    first = drawn_reader.read(latents, features=True)
    drawn_reader.thumbnails(latents, 16)
    files = [p for p in drawn_reader.work.rglob("*") if p.is_file()]
    assert len(files) == 3
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    again = FaceReader(tiny_generator, DrawnMeter(), drawn_reader.work, networks=[coarse_network])  # type: ignore[arg-type]
    second = again.read(latents)
    again.features(latents)
    again.thumbnails(latents, 16)
    assert again.synthesised == 3
    np.testing.assert_array_equal(first.descriptors, second.descriptors)


def test_crafted_files_are_made_anew_and_nothing_in_them_runs(
    drawn_reader: FaceReader, tiny_generator: Generator, coarse_network: FeatureNetwork
) -> None:
    latents = latents_from_seeds(tiny_generator, range(1))
    first = drawn_reader.read(latents, features=True)
    (face,) = drawn_reader.work.rglob("*.npz")
    (features,) = drawn_reader.work.rglob("*.npy")
    with open(features, "wb") as stream:
        np.save(stream, np.array([print], dtype=object), allow_pickle=True)
    claims = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999,), }".ljust(
        118
    )
    for member in (claims, bytes(1 << 27)):  # more than memory holds, and a zip bomb
        with zipfile.ZipFile(face, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("measures", "landmarks", "descriptor"):
                archive.writestr(f"{name}.npy", member)
        reader = FaceReader(tiny_generator, DrawnMeter(), drawn_reader.work, networks=[coarse_network])  # type: ignore[arg-type]
        again = reader.read(latents)
        assert reader.synthesised == 1
        np.testing.assert_array_equal(first.descriptors, again.descriptors)
    assert np.isfinite(reader.features(latents)).all()
    assert reader.synthesised == 2


class Interrupted(DrawnMeter):
    """Is interrupted at the third picture."""

    seen = 0

    def measure(self, image: np.ndarray) -> Face:
        """Measure two, then stop as by Ctrl-C."""
        self.seen += 1
        if self.seen == 3:
            raise KeyboardInterrupt
        return super().measure(image)


def test_an_interrupted_reading_goes_on_where_it_was(tiny_generator: Generator, tmp_path: Path) -> None:
    latents = latents_from_seeds(tiny_generator, range(4))
    with pytest.raises(KeyboardInterrupt):
        FaceReader(tiny_generator, Interrupted(), tmp_path).read(latents)  # type: ignore[arg-type]
    reader = FaceReader(tiny_generator, DrawnMeter(), tmp_path)  # type: ignore[arg-type]
    readings = reader.read(latents)
    assert reader.synthesised == 2
    whole = FaceReader(tiny_generator, DrawnMeter(), tmp_path / "whole").read(latents)  # type: ignore[arg-type]
    np.testing.assert_array_equal(readings.descriptors, whole.descriptors)


def test_features_need_a_network_and_processes_a_source(
    tiny_generator: Generator, tmp_path: Path, coarse_network: FeatureNetwork
) -> None:
    reader = FaceReader(tiny_generator, DrawnMeter(), tmp_path)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="no network for features"):
        reader.features(latents_from_seeds(tiny_generator, range(1)))
    with pytest.raises(InvalidInputError, match="no network sixteen pixels"):
        reader.features(latents_from_seeds(tiny_generator, range(1)), coarse_network)
    with pytest.raises(InvalidInputError, match="name or path"):
        FaceReader(tiny_generator, DrawnMeter(), tmp_path, processes=2)  # type: ignore[arg-type]


@pytest.mark.slow
def test_several_processes_read_what_one_does(tiny_generator: Generator, meter: FaceMeter, tmp_path: Path) -> None:
    save_generator(tiny_generator, tmp_path / "tiny.safetensors")
    latents = latents_from_seeds(tiny_generator, range(4))
    alone = FaceReader(tiny_generator, meter, tmp_path / "one")
    source = str(tmp_path / "tiny.safetensors")
    with FaceReader(tiny_generator, meter, tmp_path / "two", processes=2, source=source) as shared:
        together = shared.read(latents)
        pictures = shared.thumbnails(latents, 64)
        assert shared.synthesised == 8
    np.testing.assert_array_equal(alone.read(latents).descriptors, together.descriptors)  # no faces: NaN all over
    np.testing.assert_array_equal(alone.thumbnails(latents, 64), pictures)


def test_pixels_are_rounded_and_reduced_by_area() -> None:
    images = torch.full((1, 3, 4, 4), -1.0)
    images[..., 2:] = 1.0
    assert to_pixels(images, 4)[0, 0, :, 0].tolist() == [0, 0, 255, 255]
    assert to_pixels(images, 2)[0, 0, :, 0].tolist() == [0, 255]
    assert to_pixels(images, 1)[0, 0, 0].tolist() == [128, 128, 128]
