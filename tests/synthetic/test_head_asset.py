"""The packaged head is the released one, and a damaged file is refused in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deltafast.errors import InvalidInputError
from deltafast.files import sha256_file
from deltafast.synthetic import HeadModel
from deltafast.synthetic import asset as asset_module
from deltafast.synthetic.asset import HEAD_PATH, HEAD_SHA256, load_asset


def _rewritten(path: Path, **changes: object) -> Path:
    with np.load(HEAD_PATH) as archive:
        data = {name: archive[name] for name in archive.files}
    for name, value in changes.items():
        if value is None:
            del data[name]
        else:
            data[name] = value  # type: ignore[assignment]
    np.savez(path, **data)
    return path


def test_the_packaged_file_is_the_recorded_one() -> None:
    assert sha256_file(HEAD_PATH) == HEAD_SHA256


def test_a_changed_packaged_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "head.npz"
    copy.write_bytes(HEAD_PATH.read_bytes() + b"x")
    monkeypatch.setattr(asset_module, "HEAD_PATH", copy)
    with pytest.raises(InvalidInputError, match=r"head\.npz.*sha256.*install the package again"):
        load_asset()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"gone\.npz: no such file"):
        load_asset(tmp_path / "gone.npz")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    raw = HEAD_PATH.read_bytes()
    (tmp_path / "cut.npz").write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(InvalidInputError, match=r"cut\.npz"):
        load_asset(tmp_path / "cut.npz")


def test_flipped_bytes_are_refused(tmp_path: Path) -> None:
    raw = bytearray(HEAD_PATH.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(bytes(raw))
    with pytest.raises(InvalidInputError, match=r"flipped\.npz"):
        load_asset(tmp_path / "flipped.npz")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vertices": None}, "lacks the array 'vertices'"),
        ({"vertices": np.full((5, 3), np.nan, np.float32)}, "not finite"),
        ({"vertices": np.zeros((5, 2), np.float32)}, "'vertices' is float32"),
        ({"faces": np.full((5, 4), 30000, np.int16)}, "'face_part'|indices outside"),
        ({"neck_pivot": np.array([-1], np.int16)}, "'neck_pivot' holds indices outside"),
        ({"shapes": np.zeros((1, 2, 3), np.float16)}, "'shapes' is float16"),
        ({"masks": np.zeros((4, 8, 9), np.uint8)}, "expected square uint8"),
        ({"shape_names": np.array([{"a": 1}], dtype=object)}, "cannot be read"),
    ],
)
def test_arrays_of_another_shape_or_value_are_refused(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        load_asset(_rewritten(tmp_path / "other.npz", **changes))


def test_a_model_checks_that_occlusion_fits_the_mesh(tmp_path: Path) -> None:
    path = _rewritten(tmp_path / "other.npz", occlusion=np.ones(7, np.float16))
    with pytest.raises(InvalidInputError, match="7 occlusion values"):
        HeadModel(path)
