"""The manifest of a folder of sequences: written last, read back with every claim checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltafast.errors import InvalidInputError
from deltafast.files import read_json, sha256_file, write_json

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
    try:
        manifest = Manifest(
            folder=root,
            size=int(raw["size"]),
            attributes={
                str(name): {"values": [float(v) for v in entry["values"]], "unit": str(entry["unit"])}
                for name, entry in raw["attributes"].items()
            },
            identities={str(entry["name"]): dict(entry["parameters"]) for entry in raw["identities"]},
            frames=tuple(FrameRecord(**entry) for entry in raw["frames"]),
            settings=dict(raw["settings"]),
        )
        _check(manifest, check_files)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(f"{path} is damaged ({type(error).__name__}: {error})") from error
    return manifest


def _check(manifest: Manifest, check_files: bool) -> None:
    """Raise `InvalidInputError` unless every sequence is complete and every picture is what it was."""
    expected = {
        (attribute, identity, index): value
        for attribute, entry in manifest.attributes.items()
        for identity in manifest.identities
        for index, value in enumerate(entry["values"])
    }
    found = {(frame.attribute, frame.identity, frame.index): frame.value for frame in manifest.frames}
    if not expected or found != expected or len(found) != len(manifest.frames):
        raise InvalidInputError("its frames are not exactly those of its attributes and identities; render again")
    root = manifest.folder.resolve()
    for frame in manifest.frames:
        path = manifest.path(frame)
        if root not in path.resolve().parents:
            raise InvalidInputError(f"the frame {frame.file!r} lies outside the folder")
        if not path.is_file():
            raise InvalidInputError(f"the frame {frame.file!r} is missing; run the same `deltafast render` again")
        if check_files and sha256_file(path) != frame.sha256:
            raise InvalidInputError(f"the frame {frame.file!r} has changed since it was rendered")
