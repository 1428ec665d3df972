"""The manifest of a folder of sequences, rendered or of one's own pictures: written last, every claim checked.

The one owner of the format: `deltafast render` and `deltafast sequences` write it, `deltafast project` reads it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltafast.errors import InvalidInputError
from deltafast.files import read_json, sha256_file, write_json
from deltafast.untrusted.checks import UnreadableError, check_name, reading, shown

__all__ = ["MANIFEST_NAME", "FrameRecord", "Manifest", "load_manifest"]

MANIFEST_NAME = "manifest.json"
_FORMAT, _VERSION = "deltafast-sequences", 1


@dataclass(frozen=True)
class FrameRecord:
    """One picture: its file relative to the folder, what it shows, and the sha256 of the file."""

    file: str
    attribute: str
    identity: str
    index: int
    value: float
    parameters: dict[str, Any]
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """All sequences in a folder.

    `attributes` maps a name to its frame `values` and `unit`, `identities` a name to every parameter of the head,
    `settings` holds what the pictures were made with (size, seed, samples, version).
    """

    folder: Path
    size: int
    attributes: dict[str, dict[str, Any]]
    identities: dict[str, dict[str, Any]]
    frames: tuple[FrameRecord, ...]
    settings: dict[str, Any]

    def sequence(self, attribute: str, identity: str) -> list[FrameRecord]:
        """Return one sequence's frames in order. Raises `InvalidInputError` where the folder has no such one."""
        found = [frame for frame in self.frames if (frame.attribute, frame.identity) == (attribute, identity)]
        if not found:
            raise InvalidInputError(f"{self.folder} has no sequence {attribute!r} of {identity!r}")
        return sorted(found, key=lambda frame: frame.index)

    def path(self, frame: FrameRecord) -> Path:
        """Return where a frame's picture lies."""
        return self.folder / frame.file

    def save(self) -> None:
        """Write the manifest into its folder, atomically. Raises `DiskError` when it cannot be written."""
        write_json(
            self.folder / MANIFEST_NAME,
            {
                "format": _FORMAT,
                "version": _VERSION,
                "size": self.size,
                "settings": self.settings,
                "attributes": self.attributes,
                "identities": [{"name": n, "parameters": p} for n, p in self.identities.items()],
                "frames": [vars(frame) for frame in self.frames],
            },
        )


def load_manifest(folder: str | os.PathLike[str], *, check_files: bool = True) -> Manifest:
    """Read the manifest in `folder`; with `check_files` also compare the sha256 of every picture.

    Raises `InvalidInputError` that names the file when the manifest is missing, damaged, of another format, or
    incomplete, when it points outside the folder, or when a picture is missing or changed.
    """
    root = Path(folder)
    path = root / MANIFEST_NAME
    if not path.is_file():
        raise InvalidInputError(f"{root} has no {MANIFEST_NAME}; render the sequences first (`deltafast render`)")
    raw = read_json(path)
    if not isinstance(raw, dict) or raw.get("format") != _FORMAT:
        raise InvalidInputError(f"{path} is no manifest of sequences (its format is not {_FORMAT!r})")
    if raw.get("version") != _VERSION:
        raise InvalidInputError(f"{path} has version {raw.get('version')!r}; this release reads version {_VERSION}")
    with reading(lambda reason: InvalidInputError(f"{path} is damaged ({reason})")):
        manifest = Manifest(
            folder=root,
            size=int(raw["size"]),
            attributes={
                str(name): {"values": [float(v) for v in entry["values"]], "unit": str(entry["unit"])}
                for name, entry in raw["attributes"].items()
            },
            identities={_identity(entry["name"]): dict(entry["parameters"]) for entry in raw["identities"]},
            frames=tuple(FrameRecord(**entry) for entry in raw["frames"]),
            settings=dict(raw["settings"]),
        )
    _check(manifest, path, check_files)
    return manifest


def _identity(name: object) -> str:
    """An identity's name, by which files are called."""
    found = check_name(name, "an identity's name")
    if found.startswith(".") or not {"/", "\\"}.isdisjoint(found):
        raise UnreadableError(f"an identity is called {shown(found)}")
    return found


def _check(manifest: Manifest, path: Path, check_files: bool) -> None:
    """Raise `InvalidInputError`, which names the file, unless every sequence is complete and every picture there."""
    expected = {
        (attribute, identity, index): value
        for attribute, entry in manifest.attributes.items()
        for identity in manifest.identities
        for index, value in enumerate(entry["values"])
    }
    found = {(frame.attribute, frame.identity, frame.index): frame.value for frame in manifest.frames}
    if not expected or found != expected or len(found) != len(manifest.frames):
        raise InvalidInputError(
            f"{path}: its frames are not exactly those of its attributes and identities; render again"
        )
    root = manifest.folder.resolve()
    for frame in manifest.frames:
        picture = manifest.path(frame)
        if root not in picture.resolve().parents:
            raise InvalidInputError(f"{path}: the frame {frame.file!r} lies outside the folder")
        if not picture.is_file():
            raise InvalidInputError(f"{path}: the frame {frame.file!r} is missing; render it again")
        if check_files and sha256_file(picture) != frame.sha256:
            raise InvalidInputError(f"{path}: the frame {frame.file!r} has changed since it was rendered")
