"""A classifier two-sample test: whether two samples come from one distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

_N_FOLDS = 5


@dataclass(frozen=True, eq=False)
class ExchangeabilityTest:
    """Result of a comparison of new images with the calibration images.

    Print it for a summary.

    Attributes
    ----------
    p_value : float
        Probability of such a difference, if the new patients were drawn like the calibration
        patients.
    auc : float
        Area under the ROC curve with which a linear classifier distinguishes new patients from
        calibration patients that it has not seen. 0.5 if it cannot.
    n_calibration, n_new : int
        Number of patients.
    differences : list of (str, float)
        The statistics of pixels that differ most, with the difference of their means in standard
        deviations of the calibration images. Features, if X is not images.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from cxr_sklearn.referral import ReferralClassifier
    >>> X = np.random.default_rng(0).normal(size=(1000, 1))
    >>> rule = ReferralClassifier(LogisticRegression(), unit="image", random_state=0)
    >>> rule = rule.fit(X, X[:, 0] > 0)
    >>> rule.check_exchangeability(X[:200] + 2).p_value
    0.001
    """

    p_value: float
    auc: float
    n_calibration: int
    n_new: int
    differences: list[tuple[str, float]]

    def __str__(self) -> str:
        """Return the result in words."""
        named = ", ".join(f"{name} {difference:+.1f} sd" for name, difference in self.differences)
        return (
            f"p = {self.p_value:.3g}, AUC {self.auc:.2f} between {self.n_new} new and "
            f"{self.n_calibration} calibration patients; greatest differences: {named}"
        )


def two_sample_test(
    calibration: np.ndarray,
    new: np.ndarray,
    names: list[str],
    n_permutations: int,
    rng: np.random.Generator,
) -> ExchangeabilityTest:
    """Test whether two samples, with one image per patient, come from one distribution.

    A linear classifier is fitted to distinguish the samples, and judged by cross-validation. Its
    area under the ROC curve is compared with those after exchanging patients between the samples at
    random. If both samples come from one distribution, all these exchanges are equally likely, so
    that the p-value is valid for samples of any size.

    Parameters
    ----------
    calibration, new : ndarray of shape (n, n_features)
        Features, a row per patient.
    names : list of str
        Names of the features.
    n_permutations : int
        Number of random exchanges.
    rng : numpy.random.Generator

    Returns
    -------
    ExchangeabilityTest

    References
    ----------
    Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017, here with an exact
    permutation test; Kim, Ramdas, Singh and Wasserman, "Classification accuracy as a proxy for
    two-sample testing", Annals of Statistics 49 (2021).
    """
    features = np.concatenate([calibration, new]).astype(np.float64)
    is_new = np.r_[np.zeros(len(calibration)), np.ones(len(new))]
    operator = _out_of_fold_operator(features, rng)
    labels = np.column_stack([is_new, *[rng.permutation(is_new) for _ in range(n_permutations)]])
    auc = _auc(operator @ labels, labels)
    p_value = (1 + (auc[1:] >= auc[0] - 1e-12).sum()) / (1 + n_permutations)
    # A value that was constant before is compared with the spread of all images.
    spread = calibration.std(axis=0)
    scale = np.where(spread > 1e-9, spread, features.std(axis=0))
    difference = new.mean(axis=0) - calibration.mean(axis=0)
    difference = np.divide(difference, scale, out=np.zeros(len(scale)), where=scale > 0)
    # Statistics of pixels can be understood, unlike features of a network.
    is_named = np.array([not name.startswith("feature ") for name in names])
    size = np.where(is_named if is_named.any() else True, np.abs(difference), -1)
    order = np.argsort(-size)[:3]
    return ExchangeabilityTest(
        p_value=float(p_value),
        auc=float(auc[0]),
        n_calibration=len(calibration),
        n_new=len(new),
        differences=[(names[i], float(difference[i])) for i in order],
    )


def _out_of_fold_operator(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the matrix that turns labels into predictions for rows that were not fitted.

    The predictions of a ridge regression are linear in the labels. The matrix depends on the
    features only, so that it is computed once for all permutations of the labels.
    """
    n = len(features)
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    fold = rng.permutation(np.arange(n) % min(_N_FOLDS, n))
    operator = np.zeros((n, n))
    for number in range(fold.max() + 1):
        test, train = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        centre = scaled[train].mean(axis=0)
        A, B = scaled[train] - centre, scaled[test] - centre
        # As much shrinkage as there are features keeps the regression stable for few patients.
        penalty = A.shape[1] * np.eye(len(train))
        weights = np.linalg.solve(A @ A.T + penalty, A @ B.T).T
        # Labels are centred by their mean in the training rows.
        weights -= weights.mean(axis=1, keepdims=True)
        operator[np.ix_(test, train)] = weights
    return operator


def _auc(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of each column."""
    ranks = rankdata(scores, axis=0)
    n_new = labels.sum(axis=0)
    n_old = len(labels) - n_new
    return ((ranks * labels).sum(axis=0) - n_new * (n_new + 1) / 2) / (n_new * n_old)
