"""MobileStyleGAN-FFHQ's synthesis at 1024 x 1024: with the fused ops, with plain torch, and compiled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deltafast.generators import epilogue
from deltafast.generators.base import Generator
from deltafast.generators.load import load_generator
from deltafast.ops import modulated_epilogue_reference
from deltafast.ops.tolerance import max_error

_BATCHES = {"cpu": (1,), "cuda": (1, 16)}


@pytest.fixture(scope="module")
def generators() -> Callable[[torch.device, torch.dtype], Generator]:
    """Load each generator once."""
    loaded: dict[tuple[torch.device, torch.dtype], Generator] = {}

    def get(device: torch.device, dtype: torch.dtype) -> Generator:
        if (device, dtype) not in loaded:
            loaded[device, dtype] = load_generator("mobilestylegan-ffhq", device=device, dtype=dtype)
        return loaded[device, dtype]

    return get


@pytest.mark.parametrize("how", ["deltafast", "plain torch", "compiled"])
@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_synthesis(
    dtype: torch.dtype,
    batch: int,
    how: str,
    device: torch.device,
    generators: Callable[[torch.device, torch.dtype], Generator],
    timed: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if batch not in _BATCHES[device.type] or (device.type == "cpu" and dtype is not torch.float32):
        pytest.skip("half precision and large batches are for GPUs")
    generator = generators(device, dtype)
    z = torch.randn(batch, generator.z_dim, generator=torch.Generator().manual_seed(1000)).to(device)
    with torch.inference_mode():
        ws = generator.mapping(z, truncation_psi=0.7)  # [N, L, 512]
        expected = generators(device, torch.float32).synthesis(ws)  # [N, 3, H, W]
        if how == "plain torch":
            monkeypatch.setattr(epilogue, "modulated_epilogue", modulated_epilogue_reference)
        run: Callable[[Tensor], Tensor] = generator.compiled() if how == "compiled" else generator.synthesis
        assert max_error(run(ws), expected) <= (1e-4 if dtype is torch.float32 else 0.1) * expected.abs().max().item()
        timed(run, [ws])
