"""The demo's sheet puts every picture where its labels say."""

from __future__ import annotations

import numpy as np

from deltafast.evaluation.figures.contact_sheet import Block, contact_sheet

_CELL = 96


def _flat(*reds: int) -> np.ndarray:
    """One flat coloured picture (labels are grey) for each value, uint8 `[n, cell, cell, 3]`."""
    return np.stack([np.full((_CELL, _CELL, 3), (red, 0, 200), np.uint8) for red in reds])


def _corner(sheet: np.ndarray, red: int) -> tuple[int, int]:
    """Row and column of one flat picture; fails unless it is there once and whole."""
    rows, columns = np.nonzero((sheet == (red, 0, 200)).all(axis=2))
    assert len(rows) == _CELL * _CELL
    top, left = int(rows.min()), int(columns.min())
    assert (rows.max(), columns.max()) == (top + _CELL - 1, left + _CELL - 1)
    return top, left


def test_pictures_stand_in_their_row_and_column() -> None:
    columns = [["a", "b"], ["c"]]
    upper = Block("upper", ["one", "two"], columns, [[_flat(1, 2), _flat(3)], [_flat(4, 5), _flat(6)]])
    lower = Block("lower", ["three"], columns, [[_flat(7, 8), _flat(9)]])
    sheet = contact_sheet(["left", "right"], [upper, lower])
    assert sheet.dtype == np.uint8
    place = {red: _corner(sheet, red) for red in range(1, 10)}
    for row in ((1, 2, 3), (4, 5, 6), (7, 8, 9)):
        assert len({place[red][0] for red in row}) == 1
        assert place[row[0]][1] < place[row[1]][1] < place[row[2]][1]
    for column in ((1, 4, 7), (2, 5, 8), (3, 6, 9)):
        assert len({place[red][1] for red in column}) == 1
        assert place[column[0]][0] < place[column[1]][0] < place[column[2]][0]


def test_labels_are_drawn_and_long_ones_do_not_run_into_the_pictures() -> None:
    short = contact_sheet(["g"], [Block("", [""], [[""]], [[_flat(1)]])])
    long = contact_sheet(["g"], [Block("", ["a label of many words"], [[""]], [[_flat(1)]])])
    assert _corner(long, 1)[1] > _corner(short, 1)[1]
    top, left = _corner(long, 1)
    assert (long[top : top + _CELL, : left - 2] < 200).any()  # ink
    assert (long[top : top + _CELL, left - 2 : left] == 255).all()
