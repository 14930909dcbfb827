"""Confidence scores: how sure a model is of its prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._models.coupling import coupling_residual
from .._models.model_inside import innermost_model
from .._models.one_vs_one import ResNetOvO
from .._utils.values import check_one_column

MAX_PROBABILITY, MARGIN, ENTROPY, PAIR_AGREEMENT = (
    "max_probability",
    "margin",
    "entropy",
    "pair_agreement",
)
SCORES = (MAX_PROBABILITY, MARGIN, ENTROPY, PAIR_AGREEMENT)


def confidence_scores(kind: Any, estimator: Any, X: Any, proba: np.ndarray) -> np.ndarray:
    """Return the confidence in the prediction of each image; higher values mean more confidence.

    Parameters
    ----------
    kind : {"max_probability", "margin", "entropy", "pair_agreement"} or callable
        A function is called with `estimator` and `X`.
    estimator : classifier
        Fitted.
    X : array-like
        Images.
    proba : ndarray of shape (n_images, n_classes)
        Their probabilities.

    Returns
    -------
    ndarray of shape (n_images,), dtype float64

    Raises
    ------
    ValueError
        If `kind` is invalid for this estimator, or a function returns something else than a
        number per image.
    """
    if callable(kind):
        return _called(kind, estimator, X, len(proba))
    if kind == PAIR_AGREEMENT:
        return -_pair_residual(estimator, X)
    return _OF_PROBABILITIES[kind](np.asarray(proba, dtype=np.float64))


def _max_probability(proba: np.ndarray) -> np.ndarray:
    return proba.max(axis=1)


def _margin(proba: np.ndarray) -> np.ndarray:
    """Return the difference between the two greatest probabilities."""
    two_greatest = np.partition(proba, -2, axis=1)[:, -2:]
    return two_greatest[:, 1] - two_greatest[:, 0]


def _negative_entropy(proba: np.ndarray) -> np.ndarray:
    logarithm = np.log(proba.clip(np.finfo(np.float64).tiny))
    return (proba * logarithm).sum(axis=1)


_OF_PROBABILITIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    MAX_PROBABILITY: _max_probability,
    MARGIN: _margin,
    ENTROPY: _negative_entropy,
}


def _called(function: Callable[..., Any], estimator: Any, X: Any, n_images: int) -> np.ndarray:
    """Return the values of a user's function, after checking them."""
    name = getattr(function, "__name__", type(function).__name__)
    values = check_one_column(f"confidence={name}", function(estimator, X))
    if values.dtype.kind not in "biuf":
        raise ValueError(
            f"confidence={name} returned values of the type {values.dtype}; expected numbers, "
            "which are higher if the model is more confident"
        )
    if len(values) != n_images:
        raise ValueError(
            f"confidence={name} returned {len(values)} values for {n_images} images; expected one "
            "per image"
        )
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(
            f"confidence={name} returned {values[row]} for row {row}; expected a finite number, "
            "which is higher if the model is more confident"
        )
    return values


def _pair_residual(estimator: Any, X: Any) -> np.ndarray:
    """Return how much the pairs of a one-versus-one model contradict each other."""
    model, rows = innermost_model(estimator, X)
    if not isinstance(model, ResNetOvO):
        raise ValueError(
            f"confidence='pair_agreement' needs a ResNetOvO, and the estimator is a "
            f"{type(model).__name__}; expected another one. Pass confidence='max_probability'."
        )
    return coupling_residual(model.predict_pairs(rows))


def check_confidence(confidence: Any, n_classes: int) -> None:
    """Raise if a confidence is neither a name nor a function, or does not suit the classes."""
    if not callable(confidence) and confidence not in SCORES:
        raise ValueError(
            f"confidence={confidence!r} is invalid; expected one of {list(SCORES)}, or a function "
            "of the fitted estimator and X"
        )
    if not callable(confidence) and confidence == PAIR_AGREEMENT and n_classes < 3:
        raise ValueError(
            "confidence='pair_agreement' needs three classes, because a single pair cannot "
            "contradict itself; expected another one. Pass confidence='max_probability'."
        )
