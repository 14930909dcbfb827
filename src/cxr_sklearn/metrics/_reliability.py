"""Reliability tables: observed frequencies in groups of similar probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ._intervals import FEWEST_PATIENTS, bootstrap_interval, exact_interval, is_extreme
from ._resampling import PatientResamples

# Number of bins of equal numbers of images. A bin has at least this many images.
_N_BINS = 10
_FEWEST_IMAGES = 10


def reliability_bins(probability: np.ndarray) -> np.ndarray:
    """Return the number of the bin of each probability; bins have about equal numbers of images.

    Parameters
    ----------
    probability : ndarray of shape (n_images,)
        Probabilities. Equal ones are in the same bin.

    Returns
    -------
    bins : ndarray of shape (n_images,), dtype int
        Numbers from 0, without gaps.
    """
    n_bins = int(np.clip(len(probability) // _FEWEST_IMAGES, 1, _N_BINS))
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, n_bins + 1)))
    bins = np.searchsorted(edges[1:-1], probability, side="right")
    return np.unique(bins, return_inverse=True)[1]


def reliability_figures(
    resamples: PatientResamples,
    patient: np.ndarray,
    outcome: np.ndarray,
    probability: np.ndarray,
    *,
    level: float,
    method: str,
    n_repeats: int = 1,
) -> Iterator[dict[str, Any]]:
    """Yield a row per bin: mean probability, observed frequency and its interval.

    Parameters
    ----------
    resamples : PatientResamples
        Weights of the patients.
    patient, outcome, probability : ndarray of shape (n_images,)
        Patient, outcome and probability of each image. With repeats, each image occurs once per
        repeat.
    level : float in (0, 1)
        Confidence level.
    method : {"bca", "percentile"}
        Bootstrap interval.
    n_repeats : int, default=1
        Number of times that each image occurs.

    Yields
    ------
    row : dict
        "bin", "predicted", "observed", "low", "high", "method", "n_images" and "n_patients".
    """
    bins = reliability_bins(probability)
    n_bins = int(bins.max()) + 1
    weights = resamples.sums_by_cell(bins, np.ones(len(bins)), n_bins, patient)
    positives = resamples.sums_by_cell(bins, outcome, n_bins, patient)
    with np.errstate(invalid="ignore"):
        observed = positives / weights
    for number in range(n_bins):
        rows = bins == number
        counts = np.bincount(patient[rows], minlength=resamples.n_patients)
        n_patients = int((counts > 0).sum())
        value = float(observed[0, number])
        if n_patients < FEWEST_PATIENTS or is_extreme(value):
            found = exact_interval(value, counts, level)
        else:
            found = bootstrap_interval(resamples, observed[:, number], level, method, n_patients)
        yield {
            "bin": number,
            "predicted": float(probability[rows].mean()),
            "observed": value,
            "low": found.low,
            "high": found.high,
            "method": found.method,
            "n_images": round(rows.sum() / n_repeats),
            "n_patients": n_patients,
        }
