"""Smooth expected calibration error, of one sample and of many resamples."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.fft import dct, idct
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _check_sample_weight

from ._binary_input import check_binary, check_probability
from ._resampling import PatientResamples

# Number of cells into which [0, 1] is divided.
_N_CELLS = 512

# The bandwidth is searched between these limits. The lower one is half the width of a cell.
_NARROWEST, _WIDEST = 0.5 / _N_CELLS, 1.0
_N_STEPS = 20


def smooth_calibration_error(y_true: Any, y_prob: Any, *, sample_weight: Any = None) -> float:
    """Compute the smooth expected calibration error of binary probabilities.

    Use it to state in one figure how far probabilities are from observed frequencies. The usual
    expected calibration error depends on the number of bins, and jumps if a probability moves from
    one bin to the next. This one has no bins and no parameter.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Whether the event occurred: booleans, or 0 and 1.
    y_prob : array-like of shape (n_samples,)
        Predicted probability of the event, in [0, 1].
    sample_weight : array-like of shape (n_samples,), default=None
        Weights, not negative.

    Returns
    -------
    error : float in [0, 1]
        About 0 for calibrated probabilities. In a finite sample it is greater than 0 also if the
        probabilities are calibrated.

    Raises
    ------
    ValueError
        If a value is invalid, or the lengths differ.

    Notes
    -----
    The differences between outcomes and probabilities are smoothed with a Gaussian kernel that is
    reflected at 0 and 1. The error is the integral of the absolute smoothed difference. It depends
    on the bandwidth of the kernel, which is chosen so that it is equal to the resulting error. The
    kernel is evaluated on 512 cells.

    References
    ----------
    Błasiok and Nakkiran, "Smooth ECE: Principled reliability diagrams via kernel smoothing",
    ICLR 2024, arXiv:2309.12236, definitions 3 to 5.

    Examples
    --------
    >>> import numpy as np
    >>> from cxr_sklearn.metrics import smooth_calibration_error
    >>> rng = np.random.default_rng(0)
    >>> p = rng.uniform(size=20000)
    >>> y = rng.uniform(size=20000) < p
    >>> round(smooth_calibration_error(y, p), 2)
    0.01
    >>> round(smooth_calibration_error(y, np.ones(20000)), 2)
    0.5
    """
    outcome = check_binary("y_true", y_true)
    probability = check_probability("y_prob", y_prob)
    check_consistent_length(outcome, probability)
    weight = _check_sample_weight(sample_weight, probability[:, None], ensure_non_negative=True)
    residual = weight * (outcome - probability) / weight.sum()
    cells, shares = _cells_of(probability)
    mass = np.zeros((1, _N_CELLS))
    for cell, share in zip(cells, shares, strict=True):
        mass[0] += np.bincount(cell, residual * share, minlength=_N_CELLS)
    return float(_fixed_point(mass)[0])


def smooth_calibration_errors(
    resamples: PatientResamples, patient: np.ndarray, outcome: np.ndarray, probability: np.ndarray
) -> np.ndarray:
    """Compute the smooth calibration error in every row of weights.

    Parameters
    ----------
    resamples : PatientResamples
        Weights of the patients.
    patient, outcome, probability : ndarray of shape (n_images,)
        Patient, outcome and probability of each image.

    Returns
    -------
    errors : ndarray of shape (n_rows,)
    """
    cells, shares = _cells_of(probability)
    # Each image changes two cells.
    cell, twice = np.concatenate(cells), np.concatenate([patient, patient])
    values = np.concatenate([(outcome - probability) * share for share in shares])
    mass = resamples.sums_by_cell(cell, values, _N_CELLS, twice)
    total = resamples.sums(np.ones(len(outcome)), patient)
    errors = []
    for rows, _ in resamples.blocks(_N_CELLS):
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.nan_to_num(mass[rows] / total[rows, None])
        errors.append(_fixed_point(share))
    return np.where(total > 0, np.concatenate(errors), np.nan)


def _cells_of(probability: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the two cells next to each probability, and its shares in them."""
    position = np.clip(probability * _N_CELLS - 0.5, 0, _N_CELLS - 1)
    left = np.minimum(position.astype(int), _N_CELLS - 2)
    right_share = position - left
    return [left, left + 1], [1 - right_share, right_share]


def _fixed_point(mass: np.ndarray) -> np.ndarray:
    """Return the bandwidth that equals the error, for rows of residuals in cells."""
    # In the cosine basis, smoothing with a reflected Gaussian kernel is a multiplication.
    coefficients = dct(mass, type=2, axis=1, norm="ortho")
    frequency = np.pi * np.arange(_N_CELLS)
    narrow = np.full(len(mass), _NARROWEST)
    wide = np.full(len(mass), _WIDEST)
    for _ in range(_N_STEPS):
        # The error decreases while the bandwidth increases, so that there is one crossing.
        middle = np.sqrt(narrow * wide)
        damping = np.exp(-((middle[:, None] * frequency) ** 2) / 2)
        error = np.abs(idct(coefficients * damping, type=2, axis=1, norm="ortho")).sum(axis=1)
        is_above = error > middle
        narrow = np.where(is_above, middle, narrow)
        wide = np.where(is_above, wide, middle)
    return np.sqrt(narrow * wide)
