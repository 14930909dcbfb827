"""Fit and predict one fold."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing

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
