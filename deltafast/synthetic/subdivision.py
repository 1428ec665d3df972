"""Catmull-Clark subdivision of a quad mesh as one sparse matrix (Catmull & Clark 1978)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

__all__ = ["Refinement", "catmull_clark"]


@dataclass(frozen=True, eq=False)
class Refinement:
    """One step of subdivision: `matrix @ coarse` gives the fine vertices."""

    matrix: sparse.csr_matrix  # [V', V]
    faces: NDArray[np.int64]  # [4F, 4] fine quads; coarse face f becomes the quads f, F+f, 2F+f, 3F+f
    uv: NDArray[np.float64]  # [V', 2] texture coordinates of one face at each fine vertex

    def __call__(self, coarse: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fine vertices `[V', 3]` of coarse vertices `[V, 3]`."""
        fine: NDArray[np.float64] = self.matrix @ coarse
        return fine


def catmull_clark(count: int, faces: NDArray[np.int64], face_uv: NDArray[np.float64]) -> Refinement:
    """Build the subdivision of a mesh of `count` vertices, quads `faces` `[F, 4]` with corners' uv `[F, 4, 2]`.

    Fine vertices are the coarse ones in their order, then one per edge, then one per face. Borders stay borders.
    Vertices of no face keep their place.
    """
    number = len(faces)
    ends = np.stack([faces, np.roll(faces, -1, 1)], 2).reshape(-1, 2)  # [4F, 2] directed edges
    edges, edge_of = np.unique(np.sort(ends, 1), axis=0, return_inverse=True)
    edge_of = edge_of.reshape(number, 4)  # [F, 4] edge from corner k to k + 1
    sides = np.bincount(edge_of.ravel(), minlength=len(edges))
    border = sides != 2

    corner = _incidence(np.repeat(np.arange(number), 4), faces.ravel(), (number, count))
    face_point = corner / 4.0  # [F, V]
    edge_ends = _incidence(np.repeat(np.arange(len(edges)), 2), edges.ravel(), (len(edges), count))
    face_of_edge = _incidence(edge_of.ravel(), np.repeat(np.arange(number), 4), (len(edges), number))
    inner = sparse.diags(np.where(border, 0.0, 0.25))
    outer = sparse.diags(np.where(border, 0.5, 0.25))
    edge_point = outer @ edge_ends + inner @ (face_of_edge @ face_point)

    valence = np.bincount(faces.ravel(), minlength=count).astype(np.float64)  # faces at a vertex
    n = np.maximum(valence, 1.0)
    faces_mean = sparse.diags(1.0 / n) @ corner.T @ face_point
    edges_at = np.maximum(np.bincount(edges.ravel(), minlength=count), 1).astype(np.float64)
    middles_mean = sparse.diags(1.0 / edges_at) @ edge_ends.T @ (edge_ends / 2.0)
    smooth = sparse.diags(1.0 / n) @ (faces_mean + 2.0 * middles_mean) + sparse.diags((n - 3.0) / n)

    border_edges = edge_ends[np.flatnonzero(border)]
    on_border = np.zeros(count, bool)
    on_border[edges[border].ravel()] = True
    border_count = np.maximum(np.asarray(border_edges.sum(0)).ravel(), 1.0)
    crease = 0.5 * sparse.identity(count) + 0.5 * sparse.diags(1.0 / border_count) @ border_edges.T @ (
        border_edges / 2.0
    )
    keep = valence == 0
    vertex_point = (
        sparse.diags((~on_border & ~keep).astype(np.float64)) @ smooth
        + sparse.diags(on_border.astype(np.float64)) @ crease
        + sparse.diags(keep.astype(np.float64))
    )
    matrix = sparse.vstack([vertex_point, edge_point, face_point]).tocsr()
    matrix.sort_indices()

    e0, e3 = count + edge_of, count + np.roll(edge_of, 1, 1)  # edges after and before corner k
    middle = np.repeat(count + len(edges) + np.arange(number)[:, None], 4, 1)
    quads = np.stack([faces, e0, middle, e3], 2)  # [F, 4 corners, 4]
    after, before = (face_uv + np.roll(face_uv, -1, 1)) / 2, (face_uv + np.roll(face_uv, 1, 1)) / 2
    centre = np.repeat(face_uv.mean(1, keepdims=True), 4, 1)
    quad_uv = np.stack([face_uv, after, centre, before], 2)  # [F, 4, 4, 2]
    uv = np.zeros((matrix.shape[0], 2))
    uv[quads.ravel()] = quad_uv.reshape(-1, 2)
    return Refinement(matrix, quads.transpose(1, 0, 2).reshape(-1, 4), uv)


def _incidence(rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
