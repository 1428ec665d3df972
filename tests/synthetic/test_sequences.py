"""Folders of sequences: the same bytes however they are made, resumable, and checked when read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from deltafast.errors import InvalidInputError, ResumeError
from deltafast.files import lock_file, read_image, sha256_file
from deltafast.synthetic import HeadModel, female, load_manifest, male, render_frame, render_sequences
from deltafast.synthetic import sequences as sequences_module

_SMALL = {"attributes": ("yaw", "smile"), "frames": 3, "size": 32, "identities": 1}


def _hashes(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256_file(p) for p in sorted(folder.rglob("*.png"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small complete folder, rendered by one process; not to be changed."""
    out = tmp_path_factory.mktemp("sequences") / "all"
    render_sequences(out, processes=1, **_SMALL)  # type: ignore[arg-type]
    return out


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    import shutil

    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_the_manifest_says_what_the_pictures_show(folder: Path, model: HeadModel) -> None:
    manifest = load_manifest(folder)
    assert manifest.size == 32
    assert list(manifest.identities) == ["female", "male", "identity-000"]
    assert manifest.attributes["yaw"] == {"values": [-35.0, 0.0, 35.0], "unit": "degree"}
    assert manifest.attributes["smile"] == {"values": [0.0, 0.5, 1.0], "unit": "fraction"}
    assert len(manifest.frames) == 2 * 3 * 3
    sequence = manifest.sequence("yaw", "male")
    assert [(frame.index, frame.value) for frame in sequence] == [(0, -35.0), (1, 0.0), (2, 35.0)]
    assert sequence[2].parameters["values"]["yaw"] == 35.0
    noses = [frame.parameters["points"]["nose-tip"][0][0] for frame in sequence]
    eyes = [np.mean(np.array(f.parameters["points"]["left-eye"] + f.parameters["points"]["right-eye"])[:, 0])
            for f in sequence]  # fmt: skip
    assert noses[0] - eyes[0] < noses[1] - eyes[1] < noses[2] - eyes[2]
    image = read_image(manifest.path(sequence[2]))
    np.testing.assert_array_equal(image, render_frame(male(), {"yaw": 35.0}, model=model, size=32))


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(folder: Path, tmp_path: Path) -> None:
    render_sequences(tmp_path / "two", processes=2, **_SMALL)  # type: ignore[arg-type]
    assert _hashes(tmp_path / "two") == _hashes(folder)
    assert sha256_file(tmp_path / "two/manifest.json") == sha256_file(folder / "manifest.json")


def test_a_subset_gives_the_bytes_of_the_whole(folder: Path, tmp_path: Path) -> None:
    render_sequences(tmp_path / "part", attributes=("smile",), identities=[male()], frames=3, size=32, processes=1)
    whole = _hashes(folder)
    part = _hashes(tmp_path / "part")
    assert len(part) == 3
    assert part.items() <= whole.items()


def test_an_interrupted_run_goes_on_and_keeps_finished_frames(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []
    original = sequences_module._render

    def failing(job: sequences_module._Job) -> object:
        if len(rendered) == 5:
            raise KeyboardInterrupt
        rendered.append(job.file)
        return original(job)

    out = tmp_path / "out"
    monkeypatch.setattr(sequences_module, "_render", failing)
    with pytest.raises(KeyboardInterrupt):
        render_sequences(out, processes=1, **_SMALL)  # type: ignore[arg-type]
    assert not (out / "manifest.json").exists()
    assert len(_hashes(out)) == 5
    first = list(rendered)
    (out / rendered[0]).write_bytes(b"damaged")
    rendered.clear()
    rendered.extend(["-"] * 6)
    render_sequences(out, processes=1, **_SMALL)  # type: ignore[arg-type]
    again = [file for file in rendered if file != "-"]
    assert first[0] in again
    assert not set(first[1:]) & set(again)
    assert _hashes(out) == _hashes(folder)


def test_a_folder_in_which_another_process_renders_is_left_alone(folder: Path) -> None:
    """The lock itself is tested in tests/test_runs.py."""
    other = os.open(folder, os.O_RDONLY)  # as another process would: flock is the open file's
    assert lock_file(other)
    try:
        with pytest.raises(ResumeError, match="another run is at work in"):
            render_sequences(folder, processes=1, **_SMALL)  # type: ignore[arg-type]
    finally:
        os.close(other)
    render_sequences(folder, processes=1, **_SMALL)  # type: ignore[arg-type]


def test_a_finished_folder_is_left_as_it_is(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(job: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(sequences_module, "_render", never)
    render_sequences(copy, processes=1, **_SMALL)  # type: ignore[arg-type]
    load_manifest(copy)


@pytest.mark.parametrize("change", [{"size": 48}, {"frames": 5}, {"seed": 1}, {"attributes": ("yaw",)}])
def test_a_folder_of_other_settings_is_not_continued(copy: Path, change: dict[str, object]) -> None:
    before = _hashes(copy)
    with pytest.raises(ResumeError, match="rendered with another"):
        render_sequences(copy, processes=1, **{**_SMALL, **change})  # type: ignore[arg-type]
    assert _hashes(copy) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frames": 4}, "odd number of frames"),
        ({"frames": 1}, "odd number of frames"),
        ({"attributes": ("yaw", "yaw")}, "different names"),
        ({"attributes": ("wink",)}, "no attribute 'wink'"),
        ({"attributes": ()}, "at least one"),
        ({"size": 5}, "size 5"),
        ({"processes": 0}, "processes must be at least 1"),
        ({"identities": -1}, "must not be negative"),
        ({"identities": []}, "at least one"),
        ({"identities": [female(), female()]}, "different names"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        render_sequences(tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def _edited(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_missing_or_damaged_manifests_are_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="render the sequences first"):
        load_manifest(tmp_path)
    for changes, words in (
        ({"format": "other"}, "no manifest of sequences"),
        ({"format": "deltafast-sequences", "version": 9}, "version 9"),
        ({"version": 1, "frames": []}, "not exactly those"),
        ({"frames": [{"file": "x"}]}, "is damaged"),
        ({"frames": 5}, "is damaged"),
    ):
        _edited(copy, **changes)
        with pytest.raises(InvalidInputError, match=words):
            load_manifest(copy)
    (copy / "manifest.json").write_text("{")
    with pytest.raises(InvalidInputError, match=r"manifest\.json cannot be read as JSON"):
        load_manifest(copy)


def test_missing_and_changed_pictures_are_noticed(copy: Path) -> None:
    picture = copy / "yaw/female/001.png"
    picture.write_bytes(picture.read_bytes() + b"x")
    load_manifest(copy, check_files=False)
    with pytest.raises(InvalidInputError, match=r"yaw/female/001\.png' has changed"):
        load_manifest(copy)
    picture.unlink()
    with pytest.raises(InvalidInputError, match=r"yaw/female/001\.png' is missing"):
        load_manifest(copy)


def test_frames_outside_the_folder_are_refused(copy: Path) -> None:
    frames = json.loads((copy / "manifest.json").read_text())["frames"]
    frames[0]["file"] = "../elsewhere.png"
    _edited(copy, frames=frames)
    with pytest.raises(InvalidInputError, match="outside the folder"):
        load_manifest(copy)
