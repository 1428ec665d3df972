"""The baked head: a CC0 mesh with its blend shapes, masks and skin weights, read from one .npz file."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import InvalidInputError
from deltafast.files import sha256_file

__all__ = ["HEAD_PATH", "HEAD_SHA256", "MASKS", "PARTS", "HeadAsset", "load_asset"]

HEAD_PATH = Path(__file__).with_name("head.npz")
HEAD_SHA256 = "91d3c9f4bfadd778bfa52da1d1acb0291e53ac24c4f572a2d223e49b53ff3805"

PARTS = ("skin", "left-eye", "right-eye", "upper-teeth", "lower-teeth", "tongue", "lower-lashes", "upper-lashes")
"""Names of the mesh's parts; a face's number is its place here. Left is the head's own left (the viewer's right)."""

MASKS = ("lips", "ears", "eyelids", "inside-mouth")
"""Names of the painted masks, in the order of `HeadAsset.masks`."""

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HeadAsset:
    """A neutral head and everything that moves it; lengths are decimetres, y is up, z points out of the face."""

    vertices: Float  # [V, 3] template positions
    faces: NDArray[np.int64]  # [F, 4] quads, counter-clockwise seen from outside
    face_uv: Float  # [F, 4, 2] texture coordinates in 0..1, v upwards
    face_part: NDArray[np.int64]  # [F] index into PARTS
    shapes: NDArray[np.float32]  # [K, V, 3] displacements at full strength
    shape_names: tuple[str, ...]  # K names: macro/..., local/..., unit/...
    neck_weight: Float  # [V] share of the head's rotation that a vertex follows, 0..1
    neck_pivot: NDArray[np.int64]  # [P] vertices whose mean is the point about which the head turns
    masks: NDArray[np.uint8]  # [len(MASKS), R, R]
    occlusion: NDArray[np.float32]  # [V'] ambient visibility of the refined template's vertices, 0..1


def load_asset(path: str | os.PathLike[str] | None = None) -> HeadAsset:
    """Read a head baked by `python -m deltafast.synthetic.bake`; without `path` the one in the package.

    Raises `InvalidInputError` naming the file when it is missing, damaged, or holds arrays of other shapes or
    values than a head has. Nothing in the file is ever unpickled. The packaged file's sha256 is checked too.
    """
    file = HEAD_PATH if path is None else Path(path)
    try:
        if path is None and sha256_file(file) != HEAD_SHA256:
            raise _damaged(file, "its sha256 is not the one of this release; install the package again")
        with np.load(file, allow_pickle=False) as archive:
            data = {name: archive[name] for name in archive.files}
    except InvalidInputError:
        raise
    except FileNotFoundError as error:
        raise _damaged(file, "no such file") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(file, f"cannot be read ({error})") from error
    return _checked(file, data)


def _damaged(file: Path, reason: str) -> InvalidInputError:
    return InvalidInputError(f"head asset {file}: {reason}")


def _checked(file: Path, data: dict[str, NDArray[Any]]) -> HeadAsset:
    """Convert the arrays of a file to a HeadAsset after checking shape, kind, range and finiteness of each."""

    def take(name: str, kind: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
        if name not in data:
            raise _damaged(file, f"lacks the array {name!r}")
        array = data[name]
        fits = array.ndim == len(shape) and all(
            want in (None, got) for want, got in zip(shape, array.shape, strict=False)
        )
        if array.dtype.kind != kind or not fits or array.size == 0:
            raise _damaged(file, f"{name!r} is {array.dtype} {array.shape}, expected kind {kind!r} and {shape}")
        if kind == "f" and not np.isfinite(array).all():
            raise _damaged(file, f"{name!r} holds values that are not finite")
        return array

    vertices = take("vertices", "f", (None, 3)).astype(np.float64)
    count = len(vertices)
    faces = take("faces", "i", (None, 4)).astype(np.int64)
    part = take("face_part", "i", (len(faces),)).astype(np.int64)
    pivot = take("neck_pivot", "i", (None,)).astype(np.int64)
    names = tuple(str(name) for name in take("shape_names", "U", (None,)))
    for name, array, end in (("faces", faces, count), ("neck_pivot", pivot, count), ("face_part", part, len(PARTS))):
        if array.min() < 0 or array.max() >= end:
            raise _damaged(file, f"{name!r} holds indices outside 0..{end - 1}")
    masks = take("masks", "u", (len(MASKS), None, None))
    if masks.dtype != np.uint8 or masks.shape[1] != masks.shape[2]:
        raise _damaged(file, f"'masks' is {masks.dtype} {masks.shape}, expected square uint8 images")
    return HeadAsset(
        vertices=vertices,
        faces=faces,
        face_uv=take("face_uv", "f", (len(faces), 4, 2)).astype(np.float64),
        face_part=part,
        shapes=take("shapes", "f", (len(names), count, 3)).astype(np.float32),
        shape_names=names,
        neck_weight=take("neck_weight", "f", (count,)).astype(np.float64),
        neck_pivot=pivot,
        masks=masks,
        occlusion=take("occlusion", "f", (None,)).astype(np.float32),
    )
