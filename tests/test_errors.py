"""The promise that `except DeltafastError` catches everything that a user can mend, and what each error carries."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from deltafast import errors
from deltafast.errors import CheckpointError, DeltafastError, ImageError

_ALL = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", _ALL)
def test_every_error_is_a_deltafast_error(kind: type[Exception]) -> None:
    assert issubclass(kind, DeltafastError)


def test_all_errors_are_listed() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert defined == set(errors.__all__)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("InvalidInputError", ValueError),
        ("DiskError", OSError),
        ("NativeOpError", RuntimeError),
        ("BuildError", ImportError),
    ],
)
def test_errors_are_caught_by_the_builtin_type_that_callers_expect(name: str, builtin: type[Exception]) -> None:
    with pytest.raises(builtin, match="what was wrong"):
        raise getattr(errors, name)("what was wrong")


@pytest.mark.parametrize("kind", [CheckpointError, ImageError])
def test_errors_about_a_file_name_it_and_the_reason(kind: type[CheckpointError] | type[ImageError]) -> None:
    error = kind(Path("weights") / "face.pkl", "the file ends after 12 bytes")
    assert error.path == str(Path("weights") / "face.pkl")
    assert error.reason == "the file ends after 12 bytes"
    assert str(error) == f"{error.path}: the file ends after 12 bytes"


@pytest.mark.parametrize("kind", [kind for kind in _ALL if kind not in (CheckpointError, ImageError)])
def test_the_message_of_an_error_is_what_was_given(kind: type[Exception]) -> None:
    assert str(kind("latents hold NaN")) == "latents hold NaN"


@pytest.mark.parametrize("kind", [CheckpointError, ImageError])
def test_errors_about_a_file_survive_a_worker_process(kind: type[CheckpointError] | type[ImageError]) -> None:
    error = kind("face.pkl", "truncated")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.path, copy.reason) == (kind, "face.pkl", "truncated")


@pytest.mark.parametrize("kind", _ALL)
def test_what_a_file_says_cannot_speak_to_a_terminal(kind: type[Exception]) -> None:
    hostile = "keys \x1b[31m, \x07 and \u202e"
    error = kind("face.pkl", hostile) if kind in (CheckpointError, ImageError) else kind(hostile)
    assert str(error).endswith("keys ?[31m, ? and ?")
