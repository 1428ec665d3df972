"""Inputs as people have them: nested folders, names of every kind, and files of which some cannot be used."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltafast.errors import DeltafastError, DiskError, DownloadError, ImageError, InvalidInputError
from deltafast.inputs import Failures, find_inputs, names_of

_PICTURES = (".png", ".jpg")


def _touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def _found(root: Path, out: Path, preferred: tuple[str, ...] = ()) -> dict[str, str]:
    inputs = find_inputs(root, out, (*_PICTURES, *preferred), "pictures", preferred)
    return {file.name: file.path.relative_to(root).as_posix() for file in inputs}


def test_subfolders_are_searched_and_results_keep_their_places(tmp_path: Path) -> None:
    _touch(tmp_path, "b.png", "a.JPG", "trip/a.jpg", "trip/day 2/c.PNG", ".hidden/x.png", "notes.txt", "out/b_+1.png")
    found = _found(tmp_path, tmp_path / "out")
    assert found == {"a": "a.JPG", "b": "b.png", "trip/a": "trip/a.jpg", "trip/day 2/c": "trip/day 2/c.PNG"}


def test_a_folder_of_latents_has_pictures_for_people_beside_them(tmp_path: Path) -> None:
    _touch(tmp_path, "a.PT", "a-sheet.png", "photos/b.png")
    assert _found(tmp_path, tmp_path / "out", (".pt",)) == {"a": "a.PT", "photos/b": "photos/b.png"}


def test_one_file_is_taken_and_its_folder_is_not_the_place_for_results(tmp_path: Path) -> None:
    _touch(tmp_path, "a.png", "text.txt")
    (file,) = find_inputs(tmp_path / "a.png", tmp_path / "out", _PICTURES, "pictures")
    assert (file.path, file.name) == (tmp_path / "a.png", "a")
    for source in (tmp_path / "a.png", tmp_path):
        with pytest.raises(InvalidInputError, match="OUT must be another folder"):
            find_inputs(source, tmp_path, _PICTURES, "pictures")
    for source, words in (
        ("absent", "neither a folder nor a file"),
        ("text.txt", "no file of pictures"),
        ("x" * 300, "x"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            find_inputs(tmp_path / source, tmp_path / "out", _PICTURES, "pictures")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match=r"holds no pictures \(.png, .jpg\)"):
        find_inputs(tmp_path / "empty", tmp_path / "out", _PICTURES, "pictures")


def test_names_never_meet() -> None:
    names = names_of(
        [Path(p) for p in ("a.jpg", "a.png", "b.jpg", "b-0.jpg", "c.jpg", "settings.png", "d", "d-sheet.x")]
    )
    assert list(names.values()) == ["a.jpg", "a.png", "b.jpg", "b-0", "c", "settings.png", "d", "d-sheet.x"]
    assert len(set(names.values())) == len(names)


def test_a_name_that_a_suffix_would_give_to_two_is_given_to_one() -> None:
    for files, expected in (
        (("a.png", "a.jpg", "a.png.webp"), ["a.png", "a.jpg", "a.png.webp"]),
        (("a.png", "a.jpg", "a.png-1.webp"), ["a.png", "a.jpg", "a.png-1.webp"]),
        (("IMG.png", "img.jpg"), ["IMG.png", "img.jpg"]),
        (("b.png", "b-0-sheet.png"), ["b.png", "b-0-sheet"]),
        (("Report.png",), ["Report.png"]),
    ):
        assert list(names_of([Path(file) for file in files]).values()) == expected
    upper, lower = names_of([Path("IMG.png"), Path("img.PNG")]).values()
    assert upper.casefold() != lower.casefold()


_STEMS = st.text(alphabet="aA\u00e4\u0308-.01s", min_size=1, max_size=3)
_ENDS = st.sampled_from(["", "-0", "-1", "-sheet", "-alignment", ".png", "-0.png", ".png-1"])


@given(st.sets(st.builds("{}{}{}".format, _STEMS, _ENDS, st.sampled_from([".png", ".PNG", ".jpg", ""])), max_size=8))
def test_whatever_files_are_called_no_two_results_are_called_the_same(files: set[str]) -> None:
    paths = [Path(file) for file in files - {".", ".."}]
    made = ["settings", "report"]
    for name in names_of(paths).values():
        made += [name, f"{name}-0", f"{name}-1", f"{name}-sheet", f"{name}-0-sheet", f"{name}-alignment"]
    alike = [unicodedata.normalize("NFC", name).casefold() for name in made]
    assert len(set(alike)) == len(alike)


def test_a_subfolder_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _touch(tmp_path, "a.png", "theirs/b.png")
    shut, scandir = tmp_path / "theirs", os.scandir

    def refuse(place: str) -> Any:
        if Path(place) == shut:
            raise PermissionError(errno.EACCES, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    assert _found(tmp_path, tmp_path / "out") == {"a": "a.png"}
    assert f"{shut} cannot be read and is left out: Permission denied" in caplog.text
    with pytest.raises(InvalidInputError, match="theirs cannot be read: Permission denied"):
        find_inputs(shut, tmp_path / "out", _PICTURES, "pictures")


def test_long_names_are_cut_and_told_apart() -> None:
    long = [Path("ü" * 120 + end + ".png") for end in ("a", "b")]
    cut = list(names_of(long).values())
    assert cut[0] != cut[1]
    assert all(len(os.fsencode(name)) <= 200 and name.startswith("ü" * 90) for name in cut)
    raw = os.fsdecode(b"\xff" * 250)
    assert len(os.fsencode(names_of([Path(raw)])[Path(raw)])) <= 200


def test_what_goes_wrong_with_one_input_is_kept_and_the_rest_goes_on() -> None:
    failures = Failures()
    wrong: list[Exception] = [ImageError("a.png", "no face"), InvalidInputError("a.png holds NaN"), IndexError("x\ny")]
    wrong += [MemoryError(), RecursionError("too deep"), UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates")]
    for number, error in enumerate(wrong):
        with failures.of("a.png" if number < 2 else f"{number}.png"):
            raise error
    assert failures.told["a.png"] == "holds NaN"
    assert failures.told["2.png"] == "cannot be used (IndexError: x)"
    assert failures.told["3.png"] == "cannot be used (MemoryError)"
    assert len(failures) == 5
    with failures.of("fine.png"):
        pass
    assert "fine.png" not in failures.told


def test_what_concerns_the_whole_run_ends_it() -> None:
    failures = Failures()

    def full(number: int) -> None:
        try:
            raise OSError(number, os.strerror(number))
        except OSError as error:
            raise DiskError(f"cannot write: {error}") from error

    for error in (DeltafastError("install dlib"), DownloadError("no network"), KeyboardInterrupt()):
        with pytest.raises(type(error)), failures.of("a.png"):
            raise error
    with pytest.raises(DiskError), failures.of("a.png"):
        full(errno.ENOSPC)
    with failures.of("b.png"):
        full(errno.ENAMETOOLONG)
    assert list(failures.told) == ["b.png"]
