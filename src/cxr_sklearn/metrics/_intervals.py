"""Confidence intervals from resamples of patients, and exact intervals for few patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, norm
from scipy.stats import t as student_t

from ._resampling import PatientResamples

# With fewer patients than this, the interval of a proportion is computed exactly.
FEWEST_PATIENTS = 10

# Names of the methods in tables.
BCA, PERCENTILE, EXACT, NO_INTERVAL = "bca", "percentile", "exact", "none"


@dataclass(frozen=True)
class Interval:
    """A figure with its confidence interval.

    Attributes
    ----------
    value, low, high : float
        The figure and the limits. The limits are NaN if there is no interval.
    method : str
        "bca" or "percentile" (bootstrap of patients), "exact" (Clopper-Pearson on patients), or
        "none".
    """

    value: float
    low: float
    high: float
    method: str


def bootstrap_interval(
    resamples: PatientResamples,
    values: np.ndarray,
    level: float,
    method: str = BCA,
    n_patients: int | None = None,
) -> Interval:
    """Compute a bootstrap interval of one figure.

    Parameters
    ----------
    resamples : PatientResamples
        Resamples of the patients.
    values : ndarray of shape (n_rows,)
        The figure in every row of weights of `resamples`.
    level : float in (0, 1)
        Confidence level.
    method : {"bca", "percentile"}, default="bca"
        BCa corrects the bias and the skewness of the resamples (Efron, 1987, "Better bootstrap
        confidence intervals", Journal of the American Statistical Association 82).
    n_patients : int, default=None
        Number of patients that the figure depends on; by default all of them. With few patients,
        the spread of the resamples is itself uncertain. The quantiles of Student's distribution
        therefore replace those of the normal one (Hesterberg, 2015, "What teachers should know
        about the bootstrap", The American Statistician 69).

    Returns
    -------
    Interval
        Without limits, if the figure is undefined or does not vary.
    """
    value = float(resamples.sample(values))
    resampled = resamples.resampled(values)
    resampled = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or not len(resampled) or np.ptp(resampled) < 1e-12:
        return Interval(value, np.nan, np.nan, NO_INTERVAL)
    n_patients = resamples.n_patients if n_patients is None else n_patients
    # For 20 patients, Student's quantile is 2.09 instead of 1.96.
    z = student_t.ppf([(1 - level) / 2, (1 + level) / 2], max(1, n_patients - 1))
    if method == BCA:
        # Ties count by one half, so that a discrete figure is not biased by its own steps.
        below = (resampled < value).mean() + (resampled == value).mean() / 2
        if 0 < below < 1:
            bias = norm.ppf(below)
            z = bias + (bias + z) / (1 - resamples.acceleration(values) * (bias + z))
        else:
            method = PERCENTILE
    low, high = np.quantile(resampled, norm.cdf(z))
    return Interval(value, float(low), float(high), method)


def exact_interval(proportion: float, images_of_patients: np.ndarray, level: float) -> Interval:
    """Compute the Clopper-Pearson interval of a proportion of images, on patients.

    Images of one patient may all be right or wrong together. The patients therefore count as
    observations, and not the images: patients with different numbers of images count as Kish's
    effective number (n_1 + n_2 + ...)² / (n_1² + n_2² + ...).

    Parameters
    ----------
    proportion : float in [0, 1]
        Share of the images.
    images_of_patients : ndarray of int
        Number of images of each patient, 0 for patients that do not count.
    level : float in (0, 1)
        Confidence level.

    Returns
    -------
    Interval

    References
    ----------
    Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 26 (1934). Korn and Graubard, "Confidence intervals for proportions with
    small expected number of positive counts estimated from survey data", Survey Methodology 24
    (1998), use it with an effective number of observations.
    """
    counts = np.asarray(images_of_patients, dtype=float)
    if not np.isfinite(proportion) or counts.sum() == 0:
        return Interval(float(proportion), np.nan, np.nan, NO_INTERVAL)
    n = counts.sum() ** 2 / (counts**2).sum()
    found = proportion * n
    tail = (1 - level) / 2
    low, high = 0.0, 1.0
    if proportion > 0:
        low = float(beta.ppf(tail, found, n - found + 1))
    if proportion < 1:
        high = float(beta.ppf(1 - tail, found + 1, n - found))
    return Interval(float(proportion), low, high, EXACT)


def is_extreme(value: float) -> bool:
    """Return whether a proportion is 0 or 1, up to rounding."""
    return bool(value < 1e-9 or value > 1 - 1e-9)
