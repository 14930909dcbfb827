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
        Fitted: a model, a pipeline, a search, a calibrated or referring classifier, or a frozen one
        of these.
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
    for name in ("best_estimator_", "estimator_"):
        if hasattr(fitted, name):
            return innermost_model(getattr(fitted, name), X)
    calibrated: list[Any] = getattr(fitted, "calibrated_classifiers_", [])
    # With more than one there is a model per fold, and none of them is the whole.
    if len(calibrated) == 1:
        return innermost_model(calibrated[0].estimator, X)
    return fitted, X
