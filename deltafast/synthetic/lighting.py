"""Light: shadow maps, ambient occlusion and the shading of surfaces, in linear RGB."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deltafast.synthetic.materials import Surface
from deltafast.synthetic.raster import depth_map, vertex_normals

__all__ = ["Light", "ShadowMap", "ambient_occlusion", "dot", "shade", "unit"]

Float32 = NDArray[np.float32]

_CENTRE = np.array([0.0, 7.0, 0.5])  # decimetres, of the region that shadow maps cover
_RADIUS = 2.6
_BLUR = 0.05  # decimetres: half width of a shadow's soft edge
_TAPS = tuple((i, j) for i in (-0.75, -0.25, 0.25, 0.75) for j in (-0.75, -0.25, 0.25, 0.75))


@dataclass(frozen=True)
class Light:
    """A soft key light, a dim fill from the camera's side, and sky and ground light around.

    Angles in degrees: azimuth > 0 is light from the viewer's right, elevation > 0 from above.
    """

    azimuth: float = 0.0
    elevation: float = 25.0
    key: float = 1.25
    ambient: float = 0.4
    fill: float = 0.15
    warmth: float = 0.0

    @property
    def direction(self) -> NDArray[np.float64]:
        """Unit vector `[3]` towards the key light."""
        azimuth, elevation = np.radians([self.azimuth, self.elevation])
        flat = np.cos(elevation)
        return np.array([np.sin(azimuth) * flat, np.sin(elevation), np.cos(azimuth) * flat])


class ShadowMap:
    """What a distant light sees of a mesh, to ask which points it reaches."""

    def __init__(
        self,
        vertices: NDArray[np.float64],
        triangles: NDArray[np.int64],
        direction: NDArray[np.float64],
        resolution: int = 384,
    ) -> None:
        """Draw triangles `[T, 3]` over `vertices` `[V, 3]` from `direction` `[3]` (towards the light)."""
        self._towards = direction / np.sqrt((direction * direction).sum())
        side = np.cross([0.0, 1.0, 0.0], self._towards)
        length = np.sqrt((side * side).sum())
        self._side = side / length if length > 1e-3 else np.array([1.0, 0.0, 0.0])
        self._up = np.cross(self._towards, self._side)
        self._resolution = resolution
        self._depth = depth_map(self._seen(vertices), triangles, resolution, resolution).astype(np.float32)

    def _seen(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y, z = (points - _CENTRE).T
        across, up, towards = (x * v[0] + y * v[1] + z * v[2] for v in (self._side, self._up, self._towards))
        half = self._resolution / 2
        return np.stack([half + across * half / _RADIUS, half + up * half / _RADIUS, 5.0 - towards], 1)

    def visible(self, points: NDArray[np.float64], bias: float, *, soft: bool = True) -> Float32:
        """Return the share of the light, 0..1, that reaches each point `[P, 3]`; `bias` in decimetres."""
        column, row, depth = self._seen(points).astype(np.float32).T
        depth = depth - np.float32(bias)
        reach = _BLUR * self._resolution / (2 * _RADIUS)
        taps = _TAPS if soft else ((0.0, 0.0),)
        total = np.zeros(len(points), np.float32)
        last = self._resolution - 1
        for dx, dy in taps:
            c = np.clip((column + np.float32(dx * reach)).astype(np.int32), 0, last)
            r = np.clip((row + np.float32(dy * reach)).astype(np.int32), 0, last)
            total += self._depth[r, c] > depth
        total /= np.float32(len(taps))
        return total


def ambient_occlusion(
    vertices: NDArray[np.float64], triangles: NDArray[np.int64], directions: int = 128
) -> NDArray[np.float64]:
    """Return the cosine-weighted share of directions, 0..1, from which light reaches each vertex `[V]`.

    Directions spiral evenly over all but the lowest fifth of the sphere.
    """
    normals = vertex_normals(vertices, triangles)
    reached, possible = np.zeros(len(vertices)), np.zeros(len(vertices))
    for i in range(directions):
        height = 1 - (i + 0.5) / directions * 1.6
        angle, ring = i * 2.399963, np.sqrt(max(0.0, 1 - height * height))
        towards = np.array([ring * np.cos(angle), height, ring * np.sin(angle)])
        cosine = np.clip((normals * towards).sum(1), 0, None)
        sight = ShadowMap(vertices, triangles, towards, 320).visible(vertices + normals * 0.015, 0.02, soft=False)
        reached += cosine * sight
        possible += cosine
    share: NDArray[np.float64] = reached / np.maximum(possible, 1e-6)
    return share


def dot(a: Float32, b: Float32) -> Float32:
    """Return the dot products `[P]` of rows of `a` `[P, 3]` with rows of `b` `[P, 3]` or one `b` `[3]`."""
    bx, by, bz = b.T
    result: Float32 = a[:, 0] * bx + a[:, 1] * by + a[:, 2] * bz
    return result


def unit(a: Float32) -> Float32:
    """Return rows of `a` `[P, 3]` at length 1."""
    scaled: Float32 = a / np.sqrt(np.maximum(dot(a, a), np.float32(1e-20)))[:, None]
    return scaled


def shade(surface: Surface, normal: Float32, view: Float32, visible: Float32, light: Light) -> Float32:
    """Return linear RGB `[P, 3]` leaving surface points towards the eye.

    `normal` and `view` (towards the lens) are unit `[P, 3]`, `visible` `[P]` the share of the key light. Light
    wraps around skin, red farthest, in place of scattering below it; highlights are Blinn-Phong with Fresnel.
    """
    towards = light.direction.astype(np.float32)
    tint = np.array([1 + light.warmth, 1.0, 1 - light.warmth], np.float32) * np.float32(light.key)
    sky = np.array([0.50, 0.53, 0.57], np.float32) * np.float32(light.ambient)
    ground = np.array([0.40, 0.34, 0.30], np.float32) * np.float32(light.ambient)
    soft = surface.scatter[:, None]  # [P, 1]
    cosine = dot(normal, towards)
    wrap = soft * np.array([0.32, 0.16, 0.10], np.float32)
    diffuse = np.clip((cosine[:, None] + wrap) / (1 + wrap), 0, 1)  # [P, 3]
    diffuse *= 1 + soft * (diffuse - 1) * np.float32(0.25)
    reach = np.stack([visible ** (1 - np.float32(0.4) * surface.scatter), visible, visible], 1)
    upness = (0.5 + 0.5 * normal[:, 1])[:, None]
    tone = np.where(soft > 0, np.array([0.8, 1.05, 1.1], np.float32), np.float32(1))
    around = (ground * (1 - upness) + sky * upness) * surface.occlusion[:, None] ** tone
    fill = np.float32(light.fill) * np.clip(normal[:, 2] * 0.7 + 0.3, 0, 1)[:, None] * surface.occlusion[:, None]
    half = unit(view + towards)
    fresnel = 0.04 + 0.96 * (1 - np.clip(dot(view, half), 0, 1)) ** 5
    peak = np.clip(dot(normal, half), 0, 1) ** surface.shininess * (surface.shininess + 2) / 10
    shine = surface.gloss * peak * (0.04 + fresnel) * 3 * np.clip(cosine, 0, 1) * visible
    rim = 0.10 * surface.gloss * (1 - np.clip(dot(normal, view), 0, 1)) ** 3 * surface.occlusion
    result: Float32 = surface.albedo * (diffuse * reach * tint + around + fill)
    result += shine[:, None] * tint + rim[:, None] * sky
    return result
