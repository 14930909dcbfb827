"""Recognise a column of file paths in X."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .refusals import refuse_mapping, refuse_text_columns


def as_paths(X: Any) -> np.ndarray | None:
    """Return `X` as an array of path strings if it is one column of paths, else None.

    Parameters
    ----------
    X : object
        List, array, Series or DataFrame, of shape (n,) or (n, 1).

    Returns
    -------
    ndarray of shape (n,), dtype object, or None

    Raises
    ------
    TypeError
        If some elements are paths and others are not, or `X` is a dict, such as a Bunch.
    ValueError
        If `X` has several columns, and text in one of them.
    """
    refuse_mapping(X)
    if isinstance(X, (str, os.PathLike)):
        raise TypeError(
            f"X is a single path ({os.fspath(X)!r}); expected one row per image. Pass [path]."
        )
    column = _object_column(X)
    if column is None:
        return None
    is_path = np.array([isinstance(value, (str, os.PathLike)) for value in column])
    if not is_path.any():
        return None
    if not is_path.all():
        row = int(np.flatnonzero(~is_path)[0])
        raise TypeError(
            f"X[{row}] is {column[row]!r} among file paths; expected str or PathLike in every row. "
            "Drop the rows without a file."
        )
    return np.array([os.fspath(value) for value in column], dtype=object)


def _object_column(X: Any) -> np.ndarray | None:
    """Return `X` as a one-dimensional array if it is a column that may contain paths, else None."""
    if isinstance(X, (list, tuple)):
        if not any(isinstance(_first(x), (str, os.PathLike)) for x in X):
            return None
        X = np.array([_first(x) if len(_as_row(x)) == 1 else x for x in X], dtype=object)
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "biufc":
        # Pixels are recognised without a copy.
        return None
    if not hasattr(X, "__array__") or getattr(X, "__len__", None) is None:
        return None
    column = np.asarray(X)
    if column.dtype.kind not in "OUT" or column.ndim > 2 or len(column) == 0:
        return None
    if column.ndim == 1:
        return column
    if column.shape[1] != 1:
        refuse_text_columns(X, column)
        return None
    return column[:, 0]


def _as_row(value: Any) -> Any:
    return value if isinstance(value, (list, tuple, np.ndarray)) else (value,)


def _first(value: Any) -> Any:
    row = _as_row(value)
    return row[0] if len(row) else None
