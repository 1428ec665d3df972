"""What is uploaded is bounded, kept apart, and gone after its reading and with the app."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltafast.app import uploads
from deltafast.app.uploads import Shelf, uploaded
from deltafast.errors import DeltafastError


def _upload(shelf: Shelf, text: str = "x") -> Path:
    place = shelf.folder / "sum-of-the-content" / "photo.jpg"
    place.parent.mkdir(exist_ok=True)
    place.write_text(text)
    return place


def test_an_upload_is_gone_after_its_reading_and_after_an_error(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for fails in (False, True):
        place = shelf.own_place(_upload(shelf))
        try:
            with uploaded(place) as file:
                assert file.read_text() == "x"
                if fails:
                    raise ValueError
        except ValueError:
            pass
        assert not place.exists()
        assert not place.parent.exists()


def test_the_same_file_of_two_people_lies_in_two_places(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    first = shelf.own_place(_upload(shelf))
    second = shelf.own_place(_upload(shelf))
    with uploaded(first):
        pass
    with uploaded(second) as file:
        assert file.read_text() == "x"


def test_what_is_too_large_gone_or_a_link_is_refused_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_UPLOAD", 3)
    shelf = Shelf(tmp_path)
    place = shelf.own_place(_upload(shelf, "xxxx"))
    with pytest.raises(DeltafastError, match="larger"), uploaded(place):
        pass
    assert not place.exists()
    with pytest.raises(DeltafastError, match="gone"), uploaded(place):
        pass
    secret, link = tmp_path / "secret", shelf.folder / "link"
    secret.write_text("y")
    link.symlink_to(secret)
    with pytest.raises(DeltafastError, match="gone"), uploaded(link):
        pass
    assert secret.read_text() == "y"


def test_only_so_many_uploads_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_MOST_FILES", 2)
    shelf = Shelf(tmp_path)
    shelf.own_place(_upload(shelf))
    assert shelf.has_room()
    shelf.own_place(_upload(shelf))
    assert not shelf.has_room()


def test_the_folder_goes_with_the_app_and_a_killed_one_s_with_the_next(tmp_path: Path) -> None:
    left = tmp_path / "deltafast-app-left"
    left.mkdir()
    (left / "photo.jpg").write_text("x")
    shelf = Shelf(tmp_path)
    assert not left.exists()
    other = Shelf(tmp_path)
    assert shelf.folder.exists()  # it is held: its app lives
    assert shelf.folder.stat().st_mode & 0o077 == 0
    for one in (shelf, other):
        one.remove()
    assert list(tmp_path.iterdir()) == []
