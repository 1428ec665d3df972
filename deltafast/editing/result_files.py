"""The files that an edit becomes: one image for each amount, and where asked for the latents beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from deltafast.editing.provenance import Provenance
from deltafast.editing.result import EditResult
from deltafast.files import atomic_write, write_png
from deltafast.pixels import to_arrays

__all__ = ["ResultFiles"]


@dataclass(frozen=True)
class ResultFiles:
    """How results are called: NAME and one of `labels` (`_+1`, `_by+15`), and with `latents` NAME.safetensors.

    `provenance`: what the images of these labels say of themselves.
    """

    labels: list[str]
    provenance: list[Provenance]
    latents: bool = False

    def write_rows(self, folder: Path, names: Sequence[str], edit: EditResult) -> list[list[Path]]:
        """Write the N samples of an edit with a sweep below `folder`, and return the files of each."""
        assert edit.images is not None  # [N, K, C, H, W]
        return [
            self.write(folder, name, to_arrays(images), codes, composite=edit.tuned is not None)
            for name, images, codes in zip(names, edit.images, edit.latents, strict=True)
        ]

    def write_photo(self, folder: Path, name: str, edit: EditResult) -> list[Path]:
        """Write the edit of one photo and return its files: of several faces NAME-0, NAME-1 ..., or the whole photo."""
        if edit.photos is not None:
            profile = None if edit.profiles is None else edit.profiles[0]
            return self.write(folder, name, edit.photos[0], edit.latents.flatten(0, 1), profile, composite=True)
        names = [name] if len(edit) == 1 else [f"{name}-{number}" for number in range(len(edit))]
        return [file for files in self.write_rows(folder, names, edit) for file in files]

    def write(
        self,
        folder: Path,
        name: str,
        images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
        codes: Tensor,
        profile: bytes | None = None,
        *,
        composite: bool = False,
    ) -> list[Path]:
        """Write K images `[K, H, W, C]` and latents below `folder`, atomically, and return the files.

        `composite`: the images are photos of which faces are edited, or carry one.
        """
        files = []
        for label, said, image in zip(self.labels, self.provenance, images, strict=True):
            files.append(folder / f"{name}{label}.png")
            texts = replace(said, composite=composite).as_png_texts()
            write_png(files[-1], image, profile=profile, texts=texts)
        if self.latents:
            files.append(folder / f"{name}.safetensors")
            with atomic_write(files[-1]) as temporary:
                save_file({"ws": codes.contiguous()}, temporary)
        return files
