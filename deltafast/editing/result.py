"""What an edit gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.editing.steering import Reached
from deltafast.faces.alignment import Alignment
from deltafast.projection import FitReport, TunedFace

__all__ = ["EditResult", "joined"]

T = TypeVar("T")
_LOST = (
    "{:.0%} of the photo is carried, the rest is the generator's own: no face mesh is seen, or the edit goes too far"
)


@dataclass(frozen=True)
class EditResult:
    """What an edit gave.

    - `images`: `[N, 3, H, W]`, or `[N, K, 3, H, W]` for a sweep; fp32 in about [-1, 1], or uint8. None with
      `synthesise=False`.
    - `latents`: the edited ones, fp32 (float64 where those given are), `[N, num_ws, w_dim]` or
      `[N, K, num_ws, w_dim]`.
    - `sources`: the latents before the edit, `[N, num_ws, w_dim]`: those given, or the projected images.
    - `offsets`: with `raw=True`, D(w, 0) as it is contained in `latents`, summed over the editors; None otherwise.
    - `alignments`: of photos and images, where in its photo each face lies that was edited; None for latents.
    - `photos`: with `paste_back=True`, the upright photos of their own sizes with the edited face (of `face="all"`, all
      of them) in its place, uint8 `[H, W, 3]`, or `[K, H, W, 3]` for a sweep; None otherwise.
    - `photo_index`: of which photo each of the N faces is, 0 being the first that was given; None for latents.
    - `profiles`: with `photos`, the ICC profile of each one's colours, for writing it; None where it has none.
    - `reached`: with `by` or `to`, each attribute's `Reached`: what the image showed before, was asked for and shows
      now. None with `alpha`.
    - `tuned`: with `likeness="tuned"`, and of tuned faces, each one's `TunedFace`: `result.tuned[k].tuned(generator)`
      is the generator whose images of `latents[k]` are `images[k]`. None otherwise.
    - `fits`: with a `likeness` of "refined" or "tuned", how well each latent shows its photo without the photo's own
      pixels (`FitReport`); None otherwise. `warnings` has in words which are poor.
    - `carried`: with `likeness="tuned"` how much of each face's photo its images carry at least: 1 all of it, 0 none,
      where they are the generator's alone. None otherwise.
    """

    images: Tensor | None
    latents: Tensor
    sources: Tensor
    offsets: Tensor | None = None
    alignments: list[Alignment] | None = None
    photos: list[NDArray[np.uint8]] | None = None
    photo_index: list[int] | None = None
    profiles: list[bytes | None] | None = None
    reached: dict[str, Reached] | None = None
    tuned: list[TunedFace] | None = None
    fits: list[FitReport] | None = None
    carried: list[float] | None = None

    @property
    def warnings(self) -> list[str]:
        """What makes faces poor results, one line each, "face 3: ..."; empty where nothing does."""
        told = [(k, line) for k, fit in enumerate(self.fits or []) for line in fit.warnings()]
        told += [(k, at.doubt) for k, at in enumerate(self.alignments or []) if at.doubt is not None]
        told += [(k, _LOST.format(share)) for k, share in enumerate(self.carried or []) if share < 1]
        return [f"face {k}: {line}" for k, line in sorted(told, key=lambda one: one[0])]

    def __len__(self) -> int:
        return len(self.latents)


def joined(parts: Sequence[EditResult]) -> EditResult:
    """Return the results of one or more runs over consecutive samples as one."""

    def tensors(values: list[Tensor | None]) -> Tensor | None:
        present = [value for value in values if value is not None]
        return torch.cat(present) if present else None

    return EditResult(
        tensors([part.images for part in parts]),
        torch.cat([part.latents for part in parts]),
        torch.cat([part.sources for part in parts]),
        tensors([part.offsets for part in parts]),
        _listed([part.alignments for part in parts]),
        _listed([part.photos for part in parts]),
        _listed([part.photo_index for part in parts]),
        _listed([part.profiles for part in parts]),
        _reached([part.reached for part in parts]),
        _listed([part.tuned for part in parts]),
        _listed([part.fits for part in parts]),
        _listed([part.carried for part in parts]),
    )


def _reached(parts: list[dict[str, Reached] | None]) -> dict[str, Reached] | None:
    present = [part for part in parts if part is not None]
    return {name: Reached.joined([part[name] for part in present]) for name in present[0]} if present else None


def _listed(parts: list[list[T] | None]) -> list[T] | None:
    present = [part for part in parts if part is not None]
    return [one for part in present for one in part] if present else None
