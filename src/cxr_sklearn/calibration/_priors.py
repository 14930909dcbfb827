"""Find the class shares for which the probabilities of a fitted classifier hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
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

    Raises
    ------
    ValueError
        If a classifier or a sampler inside a wrapper changes the shares in an unknown way.
    """
    model = _innermost(fitted)
    # `priors_` is the name in scikit-learn's discriminant analysis, `prevalence_` that of an
    # adjuster inside another wrapper.
    for name in ("class_prior_", "prevalence_", "priors_"):
        shares = getattr(model, name, None)
        if shares is not None:
            return Prior(np.asarray(shares, dtype=float), getattr(model, "binary_prior_", None))
    weight = getattr(model, "class_weight", None)
    if isinstance(weight, str):
        # "balanced" and "balanced_subsample" give all classes the same total weight.
        return Prior(np.full(len(training_shares), 1 / len(training_shares)))
    members = _prior_of_members(model, training_shares)
    if members is not None:
        return members
    changed_by = _sampler_of(fitted)
    if changed_by is None and not _sets_shares(model):
        changed_by = _reweighting_part(model, "")
    if changed_by is not None:
        raise ValueError(
            f"prior='auto' is invalid: {changed_by} of {type(fitted).__name__} changes the class "
            "shares in an unknown way; expected a classifier that stores its class_prior_. Pass "
            "prior, or put PrevalenceAdjuster directly around the classifier inside."
        )
    if isinstance(weight, dict):
        weights = np.array([weight.get(label, 1) for label in model.classes_.tolist()], dtype=float)
        shares = training_shares * weights
        return Prior(shares / shares.sum())
    return Prior(training_shares)


def _inside(fitted: Any) -> Any:
    """Return the classifier whose probabilities a wrapper passes on unchanged, or None."""
    if isinstance(fitted, FrozenEstimator):
        return fitted.estimator
    if isinstance(fitted, Pipeline):
        return fitted.steps[-1][1]
    if isinstance(fitted, (FixedThresholdClassifier, TunedThresholdClassifierCV)):
        return fitted.estimator_
    if isinstance(fitted, StackingClassifier):
        return fitted.final_estimator_
    return getattr(fitted, "best_estimator_", None)


def _innermost(fitted: Any) -> Any:
    inside = _inside(fitted)
    return fitted if inside is None else _innermost(inside)


def _prior_of_members(model: Any, training_shares: np.ndarray) -> Prior | None:
    """Return the prior of an ensemble whose members have one, or None.

    The mean of probabilities that hold for the same prior holds for it, too. A temperature
    multiplies all log-odds by one number, so that equal shares stay equal, and the calibration
    keeps the shares of the training set if the members have these.
    """
    if isinstance(model, CalibratedClassifierCV) and model.method == "temperature":
        members = [calibrated.estimator for calibrated in model.calibrated_classifiers_]
    elif isinstance(model, (BaggingClassifier, VotingClassifier)):
        members = list(model.estimators_)
    else:
        return None
    priors = [prior_of(member, training_shares) for member in members]
    if any(prior.binary is not None for prior in priors):
        return None
    if any(len(prior.shares) != len(training_shares) for prior in priors):
        return None
    return Prior(np.mean([prior.shares for prior in priors], axis=0))


def _sampler_of(fitted: Any) -> str | None:
    """Return the step of a pipeline that resamples, also inside other wrappers."""
    inside = _inside(fitted)
    if inside is None:
        return None
    if isinstance(fitted, Pipeline):
        for name, step in fitted.steps:
            if hasattr(step, "fit_resample"):
                return f"the step {name!r}"
    return _sampler_of(inside)


def _reweighting_part(estimator: Any, path: str) -> str | None:
    """Return the name of a parameter inside a wrapper that changes the class shares.

    A classifier that is wrapped for bagging, voting or one-versus-rest passes on probabilities
    that hold for other shares than those of the training set.
    """
    for name, value in estimator.get_params(deep=False).items():
        # Pipelines and ensembles have lists of pairs (name, estimator).
        pairs = value if isinstance(value, list) else [(name, value)]
        for pair in pairs:
            if not isinstance(pair, tuple) or not hasattr(pair[1], "get_params"):
                continue
            part, inner = f"{path}{pair[0]}", pair[1]
            if found := _reweights(inner, part):
                return found
    return None


def _reweights(inner: Any, path: str) -> str | None:
    if isinstance(inner, FrozenEstimator):
        return _reweights(inner.estimator, path)
    if hasattr(inner, "fit_resample"):
        return path
    for name in ("class_weight", "sampler"):
        if getattr(inner, name, None) is not None:
            return f"{path}__{name}"
    return None if _sets_shares(inner) else _reweighting_part(inner, f"{path}__")


def _sets_shares(estimator: Any) -> bool:
    """Whether probabilities refer to the labels seen in fit, whatever the classifiers inside do."""
    if isinstance(estimator, CalibratedClassifierCV):
        return estimator.method != "temperature"
    return isinstance(estimator, StackingClassifier) or hasattr(estimator, "estimate_prevalence")


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
