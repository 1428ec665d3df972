"""A square of a photo as an image of its own, as FFHQ's alignment cuts it: shrunk, padded by reflection, resampled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

__all__ = ["Surroundings", "cut_square", "side_of", "surroundings"]

_MARGIN = 0.1  # sides of the square that are cut beyond it
_PADDING = 0.3  # sides of the square; the least padding, where there is any
_BLUR = 0.02  # sides of the square: standard deviation of the blur that hides the reflection
_STRIP = 256  # rows that are blended at once


@dataclass(frozen=True)
class Surroundings:
    """What is cut around a square: `box` (left, top, right, bottom), whole pixels of the photo, then padded by `pad`.

    `pad` are pixels added at the left, top, right and bottom; all 0 where the square lies well inside the photo.
    """

    box: tuple[int, int, int, int]
    pad: tuple[int, int, int, int]

    def invented(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far the padded picture differs from the photo's own, below -1/3 not at all: `[h, w]`.

        `x` `[w]` and `y` `[h]` are pixels of the photo, (0, 0) the centre of its top left one; 0 is where the padding
        begins and 1 where it ends.
        """
        if not any(self.pad):
            return np.full((len(y), len(x)), -np.inf)
        left, top, right, bottom = self.box
        across = np.minimum((x - left) / self.pad[0], (right - 1 - x) / self.pad[2])
        along = np.minimum((y - top) / self.pad[1], (bottom - 1 - y) / self.pad[3])
        return np.maximum(-across[None], -along[:, None])


def side_of(quad: NDArray[np.float64]) -> float:
    """Return the side of a square given by its corners `[4, 2]`."""
    return float(np.hypot(*(quad[3] - quad[0])))


def surroundings(quad: NDArray[np.float64], width: int, height: int) -> Surroundings:
    """Return what FFHQ's alignment cuts around the square `quad` `[4, 2]` of a photo of `width` x `height` pixels.

    The coordinates are those of pixels' edges: the photo's corners are (0, 0) and (width, height). Where the square
    comes near the photo's border, every side is padded by at least 0.3 of the square's.
    """
    side = side_of(quad)
    margin = max(round(side * _MARGIN), 3)
    low, high = np.floor(quad.min(axis=0)) - margin, np.ceil(quad.max(axis=0)) + margin
    missing = [max(0, -int(low[0])), max(0, -int(low[1])), max(0, int(high[0]) - width), max(0, int(high[1]) - height)]
    left, top = min(max(0, int(low[0])), width - 1), min(max(0, int(low[1])), height - 1)
    right, bottom = max(min(width, int(high[0])), left + 1), max(min(height, int(high[1])), top + 1)
    box = (left, top, right, bottom)  # at least one pixel, also of a square beyond the photo
    if max(missing) <= margin - 4:
        return Surroundings(box, (0, 0, 0, 0))
    least = round(side * _PADDING)
    return Surroundings(box, tuple(max(pad, least) for pad in missing))  # type: ignore[arg-type]


def cut_square(photo: NDArray[np.uint8], quad: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Return the square `quad` of `photo`, uint8 `[H, W, 3]`, as uint8 `[size, size, 3]`.

    `quad` `[4, 2]`: top left, bottom left, bottom right, top right corner, in coordinates of pixels' edges. A square
    more than twice as large as the result is first shrunk to that. What lies outside of the photo is its reflection,
    blurred and faded to the median colour. Then the square is sampled at twice the size of the result, and reduced by
    Lanczos's filter.
    """
    height, width = photo.shape[:2]
    around = surroundings(quad, width, height)
    left, top, right, bottom = around.box
    cut = Image.fromarray(np.ascontiguousarray(photo[top:bottom, left:right]))
    placed = quad - (left, top)
    pad = np.array(around.pad)
    side = side_of(quad)
    if side > 2 * size:
        small = (max(1, round(cut.width * 2 * size / side)), max(1, round(cut.height * 2 * size / side)))
        ratio = np.array(small) / np.array(cut.size)  # (x, y)
        cut = cut.resize(small, Image.Resampling.LANCZOS)
        placed, pad, side = placed * ratio, np.rint(pad * np.tile(ratio, 2)).astype(int), side * float(ratio.mean())
    if pad.any():
        cut = _padded(cut, tuple(int(v) for v in pad), side)  # type: ignore[arg-type]
        placed = placed + pad[:2]
    samples = 2 * size
    corners = tuple(float(v) for v in placed.reshape(-1))
    square = cut.transform((samples, samples), Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
    return np.array(square.resize((size, size), Image.Resampling.LANCZOS))


def _padded(cut: Image.Image, pad: tuple[int, int, int, int], side: float) -> Image.Image:
    """Pad by reflection, blur towards the border, and fade to the median colour at the very border."""
    width, height = cut.size
    sides = ((pad[1], pad[3]), (pad[0], pad[2]), (0, 0))
    pixels: NDArray[np.uint8] = np.pad(np.asarray(cut), sides, "reflect")  # [h, w, 3]
    blurred = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(side * _BLUR)))  # [h, w, 3]
    median = np.median(pixels[::4, ::4].reshape(-1, 3), axis=0).astype(np.float32)  # [3]
    around = Surroundings((0, 0, width, height), pad)
    x = np.arange(pixels.shape[1], dtype=np.float64) - pad[0]
    for top in range(0, len(pixels), _STRIP):
        rows = slice(top, min(top + _STRIP, len(pixels)))
        amount = around.invented(x, np.arange(rows.start, rows.stop, dtype=np.float64) - pad[1])[..., None]
        blur, fade = (np.clip(v, 0, 1).astype(np.float32) for v in (3 * amount + 1, amount))  # [rows, w, 1]
        strip = pixels[rows] + (blurred[rows] - pixels[rows].astype(np.float32)) * blur
        pixels[rows] = np.rint(strip + (median - strip) * fade)
    return Image.fromarray(pixels)
