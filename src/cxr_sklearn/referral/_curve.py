"""The risk-coverage curve, with a simultaneous confidence band."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import beta
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _check_sample_weight

from .._utils.values import check_one_column
from ._decisions import Decisions
from ._p_values import betting_p_value
from ._risks import Risk

# Number of points of a curve. The band is corrected for this number.
N_POINTS = 20

# Halvings of the interval in which a limit of the band is searched.
_N_STEPS = 30


def curve_thresholds(learning: Decisions) -> np.ndarray:
    """Return the thresholds of a curve, at equal distances of coverage among other patients."""
    if not len(learning.score):
        return np.array([-np.inf])
    shares = np.linspace(0, 1, N_POINTS, endpoint=False)
    order = np.argsort(learning.score)
    passed = np.cumsum(learning.weight[order]) / learning.n_patients
    found = learning.score[order][np.searchsorted(passed, shares).clip(max=len(order) - 1)]
    return np.unique(np.r_[-np.inf, found[1:]])


def risk_coverage_curve(
    decisions: Decisions, risks: tuple[Risk, ...], thresholds: np.ndarray, delta: float
) -> pd.DataFrame:
    """Compute risk against coverage, with a band that contains all points together.

    Parameters
    ----------
    decisions : Decisions
        Images of patients that did not choose the thresholds.
    risks : tuple of Risk
    thresholds : ndarray of shape (n_thresholds,)
    delta : float in (0, 1)
        Greatest probability that the band does not contain the curve of a risk everywhere.

    Returns
    -------
    table : DataFrame
        ``risk``, ``threshold``, ``coverage`` (share of images that are not referred), ``value``
        (share of errors among them), ``low`` and ``high`` (limits of the band), ``errors`` and
        ``accepted`` (images).
    """
    # Bonferroni: each limit of each point has its share of delta.
    level = delta / (2 * len(thresholds))
    coverage = decisions.accepted(thresholds) * decisions.weight[:, None]
    coverage = coverage.sum(axis=0) / max(1, decisions.n_patients)
    tables = []
    for risk in risks:
        n_errors, n_accepted = decisions.counts(risk, thresholds)
        errors, accepted = decisions.shares(risk, thresholds)
        value = np.divide(errors, accepted, out=np.full(len(errors), np.nan), where=accepted > 0)
        if decisions.has_single_images:
            low, high = _exact_limits(n_errors, n_accepted, level)
        else:
            low, high = _betting_limits(decisions, risk, thresholds, level)
        tables.append(
            pd.DataFrame(
                {
                    "risk": risk.name,
                    "threshold": thresholds,
                    "coverage": coverage,
                    "value": value,
                    "low": low,
                    "high": high,
                    "errors": n_errors,
                    "accepted": n_accepted,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def _exact_limits(
    n_errors: np.ndarray, n_accepted: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the limits of Clopper and Pearson."""
    low, high = np.zeros(len(n_errors)), np.ones(len(n_errors))
    has_errors, has_right = n_errors > 0, n_errors < n_accepted
    low[has_errors] = beta.ppf(level, n_errors[has_errors], (n_accepted - n_errors + 1)[has_errors])
    high[has_right] = beta.ppf(
        1 - level, (n_errors + 1)[has_right], (n_accepted - n_errors)[has_right]
    )
    return low, high


def _betting_limits(
    decisions: Decisions, risk: Risk, thresholds: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest risk that the test of betting does not reject."""
    errors, accepted = decisions.shares(risk, thresholds)
    observed = np.divide(errors, accepted, out=np.full(len(errors), 0.5), where=accepted > 0)
    limits = []
    for end in (0.0, 1.0):
        near, far = observed, np.full(len(observed), end)
        for _ in range(_N_STEPS):
            middle = ((near + far) / 2).clip(1e-9, 1 - 1e-9)
            excess = decisions.excess(risk, thresholds, middle)
            if end:
                p = betting_p_value(excess, middle, level)
            else:
                # Whoever bets on many errors bets on few right predictions.
                p = betting_p_value(-excess, 1 - middle, level)
            near, far = np.where(p <= level, near, middle), np.where(p <= level, middle, far)
        limits.append(far)
    return limits[0], limits[1]


def risk_coverage_auc(is_wrong: Any, score: Any, *, sample_weight: Any = None) -> float:
    """Compute the area under the risk-coverage curve of a confidence score.

    Use it to compare scores: the area is the mean share of errors over all referral rates. It is
    small if wrong predictions have low scores.

    Parameters
    ----------
    is_wrong : array-like of shape (n_images,)
        Whether each prediction is wrong.
    score : array-like of shape (n_images,)
        Confidence in each prediction. Images of equal score are referred together.
    sample_weight : array-like of shape (n_images,), default=None
        Weights of the images.

    Returns
    -------
    area : float in [0, 1]

    Raises
    ------
    ValueError
        If the lengths differ, a score is NaN, or `is_wrong` has other values than True and False.

    See Also
    --------
    cxr_sklearn.metrics.patient_interval : Its confidence interval, with this function as `metric`.

    References
    ----------
    Geifman and El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017.

    Examples
    --------
    >>> from cxr_sklearn.referral import risk_coverage_auc
    >>> round(risk_coverage_auc([False, False, True, True], [0.9, 0.8, 0.7, 0.6]), 3)
    0.208
    """
    wrong = check_one_column("is_wrong", is_wrong)
    if not len(wrong) or not np.isin(wrong, (0, 1)).all():
        raise ValueError(
            "is_wrong is invalid: it is empty, or contains other values than True and False; "
            "expected whether each prediction is wrong. Pass y_true != y_pred."
        )
    wrong = wrong.astype(np.float64)
    values = check_one_column("score", score).astype(np.float64)
    check_consistent_length(wrong, values)
    if np.isnan(values).any():
        row = int(np.flatnonzero(np.isnan(values))[0])
        raise ValueError(f"score[{row}] is NaN; expected a number. Drop this image.")
    weight = np.ones(len(wrong))
    if sample_weight is not None:
        weight = _check_sample_weight(sample_weight, wrong[:, None], ensure_non_negative=True)
    order = np.argsort(-values, kind="stable")
    values = values[order]
    is_last = np.r_[values[1:] != values[:-1], True]
    accepted = np.cumsum(weight[order])[is_last]
    errors = np.cumsum((weight * wrong)[order])[is_last]
    risk = np.divide(errors, accepted, out=np.zeros_like(errors), where=accepted > 0)
    return float(risk @ np.diff(accepted, prepend=0) / accepted[-1])
