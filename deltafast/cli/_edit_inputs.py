"""What `deltafast edit` reads, unit by unit: sampled faces, files of latents, tuned faces, photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from deltafast.generators.base import Generator

__all__ = ["FaceUnit", "LatentsUnit", "PhotoUnit", "file_units", "seed_units"]


@dataclass(frozen=True)
class PhotoUnit:
    """One photo, and the name of its results."""

    path: Path
    name: str

    @property
    def label(self) -> str:
        """How errors call it."""
        return str(self.path)

    def source(self) -> dict[str, Any]:
        """Return what its results are made of, as `Run.finish` takes it."""
        from deltafast.runs import file_identity

        return file_identity(self.path)


@dataclass(frozen=True)
class FaceUnit(PhotoUnit):
    """One file of a tuned face (`deltafast project --likeness tuned`), and the name of its results."""


@dataclass(frozen=True)
class LatentsUnit:
    """Latents that are read at once: a file of them, or those of a few seeds; `source` as that of `PhotoUnit`."""

    label: str
    source: Callable[[], dict[str, Any]]
    read: Callable[[], Tensor]
    names: Callable[[int], list[str]]


def seed_units(text: str, psi: float, class_index: int | None, G: Generator, size: int) -> Iterator[LatentsUnit]:
    """Yield the faces sampled from seeds, `size` at a time. Raises `InvalidInputError` for what is no list of seeds."""
    from deltafast.delta.slots import parse_ranges
    from deltafast.generators.seeds import latents_from_seeds

    seeds = parse_ranges(text, "seeds", 2**32 - 1)
    latents_from_seeds(G, (), psi, class_index=class_index)  # a class that does not fit ends the run before it begins
    for start in range(0, len(seeds), size):
        part = seeds[start : start + size]

        def read(part: tuple[int, ...] = part) -> Tensor:
            return latents_from_seeds(G, part, psi, class_index=class_index)  # [N, num_ws, w_dim]

        def names(_: int, part: tuple[int, ...] = part) -> list[str]:
            return [f"seed{seed:04d}" for seed in part]

        yield LatentsUnit(f"seeds {part[0]}-{part[-1]}", lambda: {"psi": psi, "class": class_index}, read, names)


def file_units(source: Path, out: Path) -> Iterator[PhotoUnit | LatentsUnit]:
    """Yield the latents, tuned faces and photos of a folder, or the file given; where a folder holds both, the latents.

    Raises `InvalidInputError` where there is nothing of either kind.
    """
    from deltafast.editing.latent_files import LATENT_SUFFIXES
    from deltafast.files import IMAGE_SUFFIXES
    from deltafast.inputs import find_inputs
    from deltafast.projection import is_tuned_file

    known = (*LATENT_SUFFIXES, *IMAGE_SUFFIXES)
    # a folder from `deltafast project` has pictures for people beside its latents
    for file in find_inputs(source, out, known, "latents or images", preferred=LATENT_SUFFIXES):
        if is_tuned_file(file.path):
            yield FaceUnit(file.path, file.name)
            continue
        is_latents = file.path.suffix.lower() in LATENT_SUFFIXES
        yield _latents(file.path, file.name) if is_latents else PhotoUnit(file.path, file.name)


def _latents(path: Path, name: str) -> LatentsUnit:
    from deltafast.editing.latent_files import read_latent_file
    from deltafast.runs import file_identity

    def names(count: int) -> list[str]:
        return [name] if count == 1 else [f"{name}-{number:04d}" for number in range(count)]

    return LatentsUnit(str(path), lambda: file_identity(path), lambda: read_latent_file(path), names)
