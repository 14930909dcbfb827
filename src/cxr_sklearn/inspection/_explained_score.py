"""The score that a map explains, and its derivatives with respect to the outputs of the tails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from .._models.base import BaseResNet
from .._models.one_vs_one import ResNetOvO


@dataclass(frozen=True, eq=False)
class Question:
    """The classes that a map compares.

    Attributes
    ----------
    target : ndarray of shape (n,), dtype int, or None
        Class of each image. None is the most probable class.
    versus : int or None
        Class with which the target is compared. None compares it with all others.
    """

    target: np.ndarray | None
    versus: int | None

    def take(self, rows: slice) -> Question:
        """Return the question for some images."""
        return Question(None if self.target is None else self.target[rows], self.versus)


@dataclass(frozen=True, eq=False)
class Score:
    """The score that is explained.

    Attributes
    ----------
    target : ndarray of shape (n,), dtype int
        Class of each image.
    values : ndarray of shape (n,), dtype float64
        Logarithm of the probability of the target; with a class to compare with, the log-odds.
    probabilities : ndarray of shape (n,), dtype float64
        The probability that belongs to the score.
    weights : ndarray of shape (n, n_outputs), dtype float64
        Derivatives of the score with respect to the outputs of the tails.
    """

    target: np.ndarray
    values: np.ndarray
    probabilities: np.ndarray
    weights: np.ndarray


def make_question(model: BaseResNet, n_images: int, target: Any, versus: Any) -> Question:
    """Check the classes that a map compares.

    Parameters
    ----------
    model : classifier
        Fitted model of this package.
    n_images : int
    target : label, array-like of shape (n_images,), or None
    versus : label or None

    Returns
    -------
    Question

    Raises
    ------
    ValueError
        If a class is unknown, both are the same, or the number of targets is wrong.
    """
    rival = None if versus is None else int(_codes(model, "versus", [versus])[0])
    if target is None:
        return Question(None, rival)
    labels = np.asarray(target)
    if labels.ndim == 0:
        labels = np.repeat(labels, n_images)
    if labels.shape != (n_images,):
        raise ValueError(
            f"target has the shape {labels.shape} for {n_images} images; expected one class, or "
            "one class per image. Pass a label, or an array with a label per image."
        )
    codes = _codes(model, "target", labels.tolist())
    if rival is not None and (codes == rival).any():
        raise ValueError(
            f"versus={versus!r} is invalid: it is the target too; expected another class. Pass one "
            f"of {_other_classes(model, rival)}, or versus=None."
        )
    return Question(codes, rival)


def _codes(model: BaseResNet, name: str, labels: Sequence[Any]) -> np.ndarray:
    known = {label: code for code, label in enumerate(model.classes_.tolist())}
    for label in labels:
        if label not in known:
            raise ValueError(
                f"{name}={label!r} is invalid: the model does not know this class; expected one of "
                f"{', '.join(map(repr, known))}. Pass one of these."
            )
    return np.array([known[label] for label in labels], dtype=int)


def _other_classes(model: BaseResNet, code: int) -> str:
    return ", ".join(repr(label) for i, label in enumerate(model.classes_.tolist()) if i != code)


def explained_score(model: BaseResNet, outputs: np.ndarray, question: Question) -> Score:
    """Compute the score that is explained, from the outputs of the tails.

    Parameters
    ----------
    model : classifier
        Fitted model of this package.
    outputs : ndarray of shape (n, n_outputs), dtype float64
    question : Question

    Returns
    -------
    Score
        For a contrast in :class:`~cxr_sklearn.ResNetOvO`, that of the network of the pair alone.
    """
    log_p = model._combine(outputs)
    target = question.target
    if target is None:
        target = _most_probable(log_p, question.versus)
    row = np.arange(len(outputs))
    if question.versus is None:
        values = log_p[row, target]
        weights = model._combine_gradient(outputs)[row, target]
        return Score(target, values, np.exp(values), weights)
    if isinstance(model, ResNetOvO):
        weights = _pair_weights(len(model.classes_), target, question.versus)
        values = (weights * outputs).sum(axis=1)
    else:
        gradient = model._combine_gradient(outputs)
        weights = gradient[row, target] - gradient[row, question.versus]
        values = log_p[row, target] - log_p[row, question.versus]
    return Score(target, values, expit(values), weights)


def _most_probable(log_p: np.ndarray, versus: int | None) -> np.ndarray:
    """Return the most probable class other than `versus`."""
    log_p = log_p.copy()
    if versus is not None:
        log_p[:, versus] = -np.inf
    return log_p.argmax(axis=1)


def _pair_weights(n_classes: int, target: np.ndarray, versus: int) -> np.ndarray:
    """Return 1 for the pair of target and `versus` if the target is its second class, else -1."""
    first, second = np.triu_indices(n_classes, 1)
    weights = np.zeros((len(target), len(first)))
    weights[(second == target[:, None]) & (first == versus)] = 1
    weights[(first == target[:, None]) & (second == versus)] = -1
    return weights
