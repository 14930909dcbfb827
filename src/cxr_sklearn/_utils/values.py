"""Check arrays with one value per image: one column, without missing or blank values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d


def check_one_column(name: str, values: Any) -> np.ndarray:
    """Return values as an array of shape (n,), or raise if they have several columns."""
    shape = np.asarray(values).shape
    if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
        raise ValueError(
            f"{name} has shape {shape}; expected one value per image, of shape ({shape[0]},). Pass "
            "one column."
        )
    return column_or_1d(values)


def check_none_missing(name: str, values: Any, remedy: str) -> None:
    """Raise if a value is None, NaN, NaT or pandas' NA.

    Pass a list unchanged. If it is converted to an array of strings first, NaN becomes the string
    ``"nan"``, which is not missing.
    """
    elements = elements_of(values)
    # Booleans, integers and strings have no missing values, so they need not be searched.
    if elements.dtype.kind in "biuSU":
        return
    for i, value in enumerate(elements):
        if is_missing(value):
            raise ValueError(f"{name}[{i}] is {value}; expected a value per image. {remedy}")


def elements_of(values: Any) -> np.ndarray:
    """Return values as an array of shape (n,), without converting the elements of a list."""
    # NumPy would convert a list of mixed types to strings. With dtype=object it keeps each element.
    if hasattr(values, "dtype"):
        return np.ravel(np.asarray(values))
    return np.ravel(np.asarray(values, dtype=object))


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or pandas' NA."""
    return value is None or (np.ndim(value) == 0 and bool(pd.isna(value)))


def is_blank(value: Any) -> bool:
    """Whether a value is a string that is empty or contains only spaces."""
    return isinstance(value, str) and not value.strip()


def check_none_blank(name: str, values: Any, remedy: str) -> None:
    """Raise if a value is a string that is empty or contains only spaces."""
    elements = elements_of(values)
    if elements.dtype.kind not in "OU":
        return
    for i, value in enumerate(elements):
        if is_blank(value):
            found = f"the blank string {value!r}" if value else "an empty string"
            raise ValueError(f"{name}[{i}] is {found}; expected a value per image. {remedy}")
