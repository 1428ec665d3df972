"""What the head is made of: colour and gloss of skin, lips, brows, eyes, teeth and cloth at each fragment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deltafast.synthetic.asset import PARTS
from deltafast.synthetic.colour import noise, step, to_linear
from deltafast.synthetic.identity import Appearance

__all__ = ["Surface", "surface_of"]

Float32 = NDArray[np.float32]

_TONES = np.array(  # sRGB, from very light to very dark
    [[252, 222, 204], [244, 204, 178], [230, 180, 148], [205, 146, 112], [165, 108, 76], [117, 73, 50], [78, 48, 34]]
)
_IRIS_RADIUS, _PUPIL_RADIUS = 0.060, 0.024  # decimetres


@dataclass(eq=False)
class Surface:
    """Reflection at P fragments; colours are linear."""

    albedo: Float32  # [P, 3]
    gloss: Float32  # [P] strength of highlights
    shininess: Float32  # [P] their exponent
    occlusion: Float32  # [P] ambient visibility
    scatter: Float32  # [P] how much light wraps, 0..1

    def stain(self, amount: Float32, colour: Float32) -> None:
        """Darken towards `colour` `[3]` as fine hairs do: a geometric mix, `amount` `[P]` in 0..1."""
        share = amount[:, None].astype(np.float32)
        floor = np.float32(1e-4)
        self.albedo[:] = np.maximum(self.albedo, floor) ** (1 - share) * np.maximum(colour, floor) ** share

    def mix(self, amount: Float32, colour: Float32) -> None:
        """Lay `colour` `[3]` or `[P, 3]` over the albedo with opacity `amount` `[P]`."""
        self.albedo += amount[:, None] * (colour - self.albedo)


def surface_of(
    look: Appearance,
    place: Float32,
    part: NDArray[np.int64],
    masks: dict[str, Float32],
    occlusion: Float32,
    eye_centres: NDArray[np.float64],
    opening: float = 0.0,
) -> Surface:
    """Return the surface at fragments given by their place `[P, 3]` on the template, part and masks `[P]` each.

    `eye_centres` `[2, 2]` are x and y of the left and right pupil on the template, `opening` 0..1 is how far the mouth
    is open: what lies deep in it is then dark.
    """
    count = len(place)
    surface = Surface(
        np.empty((count, 3), np.float32),
        np.full(count, 0.22, np.float32),
        np.full(count, 18.0, np.float32),
        occlusion.copy(),
        np.ones(count, np.float32),
    )
    groups = {"skin": part == 0, "eye": (part == 1) | (part == 2), "mouth": part >= PARTS.index("upper-teeth")}
    for kind, chosen in groups.items():
        rows = np.flatnonzero(chosen)
        if not len(rows):
            continue
        piece = Surface(
            np.empty((len(rows), 3), np.float32),
            surface.gloss[rows],
            surface.shininess[rows],
            surface.occlusion[rows],
            surface.scatter[rows],
        )
        if kind == "skin":
            _skin(piece, look, place[rows], {name: mask[rows] for name, mask in masks.items()})
        elif kind == "eye":
            _eye(piece, look, place[rows], eye_centres[part[rows] - 1])
        else:
            _inside(piece, place[rows], part[rows], opening)
        surface.albedo[rows], surface.gloss[rows], surface.shininess[rows] = piece.albedo, piece.gloss, piece.shininess
        surface.occlusion[rows], surface.scatter[rows] = piece.occlusion, piece.scatter
    return surface


def _blob(place: Float32, centre: tuple[float, float, float], radius: tuple[float, float, float]) -> Float32:
    """Return a symmetric Gaussian bump `[P]`; x counts from the middle of the face."""
    x, y, z = place.T
    inner = ((np.abs(x) - centre[0]) / radius[0]) ** 2 + ((y - centre[1]) / radius[1]) ** 2
    bump: Float32 = np.exp(-(inner + ((z - centre[2]) / radius[2]) ** 2)).astype(np.float32)
    return bump


def _tone(look: Appearance) -> Float32:
    """Return the linear skin colour `[3]`."""
    at = np.clip(look.tone, 0, 1) * (len(_TONES) - 1)
    colour = [np.interp(at, np.arange(len(_TONES)), _TONES[:, k] / 255) for k in range(3)]
    return to_linear(np.array(colour) * look.tint)


def _skin(surface: Surface, look: Appearance, q: Float32, masks: dict[str, Float32]) -> None:
    """Skin with blush, tired eyes, mottle, lips, lids, brows, stubble, the mouth's inside, and a shirt below it."""
    x, y, z = q.T
    ax = np.abs(x)
    tone = _tone(look)
    surface.albedo[:] = tone
    blush = 0.9 * _blob(q, (0.40, 6.95, 1.35), (0.2, 0.17, 0.4)) + 0.7 * _blob(q, (0, 6.98, 1.68), (0.16, 0.14, 0.25))
    blush += 0.35 * masks["ears"] + 0.4 * _blob(q, (0, 6.25, 1.5), (0.2, 0.15, 0.4))
    surface.albedo *= 1 + (0.2 * look.redness * blush)[:, None] * np.array([0.12, -0.55, -0.5], np.float32)
    tired = np.exp(-(((ax - 0.33) / 0.2) ** 2 + ((y - 7.16) / 0.07) ** 2)) * (z > 1)
    surface.albedo *= 1 - (0.3 * look.shadows * tired)[:, None] * np.array([0.5, 0.9, 0.7], np.float32)
    grain = look.mottle * (noise(q, 5, 1) - 0.5) + 0.10 * (noise(q, 22, 2) - 0.5) + 0.10 * (noise(q, 60, 4) - 0.5)
    surface.albedo *= (1 + grain)[:, None]
    oily = 0.18 * _blob(q, (0, 7.0, 1.6), (0.12, 0.5, 0.4)) * step(6.85, 7.0, y) + 0.12 * _blob(
        q, (0, 7.8, 1.4), (0.4, 0.25, 0.4)
    )
    surface.gloss += oily

    lips = step(0.25, 0.75, masks["lips"]) * np.float32(look.lip_amount)
    surface.mix(lips, to_linear(look.lips) * np.float32(0.35 + 0.65 * tone.mean() / 0.5))
    surface.gloss += 0.25 * lips
    surface.shininess += 20 * lips
    lids = (0.3 * masks["eyelids"])[:, None] * np.array([0.8, 1.0, 0.95], np.float32)
    surface.albedo *= 1 - lids

    _hair_on_skin(surface, look, q, lips, masks["ears"])

    inside = step(0.3, 0.7, masks["inside-mouth"]) * step(1.50, 1.42, z)
    surface.mix(inside, to_linear((0.42, 0.14, 0.13)))
    depth = 0.12 + 0.3 * step(1.0, 1.45, z)
    surface.occlusion += inside * (depth - surface.occlusion)
    surface.scatter *= 1 - inside
    surface.gloss *= 1 - inside

    oval = np.sqrt((x / look.collar) ** 2 + ((z - 0.05) / 0.95) ** 2)
    cloth = step(0.97, 1.03, oval) * step(6.0, 5.95, y)
    weave = (1 + 0.15 * (noise(q, 40, 6) - 0.5))[:, None]
    surface.mix(cloth, to_linear(look.shirt) * weave)
    surface.gloss *= 1 - 0.9 * cloth
    surface.scatter *= 1 - cloth


def _hair_on_skin(surface: Surface, look: Appearance, q: Float32, lips: Float32, ears: Float32) -> None:
    """Brows drawn as fine hairs, stubble on jaw and upper lip, and the shade of a shaved scalp."""
    x, y, z = q.T
    ax = np.abs(x)
    hair = to_linear(look.brow)
    along = np.clip((ax - 0.10) / 0.46, -0.5, 1.5)
    inner = np.clip(along, 0, 1)
    ridge = 7.455 + look.brow_lift + 0.075 * np.sin(inner * np.pi * 0.85) ** 1.2 - 0.02 * along
    thick = look.brow_height * (1 - 0.6 * inner)
    hairs = noise(np.stack([ax * 0.8 - 0.5 * y, y * 0.2 + ax * 0.2, 0 * z], 1), 55, 5) - 0.5
    across = np.abs(y - ridge) / thick
    brow = step(1.25, 0.45, across + 0.7 * hairs) * (0.75 + 0.5 * hairs)
    brow *= step(-0.08, 0.10, along) * step(1.05, 0.85, along) * (z > 0.9) * np.float32(look.brow_density)
    surface.stain(np.clip(brow, 0, 1), hair)
    surface.gloss *= 1 - 0.7 * np.clip(brow, 0, 1)
    dots = 0.7 + 0.6 * noise(q, 50, 11)
    if look.stubble:
        jaw = step(6.78, 6.52, y - 0.55 * step(0.38, 0.75, ax)) * step(5.95, 6.25, y) * step(0.25, 0.7, z)
        lip = step(0.42, 0.12, ax) * step(6.92, 6.76, y) * step(6.60, 6.70, y) * (z > 1.2)
        amount = np.clip(np.maximum(jaw, lip) * (1 - lips) * dots * look.stubble * 0.45, 0, 1)
        surface.stain(amount, hair)
        surface.gloss *= 1 - 0.5 * amount
    if look.scalp:
        angle = np.degrees(np.abs(np.arctan2(x, z - 0.45)))
        line = np.interp(angle, [0, 30, 50, 66, 80, 92, 108, 130, 180], _HAIRLINE)
        crown = step(-0.05, 0.25, (y - line).astype(np.float32)) * (1 - ears) * dots * np.float32(look.scalp)
        surface.stain(np.clip(crown, 0, 1), hair)


_HAIRLINE = (8.02, 8.02, 7.82, 7.42, 7.02, 7.30, 7.05, 6.78, 6.62)  # heights by angle from the front


def _eye(surface: Surface, look: Appearance, q: Float32, centre: NDArray[np.float64]) -> None:
    """Eyeball: white with a rosy rim, an iris with a dark edge and fibres, a pupil; darker under the upper lid."""
    x, y = q[:, 0] - centre[:, 0].astype(np.float32), q[:, 1] - centre[:, 1].astype(np.float32)
    radius = np.sqrt(x * x + y * y)
    angle = np.arctan2(y, x)
    front = q[:, 2] > 1.25
    surface.albedo[:] = to_linear((0.88, 0.845, 0.825))
    surface.albedo *= 1 - step(0.09, 0.17, radius)[:, None] * np.array([0.05, 0.22, 0.22], np.float32)
    fibres = noise(np.stack([np.cos(angle) * 1.5, np.sin(angle) * 1.5, radius * 3], 1).astype(np.float32), 3, 8)
    edge = step(0.72, 1.0, radius / _IRIS_RADIUS)
    iris = to_linear(look.iris) * (0.65 + 0.6 * fibres)[:, None] * (1 - 0.6 * edge)[:, None]
    surface.mix(step(1.10, 0.90, radius / _IRIS_RADIUS) * front, iris)
    surface.mix(step(1.15, 0.85, radius / _PUPIL_RADIUS) * front, np.full(3, 0.004, np.float32))
    surface.occlusion[:] = 0.85 - 0.5 * step(0.0, 0.085, y)
    surface.gloss[:] = 0.35
    surface.shininess[:] = 300.0
    surface.scatter[:] = 0.4


def _inside(surface: Surface, q: Float32, part: NDArray[np.int64], opening: float) -> None:
    """Teeth, whiter in front, and tongue; in an open mouth the light dies away behind the front teeth."""
    x, _, z = q.T
    teeth = part != PARTS.index("tongue")
    # eight visible teeth: thin dark gaps along the arch
    arch = np.abs(x)
    gap = np.zeros(len(q), np.float32)
    for place in (0.0, 0.075, 0.135, 0.195, 0.25):
        gap = np.maximum(gap, np.exp(-(((arch - place) / 0.006) ** 2)).astype(np.float32))
    white = to_linear((0.93, 0.90, 0.85)) * (1 - 0.2 * gap)[:, None]
    back = step(0.15, 0.27, arch)[:, None]  # the corners of the mouth lie in the dark
    white = white * (1 - back) + to_linear((0.45, 0.30, 0.27)) * back
    surface.albedo[:] = np.where(teeth[:, None], white, to_linear((0.66, 0.33, 0.33)))
    surface.occlusion[:] = np.where(teeth, 1.0 - 0.6 * step(0.12, 0.27, arch), 0.5 * step(0.8, 1.4, z))
    surface.gloss[:] = 0.35
    surface.shininess[:] = 40.0
    surface.scatter[:] = 0.6
    deep = np.where(teeth, step(0.10, 0.20, arch), step(1.40, 0.95, z)) * np.float32(0.75 * opening)
    surface.albedo *= 1 - deep[:, None]
    surface.gloss *= 1 - deep
