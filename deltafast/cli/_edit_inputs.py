"""What `deltafast edit` reads, unit by unit: sampled faces, files of latents, photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deltafast.faces.alignment import Alignment, FaceChoice
    from deltafast.generators.base import Generator

__all__ = ["PhotoReader", "Read", "Unit", "file_units", "seed_units"]


@dataclass(frozen=True)
class Read:
    """Some samples for `edit_batch`: `source`, and the name of each.

    Of a photo that gets its faces back, `photo` is uint8 `[H, W, 3]` with its ICC `profile`; the samples are its
    faces, their places are `alignments`, and the one name is the photo's.
    """

    source: Any
    names: list[str]
    photo: NDArray[np.uint8] | None = None
    profile: bytes | None = None
    alignments: list[Alignment] = field(default_factory=list)


@dataclass(frozen=True)
class Unit:
    """What is read at once: one file, or a few seeds; `names` are None where reading alone tells how many it holds."""

    label: str
    names: list[str] | None
    read: Callable[[], Read]


def seed_units(text: str, psi: float, G: Generator, size: int) -> Iterator[Unit]:
    """Yield the faces sampled from seeds, `size` at a time. Raises `InvalidInputError` for what is no list of seeds."""
    from deltafast.delta.slots import parse_ranges
    from deltafast.generators.seeds import latents_from_seeds

    seeds = parse_ranges(text, "seeds", 2**32 - 1)
    for start in range(0, len(seeds), size):
        part = seeds[start : start + size]
        names = [f"seed{seed:04d}" for seed in part]

        def read(part: tuple[int, ...] = part, names: list[str] = names) -> Read:
            return Read(latents_from_seeds(G, part, psi), names)  # [N, num_ws, w_dim]

        yield Unit(f"seeds {part[0]}-{part[-1]}", names, read)


def file_units(source: Path, photos: PhotoReader) -> Iterator[Unit]:
    """Yield the latents and photos of a folder, or the file given; where a folder holds both, the latents.

    Raises `InvalidInputError` where there is nothing of either kind.
    """
    from deltafast.cli._latent_files import LATENT_SUFFIXES
    from deltafast.cli._photo_files import names_of
    from deltafast.errors import InvalidInputError
    from deltafast.files import IMAGE_SUFFIXES

    known = (*LATENT_SUFFIXES, *IMAGE_SUFFIXES)
    if source.is_dir():
        files = sorted(p for p in source.iterdir() if p.suffix.lower() in known and p.is_file())
        # a folder from `deltafast project` has pictures for people beside its latents
        paths = [p for p in files if p.suffix.lower() in LATENT_SUFFIXES] or files
    elif source.is_file() and source.suffix.lower() in known:
        paths = [source]
    else:
        raise InvalidInputError(f"{source} is neither a folder nor a file of latents or images ({', '.join(known)})")
    if not paths:
        raise InvalidInputError(f"{source} holds neither latents nor images ({', '.join(known)})")
    for path, name in names_of(paths).items():
        if path.suffix.lower() in LATENT_SUFFIXES:
            if photos.paste_back:
                raise InvalidInputError(f"--paste-back needs photos; {path} holds latents")
            yield Unit(str(path), None, lambda path=path, name=name: _latents(path, name))  # type: ignore[misc]
        else:
            names = None if photos.faces == "all" and not photos.paste_back else [name]
            yield Unit(str(path), names, lambda path=path, name=name: photos.read(path, name))  # type: ignore[misc]


def _latents(path: Path, name: str) -> Read:
    from deltafast.cli._latent_files import read_latent_file

    ws = read_latent_file(path)
    return Read(ws, [name] if len(ws) == 1 else [f"{name}-{k:04d}" for k in range(len(ws))])


class PhotoReader:
    """Reads photos as aligned faces of `size` pixels, as the options `--align`, `--faces` and `--paste-back` say.

    `align` is "auto", True or False, as in `edit_batch`.
    """

    def __init__(self, align: bool | Literal["auto"], faces: FaceChoice, paste_back: bool, size: int) -> None:
        self.align = align
        self.faces = faces
        self.paste_back = paste_back
        self._size = size

    def read(self, path: Path, name: str) -> Read:
        """Read the chosen faces of one photo. Raises `ImageError` when there are none, or the file cannot be read."""
        from deltafast.cli._photo_files import tell_of_animation
        from deltafast.faces.alignment import Alignment, shared_aligner
        from deltafast.files import colour_profile, read_image

        tell_of_animation(path)
        profile = colour_profile(path) if self.paste_back else None
        photo = read_image(path) if self.paste_back else None
        if self.align is False:
            places = [] if photo is None else [Alignment.of_whole(photo.shape[1], photo.shape[0])]
            return Read([path], [name], photo, profile, places)
        aligner = shared_aligner()
        keep = self.align == "auto"
        if photo is None:
            found = aligner.align_file(path, size=self._size, faces=self.faces, keep_aligned=keep)
            names = [name] if len(found) == 1 else [f"{name}-{number}" for number in range(len(found))]
            return Read([face.image for face in found], names)
        found = aligner.align(photo, size=self._size, faces=self.faces, keep_aligned=keep, name=str(path))
        return Read([face.image for face in found], [name], photo, profile, [face.alignment for face in found])
