"""The grid of axes of a figure with images, and the options of its drawing."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import numpy as np

from .._utils.patient_numbers import check_length
from ..metrics._display_data import pyplot

# Of one radiograph, of the space around it, of a line of its title, and of the colour bar.
_SIDE_INCHES, _SPACE_INCHES, _LINE_INCHES, _BAR_INCHES = 2.6, 0.2, 0.17, 1.2


def check_count(name: str, value: Any) -> None:
    """Raise unless a value is a number of images or columns."""
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(
            f"{name}={value!r} is invalid: it is a number of images or columns; expected an "
            "integer of 1 or more. Pass a positive integer."
        )


def check_drawing(n_columns: int, alpha: float, limit: float | None) -> None:
    """Raise if an option of the drawing is invalid."""
    check_count("n_columns", n_columns)
    if not 0 <= alpha <= 1:
        raise ValueError(
            f"alpha={alpha!r} is invalid: it is an opacity; expected a number between 0 and 1. "
            "Pass alpha=1 for colours that hide the image."
        )
    if limit is not None and not 0 < limit < math.inf:
        raise ValueError(
            f"limit={limit!r} is invalid: it is the value of the strongest colour; expected a "
            "number of percentage points greater than 0. Pass limit=None for the greatest value."
        )


def image_axes(axes: Any, titles: list[str], n_columns: int) -> tuple[Any, np.ndarray]:
    """Return the figure, and one axes per title."""
    n_images = len(titles)
    if axes is not None:
        given = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
        check_length("axes", given, n_images)
        return given[0].figure, given
    plt = pyplot()
    n_columns = min(n_columns, n_images)
    n_rows = math.ceil(n_images / n_columns)
    n_lines = 1 + max(title.count("\n") for title in titles)
    height = _SIDE_INCHES + _SPACE_INCHES + _LINE_INCHES * n_lines
    size = (_SIDE_INCHES * n_columns + _BAR_INCHES, height * n_rows)
    figure, grid = plt.subplots(
        n_rows, n_columns, figsize=size, squeeze=False, layout="constrained"
    )
    cells = grid.ravel()
    for unused in cells[n_images:]:
        unused.remove()
    return figure, cells[:n_images]
