"""`deltafast train` and `deltafast editors`: one command makes an editor file, its losses and a picture of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from deltafast.cli import app
from deltafast.delta import DeltaConfig, PreciseConfig, load_editor
from deltafast.generators.base import Generator
from deltafast.generators.load import save_generator
from deltafast.sequence_latents import GeneratorId, SequenceLatents


@pytest.fixture
def latents(tmp_path: Path) -> Path:
    """Projected sequences of five identities, as `deltafast project` leaves them."""
    random = torch.Generator().manual_seed(0)
    direction = torch.randn(4, 8, generator=random)
    names = ["female", "male", "x", "y", "z"]
    t = torch.tensor([-1.0, 0.0, 1.0])[:, None, None]
    tensors = {("yaw", n): torch.randn(1, 4, 8, generator=random) + t * direction for n in names}
    SequenceLatents({"yaw": [-20.0, 0.0, 20.0]}, names, tensors, GeneratorId("g", "f" * 64, "w")).save(
        tmp_path / "latents.safetensors"
    )
    return tmp_path / "latents.safetensors"


def _train(*arguments: object) -> tuple[int, str]:
    small = ["--steps", "20", "--width", "8", "--dim", "2"]
    result = CliRunner().invoke(app, ["train", *map(str, arguments), "--attribute", "yaw", *small])
    return result.exit_code, result.output


def test_train_writes_editor_losses_and_picture(latents: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "yaw.safetensors"
    code, text = _train(latents.parent, "--out", out, "--slots", "0-1,3", "--report", 2)
    assert code == 0, text
    assert load_editor(out).slots == (0, 1, 3)
    assert load_editor(out).info.training["identities"] == 3
    assert (out.parent / "yaw-loss.png").read_bytes().startswith(b"\x89PNG")
    assert len((out.parent / "yaw-loss.csv").read_text().splitlines()) == 21
    assert "LINEAR" in text
    assert str(out) in text.replace("\n", "")
    before = out.read_bytes()
    assert _train(latents, "--out", out, "--slots", "0-1,3", "--report", 2)[0] == 0  # finished: nothing to do
    assert out.read_bytes() == before


def test_a_flow_is_trained_on_request_and_a_jump_otherwise(latents: Path, tmp_path: Path) -> None:
    for form, arguments in (("jump", ()), ("flow", ("--form", "flow"))):
        out = tmp_path / f"{form}.safetensors"
        code, text = _train(latents, "--out", out, *arguments)
        assert code == 0, text
        assert load_editor(out).info.config.form == form


def test_other_settings_end_in_one_line(latents: Path, tmp_path: Path) -> None:
    out = tmp_path / "yaw.safetensors"
    assert _train(latents, "--out", out)[0] == 0
    code, text = _train(latents, "--out", out, "--seed", 1)
    assert code == 1
    assert "Traceback" not in text
    assert "--restart" in text
    assert _train(latents, "--out", out, "--seed", 1, "--restart")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--slots", "9"], "0 to 3"),
        (["--slots", "x"], "0-5,8"),
        (["--lr", "-1"], "lr"),
        (["--negative", "sometimes"], "negative"),
        (["--form", "leap"], "form must be one of jump, flow"),
        (["--form", "flow", "--negative", "other-end"], "leads back the way it came"),
        (["--identities", "9"], "identities"),
        (["--report", "5"], "hold out"),
        (["--loss", "loud"], "paper, precise"),
        (["--asked-gain", "2"], "loss"),
        (["--loss", "precise", "--precise-steps", "0"], "steps"),
        (["--loss", "precise"], "no such file"),
        (["--generator", "g"], "--loss precise"),
        (["--loss", "precise", "--generator", "mobilestylegan-ffhq"], "the generator takes"),
    ],
)
def test_mistakes_end_in_one_line(latents: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    code, text = _train(latents, "--out", tmp_path / "yaw.safetensors", *arguments)
    assert code == 1
    assert words in text
    assert text.startswith("error: ")


def test_files_that_are_no_latents_are_named(latents: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    code, text = _train(tmp_path / "broken.safetensors", "--out", tmp_path / "yaw.safetensors")
    assert code == 1
    assert "broken.safetensors" in text.replace("\n", "")
    assert _train(latents, "--out", tmp_path / "yaw.pt")[0] == 1


def test_editors_tells_what_a_file_holds(latents: Path, tmp_path: Path) -> None:
    out = tmp_path / "yaw.safetensors"
    assert _train(latents, "--out", out, "--slots", "1")[0] == 0
    shown = CliRunner().invoke(app, ["editors", str(out)])
    assert shown.exit_code == 0
    assert "0..20" in shown.output
    assert "--by, --to: degree; how far it holds was not measured" in shown.output
    facts = json.loads(CliRunner().invoke(app, ["editors", "--json", str(out)]).output)
    assert facts[str(out)]["slots"] == [1]
    assert CliRunner().invoke(app, ["editors"]).exit_code == 0
    assert CliRunner().invoke(app, ["editors", "nobody"]).exit_code == 1


def test_the_help_shows_the_defaults_that_train_has() -> None:
    """They stand in the help as text: its command does not load torch."""
    options = {one.name: one for one in typer.main.get_command(app).commands["train"].params}  # type: ignore[attr-defined]
    config, precise = DeltaConfig(), PreciseConfig()
    own = {name: getattr(config, name) for name in options if hasattr(config, name)}
    own |= {name: getattr(precise, name) for name in ("target_gain", "leak", "far")}
    own["precise_steps"] = precise.steps
    said = [name for name, value in own.items() if value not in (None, ()) and name != "seed"]
    shown = {name: options[name].show_default for name in said}
    assert shown == {name: f"{own[name]:g}" if isinstance(own[name], (int, float)) else own[name] for name in shown}
    assert len(shown) == 16
    help_ = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    assert "0.002" in help_


@pytest.mark.usefixtures("loss_networks")
def test_how_far_an_editor_holds_is_measured_on_request_and_written_into_its_file(
    tiny_generator: Generator, tmp_path: Path
) -> None:
    save_generator(tiny_generator, tmp_path / "G.safetensors")
    random, shape = torch.Generator().manual_seed(0), (1, tiny_generator.num_ws, tiny_generator.w_dim)
    frames = {("yaw", name): torch.randn(3, *shape[1:], generator=random) for name in ("anna", "ben", "carl")}
    latents = SequenceLatents(
        {"yaw": [-20.0, 0.0, 20.0]}, ["anna", "ben", "carl"], frames, GeneratorId.of(tiny_generator)
    )
    latents.save(tmp_path / "latents.safetensors")
    out = tmp_path / "yaw.safetensors"
    assert _train(tmp_path / "latents.safetensors", "--out", out, "--report", 0)[0] == 0
    edited = load_editor(out).edit(torch.zeros(shape), 1.0)
    measure = ["editors", str(out), "--measure", "--generator", str(tmp_path / "G.safetensors")]
    shown = CliRunner().invoke(app, measure)
    assert shown.exit_code == 0, shown.output
    assert "held by 0 to 0 on 12 faces" in shown.output  # what this generator draws are no faces
    again = load_editor(out)
    assert again.info.training["range"]["alpha"] == [0.0, 0.0]
    assert torch.equal(again.edit(torch.zeros(shape), 1.0), edited)
    for words in (["editors", "--measure"], ["editors", "yaw", "--measure"]):
        refused = CliRunner().invoke(app, words)
        assert refused.exit_code == 1
        assert "--measure" in refused.output + refused.stderr
