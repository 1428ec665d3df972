"""A sheet of small pictures in labelled rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

__all__ = ["Block", "contact_sheet"]

_PAPER, _INK = (255, 255, 255), (40, 40, 40)
_GAP = 3  # pixels between pictures
_GROUP_GAP = 18  # pixels between groups of columns, and around everything


@dataclass(frozen=True)
class Block:
    """Rows of pictures under one title.

    `pictures[row][group]` is uint8 `[n, cell, cell, 3]`, the n pictures of one row in one group of columns;
    `rows` labels the rows, `columns[group]` the n columns of each group.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[Sequence[str]]
    pictures: Sequence[Sequence[NDArray[np.uint8]]]


def contact_sheet(groups: Sequence[str], blocks: Sequence[Block]) -> NDArray[np.uint8]:
    """Lay blocks one below the other; all have the same groups of columns, named by `groups`. uint8 `[H, W, 3]`."""
    from PIL import Image, ImageDraw

    first = blocks[0].pictures[0]
    cell = first[0].shape[1]
    small, large = _font(cell / 9), _font(cell / 7)
    line = round(cell / 6)
    margin = _GROUP_GAP + round(max(small.getlength(label) for block in blocks for label in block.rows)) + 2 * _GAP
    lefts = []  # where each group of columns begins
    width = margin
    for group in first:
        lefts.append(width)
        width += len(group) * (cell + _GAP) - _GAP + _GROUP_GAP
    height = _GROUP_GAP + sum(3 * line + len(block.rows) * (cell + _GAP) + _GROUP_GAP for block in blocks)

    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = _GROUP_GAP
    for block in blocks:
        draw.text((_GROUP_GAP, top), block.title, fill=_INK, font=large)
        top += line
        for name, labels, left in zip(groups, block.columns, lefts, strict=True):
            draw.text((left, top + line / 2), name, fill=_INK, font=large, anchor="lm")
            for index, label in enumerate(labels):
                middle = left + index * (cell + _GAP) + cell / 2
                draw.text((middle, top + 1.5 * line), label, fill=_INK, font=small, anchor="mm")
        top += 2 * line
        for label, row in zip(block.rows, block.pictures, strict=True):
            draw.text((_GROUP_GAP, top + cell / 2), label, fill=_INK, font=small, anchor="lm")
            for pictures, left in zip(row, lefts, strict=True):
                for index, picture in enumerate(pictures):
                    sheet.paste(Image.fromarray(picture), (left + index * (cell + _GAP), top))
            top += cell + _GAP
        top += _GROUP_GAP
    return np.asarray(sheet)


def _font(size: float) -> FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has the Greek letters that Pillow's own font lacks."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
