"""Latents or images in, edited images out: `edit_batch`, and `edit_stream` for more of them than fit into memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from deltafast.delta.editor import LatentEditor, load_editor
from deltafast.delta.slots import check_slots
from deltafast.errors import ImageError, InvalidInputError
from deltafast.files import read_image
from deltafast.generators.base import NOISE_MODES, Generator

__all__ = ["EditResult", "edit_batch", "edit_stream"]

EditorLike: TypeAlias = "LatentEditor | str | os.PathLike[str]"
Synthesise: TypeAlias = Callable[..., Tensor]


@dataclass(frozen=True)
class EditResult:
    """What an edit gave.

    - `images`: `[N, 3, H, W]`, or `[N, K, 3, H, W]` for a sweep; fp32 in about [-1, 1], or uint8. None with
      `synthesise=False`.
    - `latents`: the edited ones, fp32 (float64 where those given are), `[N, num_ws, w_dim]` or
      `[N, K, num_ws, w_dim]`.
    - `sources`: the latents before the edit, `[N, num_ws, w_dim]`: those given, or the projected images.
    - `offsets`: with `raw=True`, D(w, 0) as it is contained in `latents`, summed over the editors; None otherwise.
    """

    images: Tensor | None
    latents: Tensor
    sources: Tensor
    offsets: Tensor | None = None

    def __len__(self) -> int:
        return len(self.latents)


@dataclass(frozen=True)
class _Options:
    batch_size: int
    layers: tuple[int, ...] | None
    noise_mode: str
    raw: bool
    output: str
    synthesise: bool | Synthesise
    output_device: torch.device | None


@dataclass(frozen=True)
class _Alphas:
    """α of one editor for any run of samples: `[1, K]`, or `[N, K]` where each sample has its own."""

    values: Tensor
    sweep: bool

    def rows(self, start: int, count: int) -> Tensor:
        if len(self.values) == 1:
            return self.values.expand(count, -1)
        return self.values[start : start + count]


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
) -> EditResult:
    """Edit N faces: w + D(w, α·Δ) − D(w, 0) in W+, synthesised.

    Args:

    - `latents_or_images`: latents `[N, num_ws, w_dim]`, or W codes `[N, w_dim]` (taken for all slots), floating-point
      tensors or arrays. Or images: a path, a PIL image, a uint8 array `[H, W, 3]` or `[N, H, W, 3]`, a tensor
      `[N, 3, H, W]` (uint8, or floating point in [-1, 1]), or a list of paths, PIL images or arrays; they are
      projected with the bundled encoder. Images must be *aligned* as FFHQ's are (square, face centred): this version
      does not align them.
    - `editor`: an `Editor`, a bundled editor's name (`list_editors()`) or an editor file; or a sequence of them, which
      compose in the order given, each reading the latent that the one before left.
    - `alpha`: 1 is the full change of the training sequence, 0 none, negative undoes or goes the other way. A number;
      or one for each sample, 1-D of length N; or a sweep of K values for every sample: 2-D `[1, K]` or `[N, K]`, or
      1-D of any length other than N. (1-D of length N is always one for each sample: write a sweep of as many values
      as there are samples `[[...]]`.) With a sequence of editors, a sequence with one such alpha for each; sweeps
      among them run together and must have the same K.
    - `batch_size`: at most this many images are synthesised at once; the working memory depends on it, not on N.
    - `layers`: W+ slots to which the edit is limited, beyond the editor's own choice.
    - `raw`: the paper's w + D(w, α·Δ); the result then reports D(w, 0) in `offsets`.
    - `output`: "float" is fp32 in about [-1, 1], as synthesised; "uint8" is 0..255.
    - `synthesise=False` leaves the images out; a function (ws, noise_mode) -> images takes the place of
      `generator.synthesis`: `generator.compiled()`, say.
    - `output_device`: where the result goes; that of the latents given, the CPU for images.

    Result: an `EditResult`. No gradients are recorded; for those use `editor.edit` and `generator.synthesis`. Raises
    `InvalidInputError` (NaN, wrong shapes, lengths or types), `EditorError` (unknown, damaged, of another generator),
    `ImageError` (a picture that cannot be read).
    """
    items = _items(generator, latents_or_images)
    if output_device is None:
        output_device = latents_or_images.device if isinstance(latents_or_images, Tensor) else "cpu"
    options = _options(generator, batch_size, layers, noise_mode, raw, output, synthesise, output_device)
    editors, given = _editors(generator, editor, alpha)
    alphas = _alphas(given, len(items))
    chunks = list(_run(generator, _chunked(items, _samples_per_chunk(alphas, options)), editors, alphas, options))
    if not chunks:
        return _empty(generator, alphas, options)

    def joined(parts: list[Tensor | None]) -> Tensor | None:
        present = [part for part in parts if part is not None]
        return torch.cat(present) if present else None

    return EditResult(
        joined([c.images for c in chunks]),
        torch.cat([c.latents for c in chunks]),
        torch.cat([c.sources for c in chunks]),
        joined([c.offsets for c in chunks]),
    )


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
) -> Iterator[EditResult]:
    """Edit without holding everything: yield an `EditResult` for every few samples, in order.

    Arguments as those of `edit_batch`, all checked before the first result; a chunk holds at most `batch_size` images
    (one sample's sweep, where that is longer). `latents_or_images` may also be an iterator, which is read as it is
    needed and may be endless: of latents `[num_ws, w_dim]` or `[w_dim]` (one sample each) or of image paths, PIL
    images or arrays. N is then not known, so that a 1-D `alpha` is always a sweep. The result goes to the generator's
    device unless `output_device` is given.
    """
    options = _options(generator, batch_size, layers, noise_mode, raw, output, synthesise, output_device)
    editors, given = _editors(generator, editor, alpha)
    if isinstance(latents_or_images, Iterator):
        alphas = _alphas(given, None)
        singles: Iterator[Any] = latents_or_images
        return _run(
            generator, _grouped(singles, generator, _samples_per_chunk(alphas, options)), editors, alphas, options
        )
    items = _items(generator, latents_or_images)
    alphas = _alphas(given, len(items))
    return _run(generator, _chunked(items, _samples_per_chunk(alphas, options)), editors, alphas, options)


@torch.no_grad()
def _run_chunk(
    generator: Generator, ws: Tensor, editors: list[LatentEditor], rows: list[Tensor], options: _Options
) -> EditResult:
    """Edit and synthesise `ws` `[M, L, C]` with `rows` of alphas, one `[M, 1 or K]` for each editor."""
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
    )


def _run(
    generator: Generator,
    chunks: Iterator[Tensor],
    editors: list[LatentEditor],
    alphas: list[_Alphas],
    options: _Options,
) -> Iterator[EditResult]:
    start = 0
    for ws in chunks:
        rows = [a.rows(start, len(ws)) for a in alphas]
        result = _run_chunk(generator, ws, editors, rows, options)
        start += len(ws)
        if any(a.sweep for a in alphas):
            yield result
            continue
        images = None if result.images is None else result.images[:, 0]
        offsets = None if result.offsets is None else result.offsets[:, 0]
        yield EditResult(images, result.latents[:, 0], result.sources, offsets)


def _by_sample(flat: Tensor, sweep: int) -> Tensor:
    return flat.reshape(-1, sweep, *flat.shape[1:])


def _for_synthesis(generator: Generator, ws: Tensor) -> Tensor:
    return ws if generator.w_avg.dtype == torch.float64 else ws.float()


def _output(image: Tensor, options: _Options) -> Tensor:
    if options.output == "uint8":
        image = (image.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    elif image.dtype != torch.float64:
        image = image.float()
    return image.to(options.output_device) if options.output_device is not None else image


def _options(
    generator: Generator,
    batch_size: int,
    layers: Iterable[int] | None,
    noise_mode: str,
    raw: bool,
    output: str,
    synthesise: bool | Synthesise,
    output_device: torch.device | str | None,
) -> _Options:
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise InvalidInputError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
    if noise_mode not in NOISE_MODES:
        raise InvalidInputError(f"noise_mode must be one of {', '.join(NOISE_MODES)}; got {noise_mode!r}")
    if output not in ("float", "uint8"):
        raise InvalidInputError(f'output must be "float" or "uint8", got {output!r}')
    chosen = None if layers is None else check_slots(layers, generator.num_ws)
    try:
        device = None if output_device is None else torch.device(output_device)
    except (RuntimeError, TypeError) as error:
        raise InvalidInputError(
            f"output_device must be a device such as cpu or cuda:0, got {output_device!r}"
        ) from error
    return _Options(batch_size, chosen, noise_mode, raw, output, synthesise, device)


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


def _alphas(given: list[Any], count: int | None) -> list[_Alphas]:
    result = [_one_alpha(alpha, count) for alpha in given]
    lengths = sorted({a.values.shape[1] for a in result if a.sweep})
    if len(lengths) > 1:
        raise InvalidInputError(f"sweeps over several editors must have equally many alphas, got {lengths}")
    return result


def _one_alpha(alpha: Any, count: int | None) -> _Alphas:
    expected = "a number, one for each sample [N], or a sweep [1, K] or [N, K]"
    try:
        if not isinstance(alpha, (Tensor, np.ndarray, int, float)):
            alpha = np.asarray(list(alpha), dtype=np.float64)
        values = torch.as_tensor(alpha).detach().to("cpu", torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(f"alpha must be {expected}; got {alpha!r}") from error
    if values.is_complex() or not bool(torch.isfinite(values).all()):
        raise InvalidInputError("alpha holds NaN or infinity")
    if values.ndim == 0:
        return _Alphas(values.reshape(1, 1), False)
    samples = "an unknown number of" if count is None else str(count)
    if values.ndim == 1 and count is not None and len(values) == count:
        return _Alphas(values.reshape(-1, 1), False)
    if values.ndim == 1 and len(values) > 0:
        return _Alphas(values.reshape(1, -1), True)
    if values.ndim == 2 and values.shape[1] > 0 and len(values) in ({1} if count is None else {1, count}):
        return _Alphas(values, True)
    raise InvalidInputError(f"alpha must be {expected}; got shape {list(values.shape)} for {samples} samples")


def _samples_per_chunk(alphas: list[_Alphas], options: _Options) -> int:
    return max(1, options.batch_size // max(a.values.shape[1] for a in alphas))


@dataclass(frozen=True)
class _Items:
    """N samples of which a run can be read as latents `[M, num_ws, w_dim]` on the generator's device."""

    count: int
    read: Callable[[int, int], Tensor]

    def __len__(self) -> int:
        return self.count


def _chunked(items: _Items, size: int) -> Iterator[Tensor]:
    for start in range(0, len(items), size):
        yield items.read(start, min(start + size, len(items)))


def _grouped(singles: Iterator[Any], generator: Generator, size: int) -> Iterator[Tensor]:
    group: list[Tensor] = []
    for single in singles:
        group.append(_single(generator, single))
        if len(group) == size:
            yield torch.cat(group)
            group = []
    if group:
        yield torch.cat(group)


def _single(generator: Generator, item: Any) -> Tensor:
    """One sample of an iterator as latents `[1, num_ws, w_dim]`."""
    shapes = ((generator.w_dim,), (generator.num_ws, generator.w_dim))
    if isinstance(item, np.ndarray) and np.issubdtype(item.dtype, np.floating):
        item = torch.from_numpy(item)
    if isinstance(item, Tensor) and item.is_floating_point() and tuple(item.shape) in shapes:
        return _latents(generator, item[None])
    items = _items(generator, [item] if not isinstance(item, Tensor) else item)
    if len(items) != 1:
        raise InvalidInputError(f"an iterator gives one sample at a time; got one item with {len(items)} of them")
    return items.read(0, 1)


def _items(generator: Generator, given: Any) -> _Items:
    if isinstance(given, np.ndarray) and np.issubdtype(given.dtype, np.floating):
        given = torch.from_numpy(np.ascontiguousarray(given))
    if isinstance(given, Tensor) and given.ndim == 4 and given.shape[1] == 3:
        tensor = given
        if not (tensor.is_floating_point() or tensor.dtype == torch.uint8):
            raise InvalidInputError(f"images must be uint8 or floating point in [-1, 1], got {tensor.dtype}")
        return _Items(len(tensor), lambda start, end: _encode(generator, [t[None] for t in tensor[start:end]]))
    if isinstance(given, Tensor):
        ws = _latents(generator, given)
        return _Items(len(ws), lambda start, end: ws[start:end].to(generator.w_avg.device))
    if isinstance(given, np.ndarray) and given.dtype == np.uint8 and given.ndim == 4:
        given = list(given)
    elif isinstance(given, (str, os.PathLike, np.ndarray)) or hasattr(given, "convert"):
        given = [given]
    if not isinstance(given, (list, tuple)):
        raise InvalidInputError(
            f"expected latents [N, {generator.num_ws}, {generator.w_dim}] or [N, {generator.w_dim}], or images "
            f"(paths, PIL images, uint8 arrays, tensors [N, 3, H, W]); got {type(given).__name__}"
        )
    pictures = list(given)
    for picture in pictures:
        if not isinstance(picture, (str, os.PathLike, np.ndarray)) and not hasattr(picture, "convert"):
            raise InvalidInputError(
                f"a list must hold paths, PIL images or uint8 arrays [H, W, 3], got {type(picture).__name__}; stack "
                "latents into one tensor with torch.stack"
            )
    return _Items(len(pictures), lambda start, end: _encode(generator, [_picture(p) for p in pictures[start:end]]))


def _latents(generator: Generator, given: Tensor) -> Tensor:
    shape = (generator.num_ws, generator.w_dim)
    if not given.is_floating_point():
        raise InvalidInputError(f"latents must be floating point, got {given.dtype} {list(given.shape)}")
    ws = given.detach()
    if tuple(ws.shape) == shape and shape[0] > 1:
        raise InvalidInputError(
            f"latents of shape {list(shape)} may be one W+ latent or {shape[0]} W codes: give latents[None] for one W+ "
            f"latent, latents[:, None].expand(-1, {shape[0]}, -1) for W codes"
        )
    if ws.ndim == 2 and ws.shape[1] == shape[1]:
        ws = ws[:, None].expand(-1, shape[0], -1)
    if ws.ndim != 3 or tuple(ws.shape[1:]) != shape:
        raise InvalidInputError(
            f"latents must be [N, {shape[0]}, {shape[1]}] (W+) or [N, {shape[1]}] (W) for {generator.name}, got "
            f"{list(given.shape)}"
        )
    if not bool(torch.isfinite(given).all()):
        finite = torch.isfinite(given).flatten(1).all(1)
        raise InvalidInputError(f"latents hold NaN or infinity, first in sample {int((~finite).nonzero()[0])}")
    return ws.to(torch.promote_types(ws.dtype, torch.float32))


def _picture(picture: Any) -> Tensor:
    """One image as `[1, 3, H, W]` float in [-1, 1]."""
    name = "image"
    if isinstance(picture, (str, os.PathLike)):
        name, array = os.fspath(picture), read_image(Path(picture))
    elif isinstance(picture, np.ndarray):
        array = picture
    else:
        try:
            array = np.asarray(picture.convert("RGB"), dtype=np.uint8)
        except (OSError, ValueError, AttributeError) as error:
            raise InvalidInputError(f"an image cannot be read: {error}") from error
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise InvalidInputError(f"an image array must be uint8 [H, W, 3], got {array.dtype} {list(array.shape)}")
    if array.shape[0] != array.shape[1] or array.shape[0] < 32:
        size = f"{array.shape[1]} x {array.shape[0]}"
        raise ImageError(name, f"an aligned face is square and at least 32 pixels wide; this image is {size}")
    return torch.from_numpy(np.array(array)).permute(2, 0, 1)[None].float() / 127.5 - 1


def _encode(generator: Generator, images: list[Tensor]) -> Tensor:
    from deltafast.projection import encode_images

    def prepared(image: Tensor) -> Tensor:
        if image.dtype == torch.uint8:
            return image.float() / 127.5 - 1
        if not bool(torch.isfinite(image).all()):
            raise InvalidInputError("images hold NaN or infinity")
        return image.float()

    inputs = [prepared(image).to(generator.w_avg.device) for image in images]
    if len({image.shape for image in inputs}) == 1:
        inputs = [torch.cat(inputs)]
    with torch.no_grad():
        return torch.cat([encode_images(generator, part, batch_size=len(part)) for part in inputs]).clone()


def _empty(generator: Generator, alphas: list[_Alphas], options: _Options) -> EditResult:
    """The result of editing nothing, in the shapes and on the device that one sample's would have."""
    sweep = (max(a.values.shape[1] for a in alphas),) if any(a.sweep for a in alphas) else ()
    device = options.output_device or generator.w_avg.device
    latents = torch.zeros(0, *sweep, generator.num_ws, generator.w_dim, device=device)
    size = (generator.img_channels, generator.img_resolution, generator.img_resolution)
    dtype = torch.uint8 if options.output == "uint8" else torch.float32
    images = torch.zeros(0, *sweep, *size, dtype=dtype, device=device) if options.synthesise else None
    sources = torch.zeros(0, generator.num_ws, generator.w_dim, device=device)
    return EditResult(images, latents, sources, latents.clone() if options.raw else None)
