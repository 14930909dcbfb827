"""DeLong's test of two areas under the ROC curve."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.utils import check_consistent_length

from .._utils.values import check_one_column
from ._binary_input import check_binary


class DelongResult(NamedTuple):
    """Result of :func:`delong_test`.

    Attributes
    ----------
    difference : float
        AUC of the first score less that of the second.
    standard_error : float
        Standard error of the difference.
    p : float
        Two-sided p-value; 1 if the standard error is 0.
    """

    difference: float
    standard_error: float
    p: float


def delong_test(y_true: Any, score_a: Any, score_b: Any) -> DelongResult:
    """Compare the AUC of two scores on the same images, one image per patient.

    Use :func:`~cxr_sklearn.evaluation.compare` if patients have several images: this test takes all
    images as independent. It is here as a check, and because reviewers know it.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Whether each image belongs to the positive class: booleans, or 0 and 1.
    score_a, score_b : array-like of shape (n_samples,)
        Scores, greater for the positive class.

    Returns
    -------
    result : DelongResult
        Named tuple ``(difference, standard_error, p)``.

    Raises
    ------
    ValueError
        If a value is invalid, the lengths differ, or there are fewer than 2 images of one class.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver
    operating characteristic curves", Biometrics 44 (1988). The placements are computed from ranks:
    Sun and Xu, IEEE Signal Processing Letters 21 (2014).

    Examples
    --------
    >>> from cxr_sklearn.metrics import delong_test
    >>> y = [0, 0, 0, 1, 1, 1]
    >>> result = delong_test(y, [0.1, 0.2, 0.6, 0.5, 0.8, 0.9], [0.4, 0.2, 0.6, 0.3, 0.5, 0.7])
    >>> round(result.difference, 3)
    0.222
    """
    is_positive = check_binary("y_true", y_true).astype(bool)
    scores = []
    for name, score in (("score_a", score_a), ("score_b", score_b)):
        column = check_one_column(name, np.asarray(score, dtype=np.float64))
        check_consistent_length(is_positive, column)
        if not np.isfinite(column).all():
            raise ValueError(f"{name} contains NaN or infinity; expected finite scores")
        scores.append(column)
    n_positive, n_negative = int(is_positive.sum()), int((~is_positive).sum())
    if min(n_positive, n_negative) < 2:
        raise ValueError(
            f"y_true has {n_positive} positive and {n_negative} negative images; expected 2 or "
            "more of each"
        )
    first_positive, first_negative = _placements(scores[0], is_positive)
    other_positive, other_negative = _placements(scores[1], is_positive)
    difference = float(first_positive.mean() - other_positive.mean())
    variance = np.var(first_positive - other_positive, ddof=1) / n_positive
    variance += np.var(first_negative - other_negative, ddof=1) / n_negative
    error = float(np.sqrt(variance))
    p = 1.0 if error == 0 else float(2 * norm.sf(abs(difference) / error))
    return DelongResult(difference, error, p)


def _placements(score: np.ndarray, is_positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of the other class that each image is ranked above, or below."""
    rank = rankdata(score)
    n_positive, n_negative = is_positive.sum(), (~is_positive).sum()
    above = (rank[is_positive] - rankdata(score[is_positive])) / n_negative
    below = 1 - (rank[~is_positive] - rankdata(score[~is_positive])) / n_positive
    return above, below
