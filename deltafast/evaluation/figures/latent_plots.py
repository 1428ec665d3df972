"""Plots in latent space: edit paths of several faces under one Δ, scatter of latents and deltas, the spectrum of Δ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deltafast.delta.editor import LatentEditor
from deltafast.evaluation.delta_space import DeltaSpace
from deltafast.evaluation.edit_curves import edited_latents
from deltafast.evaluation.figures.plotting import FACE_COLOURS, OURS, REAL, SYNTHETIC, new_figure, save_figure
from deltafast.sequence_latents import SequenceLatents

__all__ = ["path_figures", "plot_paths", "plot_scatter", "plot_spectrum", "principal_components"]

Array = NDArray[np.float64]

PATH_ALPHAS = tuple(float(alpha) for alpha in np.linspace(-2.0, 2.0, 17))
_ZERO = PATH_ALPHAS.index(0.0)


def principal_components(points: Array, count: int) -> tuple[Array, Array]:
    """Return the first components `[count, F]` of points `[N, F]` and their shares of the variance `[count]`."""
    centred = points - points.mean(axis=0)
    _, s, vt = np.linalg.svd(centred, full_matrices=False)
    found = np.zeros((count, points.shape[1]))
    found[: min(count, len(vt))] = vt[:count]
    share = np.zeros(count)
    share[: min(count, len(s))] = (s**2 / max(float((s**2).sum()), 1e-300))[:count]
    return found, share


def displacements(editor: LatentEditor, latents: Tensor) -> Array:
    """Return how far N faces are moved at each of `PATH_ALPHAS`, in the editor's slots, `[N, K, slots * w_dim]`."""
    moved = edited_latents(editor, latents, PATH_ALPHAS) - latents[:, None]  # [N, K, L, D]
    return np.asarray(moved[:, :, list(editor.slots)].flatten(2).double().cpu().numpy())


def path_figures(editor: LatentEditor, latents: Tensor) -> dict[str, Any]:
    """Say in numbers how edit paths bend and how they differ between faces, as JSON values.

    "bend": the largest distance of a path from the chord between its ends (alpha = -2 and 2) over the chord's length;
    "spread": the mean angle in degrees between the displacements of two faces at alpha = 1. Both 0 for LINEAR.
    """
    paths = displacements(editor, latents)  # [N, K, F]
    start, chord = paths[:, :1], paths[:, -1:] - paths[:, :1]
    length = np.linalg.norm(chord, axis=-1, keepdims=True)
    along = ((paths - start) * chord).sum(-1, keepdims=True) / length**2
    off = np.linalg.norm(paths - start - along * chord, axis=-1) / length[..., 0]  # [N, K]
    at_one = paths[:, PATH_ALPHAS.index(1.0)]
    unit = at_one / np.linalg.norm(at_one, axis=-1, keepdims=True)
    first, second = np.triu_indices(len(unit), 1)
    angles = np.degrees(np.arccos(np.clip((unit[first] * unit[second]).sum(-1), -1, 1)))
    return {"bend": float(off.max(axis=1).mean()), "spread_degrees": float(angles.mean()) if len(angles) else None}


def plot_paths(path: Path, editors: Mapping[str, LatentEditor], latents: Tensor) -> None:
    """Plot the paths of N faces under one Δ for alpha from -2 to 2, in the first two components of their displacements.

    Above where the paths lie among the faces, below from one common start; the straight line is LINEAR's kind of path.
    """
    figure, rows = new_figure(2, len(editors), 3.6, 3.2)
    for column, (name, editor) in enumerate(editors.items()):
        moved = displacements(editor, latents)  # [N, K, F]
        own = latents[:, list(editor.slots)].flatten(1).double().cpu().numpy()  # [N, F]
        placed = own[:, None] + moved
        for row, (points, title) in enumerate(((placed, name), (moved, "from one start"))):
            axis = rows[row][column]
            components, share = principal_components(points.reshape(-1, points.shape[-1]), 2)
            flat = (points - points.reshape(-1, points.shape[-1]).mean(axis=0)) @ components.T  # [N, K, 2]
            for face, track in enumerate(flat):
                colour = FACE_COLOURS[face % len(FACE_COLOURS)]
                axis.plot(track[:, 0], track[:, 1], color=colour, linewidth=1.4)
                axis.scatter(track[_ZERO, 0], track[_ZERO, 1], color=colour, s=16, zorder=3)
                axis.annotate("", track[-1], track[-2], arrowprops={"arrowstyle": "->", "color": colour})
                if row == 1:
                    axis.plot(*track[[0, -1]].T, color=colour, linewidth=0.6, linestyle=":")
            axis.set_title(title, fontsize=10)
            axis.set_xlabel(f"component 1 ({100 * share[0]:.0f} %)", fontsize=8)
            axis.set_ylabel(f"component 2 ({100 * share[1]:.0f} %)", fontsize=8)
    save_figure(figure, path)


def plot_scatter(path: Path, samples: Tensor, sequences: SequenceLatents, *, seed: int = 0) -> dict[str, Any]:
    """Plot latents (left) and deltas (right), real and synthetic, in the first two components of all points together.

    `samples` `[M, num_ws, w_dim]`: sampled faces; real deltas are differences of random pairs of them, synthetic ones
    those of each sequence's frames to its middle one. Returns distances that say the same, as JSON values.
    """
    real = samples.flatten(1).double().cpu().numpy()  # [M, F]
    order = np.random.default_rng(seed).permutation(len(real))
    half = len(order) // 2
    real_deltas = real[order[:half]] - real[order[half : 2 * half]]
    latents, deltas, identities = [], [], []
    for attribute in sequences.attributes:
        stack = sequences.stack(attribute).flatten(2).double().numpy()  # [K, n, F]
        latents.append(stack.reshape(-1, stack.shape[-1]))
        deltas.append(
            np.delete(stack - stack[:, [stack.shape[1] // 2]], stack.shape[1] // 2, axis=1).reshape(-1, stack.shape[-1])
        )
        identities += np.repeat(np.arange(stack.shape[0]), stack.shape[1]).tolist()
    synthetic, synthetic_deltas = np.concatenate(latents), np.concatenate(deltas)
    figure, rows = new_figure(1, 2, 5.0, 4.2)
    for axis, title, cloud, points, groups in (
        (rows[0][0], "latents", real, synthetic, np.array(identities)),
        (rows[0][1], "deltas", real_deltas, synthetic_deltas, None),
    ):
        everything = np.concatenate([cloud, points])
        components, share = principal_components(everything, 2)
        flat = (everything - everything.mean(axis=0)) @ components.T
        axis.scatter(
            flat[: len(cloud), 0],
            flat[: len(cloud), 1],
            s=6,
            color=REAL,
            alpha=0.5,
            linewidths=0,
            label="sampled faces",
        )
        shades = [SYNTHETIC] if groups is None or groups.max() > 1 else [SYNTHETIC, "#7a1f3d"]
        marks = [shades[k] for k in groups] if groups is not None and len(shades) > 1 else SYNTHETIC
        axis.scatter(flat[len(cloud) :, 0], flat[len(cloud) :, 1], s=9, c=marks, linewidths=0, label="synthetic heads")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(f"component 1 ({100 * share[0]:.0f} %)", fontsize=8)
        axis.set_ylabel(f"component 2 ({100 * share[1]:.0f} %)", fontsize=8)
        axis.legend(fontsize=7, frameon=False)
    save_figure(figure, path)
    return {
        "sampled_faces": len(real),
        "synthetic_frames": len(synthetic),
        "distance_to_mean_face": {"sampled": _radius(real, real), "synthetic": _radius(synthetic, real)},
        "length_of_deltas": {"sampled": _radius(real_deltas, None), "synthetic": _radius(synthetic_deltas, None)},
    }


def plot_spectrum(path: Path, spaces: list[DeltaSpace], components: int = 10) -> None:
    """Plot what share of Δ's variance each principal component holds, one panel for each attribute."""
    figure, rows = new_figure(1, len(spaces), 3.4, 2.8)
    for axis, space in zip(rows[0], spaces, strict=True):
        shares = 100 * space.explained[:components]
        axis.bar(np.arange(1, len(shares) + 1), shares, color=OURS)
        axis.set_title(f"{space.attribute}: 95 % in {space.needed(0.95)} of {len(space.explained)}", fontsize=9)
        axis.set_xlabel("component of Δ", fontsize=8)
        axis.set_ylabel("variance (%)", fontsize=8)
    save_figure(figure, path)


def _radius(points: Array, around: Array | None) -> float:
    centre = 0.0 if around is None else around.mean(axis=0)
    return float(np.linalg.norm(points - centre, axis=1).mean())
