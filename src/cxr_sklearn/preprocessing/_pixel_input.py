"""Understand X as images: pixels in the size in which a model sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from .._images.loader import XRayLoader
from .._images.paths import as_paths

# Rows of fewer pixels are no images.
_SMALLEST_SIDE = 8


@dataclass(frozen=True, eq=False)
class PixelInput:
    """Images as pixels, for models and baselines that need them.

    Attributes
    ----------
    images : ndarray of shape (n, height, width) or (n, height, width, 3)
        Pixels.
    has_rows : bool
        Whether a model takes rows of pixels, and not arrays of images.
    loader : XRayLoader or None
        Loader that has read the images, if X is a column of paths.
    """

    images: np.ndarray
    has_rows: bool
    loader: XRayLoader | None = None


class NotImagesError(ValueError):
    """X cannot be understood as images. The message states why."""


def pixel_input(model: Any, X: Any) -> PixelInput:
    """Return X as pixels, in the size in which a model sees them.

    Parameters
    ----------
    model : classifier
        A model that takes X.
    X : array-like
        Column of paths, rows of pixels, or arrays of images.

    Returns
    -------
    PixelInput

    Raises
    ------
    NotImagesError
        If X has another form, or if it is not known in which size the model reads files.
    """
    if as_paths(X) is not None:
        loader = _loader_of(model)
        if loader is None:
            raise NotImagesError("the size in which the model reads files is not known")
        rows = loader.fit_transform(X)
        side = loader.image_size
        return PixelInput(rows.reshape(-1, side, side), True, loader)
    values = np.asarray(X)
    if values.ndim in (3, 4) and values.dtype.kind in "uifb":
        return PixelInput(values, False)
    if values.ndim != 2 or values.dtype.kind not in "uifb":
        raise NotImagesError(f"X has the shape {values.shape} and the type {values.dtype}")
    shape = _row_shape(model, values)
    return PixelInput(values.reshape(-1, *shape), True)


def _row_shape(model: Any, rows: np.ndarray) -> tuple[int, int]:
    """Return height and width of images that are given as rows."""
    takers = _image_estimators(model)
    for taker in takers:
        shape = getattr(taker, "image_shape", None)
        if shape is not None:
            return int(shape[0]), int(shape[1])
    side = round(rows.shape[1] ** 0.5)
    is_square = side * side == rows.shape[1] and side >= _SMALLEST_SIDE
    # Any table may have a square number of columns. Only a model for images, or bytes, show that
    # the columns are pixels.
    if is_square and (takers or rows.dtype == np.uint8):
        return side, side
    raise NotImagesError(f"the {rows.shape[1]} columns of X are not known to be pixels")


def _image_estimators(model: Any) -> list[Any]:
    """Return the parts of a model that take images."""
    parts = [model]
    if hasattr(model, "get_params"):
        parts += list(model.get_params(deep=True).values())
    return [part for part in parts if _takes_images(part)]


def _takes_images(part: Any) -> bool:
    return type(part).__module__.startswith("cxr_sklearn.") and hasattr(part, "image_size")


def _loader_of(model: Any) -> XRayLoader | None:
    """Return an unfitted loader that reads files as the model does."""
    takers = _image_estimators(model)
    for taker in takers:
        if isinstance(taker, XRayLoader):
            return clone(taker)
    if takers:
        return XRayLoader(image_size=takers[0].image_size, n_jobs=takers[0].n_jobs)
    return None
