"""Pictures of one's own as sequences of an attribute, in the form that `deltafast render` gives the synthetic heads."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from deltafast.errors import DeltafastError, InvalidInputError, ResumeError
from deltafast.faces.photos import PhotoReader
from deltafast.files import IMAGE_SUFFIXES, read_json, sha256_file, write_png
from deltafast.inputs import Failures
from deltafast.progress import track
from deltafast.runs import Run, file_identity
from deltafast.sequence_manifest import MANIFEST_NAME, FrameRecord, Manifest

__all__ = ["sequences_of_pictures"]

_SIZE = 256  # pixels, as those of rendered frames
_ORDER = {"before": 0, "without": 0, "neutral": 0, "after": 1, "with": 1}  # how the two of a pair may be called


def sequences_of_pictures(
    pictures: str | os.PathLike[str],
    out: str | os.PathLike[str],
    attribute: str,
    *,
    values: Sequence[float] | None = None,
    align: bool | Literal["auto"] = "auto",
) -> list[str]:
    """Align the pictures of two or more identities into `out`, with a `manifest.json`, and return the identities.

    `pictures` is a folder with one folder for each identity, whose pictures, in the order of their names (2 before 10),
    go along the attribute; or a folder of pictures called IDENTITY-0, IDENTITY-1 ..., or in pairs IDENTITY-before and
    IDENTITY-after (or -without and -with); or two folders, before and after (or without and with), that hold the same
    identities under the same names. Every identity has as many pictures as the others. `values` are the attribute's at
    each of them, strictly rising or falling, 0 being the neutral face; from 0 to 1 in equal steps unless given.
    `project_sequences` and `train_editor` take it from there; repeated, the call goes on where it was.

    Raises `InvalidInputError` where the pictures are no such sequences, `DeltafastError` that names those that cannot
    be read or show no face: a sequence needs all of its frames; `ResumeError` where `out` holds the sequences of
    another attribute, or of rendered heads, whose manifest would be overwritten.
    """
    pictures, out = Path(pictures), Path(out)
    found = _found(pictures)
    if out.resolve() == pictures.resolve():
        raise InvalidInputError(f"OUT must be another folder than that of the pictures, {out}")
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", attribute):
        raise InvalidInputError(f"an attribute's name has letters, digits, - and _ alone, got {attribute!r}")
    chosen = _values(values, len(next(iter(found.values()))))
    reader = PhotoReader(align, size=_SIZE)
    settings: dict[str, Any] = {"pictures": True, "attribute": attribute, "values": chosen, "align": align}
    _check_out(out, attribute)
    run = Run(out, "sequences", settings)
    jobs = [(name, k, path) for name, paths in found.items() for k, path in enumerate(paths)]
    frames, failures = [], Failures()
    for name, index, path in track(jobs, "aligning pictures"):
        target = out / attribute / name / f"{index:03d}.png"
        with failures.of(str(path)):
            source, key = file_identity(path), f"{attribute}/{name}/{index:03d}"
            if not run.is_finished(key, source):
                write_png(target, reader.read(path).faces[0].pixels)
                run.finish(key, source, [target])
            file, shows = f"{attribute}/{name}/{index:03d}.png", {"picture": path.name}
            frames.append(FrameRecord(file, attribute, name, index, chosen[index], shows, sha256_file(target)))
    if failures:
        told = "; ".join(f"{label}: {reason}" for label, reason in failures.told.items())
        raise DeltafastError(
            f"{len(failures)} of {len(jobs)} pictures cannot be used, and every frame is needed: {told}"
        )
    attributes = {attribute: {"values": chosen, "unit": "share"}}
    Manifest(out, _SIZE, attributes, {name: {} for name in found}, tuple(frames), settings).save()
    return list(found)


def _check_out(out: Path, attribute: str) -> None:
    """Raise `ResumeError` where `out` has a manifest of other sequences, which this one would overwrite."""
    path = out / MANIFEST_NAME
    if not path.is_file():
        return
    found = read_json(path)
    attributes = found.get("attributes") if isinstance(found, dict) else None
    if not isinstance(attributes, dict) or [*attributes] != [attribute] or not (out / "settings.json").is_file():
        raise ResumeError(f"{out} holds other sequences, whose manifest would be overwritten: choose another folder")


def _found(pictures: Path) -> dict[str, list[Path]]:
    """Return each identity's pictures in order."""
    if not pictures.is_dir():
        raise InvalidInputError(f"{pictures} is not a folder")
    groups: dict[str, list[Path]] = {}
    for folder in sorted(path for path in pictures.iterdir() if path.is_dir() and not path.name.startswith(".")):
        frames = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
        if frames:
            groups[folder.name] = sorted(frames, key=lambda path: _place(path.stem))
    if groups and all(name.lower() in _ORDER for name in groups):
        groups = _by_identity(groups)
    if not groups:
        for path in sorted(pictures.iterdir()):
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                identity, _, place = path.stem.replace("_", "-").rpartition("-")
                if not identity or (place.lower() not in _ORDER and not place.isdecimal()):
                    raise InvalidInputError(
                        f"{path} is called neither like IDENTITY-0, IDENTITY-1 nor IDENTITY-before, IDENTITY-after"
                    )
                groups.setdefault(identity, []).append(path)
        groups = {name: sorted(paths, key=lambda path: _place(path.stem)) for name, paths in groups.items()}
    counts = {name: len(paths) for name, paths in groups.items()}
    if len(groups) < 2 or min(counts.values()) < 2 or len(set(counts.values())) != 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
        raise InvalidInputError(
            f"{pictures} must hold at least two identities with equally many pictures, two or more; it holds {told}"
        )
    for name in groups:
        if name.startswith(".") or not all(c.isalnum() or c in "-_ ." for c in name):
            raise InvalidInputError(f"an identity is called by letters, digits, spaces, - and _, got {name!r}")
    return groups


def _by_identity(folders: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """The pictures of folders called before and after (or the like) as each identity's pair."""
    ordered = sorted(folders, key=lambda name: _ORDER[name.lower()])
    if len(ordered) != 2 or _ORDER[ordered[0].lower()] == _ORDER[ordered[1].lower()]:
        raise InvalidInputError(f"two folders are expected, such as before and after; got {', '.join(ordered)}")
    before, after = ({path.stem: path for path in folders[name]} for name in ordered)
    if alone := sorted(before.keys() ^ after.keys()):
        raise InvalidInputError(
            f"{ordered[0]} and {ordered[1]} must hold the same people under the same names; only one has {alone[0]!r}"
        )
    return {name: [before[name], after[name]] for name in sorted(before)}


def _place(stem: str) -> tuple[tuple[int, int, str], ...]:
    """The order of a picture's name: by numbers and words, before ahead of after."""
    parts = re.findall(r"\d+|[^\W\d_]+|[^\w]|_", stem.lower())
    return tuple((0, int(p), "") if p.isdecimal() else (0, _ORDER[p], "") if p in _ORDER else (1, 0, p) for p in parts)


def _values(values: Sequence[float] | None, count: int) -> list[float]:
    if values is None:
        return [k / (count - 1) for k in range(count)]
    chosen = [float(value) for value in values]
    steps = [b - a for a, b in itertools.pairwise(chosen)]
    rising = all(step > 0 for step in steps) or all(step < 0 for step in steps)
    if len(chosen) != count or not all(math.isfinite(value) for value in chosen) or not rising:
        raise InvalidInputError(f"values must be {count} finite numbers, strictly rising or falling, got {chosen}")
    return chosen
