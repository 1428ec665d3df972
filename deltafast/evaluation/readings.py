"""Faces of latents: synthesised, measured and kept on disk, so that a killed run loses nothing.

Every latent has one PNG (and one small file of measurements) named by its own content, the generator's and the
precision, so editors, baselines and repeated runs share what they have in common, and a changed editor cannot meet
stale images.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.errors import ImageError
from deltafast.evaluation.attributes import MEASURES, measure_attributes
from deltafast.faces.meter import METER_VERSION, Face, FaceMeter, stack_faces
from deltafast.files import atomic_write, read_image, write_png
from deltafast.generators.base import Generator
from deltafast.progress import track

__all__ = ["IMAGE_SIZE", "FaceReader", "Readings", "to_pixels"]

IMAGE_SIZE = 512  # pixels; what FaceMeter measures at

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Readings:
    """What N images show; rows of NaN where no face was found.

    `measures`: float64 `[N]` of each of `MEASURES`; `landmarks` `[N, 68, 2]` in pixels of the kept image;
    `descriptors` `[N, 128]`.
    """

    measures: dict[str, Array]
    landmarks: Array
    descriptors: Array

    @property
    def missing(self) -> int:
        """How many images show no face that the detector finds."""
        return int(np.isnan(self.descriptors[..., 0]).sum())

    def reshape(self, *shape: int) -> Readings:
        """Return the same readings with the leading N laid out as `shape`."""
        return Readings(
            {name: values.reshape(shape) for name, values in self.measures.items()},
            self.landmarks.reshape(*shape, 68, 2),
            self.descriptors.reshape(*shape, 128),
        )


class FaceReader:
    """Synthesises latents with `generator` and measures the faces, through the folder `work`.

    `compiled=True` runs `generator.compiled()`, faster but for its first image. Images are synthesised one at a time,
    so that a latent's image does not depend on its neighbours, and kept at `IMAGE_SIZE` (smaller ones as they are).
    """

    def __init__(
        self, generator: Generator, meter: FaceMeter, work: str | os.PathLike[str], *, compiled: bool = False
    ) -> None:
        self._generator = generator
        self._meter = meter
        self._synthesis: Callable[..., Tensor] = generator.compiled() if compiled else generator.synthesis
        self._work = Path(work)
        self.synthesised = 0  # how many images were not in `work` already

    def read(self, latents: Tensor, description: str = "") -> Readings:
        """Return what the faces of `latents` `[N, num_ws, w_dim]` show; with a `description`, progress is shown."""
        rows = track(list(latents), description) if description else list(latents)
        faces: list[Face | None] = []
        measures: dict[str, list[float]] = {name: [] for name in MEASURES}
        for ws in rows:
            image = self.image(ws)
            face = self._face(ws, image)
            faces.append(face)
            found = measure_attributes(image, face.landmarks) if face is not None else {}
            for name in MEASURES:
                measures[name].append(found.get(name, float("nan")))
        return Readings({name: np.array(values) for name, values in measures.items()}, *stack_faces(faces))

    def image(self, ws: Tensor) -> Pixels:
        """Return the image of one latent `[num_ws, w_dim]`, uint8 `[S, S, 3]`, S being at most `IMAGE_SIZE`."""
        path = self._path(ws).with_suffix(".png")
        if path.is_file():
            try:
                return read_image(path)
            except ImageError:  # damaged on disk: made anew
                pass
        with torch.inference_mode():
            image = self._synthesis(ws[None].to(self._generator.device), noise_mode="const")  # [1, 3, H, W]
        pixels: Pixels = to_pixels(image, IMAGE_SIZE)[0]  # [S, S, 3]
        write_png(path, pixels)
        self.synthesised += 1
        return pixels

    def _face(self, ws: Tensor, image: Pixels) -> Face | None:
        path = self._path(ws).with_suffix(f".face{METER_VERSION}.npz")
        if path.is_file():
            try:
                with np.load(path) as kept:
                    return Face(kept["landmarks"], kept["descriptor"], float(kept["score"])) if kept["found"] else None
            except (OSError, ValueError, KeyError, EOFError):  # damaged on disk: measured anew
                pass
        face = self._meter.measure(image)
        values = {} if face is None else vars(face)
        with atomic_write(path) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, found=face is not None, **values)
        return face

    def _path(self, ws: Tensor) -> Path:
        digest = hashlib.sha256(f"{self._generator.fingerprint} {self._generator.dtype} {IMAGE_SIZE} ".encode())
        digest.update(ws.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
        name = digest.hexdigest()[:40]
        return self._work / name[:2] / name


def to_pixels(images: Tensor, size: int) -> Pixels:
    """Turn images `[N, 3, H, W]` in [-1, 1] into uint8 `[N, S, S, 3]`, area means down to `size` where H exceeds it."""
    images = images.detach().float().clamp(-1, 1)  # [N, 3, H, W]
    if images.shape[-1] > size:
        images = torch.nn.functional.interpolate(images, size=(size, size), mode="area")
    pixels = ((images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)  # [N, S, S, 3]
    laid_out: Pixels = np.ascontiguousarray(pixels.cpu().numpy(), dtype=np.uint8)
    return laid_out
