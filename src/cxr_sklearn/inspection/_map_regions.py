"""Check masks and boxes that are given for maps."""

from __future__ import annotations

from typing import Any

import numpy as np


def region_masks(name: str, masks: Any, n_images: int, side: int) -> np.ndarray:
    """Return masks in the form of maps.

    Parameters
    ----------
    name : str
        Name of the parameter, for messages.
    masks : array-like of shape (n_images, side, side) or (n_images, side * side)
        Different from 0 inside.
    n_images, side : int
        Number and side of the maps.

    Returns
    -------
    ndarray of shape (n_images, side, side), dtype bool

    Raises
    ------
    ValueError
        If the shape is another one.
    """
    values = np.asarray(masks)
    if values.shape not in ((n_images, side, side), (n_images, side * side)):
        raise ValueError(
            f"{name} has the shape {values.shape}; expected {(n_images, side, side)} or "
            f"{(n_images, side * side)}, the size of the images that the network gets. Resize them "
            "in the same way as the images."
        )
    inside: np.ndarray = values.reshape(n_images, side, side) != 0
    return inside


def box_masks(boxes: Any, n_images: int, side: int) -> np.ndarray:
    """Return boxes as masks.

    Parameters
    ----------
    boxes : array-like of shape (n_images, 4), or masks
        Left, top, right and bottom in pixels of the maps; NaN for images without a box.
    n_images, side : int
        Number and side of the maps.

    Returns
    -------
    ndarray of shape (n_images, side, side), dtype bool
        Pixels whose centre is inside of the box.

    Raises
    ------
    ValueError
        If the shape is another one, or a box is empty or outside of the image.
    """
    values = np.asarray(boxes)
    if values.shape != (n_images, 4):
        return region_masks("boxes", values, n_images, side)
    values = values.astype(np.float64)
    centres = np.arange(side) + 0.5
    masks = np.zeros((n_images, side, side), dtype=bool)
    for row, (left, top, right, bottom) in enumerate(values):
        if np.isnan(values[row]).all():
            continue
        columns, lines = (centres > left) & (centres < right), (centres > top) & (centres < bottom)
        masks[row] = lines[:, None] & columns
        if not masks[row].any():
            raise ValueError(
                f"boxes[{row}]={values[row].tolist()} is invalid: no pixel of the {side}×{side} "
                "image is inside; expected left, top, right and bottom in pixels of the image that "
                "the network gets, or NaN. Convert the coordinates to the size of this image."
            )
    return masks
