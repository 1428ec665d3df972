"""What version 1 wrote still loads, is known by the same names, and gives the same results.

The files in `version_1/` were made by deltafast at commit 539712e, before a generator's parameters became those of its
checkpoint: generators out of two formats and MobileStyleGAN's, latents and an editor that name one of them, and in
`expected.safetensors` what they gave.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from deltafast.delta import load_editor
from deltafast.errors import CheckpointError
from deltafast.generators.fingerprint import fingerprint_tensors
from deltafast.generators.load import load_generator, save_generator
from deltafast.sequence_latents import load_latents

_FILES = Path(__file__).parent / "version_1"
_KNOWN = json.loads((_FILES / "generators.json").read_text())
_ROUNDING = 2e-6  # of the largest value: gains are multiplied in at another place

_CHECKPOINTS = ("stylegan2-ada.safetensors", "stylegan2-ada.pkl", "rosinality.safetensors", "rosinality.pt")
checkpoints = pytest.mark.parametrize("file", [*_CHECKPOINTS, "mobilestylegan.safetensors"])


def _expected(name):
    return {
        key.removeprefix(f"{name}/"): value
        for key, value in load_file(_FILES / "expected.safetensors").items()
        if key.startswith(f"{name}/")
    }


def _close(found, expected):
    return found.shape == expected.shape and (found - expected).abs().max() <= _ROUNDING * expected.abs().max()


@checkpoints
def test_generators_give_the_same_codes_and_images(file):
    generator, expected = load_generator(_FILES / file), _expected(file.partition(".")[0])
    assert _close(generator.mapping(expected["z"], expected.get("c"))[:, 0], expected["w"])
    assert torch.equal(generator.w_avg, expected["w_avg"])
    for mode in ("const", "none"):
        assert _close(generator.synthesis(expected["ws"], mode), expected[f"img_{mode}"])


@checkpoints
def test_generators_keep_their_fingerprint_and_w_space(file, tmp_path):
    generator = load_generator(_FILES / file)
    known = _KNOWN[file.partition(".")[0]]
    assert (generator.fingerprint, generator.w_space) == (known["fingerprint"], known["w_space"])
    save_generator(generator, tmp_path / "again.safetensors")
    again = load_generator(tmp_path / "again.safetensors")
    assert (again.fingerprint, again.w_space) == (known["fingerprint"], known["w_space"])
    with safe_open(tmp_path / "again.safetensors", framework="pt") as stream:
        assert stream.metadata()["version"] == "2"


@pytest.mark.parametrize("name", ["stylegan2-ada", "rosinality"])
def test_a_file_of_version_1_has_the_parameters_of_the_checkpoint_it_was_made_of(name):
    original = load_generator(_FILES / ("stylegan2-ada.pkl" if name == "stylegan2-ada" else "rosinality.pt"))
    converted = load_generator(_FILES / f"{name}.safetensors")
    for key, tensor in original.tensors().items():
        assert torch.allclose(converted.tensors()[key], tensor, rtol=1e-6, atol=0), key
    assert converted.config["equalised_convolutions"] == (name == "rosinality")


def test_weights_that_no_checkpoint_had_keep_the_fingerprint_of_their_file(tmp_path):
    with safe_open(_FILES / "stylegan2-ada.safetensors", framework="pt") as stream:
        metadata = stream.metadata()
    tensors = load_file(_FILES / "stylegan2-ada.safetensors")
    random = torch.Generator().manual_seed(0)
    tensors = {name: t * (1 + 1e-3 * torch.rand(t.shape, generator=random)) for name, t in tensors.items()}
    metadata["fingerprint"] = fingerprint_tensors(tensors)
    save_file(tensors, tmp_path / "trained.safetensors", metadata)
    generator = load_generator(tmp_path / "trained.safetensors")
    assert generator.fingerprint == metadata["fingerprint"]
    save_generator(generator, tmp_path / "again.safetensors")
    assert load_generator(tmp_path / "again.safetensors").fingerprint == metadata["fingerprint"]


@pytest.mark.parametrize("version", ["1", "2"])
def test_an_altered_file_is_refused(tmp_path, version):
    source = _FILES / "stylegan2-ada.safetensors"
    if version == "2":
        save_generator(load_generator(source), tmp_path / "own.safetensors")
        source = tmp_path / "own.safetensors"
    with safe_open(source, framework="pt") as stream:
        metadata = stream.metadata()
    tensors = load_file(source)
    name = "synthesis.b8.conv0.affine.weight"
    tensors[name][0, 0] = torch.nextafter(tensors[name][0, 0], torch.tensor(9.0))
    save_file(tensors, tmp_path / "altered.safetensors", metadata)
    with pytest.raises(CheckpointError, match="was altered"):
        load_generator(tmp_path / "altered.safetensors")


def test_an_editor_fits_its_generator_and_edits_the_same():
    generator, expected = load_generator(_FILES / "stylegan2-ada.pkl"), _expected("stylegan2-ada")
    editor = load_editor(_FILES / "yaw.safetensors").for_generator(generator)
    assert _close(editor.edit(expected["ws"], 1.5), _expected("yaw")["edited"])


def test_latents_name_the_generator_that_they_were_projected_with():
    latents = load_latents(_FILES / "latents.safetensors")
    generator = load_generator(_FILES / "stylegan2-ada.pkl")
    assert latents.generator.fingerprint == generator.fingerprint
    assert latents.generator.w_space == generator.w_space
