"""Turn a column, such as age or sex, into the subgroup of each image."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd

from .._utils.messages import some

# Lower limits of the age bands, in years.
_AGES = (0, 18, 40, 60, 80)
_OLDEST = 130

# A numeric column with more values than this is divided into quarters.
_MOST_NUMBERS = 8

# More subgroups than this would be a list of single images.
_MOST_SUBGROUPS = 25

UNKNOWN = "unknown"


def subgroup_labels(name: str, values: Any) -> np.ndarray:
    """Return the name of the subgroup of each image.

    Parameters
    ----------
    name : str
        Name of the column. A numeric column whose name contains "age" is divided into age bands.
    values : array-like of shape (n_images,)
        Column: strings, booleans or numbers.

    Returns
    -------
    labels : ndarray of shape (n_images,), dtype object
        Other numeric columns of more than 8 values are divided into quarters. Missing and empty
        values are "unknown".

    Raises
    ------
    ValueError
        If there are more than 25 subgroups.

    Examples
    --------
    >>> subgroup_labels("age", [34, 71, None]).tolist()
    ['18-39', '60-79', 'unknown']
    """
    column = pd.Series(list(values), dtype=object)
    is_missing = column.isna() | (column.astype(str).str.strip() == "")
    known = column[~is_missing]
    labels = np.full(len(column), UNKNOWN, dtype=object)
    numbers = pd.to_numeric(known, errors="coerce")
    is_numeric = len(known) > 0 and numbers.notna().all() and not _are_booleans(known)
    if is_numeric and "age" in _words(name) and numbers.between(0, _OLDEST).all():
        found = _age_bands(numbers.to_numpy(dtype=float))
    elif is_numeric and numbers.nunique() > _MOST_NUMBERS:
        found = _quarters(numbers.to_numpy(dtype=float))
    else:
        found = known.astype(str).to_numpy(dtype=object)
    labels[(~is_missing).to_numpy()] = found
    levels = sorted(set(labels))
    if len(levels) > _MOST_SUBGROUPS:
        raise ValueError(
            f"subgroups[{name!r}] has {len(levels)} values ({some(levels, most=3)}); expected at "
            f"most {_MOST_SUBGROUPS}. Merge values, or leave the column out."
        )
    return labels


def _are_booleans(values: pd.Series) -> bool:
    return all(isinstance(value, (bool, np.bool_)) for value in values)


def _words(name: str) -> list[str]:
    return name.lower().replace("_", " ").replace("-", " ").split()


def _age_bands(ages: np.ndarray) -> np.ndarray:
    """Return bands such as "18-39"."""
    names = [f"{low}-{high - 1}" for low, high in itertools.pairwise(_AGES)]
    names.append(f"{_AGES[-1]} or more")
    return np.array(names, dtype=object)[np.searchsorted(_AGES, ages, side="right") - 1]


def _quarters(numbers: np.ndarray) -> np.ndarray:
    """Return the quarter that each number belongs to, named by its limits."""
    edges = np.unique(np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1]))
    if len(edges) < 3:
        # Most values are equal, so that there are no quarters.
        return np.where(numbers == edges[0], f"{edges[0]:g}", f"above {edges[0]:g}").astype(object)
    quarter = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
    names = []
    for low, high in itertools.pairwise(edges):
        names.append(f"{low:g} to {high:g}")
    return np.array(names, dtype=object)[quarter]
