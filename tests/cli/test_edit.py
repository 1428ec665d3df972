"""`deltafast edit`: folders of latents or seeds to images; repeated it adds only what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import deltafast
from deltafast.cli import app
from deltafast.delta import DeltaConfig, train_editor
from deltafast.delta.amounts import UNITS, AmountReader
from deltafast.editing import steering
from deltafast.editing.latent_files import read_latent_file
from deltafast.errors import InvalidInputError
from deltafast.files import read_image
from deltafast.generators.base import Generator
from deltafast.generators.seeds import latents_from_seeds
from deltafast.sequence_latents import GeneratorId, SequenceLatents


@pytest.fixture(scope="module")
def checkpoint(shared_dir: Path) -> Path:
    return shared_dir / "fixtures" / "rosinality-64-narrow.pt"


@pytest.fixture(scope="module")
def generator(checkpoint: Path) -> Generator:
    return deltafast.load_generator(checkpoint)


@pytest.fixture(scope="module")
def editor_file(generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = torch.Generator().manual_seed(0)
    direction = torch.randn(generator.num_ws, generator.w_dim, generator=random)
    t = torch.tensor([-1.0, 0.0, 1.0])[:, None, None]
    tensors = {
        ("yaw", n): torch.randn(1, generator.num_ws, generator.w_dim, generator=random) + t * direction for n in "ab"
    }
    latents = SequenceLatents({"yaw": [-1.0, 0.0, 1.0]}, ["a", "b"], tensors, GeneratorId.of(generator))
    path = tmp_path_factory.mktemp("editor") / "yaw.safetensors"
    train_editor(latents, "yaw", DeltaConfig(slots=(0, 1), dim=2, width=8, steps=20, pairs=2), out=path, plot=False)
    return path


@pytest.fixture
def codes(generator: Generator, tmp_path: Path) -> Path:
    """Latents in every format that is read, and one file that is none."""
    folder = tmp_path / "codes"
    folder.mkdir()
    ws = generator.mapping(torch.randn(4, generator.z_dim, generator=torch.Generator().manual_seed(0)))
    torch.save(ws[:1], folder / "one.pt")
    np.save(folder / "two.npy", ws[1:2].numpy())
    save_file({"ws": ws[2:4].clone()}, folder / "three.safetensors")
    torch.save({"anything": object()}, folder / "evil.pt")
    return folder


def _edit(checkpoint: Path, editor: object, *arguments: object) -> tuple[int, str]:
    words = ["edit", *map(str, arguments), "--editor", str(editor), "--generator", str(checkpoint)]
    result = CliRunner().invoke(app, words)
    return result.exit_code, result.output


def test_a_folder_is_edited_and_its_bad_file_reported(
    codes: Path, checkpoint: Path, editor_file: Path, generator: Generator, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sweep = ["--alpha", "-1", "--alpha", "0", "--alpha", "1.5"]
    code, text = _edit(checkpoint, editor_file, codes, out, *sweep, "--latents", "--batch-size", 2)
    assert code == 1
    assert "evil.pt" in text
    assert "1 of 4 inputs could not be edited" in text
    names = ["one", "two", "three-0000", "three-0001"]
    wanted = {f"{name}_{alpha}.png" for name in names for alpha in ("-1", "+0", "+1.5")}
    assert {p.name for p in out.glob("*.png")} == wanted
    ws = torch.load(codes / "one.pt", weights_only=True)
    unedited = (generator.synthesis(ws)[0] * 127.5 + 127.5).round().clamp(0, 255).permute(1, 2, 0)
    assert np.abs(read_image(out / "one_+0.png").astype(int) - unedited.numpy().astype(int)).max() <= 1
    latents = load_file(out / "one.safetensors")["ws"]
    assert latents.shape == (3, generator.num_ws, generator.w_dim)
    assert torch.equal(latents[1], ws[0])

    kept = (out / "one_-1.png").stat().st_mtime_ns
    (out / "two_+0.png").unlink()
    (codes / "evil.pt").unlink()
    code, text = _edit(checkpoint, editor_file, codes, out, *sweep, "--latents")
    assert code == 0, text
    assert "1 face edited" in text
    assert (out / "two_+0.png").exists()
    assert (out / "one_-1.png").stat().st_mtime_ns == kept

    code, text = _edit(checkpoint, editor_file, codes, out, "--alpha", "2")
    assert code == 0, text
    assert "other settings (alphas" in text
    assert (out / "one_+2.png").exists()


def test_seeds_are_the_same_faces_whatever_the_batch(checkpoint: Path, editor_file: Path, tmp_path: Path) -> None:
    one, all_at_once = tmp_path / "one", tmp_path / "all"
    assert _edit(checkpoint, editor_file, one, "--seeds", "0-1,70000", "--batch-size", 1)[0] == 0
    assert _edit(checkpoint, editor_file, all_at_once, "--seeds", "0-1,70000", "--batch-size", 8)[0] == 0
    names = sorted(p.name for p in one.glob("*.png"))
    assert names == [f"seed{k:04d}_+1.png" for k in (0, 1, 70000)]
    for name in names:
        difference = read_image(one / name).astype(int) - read_image(all_at_once / name).astype(int)
        assert np.abs(difference).max() <= 1


class _FirstPixel(AmountReader):
    """Reads degrees off the mean of an image, for faces as small as these show none."""

    def __init__(self, attributes: Sequence[str], device: object = "cpu") -> None:
        self.units = [UNITS[attribute] for attribute in attributes]

    def read(self, images: torch.Tensor) -> torch.Tensor:
        return 500 * images.mean((1, 2, 3))[:, None]


def test_by_and_to_are_read_off_the_images(
    checkpoint: Path, editor_file: Path, generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "AmountReader", _FirstPixel)
    seeds = ["--seeds", "1", "--latents"]
    code, text = _edit(checkpoint, editor_file, tmp_path / "by", *seeds, "--by", "0", "--by", "2.5")
    assert code == 0, text
    assert {p.name for p in (tmp_path / "by").glob("*.png")} == {"seed0001_by+0.png", "seed0001_by+2.5.png"}
    ws = load_file(tmp_path / "by" / "seed0001.safetensors")["ws"]
    still, moved = _FirstPixel(["yaw"]).read(generator.synthesis(ws))[:, 0].tolist()
    assert torch.equal(ws[0], latents_from_seeds(generator, (1,), 0.7)[0])
    assert abs(moved - still - 2.5) <= 1
    code, text = _edit(checkpoint, editor_file, tmp_path / "to", *seeds, "--to", f"{still + 2:.3f}")
    assert code == 0, text
    assert "warning" not in text
    code, text = _edit(checkpoint, f"{editor_file}=to1e6", tmp_path / "far", *seeds)
    assert code == 0, text
    assert (tmp_path / "far" / "seed0001_to+1000000.png").is_file()
    assert "warning: seeds 1-1: yaw: 1 of 1 edits do not get to what was asked" in text
    code, text = _edit(checkpoint, editor_file, tmp_path / "to", *seeds, "--to", "7")
    assert code == 0, text
    assert "other settings (to)" in text
    code, text = _edit(checkpoint, editor_file, tmp_path / "no", *seeds, "--to", "7", "--alpha", "1")
    assert code == 1
    assert "give one of --alpha, --by and --to, not --alpha and --to" in text


def test_an_editor_can_have_its_own_alpha(checkpoint: Path, editor_file: Path, tmp_path: Path) -> None:
    sweep = ["--editor", f"{editor_file}=0.5", "--alpha", "0", "--alpha", "0.5"]
    assert _edit(checkpoint, editor_file, tmp_path / "two", "--seeds", "3", *sweep)[0] == 0
    assert _edit(checkpoint, f"{editor_file}=0.5", tmp_path / "fixed", "--seeds", "3")[0] == 0
    assert [p.name for p in (tmp_path / "fixed").glob("*.png")] == ["seed0003_+0.5.png"]
    fixed = read_image(tmp_path / "fixed" / "seed0003_+0.5.png").astype(int)
    assert np.abs(read_image(tmp_path / "two" / "seed0003_+0.png").astype(int) - fixed).max() <= 1
    assert np.abs(read_image(tmp_path / "two" / "seed0003_+0.5.png").astype(int) - fixed).max() > 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["out"], "INPUT and OUT"),
        (["a", "b", "--seeds", "1"], "OUT with --seeds"),
        (["absent", "out"], "neither a folder nor a file"),
        (["out", "--seeds", "x"], "seeds"),
        (["out", "--seeds", "1", "--alpha", "nan"], "finite"),
        (["out", "--seeds", "1", "--alpha", "1", "--alpha", "1"], "different"),
        (["out", "--seeds", "1", "--layers", "99"], "slots"),
        (["out", "--seeds", "1", "--noise-mode", "loud"], "noise-mode"),
        (["out", "--seeds", "1", "--editor", "nobody"], "nobody"),
    ],
)
def test_mistakes_end_in_one_line(
    checkpoint: Path,
    editor_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = _edit(checkpoint, editor_file, *arguments)
    assert code == 1
    assert text.startswith("error: ")
    assert words in text
    assert not (tmp_path / "out").exists()


def test_latent_files_of_every_kind_are_read_and_nothing_is_executed(tmp_path: Path) -> None:
    ws = torch.randn(2, 3, 4)
    torch.save({"latent": ws}, tmp_path / "a.pt")
    np.savez(tmp_path / "b.npz", w=ws.numpy())
    np.save(tmp_path / "c.npy", ws.numpy().astype(">f4"))
    save_file({"whatever": ws}, tmp_path / "d.safetensors")
    for name in ("a.pt", "b.npz", "c.npy", "d.safetensors"):
        torch.testing.assert_close(read_latent_file(tmp_path / name), ws)
    np.save(tmp_path / "e.npy", np.array([object()]), allow_pickle=True)
    np.save(tmp_path / "f.npy", np.arange(4))
    torch.save([1, 2], tmp_path / "g.pt")
    torch.save(print, tmp_path / "h.pt")
    save_file({"x": ws, "y": ws + 1}, tmp_path / "i.safetensors")
    (tmp_path / "j.npy").write_bytes(b"")
    (tmp_path / "k.npz").write_bytes(b"PK")
    for name in ("e.npy", "f.npy", "g.pt", "h.pt", "i.safetensors", "j.npy", "k.npz", "absent.pt"):
        with pytest.raises(InvalidInputError, match=name):
            read_latent_file(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--editor", "EDITOR=nan", "--seeds", "0"], "amount must be finite"),
        (["--editor", "EDITOR", "--seeds", "0", "--psi", "nan"], "--psi must be"),
        (["--editor", "EDITOR", "--seeds", "0", "--device", "nowhere"], "device 'nowhere'"),
    ],
)
def test_numbers_and_devices_that_cannot_be_used_are_named(
    checkpoint: Path, editor_file: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    given = [option.replace("EDITOR", str(editor_file)) for option in options]
    done = CliRunner().invoke(app, ["edit", str(tmp_path / "out"), "--generator", str(checkpoint), *given])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)  # no traceback
    assert message in done.stderr


def test_the_input_folder_is_not_taken_for_the_output(checkpoint: Path, editor_file: Path, tmp_path: Path) -> None:
    options = ["--generator", str(checkpoint), "--editor", str(editor_file)]
    done = CliRunner().invoke(app, ["edit", str(tmp_path), str(tmp_path), *options])
    assert done.exit_code == 1
    assert "another folder" in done.stderr


def test_one_w_plus_latent_is_no_row_of_w_codes_whatever_the_batch(
    checkpoint: Path, editor_file: Path, generator: Generator, tmp_path: Path
) -> None:
    codes = torch.randn(2 * generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(0))
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    np.save(tmp_path / "one" / "codes.npy", codes[: generator.num_ws].numpy())
    np.save(tmp_path / "many" / "codes.npy", codes.numpy())
    for batch in (1, 2, generator.num_ws):
        code, text = _edit(checkpoint, editor_file, tmp_path / "one", tmp_path / "out", "--batch-size", batch)
        assert code == 1
        assert "may be one W+ latent or" in text
    code, text = _edit(checkpoint, editor_file, tmp_path / "many", tmp_path / "all", "--batch-size", generator.num_ws)
    assert code == 0, text
    assert len(list((tmp_path / "all").glob("*.png"))) == 2 * generator.num_ws


def test_amounts_that_nothing_would_use_or_that_meet_are_refused(
    checkpoint: Path, editor_file: Path, tmp_path: Path
) -> None:
    for words, told in (
        ([f"{editor_file}=0.5", tmp_path / "out", "--seeds", "0", "--alpha", "2"], "each of these has one"),
        ([f"{editor_file}=by2", tmp_path / "out", "--seeds", "0", "--to", "2"], "cannot be mixed"),
        ([f"{editor_file}=by", tmp_path / "out", "--seeds", "0"], "as in yaw=0.5, yaw=by15"),
        ([editor_file, tmp_path / "out", "--seeds", "0", "--alpha", "0.1", "--alpha", "0.10000000000001"], "different"),
        (["x" * 400, tmp_path / "out", "--seeds", "0"], "no editor"),
        ([editor_file, tmp_path / "out", "--seeds", "0", "--encoder", tmp_path / "nope.safetensors"], "nope"),
    ):
        code, text = _edit(checkpoint, *words)
        assert code == 1, text
        assert told in text.replace("\n", " ")
    code, text = _edit(
        checkpoint, f"{editor_file}=0.5", tmp_path / "two", "--seeds", "0", "--editor", f"{editor_file}=-3"
    )
    assert code == 0, text
    assert [path.name for path in (tmp_path / "two").glob("*.png")] == ["seed0000.png"]  # no one amount to name it by
