"""Pictures made before they are: a synthesis that stops early, and a linear map from its features to the picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deltafast.errors import InvalidInputError
from deltafast.generators.synthesis import SynthesisNetwork

__all__ = ["Preview"]

_RIDGE = 1e-4  # of the mean square of a feature


class Preview:
    """A quick estimate of the pictures near those that it was fitted on, say one face and its edits.

    The synthesis runs up to the block of `resolution` (`SynthesisNetwork.features`); every position of its features
    then gives `scale` x `scale` pixels by one linear map. The features are the network's own, to the bit; the map is
    found by least squares (ridge, to the mean of a feature's square times 1e-4) on the pictures given to `fit`, so
    what it leaves out is what the blocks behind add to these: the finest detail first.

    - `resolution`: one of the synthesis's `feature_resolutions`, in pixels;
    - `scale`: 1, 2, 4 ...; pictures have `scale * resolution` pixels of height, the synthesis's at most;
    - `first_layer`: stop behind the first layer of that block already, where the synthesis `stops_within_blocks`.

    Raises `InvalidInputError` for other values.
    """

    def __init__(
        self, synthesis: SynthesisNetwork, resolution: int, scale: int = 2, *, first_layer: bool = False
    ) -> None:
        if resolution not in synthesis.feature_resolutions:
            known = ", ".join(map(str, synthesis.feature_resolutions)) or "none"
            raise InvalidInputError(f"a preview stops at one of the resolutions {known}; got {resolution!r}")
        if scale < 1 or synthesis.img_resolution % (scale * resolution):
            raise InvalidInputError(
                f"scale must divide {synthesis.img_resolution // resolution}, got {scale!r}: a preview is no larger "
                "than the picture"
            )
        if first_layer and not synthesis.stops_within_blocks:
            raise InvalidInputError("first_layer: this synthesis stops behind whole blocks alone")
        self.resolution = resolution
        self.scale = scale
        self.first_layer = first_layer
        self._synthesis = synthesis
        self._products: Tensor | None = None  # [C + 1, C + 1], of the features and 1 with themselves
        self._answers: Tensor | None = None  # [C + 1, channels scale scale], of the features with the pixels
        self._map: Tensor | None = None  # [C + 1, channels scale scale]

    @property
    def nbytes(self) -> int:
        """Bytes of what `fit` has found."""
        return sum(one.nbytes for one in (self._products, self._answers, self._map) if one is not None)

    def begin_with(self, other: Preview) -> None:
        """Count the pictures that another preview was fitted on beside one's own.

        Raises `InvalidInputError` where it stops elsewhere, gives other pictures, or was not fitted.
        """
        if self._stop != other._stop or self._synthesis is not other._synthesis:
            raise InvalidInputError("a preview begins with one of the same synthesis, resolution, scale and layer")
        if other._products is None or other._answers is None:
            raise InvalidInputError("a preview begins with one that is fitted: call its fit first")
        self._add(other._products, other._answers)

    @torch.no_grad()
    def fit(self, ws: Tensor, images: Tensor, weight: float = 1.0) -> None:
        """Fit the map to one more picture or several, beside those that were given before.

        `images` `[N, img_channels, H, W]` in [-1, 1] are what is to be shown of `ws` `[N, num_ws, w_dim]`: the
        synthesis's own, or such that follow it; `weight`, above 0, is what they count. Raises `InvalidInputError` for
        shapes that do not belong together.
        """
        height, width = self._synthesis.img_size
        wanted = (len(ws), self._synthesis.img_channels, height, width)
        if tuple(images.shape) != wanted:
            raise InvalidInputError(f"images must be {list(wanted)}, got {list(images.shape)}")
        rows = _rows(self._features(ws))  # [M, C]
        rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)  # [M, C + 1]
        reduction = height // (self.resolution * self.scale)
        small = F.avg_pool2d(images.to(rows), reduction)  # [N, channels, scale h, scale w]
        pixels = F.pixel_unshuffle(small, self.scale).movedim(1, -1).flatten(0, -2)  # [M, channels scale scale]
        self._add(weight * (rows.T @ rows).double(), weight * (rows.T @ pixels).double())

    def _add(self, products: Tensor, answers: Tensor) -> None:
        self._products = products if self._products is None else self._products + products
        self._answers = answers if self._answers is None else self._answers + answers
        size = len(products)
        ridge = _RIDGE * self._products.diagonal()[:-1].mean()
        held = self._products + ridge * torch.eye(size, dtype=torch.float64, device=products.device)
        self._map = torch.linalg.solve(held, self._answers).float()

    @property
    def _stop(self) -> tuple[int, int, bool]:
        return self.resolution, self.scale, self.first_layer

    def _features(self, ws: Tensor, noise_mode: str = "const") -> Tensor:
        return self._synthesis.features(ws, self.resolution, noise_mode, first_layer=self.first_layer)

    @torch.no_grad()
    def __call__(self, ws: Tensor, noise_mode: str = "const") -> Tensor:
        """Return pictures fp32 `[N, img_channels, scale * resolution, W]`, in about [-1, 1], of `ws`.

        Raises `InvalidInputError` before `fit`.
        """
        if self._map is None:
            raise InvalidInputError("a preview is fitted before it is shown: call fit with a latent and its picture")
        features = self._features(ws, noise_mode)  # [N, C, h, w]
        n, _, h, w = features.shape
        rows = _rows(features)  # [M, C]
        solved = self._map.to(rows)
        pixels = torch.addmm(solved[-1], rows, solved[:-1])  # [M, channels scale scale]
        return F.pixel_shuffle(pixels.reshape(n, h, w, -1).movedim(-1, 1), self.scale)


def _rows(features: Tensor) -> Tensor:
    """The features `[N, C, h, w]` as rows, at least fp32, `[N h w, C]`."""
    rows = features.movedim(1, -1).flatten(0, -2)
    return rows.to(torch.promote_types(rows.dtype, torch.float32))
