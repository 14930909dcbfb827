"""Checks of outcomes and probabilities that public functions are given."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._utils.values import check_none_missing, check_one_column


def check_binary(name: str, values: Any) -> np.ndarray:
    """Return booleans, or 0 and 1, as floats, or raise."""
    check_none_missing(name, values, "Drop the images without an outcome.")
    column = check_one_column(name, values)
    try:
        outcome = column.astype(np.float64)
    except (TypeError, ValueError):
        outcome = np.full(1, np.nan)
    if not np.isin(outcome, [0, 1]).all():
        found = column[~np.isin(column, [0, 1])]
        raise ValueError(
            f"{name} contains {found[0]!r}; expected booleans, or 0 and 1. Pass y == label for one "
            "class."
        )
    return outcome


def check_probability(name: str, values: Any) -> np.ndarray:
    """Return probabilities as floats, or raise."""
    column = check_one_column(name, np.asarray(values, dtype=np.float64))
    is_invalid = ~((column >= 0) & (column <= 1))
    if is_invalid.any():
        row = int(np.flatnonzero(is_invalid)[0])
        raise ValueError(
            f"{name}[{row}] is {column[row]}; expected probabilities from 0 to 1. Pass one column "
            "of predict_proba."
        )
    return column
