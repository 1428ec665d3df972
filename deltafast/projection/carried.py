"""A generator's pictures with a photo carried along: what the edit changes is the generator's, all else the photo's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deltafast.errors import InvalidInputError
from deltafast.face_networks.landmarks import FaceLandmarks
from deltafast.projection.mesh_flow import MeshFlow, Region, mesh_flow, sampled, shortfall

__all__ = ["PRESENT", "CarriedPhoto"]

_COARSE = 128  # pixels of a side at which light is compared, and masks are drawn
_READ = 256  # pixels of a side at which the first result of an edit is looked at
_SOFT = 0.025  # of the picture's side: within so much inside and outside of its outline the face's mask fades
_INNER = 0.04  # of the picture's side: so far within the outline nothing new is added, for there is hair
_LIGHT = 4.0  # of these pixels: what is coarser is light, what is finer is detail
_TONE = 6.0  # of these pixels: what is coarser is the tone of skin and hair, in which photo and generator differ
_BEYOND = 0.03  # of the range from black to white: so far beyond both of two pictures one between them may go
_DARK = 0.03  # of the range from black to white: below it ratios of light mean nothing
_BRIGHTEST = 2.5  # the most by which light is multiplied or divided
PRESENT = 0.5
"""Probability of a face from which a mesh is believed."""
_NEAR, _FAR = 0.8, 1.2  # steps in W, as shares of the pivot's distance from the mean: carried in full, no more


class CarriedPhoto:
    """A synthesis whose picture of `pivot` is the photo, and which changes it as `synthesise` changes its own pictures.

    What the generator shows of an edited latent is compared with what it shows of the pivot. The photo is moved as
    MediaPipe's face mesh moved from one to the other; its light is multiplied by how the light on the face changed;
    and what is new in the face (teeth, lids, folds, shadows' edges) is added to it. So everything of the photo that
    the generator could not make, from freckles to the background, moves along. Around the face the photo follows less
    and less, and at the picture's border not at all. Of latents far from the pivot the result is the generator's own
    picture, as it is where no face is seen.

    - `synthesise` (ws, noise_mode=...) -> images `[N, 3, R, R]`; `pivot` `[1, num_ws, w_dim]`; `w_avg` `[w_dim]`;
    - `photo`: `[1, 3, S, S]` in [-1, 1], aligned, on the pivot's device;
    - `landmarks`: the network that reads the mesh.

    The same pictures on every call, whatever is beside them in the batch; no gradients. `least` says how much of the
    photo they carried. Raises `InvalidInputError` where the photo shows no face.
    """

    def __init__(
        self,
        synthesise: Callable[..., Tensor],
        pivot: Tensor,
        photo: Tensor,
        w_avg: Tensor,
        landmarks: FaceLandmarks,
    ) -> None:
        self._synthesise = synthesise
        self._pivot = pivot
        self._reach = float((pivot - w_avg).square().mean().sqrt())
        self._landmarks = landmarks
        self._photo = photo
        self.least = 1.0  # of the photo carried so far, 0 being the generator's own picture
        mesh = self._mesh(photo)
        if mesh is None:
            raise InvalidInputError(
                'no face mesh is found in the photo: it cannot be carried along edits; likeness="refined" does without'
            )
        self._photo_mesh = mesh
        self._small_mesh = self._mesh(_small(photo))
        self._before: dict[
            str, tuple[Tensor, NDArray[np.float64] | None]
        ] = {}  # by noise mode: the pivot's picture and its mesh

    @property
    def nbytes(self) -> int:
        """Bytes of pictures that it keeps, and that what synthesises keeps."""
        pictures = [self._photo, *(image for image, _ in self._before.values())]
        return sum(one.nbytes for one in pictures) + int(getattr(self._synthesise, "nbytes", 0))

    @torch.no_grad()
    def __call__(self, ws: Tensor, noise_mode: str = "const") -> Tensor:
        """Return images `[N, 3, R, R]` in [-1, 1] of latents `[N, num_ws, w_dim]`, as `generator.synthesis` does."""
        before, before_mesh = self._pivots(noise_mode)
        parts = [before.new_empty(0, *before.shape[1:])]
        for code in ws:
            edited = self._synthesise(code[None], noise_mode=noise_mode)  # [1, 3, R, R]
            share = self._share(code) if before_mesh is not None else 0.0
            mesh = self._mesh(edited) if share > 0 else None
            self.least = min(self.least, share if mesh is not None else 0.0)
            if before_mesh is None or mesh is None:
                parts.append(edited)
                continue
            carried = self._carry(before, before_mesh, edited, mesh)
            parts.append(edited.lerp(carried, share) if share < 1 else carried)
        return torch.cat(parts)

    def _carry(
        self, before: Tensor, before_mesh: NDArray[np.float64], edited: Tensor, mesh: NDArray[np.float64]
    ) -> Tensor:
        """The photo carried along; a small first result is looked at, and what its mouth falls short of is added."""
        photo_mesh = self._photo_mesh
        flow = mesh_flow(photo_mesh, before_mesh, mesh)
        first = self._mesh(_carried(_small(self._photo), _small(before), _small(edited), flow))
        if first is not None and self._small_mesh is not None:
            missing = shortfall(photo_mesh, before_mesh, mesh, self._small_mesh, first)
            flow = mesh_flow(photo_mesh, before_mesh, mesh, missing)
        return _carried(self._photo, before, edited, flow)

    def _pivots(self, noise_mode: str) -> tuple[Tensor, NDArray[np.float64] | None]:
        """The generator's picture of the pivot, and its mesh; None where it shows no face."""
        mode = "none" if noise_mode == "none" else "const"
        if mode not in self._before:
            image = self._synthesise(self._pivot, noise_mode=mode)  # [1, 3, R, R]
            self._before[mode] = image, self._mesh(image)
        return self._before[mode]

    def _mesh(self, image: Tensor) -> NDArray[np.float64] | None:
        """The mesh `[478, 2]` in an image `[1, 3, R, R]`; None where there is no face."""
        reading = self._landmarks.read(image.float().clamp(-1, 1))
        if float(reading.presence[0]) < PRESENT:
            return None
        points: NDArray[np.float64] = reading.points[0].double().cpu().numpy()
        return points

    def _share(self, code: Tensor) -> float:
        """How much of the photo is carried, 1 to 0, by the distance of a code `[num_ws, w_dim]` from the pivot."""
        step = float((code - self._pivot[0]).square().mean().sqrt()) / max(self._reach, 1e-6)
        share = min(max((_FAR - step) / (_FAR - _NEAR), 0.0), 1.0)
        return share * share * (3 - 2 * share)


def _carried(photo: Tensor, before: Tensor, edited: Tensor, flow: MeshFlow) -> Tensor:
    """The result `[1, 3, R, R]` of one edit, from the photo `[1, 3, S, S]` and two of the generator's pictures."""
    size = edited.shape[-1]
    ours = (sampled(photo.to(edited), flow.to_photo, size) + 1) / 2  # [1, 3, R, R], 0 to 1
    was = (sampled(before, flow.to_pivot, size) + 1) / 2
    now = (sampled(edited, flow.to_edited, size) + 1) / 2
    face = _face_mask(flow.outline, 0.0).to(edited)  # [1, 1, G, G]
    # of all colours alike: where lips make way for teeth, the photo's own teeth do not turn blue
    small_was, small_now = (_coarse(picture).mean(1, keepdim=True) for picture in (was, now))  # [1, 1, G, G]
    light = (_blurred(face * small_now, _LIGHT) + _DARK) / (_blurred(face * small_was, _LIGHT) + _DARK)
    light = _fine(light.clamp(1 / _BRIGHTEST, _BRIGHTEST), size)
    inside = _fine(_face_mask(flow.outline, _INNER).to(edited), size)
    carried = light * ours
    # the generator's picture in the photo's own tones: what is new may take the photo as far as that, and no farther
    toned = now + light * _fine(_blurred(_coarse(ours - was), _TONE), size)
    result = carried + inside * (now - light * was)
    least, most = torch.minimum(carried, toned), torch.maximum(carried, toned)
    result = torch.minimum(torch.maximum(result, least - _BEYOND), most + _BEYOND)
    if flow.changed:  # there the photo's own tones go on the generator's picture, its detail does not
        result = result.lerp(toned, _fine(_changed_mask(flow.changed).to(edited), size))
    return result.clamp(0, 1) * 2 - 1


def _small(image: Tensor) -> Tensor:
    """An image of about 256 pixels a side, for reading its mesh."""
    factor = max(1, image.shape[-1] // _READ)
    return F.avg_pool2d(image, factor)


def _face_mask(outline: NDArray[np.float64], inset: float) -> Tensor:
    """1 in the face, 0 beyond, smooth between, `[1, 1, G, G]`; its edge lies `inset` within the outline."""
    y, x = _places()
    lines = torch.from_numpy(outline).float()  # [K, 3]
    beyond = (x[..., None] * lines[:, 0] + y[..., None] * lines[:, 1] + lines[:, 2]).amax(-1)  # negative inside
    share = ((_SOFT - inset - beyond) / (2 * _SOFT)).clamp(0, 1)
    return (share * share * (3 - 2 * share))[None, None]


def _places() -> tuple[Tensor, ...]:
    places = (torch.arange(_COARSE) + 0.5) / _COARSE
    return torch.meshgrid(places, places, indexing="ij")


def _changed_mask(regions: tuple[Region, ...]) -> Tensor:
    y, x = _places()
    result = torch.zeros(1, 1, _COARSE, _COARSE)
    for one in regions:
        radius = torch.hypot((x - one.centre[0]) / one.axes[0], (y - one.centre[1]) / one.axes[1])
        result = torch.maximum(result, one.share * ((1.3 - radius) / 0.6).clamp(0, 1))
    return result


def _coarse(image: Tensor) -> Tensor:
    return F.interpolate(image, (_COARSE, _COARSE), mode="area")


def _fine(image: Tensor, size: int) -> Tensor:
    return F.interpolate(image, (size, size), mode="bilinear", align_corners=False)


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of `[1, C, G, G]`, its border repeated."""
    reach = int(3 * sigma)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype) / sigma) ** 2)
    taps = (taps / taps.sum()).expand(image.shape[1], 1, 1, -1)  # [C, 1, 1, K]
    wide = F.pad(image, (reach, reach, reach, reach), mode="replicate")
    across = F.conv2d(wide, taps, groups=image.shape[1])
    return F.conv2d(across, taps.transpose(2, 3), groups=image.shape[1])
