"""Moving pictures as files: GIF and WebP by Pillow, MP4 by PyAV where it is installed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deltafast.errors import DeltafastError, InvalidInputError
from deltafast.files import atomic_write

__all__ = ["FORMATS", "check_format", "write_moving_picture"]

FORMATS = ("gif", "webp", "mp4")

_PALETTE_FRAMES = 8  # of a GIF, from which its one palette is taken
_PALETTE_SIDE = 256  # pixels of each
_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
_DITHER = 8.0  # of 255: about the distance of a palette's neighbouring colours
_WEBP_QUALITY = 88
_MP4_QUALITY = "18"  # x264's constant rate factor: 18 looks like the original
_FASTEST = 50  # frames a second that viewers of GIFs still show as such


def check_format(suffix: str) -> str:
    """Return a file's ending, `.gif` or `gif`, as one of `FORMATS`.

    Raises `InvalidInputError` for another one, `DeltafastError` that says what to install where MP4 needs it.
    """
    name = suffix.lower().removeprefix(".")
    if name not in FORMATS:
        raise InvalidInputError(f"a moving picture is one of {', '.join(FORMATS)}; got {suffix!r}")
    if name == "mp4":
        _av()
    return name


def write_moving_picture(
    path: str | os.PathLike[str],
    frames: NDArray[np.uint8],
    *,
    fps: float = 25.0,
    loop: bool = True,
    comment: str = "",
    xmp: str = "",
) -> None:
    """Write frames, uint8 sRGB `[T, H, W, 3]`, to `path` (.gif, .webp or .mp4), atomically.

    `fps`: frames a second, above 0; a GIF counts hundredths of a second, so that 25 and 50 are exact there and at most
    50 are possible. `loop`: GIF and WebP begin again. MP4 is H.264 of even width and height: an odd last column or row
    is left out. `comment` is what GIF and MP4 say of themselves, `xmp` the packet of a WebP. Raises `InvalidInputError`
    for other frames, rates and endings, `DeltafastError` where PyAV is missing, `DiskError` when it cannot be written.
    """
    target = Path(path)
    kind = check_format(target.suffix)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or frames.size == 0:
        raise InvalidInputError(f"frames must be uint8 [T, H, W, 3], got {frames.dtype} {list(frames.shape)}")
    if not 0 < fps <= 240 or (kind == "gif" and fps > _FASTEST):
        raise InvalidInputError(f"fps must be above 0 and at most {_FASTEST if kind == 'gif' else 240}, got {fps}")
    with atomic_write(target) as temporary:
        if kind == "mp4":
            _write_mp4(temporary, frames, fps, comment)
            return
        pictures = [Image.fromarray(frame) for frame in frames]
        if kind == "gif":
            _write_gif(temporary, pictures, fps, loop, comment)
        else:
            _write_webp(temporary, pictures, fps, loop, xmp)


def _write_gif(path: Path, pictures: Sequence[Image.Image], fps: float, loop: bool, comment: str) -> None:
    """One palette for all frames, and dithering by one pattern: else what stands still would flicker."""
    step = max(1, len(pictures) // _PALETTE_FRAMES)
    chosen = [picture.resize((_PALETTE_SIDE, _PALETTE_SIDE)) for picture in pictures[::step]]
    sheet = Image.new("RGB", (_PALETTE_SIDE, _PALETTE_SIDE * len(chosen)))
    for row, picture in enumerate(chosen):
        sheet.paste(picture, (0, row * _PALETTE_SIDE))
    palette = sheet.quantize(256, method=Image.Quantize.MEDIANCUT)
    first, *rest = (_dithered(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    options: dict[str, Any] = {"loop": 0} if loop else {}
    if comment:
        options["comment"] = comment.encode()
    duration = max(10, round(100 / fps) * 10)  # milliseconds, of whole hundredths of a second
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=duration, optimize=False, **options)


def _dithered(picture: Image.Image) -> Image.Image:
    """Add Bayer's pattern, which is the same in every frame, so that few colours do not show as steps."""
    rows, columns = (np.arange(side) for side in picture.size[::-1])
    pattern = _DITHER * (_BAYER[rows[:, None] % 4, columns % 4] / 16 - 15 / 32)  # [H, W]
    return Image.fromarray((np.asarray(picture) + pattern[..., None]).round().clip(0, 255).astype(np.uint8))


def _write_webp(path: Path, pictures: Sequence[Image.Image], fps: float, loop: bool, xmp: str) -> None:
    ends = [round(1000 * (k + 1) / fps) for k in range(len(pictures))]
    durations = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    pictures[0].save(
        path,
        format="WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0 if loop else 1,
        quality=_WEBP_QUALITY,
        method=4,
        xmp=xmp.encode(),
    )


def _write_mp4(path: Path, frames: NDArray[np.uint8], fps: float, comment: str) -> None:
    from fractions import Fraction

    av = _av()
    height, width = (side - side % 2 for side in frames.shape[1:3])
    if min(height, width) < 2:
        raise InvalidInputError(f"an MP4 is at least 2 x 2 pixels, got {list(frames.shape[1:3])}")
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        if comment:
            container.metadata["comment"] = comment
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": _MP4_QUALITY}
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise DeltafastError("MP4 needs PyAV: pip install 'deltafast[video]', or write a .gif or .webp") from error
    return av
