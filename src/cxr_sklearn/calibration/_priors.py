"""Find the class shares for which the probabilities of a fitted classifier hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline


@dataclass(frozen=True, eq=False)
class Prior:
    """Class shares that probabilities refer to.

    Attributes
    ----------
    shares : ndarray of shape (n_classes,)
        Shares of the classes.
    binary : ndarray of shape (n_classes,), or None
        For normalised probabilities of one network per class: the share of each class in the
        problem of its own network. `shares` are then those of the training set.
    """

    shares: np.ndarray
    binary: np.ndarray | None = None


def prior_of(fitted: Any, training_shares: np.ndarray) -> Prior:
    """Return the prior of a fitted classifier.

    Parameters
    ----------
    fitted : classifier
        Fitted; pipelines and searches are searched for their last step and best estimator.
    training_shares : ndarray of shape (n_classes,)
        Shares of the classes in the training set.

    Returns
    -------
    Prior
        The fitted attribute ``class_prior_``, if there is one; otherwise the training shares, after
        the parameter ``class_weight``.
    """
    model = _innermost(fitted)
    shares = getattr(model, "class_prior_", None)
    if shares is not None:
        return Prior(np.asarray(shares, dtype=float), getattr(model, "binary_prior_", None))
    weight = getattr(model, "class_weight", None)
    if isinstance(weight, str):
        # "balanced" and "balanced_subsample" give all classes the same total weight.
        return Prior(np.full(len(training_shares), 1 / len(training_shares)))
    if isinstance(weight, dict):
        weights = np.array([weight.get(label, 1) for label in model.classes_.tolist()], dtype=float)
        shares = training_shares * weights
        return Prior(shares / shares.sum())
    return Prior(training_shares)


def _innermost(fitted: Any) -> Any:
    """Return the classifier whose probabilities a wrapper passes on unchanged."""
    if isinstance(fitted, FrozenEstimator):
        return _innermost(fitted.estimator)
    if isinstance(fitted, Pipeline):
        return _innermost(fitted.steps[-1][1])
    if hasattr(fitted, "best_estimator_"):
        return _innermost(fitted.best_estimator_)
    return fitted


def posterior_at_shares(proba: np.ndarray, prior: Prior) -> np.ndarray:
    """Return probabilities that hold for ``prior.shares``.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
        Result of ``predict_proba``.
    prior : Prior
        Shares that they refer to.

    Returns
    -------
    ndarray of shape (n, n_classes), dtype float64
    """
    if prior.binary is None:
        return proba
    return _posterior_of_networks(proba, prior.binary, prior.shares)


# Halvings of the interval in which the sum of the sigmoids is searched.
_N_STEPS = 60


def _posterior_of_networks(proba: np.ndarray, binary: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Recover posterior probabilities from normalised sigmoids of one network per class.

    Network c was trained with the share b_c of its class, and with the other classes in the
    proportions of the training set. Its sigmoid s_c has the odds (L_c / M_c) · b_c / (1 - b_c),
    where L_c is the likelihood of class c, and M_c that of the mixture of the others. In the
    training set, class c has the share π_c, so that the posterior odds are
    (L_c / M_c) · π_c / (1 - π_c). Only the ratios q_c = s_c / S of the sigmoids are known, but the
    posterior probabilities have the sum 1. That sum increases with S, so that it determines S.
    """
    with np.errstate(divide="ignore"):
        factor = (shares / (1 - shares)) / (binary / (1 - binary))
    largest = proba.max(axis=1, keepdims=True)
    relative = proba / largest
    low = np.zeros((len(proba), 1))
    high = np.ones((len(proba), 1))
    for _ in range(_N_STEPS):
        middle = (low + high) / 2
        is_above = _posteriors(relative * middle, factor).sum(axis=1, keepdims=True) > 1
        low = np.where(is_above, low, middle)
        high = np.where(is_above, middle, high)
    posterior = _posteriors(relative * (low + high) / 2, factor)
    return posterior / posterior.sum(axis=1, keepdims=True)


def _posteriors(sigmoids: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Multiply the odds of probabilities by a factor."""
    return sigmoids * factor / (sigmoids * factor + (1 - sigmoids))
