"""What inputs stand for: patterns of shards, lists, parquet, folders; damage is one sample's, names never collide."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from deltafast.errors import InvalidInputError
from deltafast.files import write_png
from deltafast.scale.samples import table_of_samples
from deltafast.scale.sources import expand_pattern, find_samples, seed_samples
from deltafast.untrusted.tar_file import tar_members


def _png(path: Path) -> bytes:
    write_png(path, np.full((8, 8, 3), 7, np.uint8))
    return path.read_bytes()


def _tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def test_a_pattern_stands_for_its_numbers() -> None:
    assert expand_pattern("s/{08..11}.tar") == ["s/08.tar", "s/09.tar", "s/10.tar", "s/11.tar"]
    assert expand_pattern("s/{0..1}-{2..3}.tar") == ["s/0-2.tar", "s/0-3.tar", "s/1-2.tar", "s/1-3.tar"]
    assert expand_pattern("plain.tar") == ["plain.tar"]
    with pytest.raises(InvalidInputError, match="backwards"):
        expand_pattern("{3..1}.tar")


def test_seeds_are_called_as_on_one_machine() -> None:
    assert [sample.id for sample in seed_samples("0-1,70000")] == ["seed0000", "seed0001", "seed70000"]


def test_shards_give_their_photos_by_place_and_damage_is_one_row(tmp_path: Path) -> None:
    data = _png(tmp_path / "a.png")
    _tar(tmp_path / "00.tar", {"x/a.png": data, "../../b.jpg": b"no image", "a.cls": b"3"})
    _tar(tmp_path / "01.tar", {"a.png": data, "b.png": data})
    whole = (tmp_path / "01.tar").read_bytes()
    (tmp_path / "01.tar").write_bytes(whole[: 512 + 512 * -(-len(data) // 512) + 512 + 3])
    found = find_samples(tmp_path / "{00..01}.tar", tmp_path / "out")
    assert [(one.id, one.kind) for one in found] == [
        ("00/x/a", "photo"),
        ("00/b", "photo"),
        ("01/a", "photo"),
        ("01/damaged", "unreadable"),
    ]
    assert found[0].read() == data
    assert "is cut off" in found[3].note
    with pytest.raises(InvalidInputError, match=r"02\.tar is not there"):
        find_samples(tmp_path / "{00..02}.tar", tmp_path / "out")


def test_hostile_archives_are_refused_or_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    assert list(tar_members(path)) == []
    path.write_bytes(b"no archive" * 100)
    with pytest.raises(InvalidInputError, match="cannot be read as a tar archive"):
        list(tar_members(path))


def test_parquet_gives_paths_or_latents(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    _png(tmp_path / "in" / "a.png")
    _png(tmp_path / "in" / "b" / "a.png")
    paths = pa.table({"path": ["in/a.png", "in/b/a.png", "in/c.gz"]})
    parquet.write_table(paths, tmp_path / "paths.parquet")
    found = find_samples(tmp_path / "paths.parquet", tmp_path / "out")
    assert [(one.id, one.kind) for one in found] == [("a", "photo"), ("b/a", "photo"), ("c", "unreadable")]

    ws = np.arange(24, dtype=np.float32).reshape(3, 8)
    parquet.write_table(pa.table({"id": ["p", "q", "r"], "ws": ws.tolist()}), tmp_path / "ws.parquet", row_group_size=2)
    found = find_samples(tmp_path / "ws.parquet", tmp_path / "out")
    assert [one.id for one in found] == ["p", "q", "r"]
    assert np.array_equal(found[2].latent(), ws[2])
    parquet.write_table(pa.table({"id": ["p", "p"], "ws": ws[:2].tolist()}), tmp_path / "twice.parquet")
    with pytest.raises(InvalidInputError, match=r"two samples of .* are called p"):
        find_samples(tmp_path / "twice.parquet", tmp_path / "out")
    parquet.write_table(pa.table({"z": [1]}), tmp_path / "none.parquet")
    with pytest.raises(InvalidInputError, match="expected path or ws"):
        find_samples(tmp_path / "none.parquet", tmp_path / "out")


def test_a_list_and_a_folder_give_every_latent_of_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    torch.save(torch.zeros(2, 3, 4), folder / "two.pt")
    torch.save(torch.zeros(1, 3, 4), folder / "one.pt")
    (folder / "evil.pt").write_bytes(b"torn")
    (tmp_path / "list.txt").write_text("# what is wanted\nin/two.pt\n\nin/one.pt\n")
    listed = find_samples(tmp_path / "list.txt", tmp_path / "out")
    assert [(one.id, one.number) for one in listed] == [("two-0000", 0), ("two-0001", 1), ("one", 0)]
    found = find_samples(folder, tmp_path / "out")
    assert [(one.id, one.kind) for one in found] == [
        ("evil", "unreadable"),
        ("one", "latents"),
        ("two-0000", "latents"),
        ("two-0001", "latents"),
    ]


def test_a_name_that_is_no_text_is_one_row(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    data = _png(folder / "a.png")
    (folder / "b\udcff.png").write_bytes(data)
    good, bad = find_samples(folder, tmp_path / "out")
    assert (good.id, bad.kind) == ("a", "unreadable")
    assert "not UTF-8" in bad.note
    table_of_samples([good, bad])
