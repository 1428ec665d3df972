"""Faces that the frontal detector does not find: turned in the picture plane by any angle, in profile, small."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from deltafast.face_networks.yunet import YUNET_STRIDE, YuNet, load_yunet
from deltafast.faces.cutting import cut_square
from deltafast.faces.detection import resized
from deltafast.faces.framing import quad_of_square

__all__ = ["TurnedFace", "TurnedFaceDetector", "upright_quad"]

_SIZES = (320, 640, 1280)  # longest sides at which a photo is looked through, until a face is found
_CANDIDATE = 0.5  # score on a photo that may be turned by 45 degrees more than the network has seen
_SURE = 0.75  # score on the upright face
_LOOKED_AT_AGAIN = 8  # candidates at one size, the best of them
_TURNS = 12  # by which each of them is tried: the network sees faces in any turn, but says ill by how much
_SIZE = 96  # pixels of the pictures in which that is done
_AROUND = 2.5  # sides of a face's box that they show
_EYES, _MOUTH = (0, 1), (3, 4)  # of the five points


@dataclass(frozen=True, eq=False)
class TurnedFace:
    """A face: `centre` `[2]` (x, y) and `side` of its box in pixels of the photo, (0, 0) its top left pixel's centre.

    `roll`: by how many degrees the head is turned clockwise, in (-180, 180]; `score` in [0, 1]; `points` `[5, 2]`: the
    eyes, the nose's tip and the mouth's corners in pixels of the photo, of each pair the upright head's left one, as
    the viewer sees it, first.
    """

    centre: NDArray[np.float64]
    side: float
    roll: float
    score: float
    points: NDArray[np.float64]


class TurnedFaceDetector:
    """Finds faces whichever way is up, by YuNet.

    The photo is looked at in four turns; each candidate is then cut out upright and looked at again, and only what is
    seen there as well is a face. The network is loaded, and fetched the first time, with the first photo.
    """

    def detect(self, photo: NDArray[np.uint8]) -> list[TurnedFace]:
        """Return the faces of `photo`, uint8 `[H, W, 3]`, best first, each once. Deterministic.

        Faces are looked for from large to small, to some 2 % of the photo's longer side; once some are found, smaller
        ones are not looked for. Raises `DownloadError` where the network's weights are neither kept nor to be had.
        """
        network = _yunet()
        longest = max(photo.shape[:2])
        for size in (size for size in _SIZES if size == _SIZES[0] or size < 2 * longest):
            candidates = [one for turns in range(4) for one in _candidates(network, photo, size, turns)]
            candidates = _each_once(candidates)[:_LOOKED_AT_AGAIN]
            found = [face for one in candidates if (face := _upright(network, photo, one)) is not None]
            if found:
                return _each_once(found)
        return []


@functools.lru_cache(maxsize=1)
def _yunet() -> YuNet:
    network = load_yunet()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    return network


def upright_quad(centre: NDArray[np.float64], side: float, roll: float) -> NDArray[np.float64]:
    """Return the corners `[4, 2]` of the square around `centre` in which a head of this roll (degrees) is upright."""
    angle = np.deg2rad(roll)
    return quad_of_square(np.asarray(centre), np.array([np.cos(angle), np.sin(angle)]) * (side / 2))


def _seen(network: YuNet, images: NDArray[np.uint8], least: float) -> list[list[TurnedFace]]:
    """For each of `images`, uint8 `[N, H, W, 3]`, the faces with a score of `least`, best first, in its pixels."""
    count, height, width = images.shape[:3]
    sides = [-(-side // YUNET_STRIDE) * YUNET_STRIDE for side in (height, width)]
    padded = np.zeros([count, *sides, 3], np.float32)
    padded[:, :height, :width] = images
    given = torch.from_numpy(padded).permute(0, 3, 1, 2)  # [N, 3, H, W], channels-last in memory
    with torch.inference_mode():
        scores, boxes, points = network(given)
    seen = []
    for k in range(count):
        chosen = torch.nonzero(scores[k] >= least).flatten()
        faces = []
        for cell in chosen[scores[k, chosen].argsort(descending=True, stable=True)].tolist():
            x, y, across, along = (float(v) for v in boxes[k, cell])
            marks = points[k, cell].double().numpy()  # [5, 2]
            score = float(scores[k, cell])
            faces.append(TurnedFace(np.array([x, y]), (across * along) ** 0.5, _roll(marks), score, marks))
        seen.append(faces)
    return seen


def _roll(points: NDArray[np.float64]) -> float:
    """Degrees, clockwise, of a face with these five points; from eyes to mouth counts as much as across the eyes.

    In profile the eyes lie close together and say little.
    """
    across = points[list(_EYES)][1] - points[list(_EYES)][0]
    down = points[list(_MOUTH)].mean(0) - points[list(_EYES)].mean(0)
    axis = across + np.array([down[1], -down[0]])
    return float(np.rad2deg(np.arctan2(axis[1], axis[0])))


def _candidates(network: YuNet, photo: NDArray[np.uint8], size: int, turns: int) -> list[TurnedFace]:
    """Faces of a photo that is first turned `turns` times by 90 degrees anticlockwise, in the photo's own pixels."""
    small = resized(photo, size)
    scale = np.array(photo.shape[1::-1]) / np.array(small.shape[1::-1])  # (x, y)
    height, width = small.shape[:2]
    found = []
    (faces,) = _seen(network, np.rot90(small, turns)[None], _CANDIDATE)
    for face in _each_once(faces):
        at = np.vstack([face.centre, face.points])  # [6, 2]
        x, y = at[:, 0], at[:, 1]
        back = ((x, y), (width - 1 - y, x), (width - 1 - x, height - 1 - y), (y, height - 1 - x))[turns]
        placed = (np.stack(back, 1) + 0.5) * scale - 0.5
        roll = _wrapped(face.roll + 90 * turns)
        found.append(TurnedFace(placed[0], face.side * float(scale.mean()), roll, face.score, placed[1:]))
    return found


def _upright(network: YuNet, photo: NDArray[np.uint8], candidate: TurnedFace) -> TurnedFace | None:
    """The candidate in the turn in which it is seen best; None where it is no face in any."""
    reach = _AROUND * candidate.side
    rolls = [_wrapped(candidate.roll + 360 * k / _TURNS) for k in range(_TURNS)]
    squares = [upright_quad(candidate.centre + 0.5, reach, roll) for roll in rolls]
    cuts = np.stack([cut_square(photo, square, _SIZE) for square in squares])  # [turns, size, size, 3]
    seen = [next((one for one in faces if _near_middle(one)), None) for faces in _seen(network, cuts, _CANDIDATE)]
    scores = np.array([0.0 if one is None else one.score for one in seen])
    best = int(np.argmax(scores + (np.roll(scores, 1) + np.roll(scores, -1)) / 2))
    face = seen[best]
    if face is None or scores.max() < _SURE:
        return None
    unit, angle = reach / _SIZE, np.deg2rad(rolls[best])
    across = np.array([np.cos(angle), np.sin(angle)]) * unit  # the turned picture's axes in the photo
    axes = np.stack([across, [-across[1], across[0]]])
    placed = (np.vstack([face.centre, face.points]) + 0.5 - _SIZE / 2) @ axes + candidate.centre  # [6, 2]
    roll = _wrapped(rolls[best] + face.roll)
    return TurnedFace(placed[0], face.side * unit, roll, face.score, placed[1:])


def _near_middle(face: TurnedFace) -> bool:
    return bool(np.abs(face.centre + 0.5 - _SIZE / 2).max() < face.side / 2)


def _each_once(faces: list[TurnedFace]) -> list[TurnedFace]:
    """The best answer for each face, best first: another one's centre lies in none of these boxes' inner halves."""
    kept: list[TurnedFace] = []
    for face in sorted(faces, key=lambda one: -one.score):
        if all(np.abs(face.centre - one.centre).max() > max(face.side, one.side) / 2 for one in kept):
            kept.append(face)
    return kept


def _wrapped(degrees: float) -> float:
    """The same angle in (-180, 180]."""
    return -((180 - degrees) % 360 - 180)
