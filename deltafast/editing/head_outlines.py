"""Where a head is in a photo and in its edited pictures, for putting it back with its hair."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from deltafast.face_networks.person_mask import PERSON_MASK_SIZE, load_person_mask
from deltafast.faces.alignment import Alignment
from deltafast.faces.cutting import cut_square
from deltafast.pixels import to_floats

__all__ = ["HeadOutlines"]


class HeadOutlines:
    """Persons in crops, told by MediaPipe's selfie segmentation network; made once, used for many photos.

    Raises `DownloadError` where the network's weights cannot be fetched.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self._network = load_person_mask().to(self._device)

    @torch.no_grad()
    def __call__(
        self, photo: NDArray[np.uint8], alignment: Alignment, edited: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Return the shares of a person before and after each edit, `[K, 2, 256, 256]`, for `paste_back`.

        `photo`: uint8 `[H, W, 3]`, in which `alignment` says where the crop is; `edited`: uint8 `[K, S, S, 3]`, that
        crop after edits.
        """
        before = self._person(cut_square(photo, alignment.quad, PERSON_MASK_SIZE))
        return np.stack([np.stack([before, self._person(one)]) for one in edited])

    def _person(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        share: NDArray[np.float32] = self._network(to_floats(picture)[None].to(self._device))[0].cpu().numpy()
        return share
