"""How well a latent stands for a photo, in figures and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import DeltafastError
from deltafast.faces.comparison import identity_cosine, identity_distance, landmark_error
from deltafast.faces.meter import FaceMeter

__all__ = ["FitMeter", "FitReport"]

# dlib's published threshold: descriptors of the same person lie closer
_SAME_PERSON = 0.6
# the mean landmark error, as a share of the inter-ocular distance, beyond which expression and pose look different
_LANDMARKS_OFF = 0.05
# deviations of W; codes of the mapping network have 1 on average
_FAR_FROM_W = 1.0


@dataclass(frozen=True)
class FitReport:
    """How well one projection fits its picture.

    - `w_distance`: distance of the latent from the mean of W, in deviations (`WStatistics.distance`).
    - `face_found`: whether a face is found in picture and reconstruction; None where dlib is not installed, and then
      the three figures that need it are None as well, as they are where no face was found.
    - `descriptor_distance`, `descriptor_cosine`: between dlib's face descriptors of picture and reconstruction.
    - `landmark_error`: mean distance of dlib's 68 landmarks, as a share of the inter-ocular distance.
    """

    w_distance: float
    face_found: bool | None = None
    descriptor_distance: float | None = None
    descriptor_cosine: float | None = None
    landmark_error: float | None = None

    def warnings(self) -> list[str]:
        """Say in words what makes this projection a poor start for edits; empty when nothing does."""
        found = []
        if self.face_found is False:
            found.append("no face was found in the picture or in its reconstruction")
        if self.descriptor_distance is not None and self.descriptor_distance > _SAME_PERSON:
            found.append(
                f"the reconstruction looks like another person (descriptor distance {self.descriptor_distance:.2f}, "
                f"same person below {_SAME_PERSON}); more steps, or --prefer fidelity, bring it closer"
            )
        if self.landmark_error is not None and self.landmark_error > _LANDMARKS_OFF:
            found.append(
                f"pose or expression are off (landmarks by {self.landmark_error:.1%} of the inter-ocular distance)"
            )
        if self.w_distance > _FAR_FROM_W:
            found.append(
                f"the latent lies far from the generator's own ({self.w_distance:.2f} deviations, sampled codes have "
                "1): edits may distort it; --prefer editability stays closer"
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the figures, rounded, and the warnings as JSON values."""
        values: dict[str, Any] = {"face_found": self.face_found}
        for name in ("w_distance", "descriptor_distance", "descriptor_cosine", "landmark_error"):
            value = getattr(self, name)
            values[name] = None if value is None else round(value, 4)
        return values | {"warnings": self.warnings()}


class FitMeter:
    """Measures projections with dlib, or, where that is not installed, by their latents alone."""

    def __init__(self) -> None:
        self._meter: FaceMeter | None
        try:
            self._meter = FaceMeter()
        except DeltafastError:  # the optional extra is not installed
            self._meter = None

    def measure(self, picture: NDArray[np.uint8], reconstruction: NDArray[np.uint8], w_distance: float) -> FitReport:
        """Compare an aligned `picture` with its `reconstruction`, both uint8 `[S, S, 3]` RGB of the same size."""
        if self._meter is None:
            return FitReport(w_distance)
        faces = self._meter.measure(picture), self._meter.measure(reconstruction)
        a, b = faces
        if a is None or b is None:
            return FitReport(w_distance, face_found=False)
        return FitReport(
            w_distance,
            True,
            float(identity_distance(a.descriptor, b.descriptor)),
            float(identity_cosine(a.descriptor, b.descriptor)),
            landmark_error(a.landmarks, b.landmarks),
        )
