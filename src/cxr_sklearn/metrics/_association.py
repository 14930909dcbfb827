"""How closely a column goes with another, patients being what is independent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats.contingency import association

_N_PERMUTATIONS = 999


def cramers_v(values: Any, y: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Return Cramér's V of a column and the class, and its permutation p-value.

    Parameters
    ----------
    values, y, groups : array-like of shape (n,)
        Column, class and patient of each image.

    Returns
    -------
    v : float
        Over images, 0 to 1. NaN if a column has one value.
    p : float
        Share of permutations of the patients' classes with as great a V, over patients. 1 if V is
        NaN.
    """
    table = pd.crosstab(np.asarray(values), y)
    if min(table.shape) < 2:
        return np.nan, 1.0
    v = float(association(table.to_numpy(), method="cramer"))
    # one row per patient, value and class: images of a patient are not independent
    rows = pd.DataFrame({"value": values, "y": y, "patient": groups}).drop_duplicates()
    a, b = (pd.factorize(rows[name])[0] for name in ("value", "y"))
    # a patient of one class has it in all rows, in every permutation too
    unit, of_unit = np.unique(
        pd.factorize(rows["patient"])[0] * (b.max() + 1) + b, return_inverse=True
    )
    classes = unit % (b.max() + 1)
    rng = np.random.default_rng(0)
    observed = _chi2(a, b)
    extreme = sum(
        _chi2(a, rng.permutation(classes)[of_unit]) >= observed - 1e-9
        for _ in range(_N_PERMUTATIONS)
    )
    return v, (1 + extreme) / (1 + _N_PERMUTATIONS)


def _chi2(a: np.ndarray, b: np.ndarray) -> float:
    shape = a.max() + 1, b.max() + 1
    counts = np.bincount(a * shape[1] + b, minlength=shape[0] * shape[1]).reshape(shape)
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0, keepdims=True) / counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())
