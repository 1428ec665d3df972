"""Edits and projections by a worker are those of the plain commands, to the byte, from shards and parquet too."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_editors import random_editor

from deltafast.editing import EditOptions, EditSession
from deltafast.editing.named_editors import given_editor, named_editors
from deltafast.editing.result_files import ResultFiles
from deltafast.files import read_json, write_png
from deltafast.generators.base import Generator
from deltafast.generators.load import load_generator, save_generator
from deltafast.generators.seeds import latents_from_seeds
from deltafast.projection import ProjectionSettings, RefineConfig, project_images
from deltafast.projection.encoder import Encoder, EncoderConfig
from deltafast.scale.jobs import EditJob, ProjectJob
from deltafast.scale.samples import Sample, table_of_samples
from deltafast.scale.sources import find_samples, seed_samples
from deltafast.scale.worker import FaceWorker


@pytest.fixture(scope="module")
def files(tiny_generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with generator G, editor yaw and an encoder for it."""
    folder = tmp_path_factory.mktemp("files")
    save_generator(tiny_generator, folder / "G.safetensors")
    random_editor(tiny_generator).save(folder / "yaw.safetensors")
    config = EncoderConfig(64, tiny_generator.num_ws, tiny_generator.w_dim, ((0, 4), (4, 10)), 16)
    torch.manual_seed(0)
    encoder = Encoder(config, tiny_generator.w_space, tiny_generator.name).eval().requires_grad_(False)
    encoder.w_avg.copy_(tiny_generator.w_avg)
    encoder.save(folder / "encoder.safetensors")
    return folder


def _edit(files: Path, samples: list[Sample], out: Path, **options: int) -> dict[str, bytes]:
    """The bytes of all results by the names of their files, whether they lie in a folder or in shards."""
    job = EditJob(
        (f"{files / 'yaw.safetensors'}",), (1.0, -0.5), generator=str(files / "G.safetensors"),
        options=EditOptions(batch_size=4, align=False, encoder=str(files / "encoder.safetensors")), latents=True,
    )  # fmt: skip
    rows = FaceWorker(job, out, **options)(table_of_samples(samples)).to_pylist()
    assert [row["error"] for row in rows] == [None] * len(rows)
    found = {}
    for row in rows:
        for file in row["files"]:
            data = (out / (file["shard"] or file["name"])).read_bytes()
            found[file["name"]] = data[file["start"] :][: file["size"]]
    return found


def test_latents_are_the_same_whatever_they_come_in(files: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    G = load_generator(files / "G.safetensors")  # by its file's name, which the images say
    named = named_editors([given_editor(str(files / "yaw.safetensors"))], [1.0, -0.5], G)
    session = EditSession(G, named.editors, named.amounts, EditOptions(batch_size=8, output="uint8"))
    ws = latents_from_seeds(G, range(3), 0.7)  # [3, num_ws, w_dim]
    names = ["seed0000", "seed0001", "seed0002"]
    results = ResultFiles(named.labels("alpha"), named.provenance("alpha", G), latents=True)
    written = results.write_rows(tmp_path / "plain", names, session.edit(ws))
    plain = {path.name: path.read_bytes() for paths in written for path in paths}
    assert len(plain) == 9

    assert _edit(files, seed_samples("0-2"), tmp_path / "seeds") == plain
    parquet.write_table(pa.table({"id": names, "ws": ws.flatten(1).tolist()}), tmp_path / "ws.parquet")
    rows = find_samples(tmp_path / "ws.parquet", tmp_path / "out")
    assert _edit(files, rows, tmp_path / "rows") == plain
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, one in zip(names, ws, strict=True):
            save_file({"ws": one[None].clone()}, tmp_path / "one.safetensors")
            archive.add(tmp_path / "one.safetensors", f"{name}.safetensors")
    members = find_samples(tmp_path / "s.tar", tmp_path / "out")
    sharded = _edit(files, members, tmp_path / "shards", per_shard=2)
    assert sharded["s/seed0001.+1.png"] == plain["seed0001_+1.png"]
    assert sharded["s/seed0002.safetensors"] == plain["seed0002.safetensors"]
    assert len(sharded) == 9


def test_photos_are_projected_as_by_the_plain_command(files: Path, tiny_generator: Generator, tmp_path: Path) -> None:
    from deltafast.projection import load_encoder

    settings = ProjectionSettings(RefineConfig(steps=0))
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    write_png(tmp_path / "photos" / "a.png", pixels)
    encoder = load_encoder(files / "encoder.safetensors")
    project_images(tiny_generator, tmp_path / "photos", tmp_path / "plain", settings, align=False, encoder=encoder)
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(tmp_path / "photos" / "a.png", "a.png")
        info = tarfile.TarInfo("b.png")
        info.size = 8
        archive.addfile(info, io.BytesIO(b"no image"))
    job = ProjectJob(str(files / "G.safetensors"), None, settings, False, str(files / "encoder.safetensors"))
    samples = find_samples(tmp_path / "s.tar", tmp_path / "out", latents=False)
    good, bad = FaceWorker(job, tmp_path / "out")(table_of_samples(samples)).to_pylist()
    assert {Path(file["name"]).name for file in good["files"]} == {"a.json", "a.safetensors"}
    for name in ("a.json", "a.safetensors"):
        assert (tmp_path / "out" / "s" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    report = read_json(tmp_path / "plain" / "a.json")["encoder"]
    assert good["warnings"] == report.pop("warnings")
    assert good["fit"] == report
    assert bad["error"].startswith("cannot be read as an image")

    edited = _edit(files, samples[:1], tmp_path / "edited")
    ws = load_file(tmp_path / "plain" / "a.safetensors")["ws"]
    assert edited.keys() == {"s/a_+1.png", "s/a_-0.5.png", "s/a.safetensors"}
    (tmp_path / "ws.safetensors").write_bytes(edited["s/a.safetensors"])
    assert load_file(tmp_path / "ws.safetensors")["ws"].shape == (2, *ws.shape[1:])
