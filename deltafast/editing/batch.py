"""Latents or photos in, edited images or photos out: `edit_batch`, and `edit_stream` for more than fit into memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.arguments import check_device, check_generator
from deltafast.delta.editor import LatentEditor, load_editor
from deltafast.delta.slots import check_slots
from deltafast.editing.alphas import Alphas, read_alphas
from deltafast.editing.result import EditResult, joined
from deltafast.editing.samples import PhotoOptions, Samples, chunked, grouped, photo_options, read_source
from deltafast.errors import InvalidInputError
from deltafast.faces.pasting import PasteMask
from deltafast.faces.pasting import paste_back as put_back
from deltafast.generators.base import NOISE_MODES, Generator

__all__ = ["edit_batch", "edit_stream"]

EditorLike: TypeAlias = "LatentEditor | str | os.PathLike[str]"
Synthesise: TypeAlias = Callable[..., Tensor]


@dataclass(frozen=True)
class _Options:
    batch_size: int
    layers: tuple[int, ...] | None
    noise_mode: str
    raw: bool
    output: str
    synthesise: bool | Synthesise
    output_device: torch.device | None
    photos: PhotoOptions
    feather: float


def edit_batch(
    generator: Generator,
    latents_or_images: Any,
    editor: EditorLike | Sequence[EditorLike],
    alpha: Any,
    *,
    batch_size: int = 8,
    layers: Iterable[int] | None = None,
    noise_mode: Literal["const", "random", "none"] = "const",
    raw: bool = False,
    output: Literal["float", "uint8"] = "float",
    synthesise: bool | Synthesise = True,
    output_device: torch.device | str | None = None,
    align: bool | Literal["auto"] = "auto",
    face: Literal["largest"] | int = "largest",
    refine_steps: int = 0,
    paste_back: bool | PasteMask = False,
    feather: float = 0.15,
) -> EditResult:
    """Edit N faces: w + D(w, α·Δ) − D(w, 0) in W+, synthesised.

    Args:

    - `latents_or_images`: latents `[N, num_ws, w_dim]`, or W codes `[N, w_dim]` (taken for all slots), floating-point
      tensors or arrays. Or photos: a path, a PIL image, an array `[H, W, 3]` or `[N, H, W, 3]`, a tensor
      `[N, 3, H, W]`, or a list of paths, PIL images, arrays and tensors `[3, H, W]` of any sizes; uint8, or floating
      point in [-1, 1] as the generator's images are. They are aligned and projected with the bundled encoder.
    - `editor`: an `Editor`, a bundled editor's name (`list_editors()`) or an editor file; or a sequence of them, which
      compose in the order given, each reading the latent that the one before left.
    - `alpha`: 1 is the full change of the training sequence, 0 none, negative undoes or goes the other way. A number;
      or one for each sample, 1-D of length N; or a sweep of K values for every sample: 2-D `[1, K]` or `[N, K]`, or
      1-D of any length other than N. (1-D of length N is always one for each sample: write a sweep of as many values
      as there are samples `[[...]]`.) With a sequence of editors, a sequence with one such alpha for each; sweeps
      among them run together and must have the same K.
    - `batch_size`: at most this many images are synthesised at once; the working memory depends on it, not on N.
    - `layers`: W+ slots to which the edit is limited, beyond the editor's own choice: their numbers, or a mask of
      num_ws booleans.
    - `raw`: the paper's w + D(w, α·Δ); the result then reports D(w, 0) in `offsets`.
    - `output`: "float" is fp32 in about [-1, 1], as synthesised; "uint8" is 0..255.
    - `synthesise=False` leaves the images out; a function (ws, noise_mode) -> images takes the place of
      `generator.synthesis`: `generator.compiled()`, say.
    - `output_device`: where the result goes; that of the latents given, the CPU for images.
    - `align`: "auto" finds the face in every photo and cuts it out as FFHQ's are; only a square image whose face
      lies where alignment would put it (to 5 % of the side) is taken as it is. True aligns that one too. False takes
      all images as they are, which must then be aligned (square, face centred), and does without dlib.
    - `face`: which face of a photo: "largest", or its number, 0 being the largest.
    - `refine_steps`: steps of refinement after the encoder's answer, as in `deltafast project --steps`: closer to the
      photo, and slower by a forward and a backward pass of the generator for each.
    - `paste_back`: also return the whole photos, `result.photos`, the edited face put back in its place through a mask:
      "face" (or True), which leaves hair and background as they were, or "crop", for edits that move them. Over
      `feather` of the crop's side the mask fades out; beyond it every pixel is the photo's own.

    Result: an `EditResult`. No gradients are recorded; for those use `editor.edit` and `generator.synthesis`. Raises
    `InvalidInputError` (NaN, wrong shapes, lengths or types), `EditorError` (unknown, damaged, of another generator),
    `ImageError` (a picture that cannot be read or shows no face), `DeltafastError` that says what to install where
    photos are to be aligned and dlib is missing.
    """
    check_generator(generator)
    photos = photo_options(align, face, refine_steps, paste_back, feather)
    source = read_source(generator, latents_or_images, photos)
    if output_device is None:
        output_device = latents_or_images.device if isinstance(latents_or_images, Tensor) else "cpu"
    options = _options(
        generator, batch_size, layers, noise_mode, raw, output, synthesise, output_device, photos, feather
    )
    editors, given = _editors(generator, editor, alpha)
    alphas = read_alphas(given, len(source))
    chunks = list(_run(generator, chunked(source, _samples_per_chunk(alphas, options)), editors, alphas, options))
    if not chunks:
        return _empty(generator, alphas, options)
    return joined(chunks)


def edit_stream(
    generator: Generator,
    latents_or_images: Any,
    editor: EditorLike | Sequence[EditorLike],
    alpha: Any,
    *,
    batch_size: int = 8,
    layers: Iterable[int] | None = None,
    noise_mode: Literal["const", "random", "none"] = "const",
    raw: bool = False,
    output: Literal["float", "uint8"] = "float",
    synthesise: bool | Synthesise = True,
    output_device: torch.device | str | None = None,
    align: bool | Literal["auto"] = "auto",
    face: Literal["largest"] | int = "largest",
    refine_steps: int = 0,
    paste_back: bool | PasteMask = False,
    feather: float = 0.15,
) -> Iterator[EditResult]:
    """Edit without holding everything: yield an `EditResult` for every few samples, in order.

    Arguments as those of `edit_batch`, all checked before the first result; a chunk holds at most `batch_size` images
    (one sample's sweep, where that is longer). `latents_or_images` may also be an iterator, which is read as it is
    needed and may be endless: of latents `[num_ws, w_dim]` or `[w_dim]` (one sample each) or of photos (paths, PIL
    images, arrays or tensors). N is then not known, so that a 1-D `alpha` is always a sweep. The result goes to the
    generator's device unless `output_device` is given.
    """
    check_generator(generator)
    photos = photo_options(align, face, refine_steps, paste_back, feather)
    options = _options(
        generator, batch_size, layers, noise_mode, raw, output, synthesise, output_device, photos, feather
    )
    editors, given = _editors(generator, editor, alpha)
    if isinstance(latents_or_images, Iterator):
        alphas = read_alphas(given, None)
        singles: Iterator[Any] = latents_or_images
        groups = grouped(singles, generator, _samples_per_chunk(alphas, options), photos)
        return _run(generator, groups, editors, alphas, options)
    source = read_source(generator, latents_or_images, photos)
    alphas = read_alphas(given, len(source))
    return _run(generator, chunked(source, _samples_per_chunk(alphas, options)), editors, alphas, options)


@torch.no_grad()
def _run_chunk(
    generator: Generator, samples: Samples, editors: list[LatentEditor], rows: list[Tensor], options: _Options
) -> EditResult:
    """Edit and synthesise M samples with `rows` of alphas, one `[M, 1 or K]` for each editor."""
    ws = samples.ws  # [M, L, C]
    count, sweep = len(ws), max(row.shape[1] for row in rows)
    wide = ws.repeat_interleave(sweep, 0)  # [M K, L, C]
    edited, offsets = wide, torch.zeros_like(wide) if options.raw else None
    for editor, row in zip(editors, rows, strict=True):
        amount = row.expand(count, sweep).reshape(-1).to(ws.device)  # [M K]
        if offsets is not None:
            offset = editor.offset(edited).to(offsets)
            if options.layers is not None:
                mask = torch.zeros(ws.shape[1], 1, device=ws.device, dtype=offset.dtype)
                mask[list(options.layers)] = 1
                offset = offset * mask
            offsets = offsets + offset
        edited = editor.edit(edited, amount, raw=options.raw, slots=options.layers)
    if not bool(torch.isfinite(edited).all()):
        raise InvalidInputError("the edited latents are beyond what numbers can hold: an alpha is far too large")
    images = None
    if options.synthesise:
        synthesis = options.synthesise if callable(options.synthesise) else generator.synthesis
        parts = []
        for start in range(0, len(edited), options.batch_size):
            part = _for_synthesis(generator, edited[start : start + options.batch_size])
            image = synthesis(part, noise_mode=options.noise_mode)
            parts.append(_output(image, options))
        images = _by_sample(torch.cat(parts), sweep)  # [M, K, 3, H, W]
    device = options.output_device or ws.device
    return EditResult(
        images,
        _by_sample(edited, sweep).to(device),
        ws.to(device),
        None if offsets is None else _by_sample(offsets, sweep).to(device),
        samples.alignments,
        None if samples.photos is None else _put_back(samples, cast(Tensor, images), options),
    )


def _put_back(samples: Samples, images: Tensor, options: _Options) -> list[NDArray[np.uint8]]:
    """Paste the edited faces `[M, K, 3, H, W]` into their photos: M times `[K, H, W, 3]`."""
    mask: PasteMask = options.photos.paste_back or "face"
    result = []
    for photo, alignment, faces in zip(samples.photos or [], samples.alignments or [], images, strict=True):
        edited = faces if faces.dtype == torch.uint8 else _to_uint8(faces)  # [K, 3, H, W]
        pixels = edited.permute(0, 2, 3, 1).cpu().numpy()
        result.append(np.stack([put_back(photo, one, alignment, mask=mask, feather=options.feather) for one in pixels]))
    return result


def _run(
    generator: Generator,
    chunks: Iterator[Samples],
    editors: list[LatentEditor],
    alphas: list[Alphas],
    options: _Options,
) -> Iterator[EditResult]:
    start = 0
    for samples in chunks:
        count = len(samples.ws)
        rows = [a.rows(start, count) for a in alphas]
        result = _run_chunk(generator, samples, editors, rows, options)
        start += count
        if any(a.sweep for a in alphas):
            yield result
            continue
        images = None if result.images is None else result.images[:, 0]
        offsets = None if result.offsets is None else result.offsets[:, 0]
        photos = None if result.photos is None else [photo[0] for photo in result.photos]
        yield EditResult(images, result.latents[:, 0], result.sources, offsets, result.alignments, photos)


def _by_sample(flat: Tensor, sweep: int) -> Tensor:
    return flat.reshape(-1, sweep, *flat.shape[1:])


def _for_synthesis(generator: Generator, ws: Tensor) -> Tensor:
    return ws if generator.w_avg.dtype == torch.float64 else ws.float()


def _output(image: Tensor, options: _Options) -> Tensor:
    if options.output == "uint8":
        image = _to_uint8(image)
    elif image.dtype != torch.float64:
        image = image.float()
    return image.to(options.output_device) if options.output_device is not None else image


def _to_uint8(image: Tensor) -> Tensor:
    return (image.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def _options(
    generator: Generator,
    batch_size: int,
    layers: Iterable[int] | None,
    noise_mode: str,
    raw: bool,
    output: str,
    synthesise: bool | Synthesise,
    output_device: torch.device | str | None,
    photos: PhotoOptions,
    feather: float,
) -> _Options:
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise InvalidInputError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
    if noise_mode not in NOISE_MODES:
        raise InvalidInputError(f"noise_mode must be one of {', '.join(NOISE_MODES)}; got {noise_mode!r}")
    if output not in ("float", "uint8"):
        raise InvalidInputError(f'output must be "float" or "uint8", got {output!r}')
    if photos.paste_back and synthesise is False:
        raise InvalidInputError("paste_back needs the images: leave synthesise as it is")
    chosen = None if layers is None else check_slots(layers, generator.num_ws)
    device = None if output_device is None else check_device(output_device, "output_device")
    return _Options(batch_size, chosen, noise_mode, raw, output, synthesise, device, photos, feather)


def _editors(generator: Generator, editor: Any, alpha: Any) -> tuple[list[LatentEditor], list[Any]]:
    """Return the editors for this generator, and one alpha as given for each."""
    several = isinstance(editor, (list, tuple))
    given = list(editor) if several else [editor]
    if not given:
        raise InvalidInputError("no editor given; pass at least one")
    if several:
        if isinstance(alpha, (str, bytes)) or not hasattr(alpha, "__len__") or getattr(alpha, "ndim", 1) == 0:
            raise InvalidInputError(f"with a sequence of {len(given)} editors, alpha is a sequence with one for each")
        if len(alpha) != len(given):
            raise InvalidInputError(f"{len(given)} editors, but {len(alpha)} alphas; give one alpha for each editor")
    loaded: list[LatentEditor] = []
    for one in given:
        if isinstance(one, (str, os.PathLike)):
            one = load_editor(one)
        if not hasattr(one, "edit") or not hasattr(one, "for_generator"):
            raise InvalidInputError(f"an editor is an Editor, a bundled name or a file; got {type(one).__name__}")
        loaded.append(cast(LatentEditor, one).for_generator(generator))
    return loaded, list(alpha) if several else [alpha]


def _samples_per_chunk(alphas: list[Alphas], options: _Options) -> int:
    return max(1, options.batch_size // max(a.values.shape[1] for a in alphas))


def _empty(generator: Generator, alphas: list[Alphas], options: _Options) -> EditResult:
    """The result of editing nothing, in the shapes and on the device that one sample's would have."""
    sweep = (max(a.values.shape[1] for a in alphas),) if any(a.sweep for a in alphas) else ()
    device = options.output_device or generator.w_avg.device
    latents = torch.zeros(0, *sweep, generator.num_ws, generator.w_dim, device=device)
    size = (generator.img_channels, generator.img_resolution, generator.img_resolution)
    dtype = torch.uint8 if options.output == "uint8" else torch.float32
    images = torch.zeros(0, *sweep, *size, dtype=dtype, device=device) if options.synthesise else None
    sources = torch.zeros(0, generator.num_ws, generator.w_dim, device=device)
    photos: list[NDArray[np.uint8]] | None = [] if options.photos.paste_back else None
    return EditResult(images, latents, sources, latents.clone() if options.raw else None, None, photos)
