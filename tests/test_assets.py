"""The bundled assets are the ones that their page describes, small enough, and complete."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.asset_ledger import ASSETS, PAGE, asset_files, measured_rows, read_rows, updated

_MEBIBYTE = 2**20
_PAGE = (ASSETS / PAGE).read_text(encoding="utf-8")


def test_the_page_has_size_and_hash_of_every_asset() -> None:
    known = read_rows(_PAGE)
    assert list(known.values()) == measured_rows(known), "run: python benchmarks/asset_ledger.py"


def test_the_page_says_how_each_asset_was_made() -> None:
    unsaid = [row.path for row in read_rows(_PAGE).values() if "`" not in row.command]
    assert not unsaid, f"no command given for {unsaid}"


def test_everything_that_demo_and_edit_need_is_bundled() -> None:
    editors = {f"editors/{name}.safetensors" for name in ("yaw", "pitch", "smile", "eyes-closed", "light")}
    missing = {"encoder.safetensors", "latents/two-heads.safetensors", *editors} - set(asset_files())
    assert not missing, "make assets"


def test_assets_stay_small() -> None:
    sizes = {name: (ASSETS / name).stat().st_size for name in asset_files()}
    assert sum(sizes.values()) < 24e6
    assert sizes["encoder.safetensors"] <= 8 * _MEBIBYTE
    assert all(size <= 5 * _MEBIBYTE for name, size in sizes.items() if name.startswith("editors/"))


def test_a_changed_missing_or_unknown_asset_is_found(tmp_path: Path) -> None:
    (tmp_path / "editors").mkdir()
    (tmp_path / "editors" / "yaw.safetensors").write_bytes(b"weights")
    (tmp_path / "encoder.safetensors").write_bytes(b"more weights")
    (tmp_path / PAGE).write_text("# Page\n\n| file | bytes | sha256 | made by |\n| --- | --- | --- | --- |\n\nEnd.\n")
    page = updated((tmp_path / PAGE).read_text(), measured_rows({}, tmp_path))
    known = read_rows(page)
    assert list(known) == ["editors/yaw.safetensors", "encoder.safetensors"]
    assert known["encoder.safetensors"].size == 12
    assert page.endswith("|\n\nEnd.\n")
    assert list(known.values()) == measured_rows(known, tmp_path)

    (tmp_path / "encoder.safetensors").write_bytes(b"less weights")
    assert list(known.values()) != measured_rows(known, tmp_path)
    shutil.rmtree(tmp_path / "editors")
    assert list(read_rows(updated(page, measured_rows(known, tmp_path)))) == ["encoder.safetensors"]


def test_a_page_without_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no table"):
        updated("# Page\n", [])
