"""Constraints on parameters that several estimators share."""

from __future__ import annotations

from numbers import Integral

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, validate_parameter_constraints

# These parameters may be changed by set_params after fit, so they are checked again before a
# prediction. All other parameters are checked in fit only.
PREDICTION_PARAMETERS = (
    "device",
    "precision",
    "engine",
    "memory",
    "n_jobs",
    "batch_size",
    "verbose",
)


def check_prediction_parameters(estimator: BaseEstimator) -> None:
    """Raise if a parameter that affects predictions has an invalid type or range.

    Raises
    ------
    sklearn.utils._param_validation.InvalidParameterError
    """
    validate_parameter_constraints(
        estimator._parameter_constraints,
        {name: getattr(estimator, name) for name in PREDICTION_PARAMETERS},
        caller_name=type(estimator).__name__,
    )


# As in joblib: a positive number, or a negative number, which counts from all processors downwards.
N_JOBS = [
    Interval(Integral, 1, None, closed="left"),
    Interval(Integral, None, -1, closed="right"),
    None,
]
