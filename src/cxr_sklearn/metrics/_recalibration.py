"""Calibration slope and intercept, and the split of log loss by recalibration."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit
from sklearn.utils import check_consistent_length

from ._binary_input import check_binary, check_probability
from ._resampling import PatientResamples

# Probabilities are kept this far from 0 and 1, so that their logits are finite.
_MARGIN = 1e-12

# Images are grouped by their logits into at most this many points, for resamples only.
_N_POINTS = 512
_N_NEWTON_STEPS = 25
_LARGEST_STEP = 4.0
# A greater slope means that the classes can be separated without error: there is no estimate.
_GREATEST_SLOPE = 100.0

_N_FOLDS = 5


class CalibrationLine(NamedTuple):
    """Slope and intercept of a logistic recalibration.

    Attributes
    ----------
    slope : float
        1 if calibrated. Below 1, the probabilities are too extreme.
    intercept : float
        0 if calibrated: the shift of the logits that makes the mean probability equal to the
        observed share. Below 0, the probabilities are too high.
    """

    slope: float
    intercept: float


def calibration_line(y_true: Any, y_prob: Any) -> CalibrationLine:
    """Fit the calibration slope, and the calibration intercept, of binary probabilities.

    Use the intercept to see whether probabilities are too high or too low on the whole, and the
    slope to see whether they are too extreme, as those of overfitted models are.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Whether the event occurred: booleans, or 0 and 1.
    y_prob : array-like of shape (n_samples,)
        Predicted probability of the event, in [0, 1].

    Returns
    -------
    line : CalibrationLine
        Named tuple ``(slope, intercept)``. A slope of 1 and an intercept of 0 mean that the
        probabilities are calibrated. With a slope below 1 they are too extreme, and with an
        intercept below 0 they are too high. The slope is that of a logistic regression of the
        outcome on the logit of the probability. The intercept is that of a logistic regression
        with the slope 1. NaN if one class is missing, or if the probabilities separate the classes
        without error.

    Raises
    ------
    ValueError
        If a value is invalid, or the lengths differ.

    References
    ----------
    Van Calster et al., "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17
    (2019).

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.special import expit
    >>> from cxr_sklearn.metrics import calibration_line
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=20000)
    >>> y = rng.uniform(size=20000) < expit(x)
    >>> slope, intercept = calibration_line(y, expit(2 * x))
    >>> round(slope, 1), abs(intercept) < 0.05
    (0.5, True)
    """
    outcome = check_binary("y_true", y_true)
    x = logit(check_probability("y_prob", y_prob).clip(_MARGIN, 1 - _MARGIN))
    check_consistent_length(outcome, x)
    weights = np.ones((1, len(x)))
    slope = _fit_slopes(x, weights, outcome[None])[0]
    intercept = _fit_intercepts(x, weights, outcome[None])[0]
    return CalibrationLine(float(slope), float(intercept))


def calibration_lines(
    resamples: PatientResamples, patient: np.ndarray, outcome: np.ndarray, probability: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute slope and intercept in every row of weights.

    Parameters
    ----------
    resamples : PatientResamples
        Weights of the patients.
    patient, outcome, probability : ndarray of shape (n_images,)
        Patient, outcome and probability of each image.

    Returns
    -------
    slopes, intercepts : ndarray of shape (n_rows,)
    """
    x = logit(probability.clip(_MARGIN, 1 - _MARGIN))
    # Images of almost equal logits are one point, so that the cost does not grow with the images.
    edges = np.unique(np.quantile(x, np.linspace(0, 1, _N_POINTS + 1)))
    point = np.searchsorted(edges[1:-1], x, side="right")
    if len(np.unique(x)) <= _N_POINTS:
        point = np.unique(x, return_inverse=True)[1]
    n_points = int(point.max()) + 1
    centres = np.bincount(point, x) / np.maximum(np.bincount(point), 1)
    weights = resamples.sums_by_cell(point, np.ones(len(x)), n_points, patient)
    positives = resamples.sums_by_cell(point, outcome, n_points, patient)
    slopes, intercepts = [], []
    for rows, _ in resamples.blocks(len(centres)):
        slopes.append(_fit_slopes(centres, weights[rows], positives[rows]))
        intercepts.append(_fit_intercepts(centres, weights[rows], positives[rows]))
    # The points shift all rows alike, compared with a fit to the images themselves.
    exact = calibration_line(outcome, probability)
    slope, intercept = np.concatenate(slopes), np.concatenate(intercepts)
    return slope + (exact.slope - slope[0]), intercept + (exact.intercept - intercept[0])


def _fit_slopes(x: np.ndarray, weights: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Fit logistic regressions with Newton's method, one per row of weights."""
    # Logits of certain predictions are large, so that they are scaled to the same size as others.
    scale = max(float(np.abs(x).max()), 1e-12) / 2
    x = x / scale
    slope, intercept = np.zeros(len(weights)), np.zeros(len(weights))
    step_slope = step_intercept = np.full(len(weights), np.inf)
    for _ in range(_N_NEWTON_STEPS):
        if _is_small(step_slope) and _is_small(step_intercept):
            break
        p = expit(slope[:, None] * x + intercept[:, None])
        residual = positives - weights * p
        curvature = weights * p * (1 - p)
        # The gradient, and the entries of the Hessian matrix.
        g_intercept, g_slope = residual.sum(axis=1), residual @ x
        h_ii, h_is, h_ss = curvature.sum(axis=1), curvature @ x, curvature @ x**2
        with np.errstate(invalid="ignore", divide="ignore"):
            determinant = h_ii * h_ss - h_is**2
            step_slope = (h_ii * g_slope - h_is * g_intercept) / determinant
            step_intercept = (h_ss * g_intercept - h_is * g_slope) / determinant
        # Limited steps keep the first iterations stable where the start is far away.
        slope = slope + step_slope.clip(-_LARGEST_STEP, _LARGEST_STEP)
        intercept = intercept + step_intercept.clip(-_LARGEST_STEP, _LARGEST_STEP)
    slope = slope / scale
    with np.errstate(invalid="ignore"):
        has_converged = (np.abs(step_slope) < 1e-6) & (np.abs(slope) < _GREATEST_SLOPE)
    return np.where(has_converged & _has_both(weights, positives), slope, np.nan)


def _has_both(weights: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Return whether each row has positive and negative images."""
    n_positive = positives.sum(axis=1)
    return (n_positive > 0) & (n_positive < weights.sum(axis=1) * (1 - 1e-9))


def _is_small(steps: np.ndarray) -> bool:
    """Return whether all fits have converged. Fits without a solution are NaN."""
    return not (np.abs(steps) > 1e-9).any()


def _fit_intercepts(x: np.ndarray, weights: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Fit the shift of the logits with Newton's method, one per row of weights."""
    intercept = np.zeros(len(weights))
    step = np.full(len(weights), np.inf)
    n_positive = positives.sum(axis=1)
    for _ in range(_N_NEWTON_STEPS):
        if _is_small(step):
            break
        p = expit(x + intercept[:, None])
        with np.errstate(invalid="ignore", divide="ignore"):
            step = (n_positive - (weights * p).sum(axis=1)) / (weights * p * (1 - p)).sum(axis=1)
        step = step.clip(-_LARGEST_STEP, _LARGEST_STEP)
        intercept = intercept + step
    # If all or none of the images are positive, the shift has no limit.
    with np.errstate(invalid="ignore"):
        has_converged = np.abs(step) < 1e-6
    return np.where(has_converged & _has_both(weights, positives), intercept, np.nan)


def recalibrated_log_loss(
    codes: np.ndarray, proba: np.ndarray, patient: np.ndarray, seed: int = 0
) -> np.ndarray:
    """Compute the log loss of each image after recalibration on other patients.

    The logarithms of the probabilities are multiplied by one factor (temperature scaling), and
    shifted by one constant per class. These are fitted on four fifths of the patients, and applied
    to the others.

    Parameters
    ----------
    codes : ndarray of shape (n_images,), dtype int
        True classes.
    proba : ndarray of shape (n_images, n_classes)
        Probabilities.
    patient : ndarray of shape (n_images,), dtype int
        Patient of each image.
    seed : int, default=0
        Seed of the folds.

    Returns
    -------
    loss : ndarray of shape (n_images,)
        Its mean is the refinement loss: the loss that recalibration cannot remove. The log loss
        less this mean is the calibration loss.

    References
    ----------
    Berta, Holzmüller, Jordan and Bach, "Rethinking early stopping: refine, then calibrate",
    arXiv:2501.19195 (2025).
    """
    scores = np.log(proba.clip(_MARGIN))
    patients = np.unique(patient)
    order = np.random.default_rng(seed).permutation(len(patients))
    fold_of_patient = np.empty(len(patients), dtype=int)
    fold_of_patient[order] = np.arange(len(patients)) % min(_N_FOLDS, len(patients))
    fold = fold_of_patient[np.searchsorted(patients, patient)]
    loss = np.empty(len(codes))
    for number in range(fold.max() + 1):
        is_test = fold == number
        parameters = _fit_recalibration(scores[~is_test], codes[~is_test])
        log_p = _recalibrated(parameters, scores[is_test])
        loss[is_test] = -log_p[np.arange(is_test.sum()), codes[is_test]]
    return loss


def _recalibrated(parameters: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return log_softmax(parameters[0] * scores + parameters[1:], axis=1)


def _fit_recalibration(scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the factor, and the shift of each class."""
    rows = np.arange(len(codes))
    outcome = np.zeros_like(scores)
    outcome[rows, codes] = 1

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        log_p = _recalibrated(parameters, scores)
        residual = (np.exp(log_p) - outcome) / len(codes)
        # A slight penalty keeps the shift of a class without images finite.
        departure = parameters - start
        penalty = 1 / len(codes)
        gradient = np.r_[(residual * scores).sum(), residual.sum(axis=0)] + penalty * departure
        loss = -log_p[rows, codes].mean() + penalty / 2 * float(departure @ departure)
        return float(loss), gradient

    start = np.r_[1.0, np.zeros(scores.shape[1])]
    return minimize(objective, start, jac=True, method="L-BFGS-B").x
