"""YuNet against ONNX Runtime, in any size that its strides divide, and refused where its weights are others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from make_face_networks_golden import CELLS, golden_pictures
from torch import Tensor

from deltafast.errors import CheckpointError, DownloadError
from deltafast.face_networks import yunet
from deltafast.face_networks.yunet import YuNet, load_yunet


@pytest.fixture(scope="module")
def network() -> YuNet:
    try:
        return load_yunet()
    except DownloadError as error:
        pytest.skip(f"the detector cannot be fetched: {error}")


def test_network_gives_what_onnxruntime_gives(network: YuNet, faces: Tensor, golden: dict[str, Any]) -> None:
    scores, boxes, points = network(golden_pictures((faces + 1) / 2) * 255)
    expected = {name: torch.tensor(values) for name, values in golden["detections"].items()}  # [2, cells, channels]
    cells, strides = [], []
    for stride in (8, 16, 32):
        rows, columns = np.indices((640 // stride, 640 // stride))
        cells.append(np.stack([columns, rows], 2).reshape(-1, 2))
        strides += [stride] * cells[-1].shape[0]
    cell = torch.from_numpy(np.concatenate(cells))[CELLS].float()  # [cells, 2]
    stride = torch.tensor(strides)[CELLS].float()[:, None]  # [cells, 1]
    of_faces, of_things, box, marks = (expected[name] for name in ("cls", "obj", "bbox", "kps"))
    # squared, because four decimals of what lies near 0 are no four of its root
    torch.testing.assert_close(scores[:, CELLS].square(), (of_faces * of_things).squeeze(2), atol=1e-3, rtol=0)
    placed = torch.cat([cell + box[..., :2], box[..., 2:].exp()], 2) * stride
    torch.testing.assert_close(boxes[:, CELLS], placed, atol=0.05, rtol=1e-3)
    points_expected = (cell[:, None] + marks.unflatten(2, (5, 2))) * stride[..., None]
    torch.testing.assert_close(points[:, CELLS], points_expected, atol=0.05, rtol=1e-3)
    assert scores.max(1).values.min() > 0.5, "both pictures show a face"


def test_the_best_answer_lies_on_the_face_in_pictures_of_any_size(network: YuNet, faces: Tensor) -> None:
    image = torch.zeros(1, 3, 224, 320)
    image[..., 32:160, 96:224] = torch.nn.functional.avg_pool2d((faces[:1] + 1) * 127.5, 2)
    scores, boxes, points = network(image)
    best = int(scores[0].argmax())
    x, y, width, height = boxes[0, best].tolist()
    assert scores[0, best] > 0.8
    assert abs(x - 160) < 15
    assert abs(y - 104) < 20
    left, right, nose, left_mouth, right_mouth = points[0, best].tolist()
    assert left[0] < nose[0] < right[0]
    assert left_mouth[0] < right_mouth[0]
    assert left[1] < nose[1] < left_mouth[1]
    assert 30 < width < 80
    assert 40 < height < 100


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, network: YuNet) -> None:
    monkeypatch.setattr(yunet, "read_onnx_weights", lambda content, name: {"420": np.zeros((1, 2), np.float32)})
    with pytest.raises(CheckpointError, match="not YuNet's weights"):
        load_yunet()
