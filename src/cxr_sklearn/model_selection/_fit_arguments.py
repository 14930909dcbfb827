"""Pass the patients of images to the estimators that take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter


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
