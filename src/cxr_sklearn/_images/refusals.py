"""Refuse an X that is not a batch of images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from scipy.sparse import issparse

from .formats import IMAGE_SUFFIXES

# Column names that no pixel has. Such a column would be trained on as a pixel.
_LABEL_NAMES = {"label", "labels", "target", "class", "diagnosis"}
_FEW = 100  # rows of a table that are looked at for text


def refuse_mapping(X: Any) -> None:
    """Raise if X is a dict or a Bunch, as the loaders return them.

    Raises
    ------
    TypeError
        Without the contents of X: paths may name patients.
    """
    if not isinstance(X, Mapping) or issparse(X):  # a sparse array in DOK format is a dict
        return
    kind = type(X).__name__
    remedy = (
        "pass bunch.data as X and bunch.target as y"
        if "data" in X
        else "pass the value that has the images"
    )
    raise TypeError(f"X is a {kind}; expected images or a column of paths: {remedy}")


def refuse_text_columns(X: Any, table: np.ndarray) -> None:
    """Raise if a table with several columns has columns of text.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_columns)
    table : ndarray of shape (n_samples, n_columns), dtype object or str
        `X` as an array.

    Raises
    ------
    ValueError
        Naming the columns, and how to select the column of paths or the pixels.
    """
    text = (str, os.PathLike)
    first = table[:_FEW]
    found = [j for j in range(first.shape[1]) if any(isinstance(v, text) for v in first[:, j])]
    if not found:
        return
    is_frame = hasattr(X, "columns")
    names = list(X.columns) if is_frame else list(range(table.shape[1]))
    listed = ", ".join(repr(names[j]) for j in found[:5]) + (", ..." if len(found) > 5 else "")
    paths = [j for j in found if _is_image_path(first[:, j])]
    if paths:
        one = f"[[{names[paths[0]]!r}]]" if is_frame else f"[:, [{paths[0]}]]"
        expected = f"one column of paths: pass X{one}"
    else:
        without = f"pass X.drop(columns=[{listed}])" if is_frame else "leave these columns out"
        expected = f"pixels only, or one column of paths: {without}"
    raise ValueError(
        f"X has {table.shape[1]} columns and contains text in {listed}; expected {expected}"
    )


def _is_image_path(column: np.ndarray) -> bool:
    named = [PurePath(value) for value in column if isinstance(value, (str, os.PathLike))]
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in named)


def refuse_label_column(X: Any) -> None:
    """Raise if a data frame of pixels has a column that is named like a label.

    Raises
    ------
    ValueError
        Naming the column.
    """
    names = list(getattr(X, "columns", ()))
    labels = [name for name in names if isinstance(name, str) and name.lower() in _LABEL_NAMES]
    if labels and len(names) > 1:
        raise ValueError(
            f"X has the column {labels[0]!r} next to {len(names) - 1} others; expected pixels "
            "only: leave the column out of X, and pass it as y"
        )


def refuse_single_image(X: Any, name: str, width: int, image_shape: tuple[int, int]) -> None:
    """Raise if X is one image instead of a batch of images.

    Parameters
    ----------
    X : array-like
    name : str
        Class of the estimator.
    width : int
        Pixels per image at ``fit``.
    image_shape : (int, int)
        Height and width at ``fit``.

    Raises
    ------
    ValueError
    """
    shape = tuple(getattr(X, "shape", ()))
    if isinstance(X, Sequence) and len(X) and isinstance(X[0], Sequence):
        shape = len(X), len(X[0])
    is_grey = shape == image_shape and shape[1] != width
    is_colour = shape == (*image_shape, 3) and shape[1:] != image_shape
    if is_grey or is_colour:
        # the first sentence is scikit-learn's, which users search for
        raise ValueError(
            f"X has {shape[1]} features, but {name} is expecting {width} features as input: X is "
            f"one image of shape {shape}; expected a batch of images: pass [X]"
        )


def refuse_flat(X: Any) -> None:
    """Raise if X is one row of numbers.

    Raises
    ------
    ValueError
    """
    n = len(X) if isinstance(X, Sequence) else None
    is_row = getattr(X, "ndim", None) == 1 and getattr(X.dtype, "kind", "") in "biuf"
    if is_row or (n and not isinstance(X, str) and all(np.isscalar(value) for value in X)):
        # scikit-learn's common checks look for "Reshape your data"
        raise ValueError(
            f"X has shape ({len(X)},); expected (n, h * w), (n, h, w), (n, h, w, 3) or a column of "
            "paths. Reshape your data: one image is a batch as np.reshape(X, (1, -1))"
        )
