"""What travels to a GPU machine is small enough, and unpacks to the generator that its golden image is of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks import gpu_data
from deltafast.generators.base import Generator
from deltafast.generators.load import load_generator


@pytest.mark.slow
@pytest.mark.usefixtures("loss_networks")
def test_what_travels_adds_up_and_is_what_is_needed(
    tmp_path: Path, mobilestylegan: Generator, shared_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu_data.lay_down(tmp_path / "data")
    sizes = gpu_data.carried(tmp_path / "data")
    assert sizes["tracked files"] > 10 * 2**20
    assert sum(sizes.values()) < gpu_data.TRAVELS, sizes
    names = gpu_data.golden_names(tmp_path / "data")
    assert names == ["mobilestylegan-ffhq", "rosinality-64-narrow", "stylegan2-ada-64"]
    for name in names[1:]:
        generator, golden = gpu_data.read_golden(tmp_path / "data", name)
        with torch.no_grad():
            images = generator.synthesis(golden["ws"])
        assert float((images - golden["image"]).abs().max()) <= 1e-4 * float(golden["image"].abs().max())

    gpu_data.unpack(tmp_path / "data")
    assert sum(gpu_data.carried(tmp_path / "data").values()) == sum(sizes.values())
    monkeypatch.setenv("DELTAFAST_CACHE", str(tmp_path / "data/cache"))
    there = load_generator("mobilestylegan-ffhq")
    generator, golden = gpu_data.read_golden(tmp_path / "data", "mobilestylegan-ffhq")
    with torch.no_grad():
        image = there.synthesis(golden["ws"])
        original = mobilestylegan.synthesis(golden["ws"])
    area = F.avg_pool2d(image, 4)
    assert float((area - golden["area"]).abs().max()) <= 1e-4 * float(golden["area"].abs().max())
    assert float((image - original).square().mean().sqrt()) < 0.1 * float(original.std())  # the same face, still
    assert all(torch.equal(a, b) for a, b in zip(generator.tensors().values(), there.tensors().values(), strict=True))


def test_weights_of_8_bits_come_back_within_half_a_step() -> None:
    tensors = {"w": torch.randn(40, 30, 3, 3), "b": torch.randn(40)}
    packed = gpu_data.pack(tensors)
    assert packed["w"].dtype == torch.int8
    back = gpu_data.unpacked(packed)
    step = tensors["w"].flatten(1).abs().amax(1) / 127  # [40]
    assert ((back["w"] - tensors["w"]).abs().flatten(1).amax(1) <= 0.5001 * step).all()
    torch.testing.assert_close(back["b"], tensors["b"], rtol=1e-3, atol=1e-6)
