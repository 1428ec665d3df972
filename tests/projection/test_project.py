"""`deltafast project` as a user runs it: real processes, real files, interrupted and bad input."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from deltafast.errors import ImageError, InvalidInputError, ResumeError
from deltafast.faces.alignment import Alignment, FaceAligner
from deltafast.files import read_json, sha256_file, write_json, write_png
from deltafast.generators.base import Generator
from deltafast.projection import (
    ProjectionSettings,
    RefineConfig,
    encode_images,
    is_tuned_file,
    project_images,
    project_sequences,
)
from deltafast.projection.encoder import Encoder, EncoderConfig
from deltafast.projection.photos import read_face
from deltafast.projection.sampling import slot_groups
from deltafast.sequence_latents import load_latents
from deltafast.sequence_manifest import FrameRecord, Manifest, load_manifest

SETTINGS = ProjectionSettings(RefineConfig(steps=6, landmark_weight=0.0, identity_weight=0.0), compile=False)


@pytest.fixture(scope="module")
def encoder(tiny_generator: Generator) -> Encoder:
    """A small encoder for the small generator."""
    torch.manual_seed(0)
    config = EncoderConfig(64, tiny_generator.num_ws, tiny_generator.w_dim, slot_groups(tiny_generator.num_ws), 16)
    encoder = Encoder(config, tiny_generator.w_space, tiny_generator.name).eval().requires_grad_(False)
    encoder.w_avg.copy_(tiny_generator.w_avg)
    return encoder


@pytest.fixture
def sequences(tmp_path: Path) -> Path:
    """A sequence folder of two identities; the middle frame of both attributes is one picture."""
    folder = tmp_path / "sequences"
    random = np.random.default_rng(0)
    frames = []
    for identity in ("female", "male"):
        neutral = random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        for attribute, values in (("yaw", [-20.0, 0.0, 20.0]), ("light", [-60.0, 0.0, 60.0])):
            for index, value in enumerate(values):
                name = f"{attribute}/{identity}/{index:03d}.png"
                picture = neutral if value == 0 else random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
                write_png(folder / name, picture)
                frames.append(
                    {"file": name, "attribute": attribute, "identity": identity, "index": index, "value": value}
                    | {"parameters": {}, "sha256": sha256_file(folder / name)}
                )
    attributes = {"yaw": {"values": [-20.0, 0.0, 20.0]}, "light": {"values": [-60.0, 0.0, 60.0]}}
    people: dict[str, dict[str, Any]] = {"female": {}, "male": {}}
    units = {name: entry | {"unit": "degree"} for name, entry in attributes.items()}
    Manifest(folder, 64, units, people, tuple(FrameRecord(**frame) for frame in frames), {}).save()
    return folder


def test_projected_sequences_share_the_latent_of_a_shared_frame(
    tiny_generator: Generator, encoder: Encoder, sequences: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    latents = project_sequences(tiny_generator, sequences, out, SETTINGS, encoder=encoder)
    assert torch.equal(latents.latents["yaw", "male"][1], latents.latents["light", "male"][1])
    assert latents.latents["yaw", "male"].shape == (3, tiny_generator.num_ws, tiny_generator.w_dim)
    again = load_latents(out / "latents.safetensors")
    assert again.attributes == {"yaw": [-20.0, 0.0, 20.0], "light": [-60.0, 0.0, 60.0]}
    assert torch.equal(again.latents["light", "female"], latents.latents["light", "female"])
    assert (out / "sheet-female.png").is_file()
    assert not list(out.rglob("*.state"))


def test_only_the_named_identities_are_refined(
    tiny_generator: Generator, encoder: Encoder, sequences: Path, tmp_path: Path
) -> None:
    settings = ProjectionSettings(SETTINGS.refine, ("male",), compile=False)
    latents = project_sequences(tiny_generator, sequences, tmp_path / "out", settings, encoder=encoder)

    for identity, refined in (("female", False), ("male", True)):
        target = torch.cat([read_face(sequences / f"yaw/{identity}/{i:03d}.png", 64) for i in range(3)])
        plain = encode_images(tiny_generator, target, encoder=encoder)
        same = torch.allclose(plain, latents.latents["yaw", identity], atol=1e-5)
        assert same is not refined


def test_only_the_identities_whose_frames_or_settings_changed_are_projected_anew(
    tiny_generator: Generator, encoder: Encoder, sequences: Path, tmp_path: Path
) -> None:
    def project(settings: ProjectionSettings) -> dict[str, int]:
        project_sequences(tiny_generator, sequences, tmp_path, settings, encoder=encoder)
        return {path.stem: path.stat().st_mtime_ns for path in (tmp_path / "identities").iterdir()}

    plain = ProjectionSettings(RefineConfig(steps=0))
    first = project(plain)
    assert project(plain) == first
    manifest = read_json(sequences / "manifest.json")
    frame = next(f for f in manifest["frames"] if (f["identity"], f["index"]) == ("male", 0))
    write_png(sequences / frame["file"], np.zeros((64, 64, 3), np.uint8))
    frame["sha256"] = sha256_file(sequences / frame["file"])
    write_json(sequences / "manifest.json", manifest)
    second = project(plain)
    assert second["female"] == first["female"]
    assert second["male"] > first["male"]
    third = project(ProjectionSettings(SETTINGS.refine, ("male",), compile=False))
    assert all(third[name] > second[name] for name in third)
    assert (tmp_path / "sheet-male.png").exists()
    fourth = project(ProjectionSettings(SETTINGS.refine, (), compile=False))
    assert fourth["female"] == third["female"]
    assert not (tmp_path / "sheet-male.png").exists()
    with pytest.raises(ResumeError, match="another"):
        project_images(tiny_generator, sequences, tmp_path, plain, encoder=encoder)


@pytest.mark.parametrize("damage", ["no frames", "missing frame", "not json"])
def test_a_damaged_manifest_is_refused_by_name(
    tiny_generator: Generator, encoder: Encoder, sequences: Path, tmp_path: Path, damage: str
) -> None:
    path = sequences / "manifest.json"
    manifest = read_json(path)
    if damage == "no frames":
        del manifest["frames"]
    else:
        manifest["frames"].pop()
    write_json(path, manifest)
    if damage == "not json":
        path.write_text(path.read_text()[:50])
    with pytest.raises(InvalidInputError, match=r"manifest\.json"):
        project_sequences(tiny_generator, sequences, tmp_path / "out", SETTINGS, encoder=encoder)


@pytest.mark.parametrize("claim", ["identity", "file"])
def test_a_manifest_cannot_point_outside_its_folder(
    tiny_generator: Generator, encoder: Encoder, sequences: Path, tmp_path: Path, claim: str
) -> None:
    manifest = read_json(sequences / "manifest.json")
    if claim == "identity":
        manifest["identities"][0]["name"] = "../../female"
        for frame in manifest["frames"]:
            frame["identity"] = frame["identity"].replace("female", "../../female")
    else:
        manifest["frames"][0]["file"] = "../../../etc/passwd"
    write_json(sequences / "manifest.json", manifest)
    with pytest.raises(InvalidInputError, match="identity is called" if claim == "identity" else "outside the folder"):
        project_sequences(tiny_generator, sequences, tmp_path / "out", SETTINGS, encoder=encoder)
    assert not (tmp_path / "out").exists()


def test_identities_to_refine_must_be_there(
    tiny_generator: Generator, encoder: Encoder, sequences: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match=r"no identity 'mael'.*female, male"):
        project_sequences(
            tiny_generator, sequences, tmp_path, ProjectionSettings(SETTINGS.refine, ("mael",)), encoder=encoder
        )


def test_bad_images_are_reported_and_the_rest_is_done(
    tiny_generator: Generator, encoder: Encoder, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    write_png(folder / "a.png", np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8))
    write_png(folder / "wide.png", np.zeros((64, 80, 3), np.uint8))
    write_png(folder / "dot.png", np.zeros((1, 1, 3), np.uint8))
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    result = project_images(tiny_generator, folder, tmp_path / "out", SETTINGS, encoder=encoder, align=False)
    failures = result.failures
    assert sorted(Path(name).name for name in failures) == ["dot.png", "torn.jpg", "wide.png"]
    assert "square" in failures[str(folder / "wide.png")]
    ws = load_file(tmp_path / "out" / "a.safetensors")["ws"]
    assert ws.shape == (1, tiny_generator.num_ws, tiny_generator.w_dim)
    report = read_json(tmp_path / "out" / "report.json")
    assert list(report) == ["a"]
    assert report["a"]["distances"]["perceptual"]["end"] < report["a"]["distances"]["perceptual"]["start"]
    assert report["a"]["steps"] == 6
    assert result.warnings["a"], "noise is no face, and the report says so"
    with pytest.raises(ImageError, match="square"):
        read_face(folder / "dot.png")


def test_photos_are_aligned_and_keep_where_their_faces_lie(
    tiny_generator: Generator, encoder: Encoder, tmp_path: Path
) -> None:
    pytest.importorskip("dlib", reason="the extra `photos` (dlib-bin) is not installed")
    photo = np.ascontiguousarray(pytest.importorskip("skimage.data").astronaut()[:300, 50:410])
    write_png(tmp_path / "photos" / "wide.png", photo)
    write_png(tmp_path / "photos" / "meadow.png", np.full((90, 90, 3), 120, np.uint8))
    settings = ProjectionSettings(RefineConfig(steps=0))
    failures = project_images(tiny_generator, tmp_path / "photos", tmp_path / "out", settings, encoder=encoder).failures
    assert [Path(name).name for name in failures] == ["meadow.png"]
    assert "no face was found" in failures[str(tmp_path / "photos" / "meadow.png")]
    (face,) = FaceAligner().align(photo, size=64)
    kept = read_json(tmp_path / "out" / "wide-alignment.json")
    assert Alignment.from_json(kept).as_json() == face.alignment.as_json()
    expected = encode_images(
        tiny_generator, torch.from_numpy(face.image).permute(2, 0, 1)[None].float() / 127.5 - 1, encoder=encoder
    )
    torch.testing.assert_close(load_file(tmp_path / "out" / "wide.safetensors")["ws"], expected)
    write_png(tmp_path / "aligned.png", face.image)
    result = project_images(tiny_generator, tmp_path / "aligned.png", tmp_path / "out2", settings, encoder=encoder)
    assert not result.failures
    assert not (tmp_path / "out2" / "aligned-alignment.json").exists(), "it was taken as it is"
    kept = (tmp_path / "out2" / "aligned.safetensors").stat().st_mtime_ns
    project_images(tiny_generator, tmp_path / "aligned.png", tmp_path / "out2", settings, encoder=encoder, align=True)
    assert (tmp_path / "out2" / "aligned.safetensors").stat().st_mtime_ns > kept, "other settings, made anew"


def test_a_projection_does_not_depend_on_those_before_it(
    tiny_generator: Generator, encoder: Encoder, tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    for name in ("a", "b"):
        write_png(tmp_path / "photos" / f"{name}.png", random.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    both, second = tmp_path / "both", tmp_path / "second"
    for out, photos in ((both, tmp_path / "photos"), (second, tmp_path / "photos" / "b.png")):
        # as in a new process: an encoder that has refined nothing yet
        project_images(tiny_generator, photos, out, SETTINGS, encoder=copy.deepcopy(encoder), align=False)
    assert sha256_file(both / "b.safetensors") == sha256_file(second / "b.safetensors")


@pytest.mark.slow
def test_a_killed_projection_run_again_ends_with_the_same_files(
    tiny_generator: Generator, encoder: Encoder, sequences: Path, tmp_path: Path
) -> None:
    from deltafast.generators.load import save_generator

    save_generator(tiny_generator, tmp_path / "generator.safetensors")
    encoder.save(tmp_path / "encoder.safetensors")
    manifest = load_manifest(sequences)
    yaw = tuple(frame for frame in manifest.frames if frame.attribute == "yaw")  # half as many pictures to refine
    replace(manifest, attributes={"yaw": manifest.attributes["yaw"]}, frames=yaw).save()

    parts = tmp_path / "parts"
    program = _program(tmp_path, sequences)
    _killed_and_run_again(program, tmp_path, parts / "identities" / ".female.state", parts / "latents.safetensors")
    for name in ("latents.safetensors", "report.json", "sheet-male.png"):
        assert sha256_file(tmp_path / "whole" / name) == sha256_file(parts / name), name


@pytest.mark.slow
def test_a_tuned_face_whose_tuning_was_killed_is_the_same_file_when_it_is_run_again(
    tiny_generator: Generator, encoder: Encoder, tmp_path: Path
) -> None:
    from deltafast.generators.load import save_generator

    save_generator(tiny_generator, tmp_path / "generator.safetensors")
    encoder.save(tmp_path / "encoder.safetensors")
    write_png(tmp_path / "me.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    parts = tmp_path / "parts"
    program = [*_program(tmp_path, tmp_path / "me.png"), "--likeness", "tuned", "--align", "never"]
    _killed_and_run_again(program, tmp_path, parts / ".me.state", parts / "me.safetensors")
    for name in ("me.safetensors", "me.json", "me-sheet.png", "report.json"):
        assert sha256_file(tmp_path / "whole" / name) == sha256_file(parts / name), name
    assert not list(parts.glob("*.state"))
    assert is_tuned_file(parts / "me.safetensors")


def _program(folder: Path, source: Path) -> list[str]:
    """`deltafast project` on a source, with a generator and an encoder; the folder to write follows."""
    options = ["--no-compile", "--generator", str(folder / "generator.safetensors"), "--steps", "7"]
    program = [sys.executable, "-c", "from deltafast.cli import main; main()", "project", str(source)]
    return [*program, *options, "--encoder", str(folder / "encoder.safetensors")]


def _killed_and_run_again(program: list[str], folder: Path, state: Path, finished: Path) -> None:
    """Run a program into `folder/whole`; and into `folder/parts`, killed once its state is saved, and again."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*program, str(folder / "whole")], check=True, env=environment, stdin=subprocess.DEVNULL)
    again = [*program, str(folder / "parts")]
    process = subprocess.Popen(again, env=environment, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.exists(), "the run was to be killed in the middle of its first face"
    assert not finished.exists()
    subprocess.run(again, check=True, env=environment, stdin=subprocess.DEVNULL)
