"""Latents or photos in, edited images or photos out: `edit_batch`, and `edit_stream` for more than fit into memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from torch import Tensor

from deltafast.delta.editor import LatentEditor
from deltafast.editing.options import EditOptions
from deltafast.editing.result import EditResult
from deltafast.editing.samples import with_default_likeness
from deltafast.editing.session import EditSession
from deltafast.generators.base import Generator

__all__ = ["edit_batch", "edit_stream"]

EditorLike: TypeAlias = "LatentEditor | str | os.PathLike[str]"


def edit_batch(
    generator: Generator,
    latents_or_images: Any,
    editor: EditorLike | Sequence[EditorLike],
    alpha: Any = None,
    options: EditOptions | None = None,
    **changes: Any,
) -> EditResult:
    """Edit N faces: w + D(w, α·Δ) − D(w, 0) in W+, synthesised.

    Args:

    - `latents_or_images`: latents `[N, num_ws, w_dim]`, or W codes `[N, w_dim]` (taken for all slots), floating-point
      tensors or arrays. Or photos: a path, a PIL image, an array `[H, W, 3]` or `[N, H, W, 3]`, a tensor
      `[N, 3, H, W]`, or a list of paths, PIL images, arrays and tensors `[3, H, W]` of any sizes; uint8, or floating
      point in [-1, 1] as the generator's images are. They are aligned and projected with the bundled encoder.
    - `editor`: an `Editor`, a bundled editor's name (`list_editors()`) or an editor file; or a sequence of them, which
      compose in the order given, each reading the latent that the one before left; flows among them that stand side by
      side as one flow of their sum (see `EditOptions.order`).
    - `alpha`: 1 is the full change of the training sequence, 0 none, negative undoes or goes the other way. A number;
      or one for each sample, 1-D of length N; or a sweep of K values for every sample: 2-D `[1, K]` or `[N, K]`, or
      1-D of any length other than N. (1-D of length N is always one for each sample: write a sweep of as many values
      as there are samples `[[...]]`.) With a sequence of editors, a sequence with one such alpha for each; sweeps
      among them run together and must have the same K.
    - `options`: an `EditOptions`; its fields may also be given as keywords, as in
      `edit_batch(G, ws, "yaw", 1, batch_size=4)`. Two of them take alpha's place and have its forms:
      `edit_batch(G, ws, "yaw", by=15)` turns heads by 15 degrees, `edit_batch(G, ws, "yaw", to=0)` to the camera.

    Result: an `EditResult`. No gradients are recorded; for those use `editor.edit` and `generator.synthesis`. For many
    calls with the same editors make one `EditSession`, which keeps what photos need. Raises `InvalidInputError` (NaN,
    wrong shapes, lengths or types; not one of alpha, by and to), `EditorError` (unknown, damaged, of another
    generator), `ImageError` (a picture that cannot be read or shows no face), `DeltafastError` that says what to
    install where photos are to be aligned and dlib is missing.
    """
    chosen = replace(options or EditOptions(), **changes)
    if chosen.output_device is None:
        device = latents_or_images.device if isinstance(latents_or_images, Tensor) else "cpu"
        chosen = replace(chosen, output_device=device)
    chosen = with_default_likeness(chosen, generator, latents_or_images)
    return EditSession(generator, editor, alpha, chosen).edit(latents_or_images)


def edit_stream(
    generator: Generator,
    latents_or_images: Any,
    editor: EditorLike | Sequence[EditorLike],
    alpha: Any = None,
    options: EditOptions | None = None,
    **changes: Any,
) -> Iterator[EditResult]:
    """Edit without holding everything: yield an `EditResult` for every few samples, in order.

    Arguments as those of `edit_batch`, all checked before the first result; a chunk holds at most `batch_size` images
    (one sample's sweep, or all faces of one photo, where those are more). `latents_or_images` may also be an iterator,
    which is read as it is needed and may be endless: of latents `[num_ws, w_dim]` or `[w_dim]` (one sample each) or of
    photos (paths, PIL images, arrays or tensors). N is then not known, so that a 1-D `alpha` is always a sweep. The
    result goes to the generator's device unless `output_device` is given.
    """
    return EditSession(generator, editor, alpha, replace(options or EditOptions(), **changes)).stream(latents_or_images)
