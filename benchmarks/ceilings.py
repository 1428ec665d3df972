"""What the machine reaches at best: the rates of a large matrix product and of a large copy, measured in the run."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.clock import measure

_PRODUCT = {"cuda": 8192, "cpu": 1024}  # rows and columns of the matrices
_COPY = {"cuda": 2**30, "cpu": 2**27}  # bytes


@dataclass(frozen=True)
class Ceilings:
    """The measured rates that no kernel is expected to exceed, for one dtype."""

    operations_per_second: float
    bytes_per_second: float

    def floor(self, operations: float, moved: float) -> float:
        """Return the least seconds for so many operations and bytes: the larger of the two times."""
        return max(operations / self.operations_per_second, moved / self.bytes_per_second)


def measure_ceilings(device: torch.device, dtype: torch.dtype, *, shrink: int = 1) -> Ceilings:
    """Measure both rates; `shrink` divides the sizes, to rehearse.

    Matrices are random (zeros run faster than data does), float32 is float32 (no TF32), and a copy counts the bytes
    that it reads and those that it writes.
    """
    side, size = _PRODUCT[device.type] // shrink, _COPY[device.type] // shrink
    random = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(side, side, generator=random, device=device).to(dtype) for _ in range(2))  # [side, side]
    source = torch.rand(size // 4, generator=random, device=device)  # [size / 4], 4 bytes each
    target = torch.empty_like(source)  # [size / 4]
    with torch.inference_mode():
        product = measure(torch.matmul, [a, b], device)
        copy = measure(target.copy_, [source], device)
    return Ceilings(2.0 * side**3 / product.median_s, 2.0 * source.nbytes / copy.median_s)
