"""Net benefit of acting on a probability, and the threshold of least cost."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _check_sample_weight

from ._binary_input import check_binary, check_probability

# Thresholds of a decision curve, in per cent.
THRESHOLDS = np.arange(1, 100) / 100


def net_benefit(
    y_true: Any, y_prob: Any, thresholds: Any = None, *, sample_weight: Any = None
) -> np.ndarray:
    """Compute the net benefit of acting on all images whose probability reaches a threshold.

    Use it to see whether a model helps to decide. The threshold weighs harm and benefit: somebody
    who acts at a probability of 10 % accepts nine needless actions for each necessary one.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Whether the action is necessary: booleans, or 0 and 1.
    y_prob : array-like of shape (n_samples,)
        Predicted probability, in [0, 1].
    thresholds : array-like of shape (n_thresholds,), default=None
        Thresholds in (0, 1); by default .01, .02, ..., .99.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights, not negative.

    Returns
    -------
    benefit : ndarray of shape (n_thresholds,)
        TP / n - FP / n · t / (1 - t), in necessary actions per image. Acting on no image has the
        benefit 0.

    Raises
    ------
    ValueError
        If a value is invalid, or the lengths differ.

    References
    ----------
    Vickers and Elkin, "Decision curve analysis: a novel method for evaluating prediction models",
    Medical Decision Making 26 (2006).

    Examples
    --------
    >>> from cxr_sklearn.metrics import net_benefit
    >>> net_benefit([1, 1, 0, 0], [0.9, 0.4, 0.6, 0.1], [0.2, 0.5]).tolist()
    [0.4375, 0.0]
    """
    outcome = check_binary("y_true", y_true)
    probability = check_probability("y_prob", y_prob)
    check_consistent_length(outcome, probability)
    weight = _check_sample_weight(sample_weight, probability[:, None], ensure_non_negative=True)
    thresholds = THRESHOLDS if thresholds is None else _check_thresholds(thresholds)
    benefits = benefit_of_images(outcome, probability, thresholds)
    return weight @ benefits / weight.sum()


def benefit_of_images(
    outcome: np.ndarray, probability: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """Return the part of each image in the net benefit, of shape (n_images, n_thresholds)."""
    is_called = probability[:, None] >= thresholds
    odds = thresholds / (1 - thresholds)
    return is_called * (outcome[:, None] - (1 - outcome[:, None]) * odds)


def _check_thresholds(thresholds: Any) -> np.ndarray:
    values = np.asarray(thresholds, dtype=np.float64).reshape(-1)
    is_invalid = ~((values > 0) & (values < 1))
    if is_invalid.any():
        raise ValueError(
            f"thresholds contains {values[is_invalid][0]}; expected values between 0 and 1. The "
            "net benefit weighs false alarms by t / (1 - t)."
        )
    return values


class CostThreshold(NamedTuple):
    """Threshold of the probability of a class that has the least cost.

    Attributes
    ----------
    threshold : float
        Images with this probability or a greater one are called positive. Infinite if the least
        cost is that of calling no image positive.
    cost : float
        Mean cost per image at this threshold.
    cost_at_half : float
        Mean cost per image at the threshold 0.5.
    theoretical_threshold : float
        Threshold of least cost if the probabilities are calibrated.
    """

    threshold: float
    cost: float
    cost_at_half: float
    theoretical_threshold: float


def cost_threshold(
    y_true: Any, y_prob: Any, cost_matrix: Any, *, sample_weight: Any = None
) -> CostThreshold:
    """Find the threshold that minimises the cost of decisions.

    Use it to choose at which probability of a class to act, if a missed image costs more than a
    false alarm. Choose the threshold on other images than those on which its cost is reported.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Whether each image belongs to the class: booleans, or 0 and 1.
    y_prob : array-like of shape (n_samples,)
        Predicted probability of the class, in [0, 1].
    cost_matrix : array-like of shape (2, 2)
        Costs by true class (rows) and decision (columns): ``[[true negative, false positive],
        [false negative, true positive]]``. Errors must cost more than right decisions.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights, not negative.

    Returns
    -------
    result : CostThreshold
        Named tuple ``(threshold, cost, cost_at_half, theoretical_threshold)``. Images with a
        probability of at least ``threshold`` are called positive. ``cost`` and ``cost_at_half`` are
        the mean costs per image at this threshold and at 0.5. ``theoretical_threshold`` has the
        least cost if the probabilities are calibrated.

    Raises
    ------
    ValueError
        If a value is invalid, or the lengths differ.

    References
    ----------
    Elkan, "The foundations of cost-sensitive learning", IJCAI 2001, for the threshold that is right
    if the probabilities are calibrated.

    Examples
    --------
    >>> from cxr_sklearn.metrics import cost_threshold
    >>> y, p = [1, 1, 0, 0, 0], [0.9, 0.3, 0.6, 0.2, 0.1]
    >>> result = cost_threshold(y, p, [[0, 1], [5, 0]])
    >>> result.threshold, round(result.cost, 2), round(result.theoretical_threshold, 2)
    (0.3, 0.2, 0.17)
    """
    outcome = check_binary("y_true", y_true)
    probability = check_probability("y_prob", y_prob)
    check_consistent_length(outcome, probability)
    weight = _check_sample_weight(sample_weight, probability[:, None], ensure_non_negative=True)
    costs = _check_costs(cost_matrix)
    (of_tn, of_fp), (of_fn, of_tp) = costs
    # The cost of calling an image positive, and of calling it negative.
    positive = weight * np.where(outcome == 1, of_tp, of_fp)
    negative = weight * np.where(outcome == 1, of_fn, of_tn)
    candidates, run_of_image = np.unique(probability, return_inverse=True)
    saved = np.bincount(run_of_image, positive - negative)
    # Entry j is the cost if the probabilities from candidate j on are called positive.
    totals = negative.sum() + np.r_[np.cumsum(saved[::-1])[::-1], 0]
    best = int(totals.argmin())
    is_called = probability >= 0.5
    at_half = np.where(is_called, positive, negative).sum() / weight.sum()
    return CostThreshold(
        threshold=float(np.r_[candidates, np.inf][best]),
        cost=float(totals[best] / weight.sum()),
        cost_at_half=float(at_half),
        theoretical_threshold=float((of_fp - of_tn) / (of_fp - of_tn + of_fn - of_tp)),
    )


def _check_costs(cost_matrix: Any) -> np.ndarray:
    costs = np.asarray(cost_matrix, dtype=np.float64)
    if costs.shape != (2, 2) or not np.isfinite(costs).all():
        raise ValueError(
            f"cost_matrix={cost_matrix!r} is invalid: its shape is {costs.shape}; expected two "
            "rows of two finite costs. Pass [[true negative, false positive], [false negative, "
            "true positive]]."
        )
    if costs[0, 1] <= costs[0, 0] or costs[1, 0] <= costs[1, 1]:
        raise ValueError(
            f"cost_matrix={cost_matrix!r} is invalid: an error costs no more than the right "
            "decision; expected greater costs of errors. Rows are true classes, columns are "
            "decisions."
        )
    return costs
