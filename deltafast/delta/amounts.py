"""Amounts that people can say: in which unit an attribute is read off a picture, and the reading itself.

The network that reads is MediaPipe's face mesh, the one that looks in training with loss="precise"; dlib's landmarks,
another one, judge. Angles are true degrees, 0 looking straight at the camera (`deltafast.faces.true_degrees`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from deltafast.errors import InvalidInputError
from deltafast.face_networks.landmarks import load_face_landmarks
from deltafast.face_networks.measures import FACE_MEASURES, FaceMeasures
from deltafast.faces.true_degrees import READ_UPRIGHT, true_degrees
from deltafast.pixels import as_rgb

__all__ = ["UNITS", "UNREAD", "AmountReader", "Unit", "in_degrees", "reduced", "unit_of"]

_SIZE = 256  # pixels at which images are looked at
_PRESENCE = 0.5  # of a face, below which nothing is read


@dataclass(frozen=True)
class Unit:
    """How an attribute is read: `measure`, one of `FACE_MEASURES`; `name`, its unit; `within`, how near is there.

    A `ratio` is read as such, and by and to multiply: by=2 doubles it, and `within` is of its logarithm. `factor`
    makes the unit of the measure, less `upright`, what is measured of a face that looks straight at the camera.
    """

    measure: str
    name: str
    within: float
    ratio: bool = False
    factor: float = 1.0
    upright: float = 0.0


def _angle(axis: str) -> Unit:
    return Unit(axis, "degree", 1.0, factor=true_degrees("mesh", axis), upright=READ_UPRIGHT["mesh"][axis])


_WIDTH = "share of the face's width"

UNITS = {
    "yaw": _angle("yaw"),
    "pitch": _angle("pitch"),
    "smile": Unit("mouth_width", f"mouth's width, {_WIDTH}", 0.01),
    "eyes-closed": Unit("eye_openness", "eyes' height over their width", 0.02),
    "mouth-open": Unit("mouth_opening", f"gap between the lips, {_WIDTH}", 0.01),
    "brows-raised": Unit("brow_height", "brows above the eyes, share of the distance between the eyes", 0.01),
    "light": Unit("shading", "ratio of light, right cheek to left", 0.05, ratio=True),
    "light-elevation": Unit("vertical_shading", "ratio of light, upper to lower face", 0.05, ratio=True),
    "gaze": Unit("gaze", "irises off the eyes' middles, share of the eyes' width", 0.02),
}

UNREAD = frozenset({"age", "gender", "weight"})
"""Attributes that are rendered, but that no network here reads off a picture: their edits take alpha alone."""


def unit_of(attribute: str) -> Unit:
    """Return how an attribute is read. Raises `InvalidInputError` where no picture tells it."""
    if attribute not in UNITS:
        raise InvalidInputError(
            f"by and to are read off the image, which is known for {', '.join(UNITS)}; not for {attribute!r}: give "
            "alpha, or, where it is one of these, call the editor or the direction's file so"
        )
    return UNITS[attribute]


def in_degrees(attribute: str) -> bool:
    """Return whether an attribute is read in degrees."""
    return attribute in UNITS and UNITS[attribute].name == "degree"


class AmountReader:
    """Reads attributes off images, on a scale on which amounts add up: ratios as logarithms.

    `attributes`: those that are read, each of another measure. Raises `InvalidInputError` for others, `DownloadError`
    where the network cannot be fetched.
    """

    def __init__(self, attributes: Sequence[str], device: torch.device | str = "cpu") -> None:
        self.units = [unit_of(attribute) for attribute in attributes]
        names = [unit.measure for unit in self.units]
        if len(set(names)) != len(names):
            raise InvalidInputError(f"by and to take editors of different attributes, got {', '.join(attributes)}")
        self._columns = [FACE_MEASURES.index(name) for name in names]
        self._measures = FaceMeasures(load_face_landmarks()).to(device)

    @torch.no_grad()
    def read(self, images: Tensor) -> Tensor:
        """Return each attribute's reading, float32 `[N, A]`, of aligned `images` `[N, C, R, R]`; NaN without a face."""
        small = reduced(as_rgb(images.float()))
        landmarks = self._measures.landmarks.read(small)
        found = self._measures.of(small, landmarks)[:, self._columns]  # [N, A]
        factors = found.new_tensor([unit.factor for unit in self.units])
        upright = found.new_tensor([unit.upright for unit in self.units])
        seen = (landmarks.presence >= _PRESENCE)[:, None]
        return torch.where(seen, (found - upright) * factors, torch.nan)

    def scaled(self, amounts: Tensor) -> Tensor:
        """Return amounts `[..., A]` as people say them, ratios above 0, on the scale of `read`."""
        ratios = torch.tensor([unit.ratio for unit in self.units], device=amounts.device)
        return torch.where(ratios, amounts.log(), amounts)

    def said(self, readings: Tensor) -> Tensor:
        """Return readings `[..., A]` on the scale of `read` as people say them."""
        ratios = torch.tensor([unit.ratio for unit in self.units], device=readings.device)
        return torch.where(ratios, readings.exp(), readings)


def reduced(images: Tensor) -> Tensor:
    """Return images `[N, 3, R, R]` averaged to about 256 pixels, at which faces are looked at."""
    factor = max(1, images.shape[3] // _SIZE)
    return F.avg_pool2d(images, factor) if factor > 1 else images
