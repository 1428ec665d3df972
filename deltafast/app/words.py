"""What the figures say, in words."""

from __future__ import annotations

import math

from deltafast.projection.fit import FitReport

__all__ = ["amount_words", "fit_words", "identity_words", "queue_words", "reached_words"]

SAME_PERSON = 0.6  # dlib's published threshold
_CLOSE = 0.35
_LANDMARKS_GOOD = 0.03  # of the distance between the eyes
_LANDMARKS_OFF = 0.05


def fit_words(report: FitReport | None, level: str) -> list[str]:
    """Say how well a reconstruction stands for its photo; the first line is the verdict."""
    if report is None:
        return []
    if level == "tuned":
        return ["The photo itself is carried along the edit; light, and what is new in the face, are the generator's."]
    if report.face_found is None:
        return [f"Reconstruction ({level}): not compared with the photo; that needs the extra `photos`."]
    if report.face_found is False or report.descriptor_distance is None:
        return [f"Reconstruction ({level}): no face is seen in it."]
    distance = report.descriptor_distance
    if distance > SAME_PERSON:
        verdict = "looks like another person"
    elif distance > _CLOSE:
        verdict = "can pass for the same person"
    else:
        verdict = "is clearly the same person"
    lines = [f"Reconstruction ({level}): {verdict} (face distance {distance:.2f}; the same below {SAME_PERSON})."]
    if report.landmark_error is not None:
        off = report.landmark_error
        said = "sit right" if off <= _LANDMARKS_GOOD else "are a little off" if off <= _LANDMARKS_OFF else "are off"
        lines.append(f"Pose and expression {said} ({off:.1%} of the distance between the eyes).")
    if report.w_distance > 1:
        lines.append("It lies far from the faces the generator knows: edits may distort it.")
    return lines


def identity_words(distance: float | None) -> str:
    """Say whether the edited face is still the person it was; `distance` is dlib's, None where no face is seen."""
    if distance is None:
        return "No face is seen in the edited picture."
    if distance <= _CLOSE:
        verdict = "Clearly the same person as before the edit"
    elif distance <= SAME_PERSON:
        verdict = "Still the same person as before the edit"
    else:
        verdict = "The edit has made it another person"
    return f"{verdict} (face distance {distance:.2f}; the same below {SAME_PERSON})."


def reached_words(label: str, unit: str, before: float, wanted: float, after: float, there: bool) -> str:
    """Say what the picture shows of what was asked."""
    if math.isnan(after) or math.isnan(before):
        return f"{label}: no face is seen to read it off."
    change = f"from {amount_words(before, unit)} to {amount_words(after, unit)}"
    if there:
        return f"{label}: {change}."
    return f"{label}: {change}; {amount_words(wanted, unit)} was asked, the generator does not get there."


def amount_words(value: float, unit: str) -> str:
    """Say a reading in its unit."""
    if unit == "degree":
        return f"{value:.1f}°"
    return f"{value:.2f}"


def queue_words(before: int) -> str:
    """Say how many are served first; empty where nobody is."""
    if before <= 0:
        return ""
    return f"{before} {'person is' if before == 1 else 'people are'} served first."
