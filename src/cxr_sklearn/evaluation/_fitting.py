"""Fit and predict one fold, with patients passed where the model takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

from ._folds import Fold


def predict_fold(
    estimator: Any,
    X: Any,
    y: np.ndarray,
    fold: Fold,
    arguments: dict[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a copy of an estimator on the training part, and predict the test part.

    Parameters
    ----------
    estimator : classifier
        Unfitted.
    X, y : array-like
        Input and labels of all images.
    fold : tuple of (train, test)
        Row numbers.
    arguments : dict of str to array-like
        Arguments of ``fit`` with one value per image.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        Classes of the fitted model.
    proba : ndarray of shape (n_test, n_classes)
    """
    train, test = fold
    of_training = {}
    for name, values in arguments.items():
        of_training[name] = _safe_indexing(values, train)
    fitted = clone(estimator).fit(_safe_indexing(X, train), y[train], **of_training)
    return np.asarray(fitted.classes_), fitted.predict_proba(_safe_indexing(X, test))


def fit_arguments(estimator: Any, groups: np.ndarray, params: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``fit``, with the patients if the estimator takes them.

    Parameters
    ----------
    estimator : classifier
        Unfitted.
    groups : ndarray of shape (n_images,)
        Patients.
    params : dict
        Arguments that the user passes.

    Returns
    -------
    arguments : dict
    """
    if get_config()["enable_metadata_routing"]:
        # The user states by requests which steps take the patients.
        consumed = get_routing_for_object(estimator).consumes("fit", ["groups"])
        return {**params, "groups": groups} if "groups" in consumed else dict(params)
    name = _name_of_groups(estimator)
    if name is None or name in params:
        return dict(params)
    return {**params, name: groups}


def _name_of_groups(estimator: Any) -> str | None:
    """Return the argument of ``fit`` by which an estimator, or its last step, takes patients."""
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        inner = _name_of_groups(last)
        return None if inner is None else f"{step}__{inner}"
    if isinstance(estimator, BaseSearchCV):
        # Without metadata routing, a search passes the patients to its splitter only.
        return "groups" if _splits_by_group(estimator.cv) else None
    if has_fit_parameter(estimator, "groups"):
        return "groups"
    return None


def _splits_by_group(cv: Any) -> bool:
    """Return whether a splitter uses groups. Others would warn that they ignore them."""
    if not hasattr(cv, "get_metadata_routing"):
        return False
    return "groups" in cv.get_metadata_routing().consumes("split", ["groups"])
