"""Where pixels of an edited picture come from: the face moves as the generator's moved, the border stays."""

from __future__ import annotations

import numpy as np
import torch
from mesh_faces import LIDS, mesh

from deltafast.projection.mesh_flow import mesh_flow, sampled, shortfall


def test_nothing_moves_without_an_edit() -> None:
    flow = mesh_flow(mesh(), mesh(), mesh())
    assert float(torch.stack([flow.to_photo, flow.to_pivot, flow.to_edited]).abs().max()) < 1e-6
    assert flow.changed == ()


def test_the_photo_moves_as_the_generators_face_does_in_proportion_to_its_size_and_the_border_stays() -> None:
    photo = 0.5 + 1.2 * (mesh() - 0.5)
    flow = mesh_flow(photo, mesh(), mesh() + np.array([0.05, 0.0]))
    middle = flow.to_photo[:, 60:68, 60:68].mean((1, 2))
    torch.testing.assert_close(middle, torch.tensor([-0.06, 0.0]), atol=2e-3, rtol=0)
    assert float(flow.to_photo[:, 0].abs().max()) < 3e-3
    assert float(flow.to_photo[:, :, -1].abs().max()) < 3e-3


def test_eyes_close_until_the_lids_meet_and_the_photos_open_ones_are_no_longer_shown() -> None:
    for opened in (0.02, 0.06):  # less and more than the generator's 0.04
        flow = mesh_flow(mesh(opened), mesh(0.04), mesh(0.0))
        assert len(flow.changed) == 2
        assert all(one.share == 1 for one in flow.changed)
        assert flow.changed[0].centre[0] < 0.5 < flow.changed[1].centre[0]
        upper = mesh(opened)[LIDS[0][0][0]]
        cell = (np.array([0.4, 0.45]) * 128).astype(int)
        shown = 0.45 + float(flow.to_photo[1, cell[1] - 3 : cell[1] + 4, cell[0]].abs().max())
        assert shown < 0.45 + opened, "lids that crossed would show what lies beyond the eye"
        assert upper[1] < 0.45


def test_a_mouth_that_fell_short_of_its_shape_is_moved_farther_and_one_that_did_not_stays() -> None:
    wide = mesh()
    wide[[61, 291], 0] += (-0.008, 0.008)
    half = mesh()
    half[[61, 291], 0] += (-0.004, 0.004)
    assert float(np.abs(shortfall(mesh(), mesh(), wide, mesh(), wide)).max()) < 1e-9
    assert float(np.abs(shortfall(mesh(), mesh(), mesh() + 0.05, mesh(), mesh())).max()) < 1e-9, "places are not shapes"
    missing = shortfall(mesh(), mesh(), wide, mesh(), half)
    assert missing[61, 0] < -0.006 < 0.006 < missing[291, 0]
    flows = [mesh_flow(mesh(), mesh(), wide, one).to_photo[0, 76:84, 70:88] for one in (None, missing)]
    plain, mended = (float(flow.min()) for flow in flows)
    assert mended < 1.2 * plain < 0, "the corner comes from farther inside the photo's mouth"


def test_a_picture_is_read_where_the_flow_says() -> None:
    ramp = ((torch.arange(64) + 0.5) / 64).expand(1, 1, 64, 64)
    moved = sampled(ramp, torch.stack([torch.full((128, 128), 0.25), torch.zeros(128, 128)]), 32)
    torch.testing.assert_close(moved[0, 0, 3, :20], (torch.arange(20) + 0.5) / 32 + 0.25, atol=2e-3, rtol=0)
