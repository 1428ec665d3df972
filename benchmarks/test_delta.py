"""E and D beside plain torch: a training step (on CUDA also as one graph), and edits; each is checked first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.ceilings import Ceilings
from benchmarks.delta_cases import EditCase, TrainingCase, as_graph

CeilingsOf = Callable[[torch.device, torch.dtype], Ceilings]


@pytest.mark.parametrize("contender", ["deltafast", "plain torch", "plain torch, CUDA graph"])
@pytest.mark.parametrize("pairs", [8, 64])
def test_training_step(
    pairs: int, contender: str, device: torch.device, rehearse: bool, timed: Callable[..., None]
) -> None:
    if contender.endswith("graph") and (device.type != "cuda" or rehearse):
        pytest.skip("graphs are CUDA's")
    case = TrainingCase(2 if rehearse else pairs)
    case.check(device)
    step: Callable[[], Any]
    if contender == "deltafast":
        training = case.ours(device)
        step = training.advance  # on CUDA a replayed graph
        step()
    else:
        step = case.plain(device).advance
        if contender.endswith("graph"):
            step = as_graph(step)
    # A training's working set stays in the caches from step to step, so nothing of it is exchanged between rounds.
    what = {"contender": contender, "baseline": contender != "deltafast"}
    timed(lambda _: step(), [torch.zeros(1, device=device)], case=f"delta training step, {pairs} pairs", **what)


@pytest.mark.parametrize("contender", ["deltafast", "plain torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_edit(
    dtype: torch.dtype,
    contender: str,
    device: torch.device,
    rehearse: bool,
    ceilings: CeilingsOf,
    timed: Callable[..., None],
) -> None:
    if device.type == "cpu" and dtype is not torch.float32:
        pytest.skip("half precision is for GPUs")
    samples = 8 if rehearse else 16384 if device.type == "cuda" else 1024
    case = EditCase(samples, device, dtype)
    call: Callable[[Tensor], Tensor] = case.ours if contender == "deltafast" else case.plain
    with torch.no_grad():
        case.check()
        slots, width = len(case.editor.slots), case.editor.info.config.width
        operations = 4.0 * samples * slots * case.editor.w_dim * width
        timed(
            call,
            [case.ws],
            case=f"edit, {str(dtype).removeprefix('torch.')}, {samples} latents",
            contender=contender,
            baseline=contender != "deltafast",
            moved=2 * case.ws.nbytes,
            floor_s=ceilings(device, dtype).floor(operations, 2 * case.ws.nbytes),
            images=samples,
            kernels_alone=True,
        )
