"""Refuse an X that is not a batch of images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from scipy.sparse import issparse

from .._utils.messages import some
from .formats import IMAGE_SUFFIXES

# Column names that no pixel has. Such a column would be trained on as a pixel.
_LABEL_NAMES = {"label", "labels", "target", "class", "diagnosis"}
# Only the first rows of a table are searched for text, because tables of pixels may be large.
_FEW = 100


def refuse_mapping(X: Any) -> None:
    """Raise if X is a dict, or a Bunch such as the loaders return.

    Raises
    ------
    TypeError
        The message does not contain values of X, because paths may identify patients.
    """
    # A sparse array in DOK format is a dict too, but scikit-learn has its own message for it.
    if not isinstance(X, Mapping) or issparse(X):
        return
    kind = type(X).__name__
    remedy = "Pass the value that contains the images."
    if "data" in X:
        remedy = "Pass bunch.data as X and bunch.target as y."
    raise TypeError(f"X is a {kind}; expected images or a column of paths. {remedy}")


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
    first_rows = table[:_FEW]
    text_columns, path_columns = [], []
    for j in range(first_rows.shape[1]):
        texts = _texts(first_rows[:, j])
        if texts:
            text_columns.append(j)
        if any(map(_has_image_suffix, texts)):
            path_columns.append(j)
    if not text_columns:
        return
    is_frame = hasattr(X, "columns")
    names = list(range(table.shape[1]))
    if is_frame:
        names = list(X.columns)
    listed = some(repr(names[j]) for j in text_columns)
    # The remedy is an expression that the user can copy.
    if path_columns and is_frame:
        expected = f"one column of paths. Pass X[[{names[path_columns[0]]!r}]]."
    elif path_columns:
        expected = f"one column of paths. Pass X[:, [{path_columns[0]}]]."
    elif is_frame:
        expected = f"pixels only, or one column of paths. Pass X.drop(columns=[{listed}])."
    else:
        expected = "pixels only, or one column of paths. Leave these columns out."
    raise ValueError(
        f"X has {table.shape[1]} columns and contains text in {listed}; expected {expected}"
    )


def _texts(column: np.ndarray) -> list[str | os.PathLike[str]]:
    """Return the values of a column that are strings or paths."""
    return [value for value in column if isinstance(value, (str, os.PathLike))]


def _has_image_suffix(value: str | os.PathLike[str]) -> bool:
    return PurePath(value).suffix.lower() in IMAGE_SUFFIXES


def refuse_label_column(X: Any) -> None:
    """Raise if a data frame of pixels has a column that is named like a label.

    Raises
    ------
    ValueError
        Naming the column.
    """
    # A frame with a single column may contain paths under any name.
    names = list(getattr(X, "columns", ()))
    labels = [name for name in names if isinstance(name, str) and name.lower() in _LABEL_NAMES]
    if labels and len(names) > 1:
        raise ValueError(
            f"X has the column {labels[0]!r} next to {len(names) - 1} others; expected pixels "
            "only. Leave the column out of X, and pass it as y."
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
        # Users search for the first sentence, because scikit-learn's estimators raise it too.
        raise ValueError(
            f"X has {shape[1]} features, but {name} is expecting {width} features as input: X is "
            f"one image of shape {shape}; expected a batch of images. Pass [X]."
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
        # The common checks of scikit-learn expect the words "Reshape your data".
        raise ValueError(
            f"X has shape ({len(X)},); expected (n, h * w), (n, h, w), (n, h, w, 3) or a column of "
            "paths. Reshape your data with np.reshape(X, (1, -1)), if X is one image."
        )
