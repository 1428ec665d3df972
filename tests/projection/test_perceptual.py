"""The distance that a refinement makes small leaves the encoder, whose backbone it borrows, as it was."""

from __future__ import annotations

from deltafast.projection.backbone import MobileNetV2Features
from deltafast.projection.perceptual import FaceDistance


def test_the_backbone_keeps_its_layout_and_its_state() -> None:
    backbone = MobileNetV2Features().train()
    before = [(parameter.stride(), parameter.requires_grad) for parameter in backbone.parameters()]
    distance = FaceDistance(backbone)
    assert backbone.training
    assert [(parameter.stride(), parameter.requires_grad) for parameter in backbone.parameters()] == before
    assert not distance.backbone.training
    assert not any(parameter.requires_grad for parameter in distance.parameters())
