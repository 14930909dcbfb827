"""Constraints on parameters that several estimators share."""

from __future__ import annotations

from numbers import Integral

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, validate_parameter_constraints

# set_params after fit changes these for predictions; a fit checks all parameters
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
    """Raise if a parameter that acts on predictions has an invalid type or range.

    Raises
    ------
    sklearn.utils._param_validation.InvalidParameterError
    """
    validate_parameter_constraints(
        estimator._parameter_constraints,
        {name: getattr(estimator, name) for name in PREDICTION_PARAMETERS},
        caller_name=type(estimator).__name__,
    )


# joblib's: a number, or one counted from all processors downwards
N_JOBS = [
    Interval(Integral, 1, None, closed="left"),
    Interval(Integral, None, -1, closed="right"),
    None,
]
