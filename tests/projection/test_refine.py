"""Refinement: it brings images closer, survives interruption to the bit, and refuses what it cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deltafast.errors import InvalidInputError
from deltafast.generators.base import Generator
from deltafast.generators.w_statistics import WStatistics
from deltafast.projection.backbone import MobileNetV2Features
from deltafast.projection.perceptual import FaceDistance, face_window
from deltafast.projection.refine import PREFERENCES, RefineConfig, RefineResult, refine


class _StopError(Exception):
    pass


@pytest.fixture(scope="module")
def distance() -> FaceDistance:
    """A distance on a randomly initialised backbone: enough where only its being a distance matters."""
    torch.manual_seed(0)
    return FaceDistance(MobileNetV2Features())


@pytest.fixture(scope="module")
def problem(tiny_generator: Generator) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Targets `[4, 3, 64, 64]`, a start near the latents that made them, and the latents' deviation."""
    random = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        ws = tiny_generator.mapping(torch.randn(4, tiny_generator.z_dim, generator=random))
        targets = tiny_generator.synthesis(ws)
        scale = float((ws - tiny_generator.w_avg).square().mean().sqrt())
    start = ws + 0.7 * scale * torch.randn(ws.shape, generator=random)
    return targets.clone(), start.clone(), scale


def _run(
    generator: Generator,
    distance: FaceDistance,
    problem: tuple[torch.Tensor, torch.Tensor, float],
    config: RefineConfig | None = None,
    **options: object,
) -> RefineResult:
    targets, start, _ = problem
    settings: dict[str, object] = {"shared_base": True, "batch_size": 2} | options
    statistics = WStatistics.of(generator, 256)
    config = config or RefineConfig(steps=12)
    return refine(generator, distance, targets, start, config, statistics=statistics, **settings)  # type: ignore[arg-type]


def _loss(distances: dict[str, torch.Tensor]) -> float:
    return float((distances["perceptual"] + 0.5 * distances["pixel"]).mean())


@pytest.mark.parametrize("shared_base", [True, False])
def test_refined_images_are_closer_to_their_targets(
    tiny_generator: Generator,
    distance: FaceDistance,
    problem: tuple[torch.Tensor, torch.Tensor, float],
    shared_base: bool,
) -> None:
    result = _run(tiny_generator, distance, problem, shared_base=shared_base)
    assert _loss(result.end) < 0.9 * _loss(result.start)
    assert result.steps == 12
    assert torch.isfinite(result.ws).all()


def test_editability_stays_closer_to_the_start_and_fidelity_closer_to_the_picture(
    tiny_generator: Generator, distance: FaceDistance, problem: tuple[torch.Tensor, torch.Tensor, float]
) -> None:
    statistics = WStatistics.of(tiny_generator, 256)
    moved, lost = [], []
    for prefer in ("editability", "balanced", "fidelity"):
        config = RefineConfig(steps=12, base_weight=20.0, offset_weight=20.0, prefer=prefer)
        result = _run(tiny_generator, distance, problem, config)
        moved.append(float(statistics.whiten(result.ws - problem[1]).square().mean()))
        lost.append(_loss(result.end))
    assert moved[0] < moved[1] < moved[2]
    assert lost[0] > lost[2]
    assert PREFERENCES["editability"] > PREFERENCES["balanced"] > PREFERENCES["fidelity"]


def test_a_refinement_that_no_longer_improves_stops(
    tiny_generator: Generator, distance: FaceDistance, problem: tuple[torch.Tensor, torch.Tensor, float]
) -> None:
    config = RefineConfig(steps=40, patience=4, min_improvement=0.5)  # a loss that must halve every four steps
    assert 5 <= _run(tiny_generator, distance, problem, config).steps < 40


def test_no_steps_leave_the_start_as_it_is(
    tiny_generator: Generator, distance: FaceDistance, problem: tuple[torch.Tensor, torch.Tensor, float]
) -> None:
    result = _run(tiny_generator, distance, problem, RefineConfig(steps=0))
    assert torch.equal(result.ws, problem[1])
    assert result.steps == 0
    assert torch.equal(result.start["pixel"], result.end["pixel"])


@pytest.mark.parametrize(
    "wrong", [{"steps": -1}, {"patience": 0}, {"lr": float("nan")}, {"base_weight": -1.0}, {"prefer": "beauty"}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        RefineConfig(**wrong)  # type: ignore[arg-type]


def test_an_interrupted_refinement_ends_with_the_same_bits(
    tiny_generator: Generator,
    distance: FaceDistance,
    problem: tuple[torch.Tensor, torch.Tensor, float],
    tmp_path: Path,
) -> None:
    whole = _run(tiny_generator, distance, problem)

    def stop(step: int) -> None:
        if step == 7:
            raise _StopError

    with pytest.raises(_StopError):
        _run(tiny_generator, distance, problem, state=tmp_path / "state.pt", on_step=stop)
    seen: list[int] = []
    resumed = _run(tiny_generator, distance, problem, state=tmp_path / "state.pt", on_step=seen.append)
    assert seen[0] == 5, "the second run starts at the last saved step"
    assert torch.equal(whole.ws, resumed.ws)
    assert torch.equal(whole.end["perceptual"], resumed.end["perceptual"])
    assert torch.equal(whole.start["perceptual"], resumed.start["perceptual"])
    assert whole.steps == resumed.steps == 12


def test_frames_without_a_shared_base_do_not_influence_each_other(
    tiny_generator: Generator, distance: FaceDistance, problem: tuple[torch.Tensor, torch.Tensor, float]
) -> None:
    targets, start, scale = problem
    together = _run(tiny_generator, distance, problem, shared_base=False)
    alone = _run(tiny_generator, distance, (targets[:2], start[:2], scale), shared_base=False)
    assert float((together.ws[:2] - alone.ws).abs().max()) < 0.2 * scale


@pytest.mark.parametrize(
    ("damage", "message"),
    [("nan", "finite"), ("slots", "start must be"), ("size", "targets must be"), ("count", "targets must be")],
)
def test_wrong_inputs_are_refused(
    tiny_generator: Generator,
    distance: FaceDistance,
    problem: tuple[torch.Tensor, torch.Tensor, float],
    damage: str,
    message: str,
) -> None:
    targets, start, scale = problem
    if damage == "nan":
        start = torch.full_like(start, float("nan"))
    elif damage == "slots":
        start = start[:, 1:]
    elif damage == "size":
        targets = targets[..., :48, :48]
    else:
        targets = targets[:3]
    with pytest.raises(InvalidInputError, match=message):
        _run(tiny_generator, distance, (targets, start, scale))


def test_the_window_weighs_the_face_more_than_the_border() -> None:
    window = face_window(64)
    assert float(window[34, 32]) > 0.95
    assert float(window[0, 0]) < 0.11
    assert torch.equal(window, window.flip(1))
