"""`deltafast animate`: sampled faces, latents and photos as moving pictures; repeated it makes only what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import deltafast
from deltafast.cli import app
from deltafast.generators.base import Generator


@pytest.fixture(scope="module")
def files(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Generator]:
    """A generator's file and a direction for it."""
    checkpoint = shared_dir / "fixtures" / "rosinality-64-narrow.pt"
    generator = deltafast.load_generator(checkpoint)
    direction = tmp_path_factory.mktemp("direction") / "yaw.npy"
    random = np.random.default_rng(0)
    np.save(direction, random.standard_normal((generator.num_ws, generator.w_dim)).astype(np.float32))
    return checkpoint, direction, generator


def _animate(files: tuple[Path, Path, Generator], *arguments: object) -> str:
    words = ["animate", *map(str, arguments), "--generator", str(files[0]), "--frames", "6", "--size", "32"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.output


def test_each_seed_becomes_a_gif_and_a_second_run_makes_nothing_anew(
    files: tuple[Path, Path, Generator], tmp_path: Path
) -> None:
    arguments = ["--seeds", "0-1", tmp_path / "out", "--editor", f"{files[1]}=-1,1"]
    _animate(files, *arguments)
    made = sorted((tmp_path / "out").glob("*.gif"))
    assert [path.name for path in made] == ["seed0000.gif", "seed0001.gif"]
    with Image.open(made[0]) as image:
        assert image.n_frames == 6
        assert image.size == (32, 32)
    before = [path.stat().st_mtime_ns for path in made]
    _animate(files, *arguments)
    assert [path.stat().st_mtime_ns for path in made] == before
    _animate(files, *arguments, "--once")
    assert [path.stat().st_mtime_ns for path in made] != before


def test_a_file_of_several_latents_gives_one_each_in_the_format_asked_for(
    files: tuple[Path, Path, Generator], tmp_path: Path
) -> None:
    generator = files[2]
    torch.save(generator.mapping(torch.randn(2, generator.z_dim)), tmp_path / "two.pt")
    _animate(
        files, tmp_path / "two.pt", tmp_path / "out", "--editor", files[1], "--alpha", -1, "--alpha", 1,
        "--format", "webp",
    )  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out").glob("*.webp")) == ["two-0000.webp", "two-0001.webp"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0", "--editor", "yaw"], "which way to go"),
        (["--seeds", "0", "--editor", "yaw=by-5,5", "--to", "0"], "cannot be mixed"),
        (["--seeds", "0", "--editor", "yaw=by-5,5", "--format", "avi"], "one of gif, webp, mp4"),
        (["--editor", "yaw=by-5,5"], "expected OUT with --seeds"),
        (["--seeds", "0", "--editor", "yaw=by-5,5", "--faces", "some"], "--faces"),
    ],
)
def test_what_does_not_fit_is_named_before_anything_is_made(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["animate", str(tmp_path / "out"), *arguments])
    assert done.exit_code == 1
    assert message in done.output
    assert not (tmp_path / "out").exists()
