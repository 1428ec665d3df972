"""Edited pictures say what was done to them, and nothing of whom they show."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matrix_generator import C, L, MatrixGenerator, train
from PIL import Image

from deltafast.editing import EditOptions, EditResult, EditSession
from deltafast.editing.named_editors import given_editor, named_editors
from deltafast.editing.provenance import Provenance
from deltafast.editing.result_files import ResultFiles


def _said(path: Path) -> dict[str, str]:
    with Image.open(path) as image:
        image.load()
        return image.text  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("composite", [False, True])
def test_xmp_is_well_formed_and_says_by_iptcs_words_that_a_network_made_it(composite: bool) -> None:
    packet = ElementTree.fromstring(Provenance([], "tiny", composite).as_xmp())
    (about,) = packet.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    kind = about.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert kind is not None
    assert kind.rsplit("/", 1)[1] == (
        "compositeWithTrainedAlgorithmicMedia" if composite else "trainedAlgorithmicMedia"
    )


def test_each_image_of_a_sweep_says_its_own_amounts(tmp_path: Path) -> None:
    generator = MatrixGenerator()
    for name, slots in (("yaw", (0, 1)), ("smile", (2,))):
        train(name, slots, generator).save(tmp_path / f"{name}.safetensors")
    given = [given_editor(str(tmp_path / "yaw.safetensors")), given_editor(f"{tmp_path / 'smile.safetensors'}=0.25")]
    named = named_editors(given, [-1.0, 0.5], generator)  # type: ignore[arg-type]
    session = EditSession(generator, named.editors, named.amounts, EditOptions(output="uint8"))  # type: ignore[arg-type]
    results = ResultFiles(named.labels("alpha"), named.provenance("alpha", generator))  # type: ignore[arg-type]
    (files,) = results.write_rows(tmp_path / "out", ["anna"], session.edit(torch.zeros(1, L, C)))
    said = [json.loads(_said(file)["deltafast"]) for file in files]
    assert [one["edits"] for one in said] == [
        [{"attribute": "yaw", "alpha": amount}, {"attribute": "smile", "alpha": 0.25}] for amount in (-1.0, 0.5)
    ]
    assert all(one["generator"].startswith("tiny 2222") for one in said)
    assert not any("anna" in text for file in files for text in _said(file).values())
    assert "trainedAlgorithmicMedia" in _said(files[0])["XML:com.adobe.xmp"]


def test_an_image_that_carries_a_photo_is_said_to_be_a_composite(tmp_path: Path) -> None:
    results = ResultFiles([""], [Provenance([], "tiny")])
    image, ws = torch.zeros(1, 1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 1, L, C)
    plain = EditResult(image, ws, ws[:, 0])
    for name, edit, word in (
        ("plain", plain, "/trainedAlgorithmicMedia"),
        ("tuned", replace(plain, tuned=[]), "/compositeWithTrainedAlgorithmicMedia"),
    ):
        ((file,),) = results.write_rows(tmp_path, [name], edit)
        assert word in _said(file)["XML:com.adobe.xmp"]


def test_a_photo_is_said_to_be_a_composite(tmp_path: Path) -> None:
    results = ResultFiles([""], [Provenance([{"attribute": "yaw", "by": 15.0}], "tiny")])
    photo = np.zeros((1, 8, 8, 3), np.uint8)
    (file,) = results.write(tmp_path, "photo", photo, torch.zeros(1, L, C), composite=True)
    assert "compositeWithTrainedAlgorithmicMedia" in _said(file)["XML:com.adobe.xmp"]
