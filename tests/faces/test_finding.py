"""Finding faces: the largest of the sure answers, however many are asked for."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deltafast.faces.finding import FaceFinder, FoundFace


class _Detector:
    """A pattern that the first stage takes for a face, and the face that the second one sees."""

    def detect(self, photo: object, size: int, doublings: int) -> list[tuple[NDArray[np.float64], float]]:
        pattern, face = (np.array([200.0, 200.0, 90.0]), 0.02), (np.array([900.0, 500.0, 60.0]), 2.0)
        return [pattern] if size == 512 else [pattern, face]


def test_a_doubtful_answer_does_not_end_the_search_for_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = FaceFinder.__new__(FaceFinder)
    finder._detector = _Detector()  # type: ignore[assignment]
    read = lambda self, photo, box, score: FoundFace(np.zeros((68, 2)), (0.0, 0.0, box[2], box[2]), score)  # noqa: E731
    monkeypatch.setattr(FaceFinder, "_read", read)
    photo = np.zeros((1200, 1600, 3), np.uint8)
    (largest,) = finder.find(photo, every=False)
    assert largest.score == 2.0
    assert [face.score for face in finder.find(photo)] == [2.0]
