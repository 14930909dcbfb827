"""Find the model inside pipelines, searches and other wrappers."""

from __future__ import annotations

from typing import Any

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline


def innermost_model(fitted: Any, X: Any) -> tuple[Any, Any]:
    """Return the model inside wrappers, and its input.

    Parameters
    ----------
    fitted : classifier
        Fitted: a model, a pipeline, a search, or a frozen one of these.
    X : array-like
        Input of `fitted`.

    Returns
    -------
    model : classifier
    X : array-like
        X after the steps of the pipelines before the model.
    """
    if isinstance(fitted, Pipeline):
        # A sampler acts during the fit only.
        for _, step in fitted.steps[:-1]:
            if hasattr(step, "transform"):
                X = step.transform(X)
        return innermost_model(fitted.steps[-1][1], X)
    if isinstance(fitted, FrozenEstimator):
        return innermost_model(fitted.estimator, X)
    if hasattr(fitted, "best_estimator_"):
        return innermost_model(fitted.best_estimator_, X)
    return fitted, X
