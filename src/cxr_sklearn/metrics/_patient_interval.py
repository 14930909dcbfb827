"""patient_interval: the interval of any figure, by bootstrap of patients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length

from .._utils.values import check_none_missing, check_one_column
from ._intervals import BCA, PERCENTILE, Interval, bootstrap_interval
from ._resampling import resample_patients


def patient_interval(
    metric: Callable[..., float],
    y_true: Any,
    y_pred: Any,
    *,
    groups: Any,
    strata: Any = "y_true",
    confidence_level: float = 0.95,
    n_resamples: int = 2000,
    method: str = BCA,
    random_state: Any = None,
) -> Interval:
    """Compute the confidence interval of any metric of scikit-learn, by bootstrap of patients.

    Use it for a metric that :func:`~cxr_sklearn.evaluation.evaluate` does not compute.

    Parameters
    ----------
    metric : callable
        Function ``metric(y_true, y_pred, sample_weight=weights)`` that returns a float, such as
        scikit-learn's ``balanced_accuracy_score``.
    y_true, y_pred : array-like with n_images rows
        Passed to `metric`.
    groups : array-like of shape (n_images,)
        Patient of each image.
    strata : array-like of shape (n_images,), "y_true" or None, default="y_true"
        Patients are resampled within strata. By default these are the classes, so that no resample
        loses a class. None resamples all patients together.
    confidence_level : float, default=0.95
        Confidence level.
    n_resamples : int, default=2000
        Number of resamples. `metric` is called once for each, and about 500 times more for the
        BCa interval.
    method : {"bca", "percentile"}, default="bca"
        Bootstrap interval.
    random_state : int, RandomState or None, default=None
        Seed of the resamples.

    Returns
    -------
    interval : Interval
        With the attributes ``value``, ``low``, ``high`` and ``method``.

    Raises
    ------
    ValueError
        If the lengths differ, patients are missing, or there is one patient only.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.metrics import balanced_accuracy_score
    >>> from cxr_sklearn.metrics import patient_interval
    >>> rng = np.random.default_rng(0)
    >>> y_true = np.repeat([0, 1], 100)
    >>> y_pred = np.where(rng.uniform(size=200) < 0.8, y_true, 1 - y_true)
    >>> patients = np.arange(200) // 2
    >>> found = patient_interval(
    ...     balanced_accuracy_score, y_true, y_pred, groups=patients, random_state=0
    ... )
    >>> bool(found.low < found.value < found.high)
    True
    """
    if method not in (BCA, PERCENTILE):
        raise ValueError(f"method={method!r} is invalid; expected {BCA!r} or {PERCENTILE!r}")
    check_none_missing("groups", groups, "Give each unknown patient a value of its own.")
    patients = check_one_column("groups", groups)
    check_consistent_length(y_true, y_pred, patients)
    if len(np.unique(patients)) < 2:
        raise ValueError(
            f"groups contains one patient ({patients[0]!r}); expected 2 or more, because the "
            "interval describes how the metric varies between patients"
        )
    if isinstance(strata, str) and strata == "y_true":
        strata = y_true
    resamples = resample_patients(
        patients, strata, n_resamples, random_state, jackknife=method == BCA
    )
    values = np.empty(len(resamples.weights))
    for row, weights in enumerate(resamples.weights):
        weight = weights[resamples.patient].astype(np.float64)
        values[row] = metric(y_true, y_pred, sample_weight=weight)
    return bootstrap_interval(resamples, values, confidence_level, method)
