"""Association between a column and the class, tested by permuting patients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats.contingency import association

_N_PERMUTATIONS = 999

# Equal statistics may differ by rounding, and must then count as equal.
_ROUNDING = 1e-9


def cramers_v(values: Any, y: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Compute Cramér's V of a column and the class, and its permutation p-value.

    Parameters
    ----------
    values, y, groups : array-like of shape (n,)
        Column, class and patient of each image.

    Returns
    -------
    v : float
        Cramér's V over the images, from 0 to 1. NaN if the column or `y` has a single value.
    p : float
        Share of permutations of the patients' classes that reach the observed association.
        1 if `v` is NaN.
    """
    table = pd.crosstab(np.asarray(values), y)
    if min(table.shape) < 2:
        return np.nan, 1.0
    v = float(association(table.to_numpy(), method="cramer"))

    # Images of one patient are not independent observations. The test therefore counts each
    # combination of patient, value and class once, however many images have it.
    rows = pd.DataFrame({"value": values, "y": y, "patient": groups}).drop_duplicates()
    value_codes = pd.factorize(rows["value"])[0]
    class_codes = pd.factorize(rows["y"])[0]
    patient_codes = pd.factorize(rows["patient"])[0]

    # The unit of permutation is a patient within a class. A patient with several values keeps
    # one class in all of these rows, as in the data.
    n_classes = class_codes.max() + 1
    units, unit_of_row = np.unique(patient_codes * n_classes + class_codes, return_inverse=True)
    unit_classes = units % n_classes

    # The seed is fixed so that the same data always give the same p-value.
    rng = np.random.default_rng(0)
    observed = _chi_squared(value_codes, class_codes)
    n_extreme = 0
    for _ in range(_N_PERMUTATIONS):
        permuted = rng.permutation(unit_classes)[unit_of_row]
        if _chi_squared(value_codes, permuted) >= observed - _ROUNDING:
            n_extreme += 1
    # The observed arrangement counts as one of the permutations, so that p is never 0.
    return v, (1 + n_extreme) / (1 + _N_PERMUTATIONS)


def _chi_squared(rows: np.ndarray, columns: np.ndarray) -> float:
    """Compute the chi-squared statistic of two arrays of codes."""
    n_rows, n_columns = rows.max() + 1, columns.max() + 1
    # `bincount` of combined codes is faster than a cross table, and runs 1,000 times per test.
    counts = np.bincount(rows * n_columns + columns, minlength=n_rows * n_columns)
    counts = counts.reshape(n_rows, n_columns)
    row_sums, column_sums = counts.sum(axis=1, keepdims=True), counts.sum(axis=0, keepdims=True)
    expected = row_sums * column_sums / counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())
