"""Pictures and files as the page gets them: inside its data, never as files on the server's disk."""

from __future__ import annotations

import base64
import html
import io
import itertools
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

__all__ = ["PREVIEW", "data_address", "img", "jpeg", "png"]

_numbers = itertools.count()

PREVIEW = 512
"""Pixels of the longer side while a slider moves."""


def jpeg(pixels: NDArray[np.uint8], longest: int) -> bytes:
    """Return uint8 `[H, W, 3]` as a JPEG whose longer side has at most so many pixels."""
    picture = Image.fromarray(pixels)
    side = max(picture.size)
    if side > longest:
        factor = side // longest
        picture = picture.reduce(factor) if factor > 1 else picture
        picture.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def png(pixels: NDArray[np.uint8], texts: Mapping[str, str], profile: bytes | None = None) -> bytes:
    """Return uint8 `[H, W, 3]` as a PNG; `texts`: what it says of itself; `profile`: of its colours."""
    said = PngImagePlugin.PngInfo()
    for keyword, text in texts.items():
        said.add_itxt(keyword, text)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=4, icc_profile=profile, pnginfo=said)
    return stream.getvalue()


def data_address(data: bytes, kind: str) -> str:
    """Return data as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def img(pixels: NDArray[np.uint8] | None, side: Literal["before", "after"], said: str, longest: int = PREVIEW) -> str:
    """Return the element that shows one side of the comparison, or, without a picture, an empty place."""
    if pixels is None:
        return f'<div class="df-picture df-{side} df-empty"></div>'
    source = data_address(jpeg(pixels, longest), "image/jpeg")
    number = next(_numbers)  # what is the same as before is put there again: a moving slider's picture may hide it
    return (
        f'<img class="df-picture df-{side}" decoding="sync" alt="{html.escape(said)}" data-number="{number}" '
        f'src="{source}">'
    )
