"""Whole syntheses: ours beside every baseline, each compared with the fp32 reference before it is timed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
from torch import Tensor

from benchmarks.baselines.stylegan2 import ConvolutionsAlone
from benchmarks.ceilings import Ceilings
from benchmarks.contenders import BASELINES, CONVOLUTIONS, OURS, Subject, baseline, load_subject, ours, torch_itself
from benchmarks.floor import floor_seconds, synthesis_layers
from deltafast.generators.base import Generator
from deltafast.ops.tolerance import FLOOR

_GPU_SUBJECTS = [
    Subject("stylegan2-f-1024", 16, torch.float16),
    Subject("mobilestylegan-1024", 16, torch.float16),
    Subject("stylegan2-f-1024", 1, torch.float16),
    Subject("mobilestylegan-1024", 1, torch.float16),
    Subject("stylegan2-e-256", 16, torch.float16),
]
_CPU_SUBJECTS = [Subject("mobilestylegan-1024", 1, torch.float32), Subject("stylegan2-e-256", 1, torch.float32)]
_MULTIPLE = 2.0  # of torch's own error
_SANE = 0.1  # of the largest value: what a baseline may be off by, being in low precision


def _cases() -> list[object]:
    cases: list[object] = []
    for kind, subjects in (("cuda", _GPU_SUBJECTS), ("cpu", _CPU_SUBJECTS)):
        marks = [pytest.mark.gpu] if kind == "cuda" else []
        for subject in subjects:
            names = [*OURS, *BASELINES[subject.family], *([CONVOLUTIONS] if subject.family == "stylegan2" else [])]
            # compiling takes minutes: on a GPU once for each architecture
            compiled = kind == "cpu" or (subject.batch > 1 and subject.name != "stylegan2-e-256")
            for name in names:
                if ("CUDA graph" in name and kind == "cpu") or ("compile" in name and not compiled):
                    continue
                cases.append(pytest.param(kind, subject, name, id=f"{kind}, {subject.case}, {name}", marks=marks))
    return cases


@cache
def _generator(name: str, device: torch.device, dtype: torch.dtype, tiny: bool) -> Generator:
    return load_subject(name, device, tiny=tiny).to(dtype)


@cache
def _reference(subject: Subject, device: torch.device, tiny: bool) -> tuple[Tensor, Tensor, float]:
    """The latents, torch's fp32 images for them, and the error of torch itself in the subject's precision."""
    generator = _generator(subject.name, device, torch.float32, tiny)
    z = torch.randn(subject.batch, generator.z_dim, generator=torch.Generator().manual_seed(1000)).to(device)
    with torch.inference_mode():
        ws = generator.mapping(z, truncation_psi=0.7)  # [N, L, w_dim]
        exact = torch_itself(generator, torch.float32)(ws)  # [N, 3, H, W]
        error = _error(torch_itself(generator, subject.dtype)(ws), exact)
    return ws, exact, error


def _error(images: Tensor, exact: Tensor) -> float:
    """The largest difference, taken on their device, as the images are many; NaN stays NaN."""
    return float((images.double() - exact.double()).abs().max())


@pytest.fixture
def _leaves_nothing(device: torch.device) -> Iterator[None]:
    """Give a contender's graphs and compiled code back before the next one is timed."""
    yield
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


@pytest.mark.usefixtures("_leaves_nothing")
@pytest.mark.parametrize(("device", "subject", "name"), _cases(), indirect=["device"])
def test_synthesis(
    device: torch.device,
    subject: Subject,
    name: str,
    rehearse: bool,
    ceilings: Callable[[torch.device, torch.dtype], Ceilings],
    timed: Callable[..., None],
) -> None:
    if rehearse:
        subject = subject.rehearsed()
        if "compile" in name:
            pytest.skip("compiling takes minutes: not rehearsed")
    plain = _generator(subject.name, device, torch.float32, rehearse)
    ws, exact, error_of_torch = _reference(subject, device, rehearse)
    layers = synthesis_layers(plain.tensors(), subject.batch, subject.dtype.itemsize)
    what = {"case": subject.case, "contender": name, "images": subject.batch, "baseline": name not in OURS}
    floor_s = floor_seconds(layers, ceilings(device, subject.dtype))
    with torch.inference_mode():
        if name == CONVOLUTIONS:
            alone = ConvolutionsAlone(plain, subject.batch, channels_last=True, low=subject.dtype, low_blocks=None)
            timed(alone, [], floor_s=floor_s, **{**what, "case": f"{subject.case}, convolutions"})
            return
        if name in OURS:
            run = ours(name, _generator(subject.name, device, subject.dtype, rehearse), subject.batch)
            allowed = max(_MULTIPLE * error_of_torch, FLOOR * float(exact.abs().max()))
        else:
            run = baseline(name, plain, subject.dtype)
            allowed = _SANE * float(exact.abs().max())
        assert _error(run(ws), exact) <= allowed
        timed(run, [ws], floor_s=floor_s, **what)
