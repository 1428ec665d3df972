"""One picture of a head: from identity and attribute values to pixels and ground truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import InvalidInputError
from deltafast.synthetic.ageing import as_person
from deltafast.synthetic.asset import PARTS
from deltafast.synthetic.attributes import ATTRIBUTES, attribute_named, expression_units
from deltafast.synthetic.camera import Camera, ffhq_camera
from deltafast.synthetic.colour import from_linear, noise, step, to_linear
from deltafast.synthetic.head import HeadModel
from deltafast.synthetic.identity import Identity
from deltafast.synthetic.lighting import Light, ShadowMap, dot, shade, unit
from deltafast.synthetic.materials import surface_of
from deltafast.synthetic.raster import interpolate, rasterise, vertex_normals

__all__ = ["Frame", "frame_geometry", "render_frame"]

Float = NDArray[np.float64]

_EXPOSURE = 1.25
_OVERLAP = 1.17  # lids close a little farther than to the touch
_LASH_LENGTH = 0.05  # decimetres
_LASH = np.array([0.012, 0.009, 0.008], np.float32)


@dataclass(frozen=True, eq=False)
class Frame:
    """The posed mesh and the camera of one picture."""

    fine: Float  # [V', 3]
    camera: Camera
    points: dict[str, Float]  # name -> [n, 2] (column, row) in pixels


def frame_geometry(
    model: HeadModel, identity: Identity, values: Mapping[str, float], size: int, *, align: str = "ffhq"
) -> Frame:
    """Return the mesh, camera and projected landmarks of `render_frame` with the same arguments."""
    yaw, pitch = values.get("yaw", 0.0), values.get("pitch", 0.0)
    identity = as_person(identity, values)
    neutral = model.shape(identity)
    units = expression_units(values)
    blink = values.get("eyes-closed", 0.0) * _closing(model, identity, neutral)
    units |= {"eyeBlinkLeft": blink, "eyeBlinkRight": blink}
    resting = model.refinement(neutral)
    still = model.landmarks(resting)
    target = (still["left-eye"].mean(0) + still["right-eye"].mean(0)) / 2
    vertices = model.look(model.shape(identity, units), values.get("gaze", 0.0))
    fine = model.refinement(model.pose(vertices, yaw=yaw, pitch=pitch))
    points = model.landmarks(fine)
    framing = points if align == "ffhq" else still
    mouth = framing["mouth-corners"].mean(0)
    camera = ffhq_camera(target, framing["left-eye"].mean(0), framing["right-eye"].mean(0), mouth, size)
    return Frame(fine, camera, {name: camera.project(place)[:, :2] for name, place in points.items()})


def _closing(model: HeadModel, identity: Identity, neutral: Float) -> float:
    """Return the strength of the blink units at which this identity's lids just meet (lids move linearly)."""
    gaps = []
    for vertices in (neutral, model.shape(identity, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0})):
        points = model.landmarks(model.refinement(vertices))
        eyes = np.stack([points["left-eye"], points["right-eye"]])[:, :, 1]  # [2, 6] heights
        gaps.append(float((eyes[:, 1:3] - eyes[:, [5, 4]]).mean()))
    return float(np.clip(_OVERLAP * gaps[0] / max(gaps[0] - gaps[1], 1e-6), 0.6, 1.1))


def render_frame(
    identity: Identity,
    values: Mapping[str, float] | None = None,
    *,
    model: HeadModel,
    size: int = 256,
    supersampling: int = 2,
    align: str = "ffhq",
) -> NDArray[np.uint8]:
    """Render one head as uint8 `[size, size, 3]`, sRGB.

    `values` gives attributes by name (see `ATTRIBUTES`): yaw, pitch, gaze, light and light-elevation in degrees,
    smile, eyes-closed and mouth-open in 0..1, brows-raised in -1 (lowered) to 1; those left out are neutral, 0.
    gaze > 0 looks to the viewer's right, light > 0 comes from there; light-elevation is by how much the key light
    stands higher (> 0) or lower than the identity's own. age, gender and weight are shares of the way from the
    identity's own to a young (-1) or an old (1) adult, to a woman (-1) or a man (1), to a lean (-1) or a heavy (1)
    person. `supersampling` is the number of samples per pixel and axis. `align` is "ffhq" (the crop follows the turned
    eyes and mouth as FFHQ's alignment would) or "neutral" (the crop of the neutral pose). Raises `InvalidInputError`
    for unknown attributes or values out of range.
    """
    values = checked_values(values or {})
    if not 16 <= size <= 4096 or not 1 <= supersampling <= 8:
        raise InvalidInputError(f"size {size} must be 16..4096 and supersampling {supersampling} 1..8")
    if align not in ("ffhq", "neutral"):
        raise InvalidInputError(f'align must be "ffhq" or "neutral", got {align!r}')
    side = size * supersampling
    frame = frame_geometry(model, identity, values, side, align=align)
    light = Light(
        azimuth=values.get("light", 0.0),
        elevation=identity.elevation + values.get("light-elevation", 0.0),
        key=identity.key,
        ambient=identity.ambient,
        fill=identity.fill,
        warmth=identity.warmth,
    )
    image = _background(identity, side)  # [side * side, 3]
    _draw(image, model, as_person(identity, values), frame, light, values)
    small = image.reshape(size, supersampling, size, supersampling, 3).mean((1, 3), dtype=np.float32)
    exposed = 1 - np.exp(-small * np.float32(_EXPOSURE))
    return (from_linear(exposed) * 255 + 0.5).astype(np.uint8)


def checked_values(values: Mapping[str, float]) -> dict[str, float]:
    """Return attribute values as floats. Raises `InvalidInputError` for an unknown name or a value out of range."""
    result = {}
    for name, value in values.items():
        attribute = attribute_named(name)
        number = float(value)
        if not math.isfinite(number) or not attribute.low <= number <= attribute.high:
            raise InvalidInputError(f"{name} = {value} is outside {attribute.low}..{attribute.high} {attribute.unit}s")
        result[name] = number
    return result


def frame_parameters(values: Mapping[str, float], frame: Frame, scale: float) -> dict[str, Any]:
    """Return a frame's ground truth for the manifest: attribute values and points in pixels of the final image."""
    points = {
        name: [[round(float(x) * scale, 3), round(float(y) * scale, 3)] for x, y in place]
        for name, place in frame.points.items()
    }
    return {"values": {name: float(values.get(name, 0.0)) for name in ATTRIBUTES}, "points": points}


def _background(identity: Identity, side: int) -> NDArray[np.float32]:
    """Return a plain backdrop `[side * side, 3]`, slightly darker at the edges, in the scale before exposure."""
    shown = np.clip(to_linear(identity.background), 0, 0.97)
    plain = -np.log(1 - shown) / np.float32(_EXPOSURE)
    return np.repeat(plain[None].astype(np.float32), side * side, 0)


def _draw(
    image: NDArray[np.float32],
    model: HeadModel,
    identity: Identity,
    frame: Frame,
    light: Light,
    values: Mapping[str, float],
) -> None:
    """Shade the head into `image` `[side * side, 3]` (linear, before exposure)."""
    side = frame.camera.size
    solid = model.solid()
    part = model.triangle_part[model.triangle_part < PARTS.index("lower-lashes")]
    projected = frame.camera.project(frame.fine)
    hit = rasterise(projected, solid, side, side)
    fine = frame.fine.astype(np.float32)
    normals = vertex_normals(frame.fine, solid).astype(np.float32)
    place = interpolate(model.template.astype(np.float32), solid, hit)
    where = interpolate(fine, solid, hit)
    normal = unit(interpolate(normals, solid, hit))
    view = unit(frame.camera.eye.astype(np.float32) - where)
    away = dot(normal, view) < 0
    normal[away] *= -1
    masks = {name: interpolate(mask, solid, hit) for name, mask in model.masks.items()}
    occlusion = interpolate(model.asset.occlusion, solid, hit)
    opening = values.get("mouth-open", 0.0)
    surface = surface_of(identity.appearance, place, part[hit.triangle], masks, occlusion, model.pupils, opening)
    eyes = np.isin(part[hit.triangle], (PARTS.index("left-eye"), PARTS.index("right-eye")))
    # a light that sinks to the height of the lens would lay its mirror image over the pupils
    surface.gloss[eyes] *= step(-15, 0, np.float64(values.get("light-elevation", 0.0)))
    shadow = ShadowMap(frame.fine, solid, light.direction)
    visible = shadow.visible(where + normal * np.float32(0.03), 0.035)
    image[hit.pixel] = shade(surface, normal, view, visible, light)
    _draw_lashes(image, model, identity.appearance.lashes, projected, hit.depth)


def _draw_lashes(
    image: NDArray[np.float32], model: HeadModel, amount: float, projected: Float, depth: NDArray[np.float64]
) -> None:
    """Blend the lashes into `image` as fine hairs that thin out from the lid to their tips."""
    side = math.isqrt(len(image))
    place = model.template.astype(np.float32)
    for lashes, strength in (("upper-lashes", 1.0), ("lower-lashes", 0.35)):
        triangles = model.triangles[model.triangle_part == PARTS.index(lashes)]
        drawn = rasterise(projected, triangles, side, side, cull=False)
        length = interpolate(model.lash_length, triangles, drawn)
        strand = interpolate(place, triangles, drawn)
        strand[:, 1:] *= 0.1
        hairs = 0.35 + 1.3 * noise(strand, 35, 12)
        opacity = np.clip(strength * amount * hairs * np.clip(1 - length / _LASH_LENGTH, 0, 1), 0, 1)
        opacity *= drawn.depth[drawn.pixel] < depth[drawn.pixel] + 0.02
        image[drawn.pixel] += opacity.astype(np.float32)[:, None] * (_LASH - image[drawn.pixel])
