"""The model on paper: what it counts, and that the table of paths is taken from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.convolution_model import GPUS, NETWORKS, computed, model, operations, paths
from deltafast.ops.conv_path import listed_path

_BATCH = 16


def test_operations_are_those_of_the_floor() -> None:
    """torch's FlopCounterMode counts 151 GFLOP in config F at 1024 x 1024; all but 1 % are these convolutions'."""
    total = sum(operations(layer) for layer in NETWORKS["StyleGAN2 config F, 1024"])
    assert total == pytest.approx(151e9, rel=0.02)


def test_tiles_compute_no_less_than_the_layer() -> None:
    for layer in NETWORKS["StyleGAN2 config F, 1024"]:
        assert computed(layer, filtered=False) >= operations(layer)
        assert computed(layer, filtered=layer.up) >= computed(layer, filtered=False) or not layer.up


@pytest.mark.parametrize("name", GPUS)
def test_the_table_follows_the_model(name: str) -> None:
    """At batch 16, the layers of config F from 64 x 64 on take the path that the model has fastest."""
    gpu = GPUS[name]
    capability = tuple(int(part) for part in gpu.capability.split("."))
    for layer in NETWORKS["StyleGAN2 config F, 1024"]:
        if layer.resolution >= 64:
            seconds = paths(layer, gpu, _BATCH)
            fastest = min(seconds, key=seconds.__getitem__).split(",")[0]
            assert listed_path(layer.outputs, layer.up, capability) == fastest, (layer, seconds)


def test_the_committed_model_is_this_one(repository_root: Path) -> None:
    text = (repository_root / "benchmarks/results/convolution_model.json").read_text(encoding="utf-8")
    committed, now = json.loads(text), model()
    assert committed["networks"].keys() == now["networks"].keys()
    for key, entry in now["networks"].items():
        for path, seconds in entry["seconds"].items():
            assert committed["networks"][key]["seconds"][path] == pytest.approx(seconds, rel=1e-3)
