"""How much of a seam there is where an edited face was put back into its photo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deltafast.errors import InvalidInputError
from deltafast.faces.alignment import Alignment
from deltafast.faces.cutting import cut_square
from deltafast.faces.paste_masks import PasteMask
from deltafast.faces.pasting import mask_of

__all__ = ["SEAM_PIXELS", "Seam", "measure_seam"]

SEAM_PIXELS = 256
"""Pixels of the crop's side at which a seam is looked at."""

_SMOOTH = 1.5  # of these pixels: what is finer is texture, no seam
_RIM = (0.02, 0.98)  # shares of the picture between which the mask's rim lies
_WITHIN = (0.5, 0.98)  # of it, the part that mostly shows the picture: its colours are compared with the photo's


@dataclass(frozen=True)
class Seam:
    """A seam along a mask's rim.

    - `gradient`: by how much the brightness changes more steeply across the rim than in the photo, as a share of how
      steeply the photo's does on average: 0 where nothing is steeper;
    - `colour`: mean CIELAB distance (ΔE, 1976) between the pasted picture and the photo on the inner half of the rim.
    """

    gradient: float
    colour: float


def measure_seam(
    photo: NDArray[np.uint8],
    pasted: NDArray[np.uint8],
    alignment: Alignment,
    *,
    mask: PasteMask = "face",
    feather: float = 0.15,
    person: NDArray[np.floating] | None = None,
) -> Seam:
    """Return the seam of a face that `paste_back` put into `photo` with these arguments.

    `photo` and `pasted`: uint8 `[H, W, 3]` of one size. What an edit moves across the rim counts too, so that a figure
    says something beside another one of the same edit and mask. Raises `InvalidInputError` for pictures of other sizes
    than was aligned, and for a mask without a rim.
    """
    size = (*alignment.photo_size[::-1], 3)
    for name, image in (("photo", photo), ("pasted", pasted)):
        if image.shape != size or image.dtype != np.uint8:
            raise InvalidInputError(f"{name} must be uint8 {list(size)}, got {image.dtype} {list(image.shape)}")
    places = (np.arange(SEAM_PIXELS) + 0.5) / SEAM_PIXELS
    share = mask_of(alignment, mask, feather, person).share(np.stack(np.meshgrid(places, places), axis=-1))
    rim = (share > _RIM[0]) & (share < _RIM[1])
    if not rim.any():
        raise InvalidInputError("the mask has no rim to look at: its feather is 0, or nobody is seen")
    before, after = (_lab(cut_square(image, alignment.quad, SEAM_PIXELS)) for image in (photo, pasted))
    across = _gradient(share)
    normal = across / np.maximum(np.hypot(*across), 1e-9)
    steep = [np.abs((_gradient(picture[..., 0]) * normal).sum(axis=0))[rim] for picture in (before, after)]
    inner = rim & (share > _WITHIN[0])
    apart = np.sqrt(np.square(after - before).sum(axis=-1))
    return Seam(
        float(np.maximum(steep[1] - steep[0], 0).mean() / max(float(steep[0].mean()), 1e-6)),
        float(apart[inner].mean()) if inner.any() else 0.0,
    )


def _gradient(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Changes down and across, `[2, G, G]`."""
    return np.stack([np.gradient(values, axis=0), np.gradient(values, axis=1)])


def _lab(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Colours as CIELAB (white D65), smoothed, `[G, G, 3]`: L 0 to 100."""
    encoded = picture.astype(np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([(0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)])
    xyz = linear @ to_xyz.T / to_xyz.sum(axis=1)  # 1 for white
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    lab = np.stack(
        [116 * root[..., 1] - 16, 500 * (root[..., 0] - root[..., 1]), 200 * (root[..., 1] - root[..., 2])], -1
    )
    return np.asarray(ndimage.gaussian_filter(lab, (_SMOOTH, _SMOOTH, 0.0)))
