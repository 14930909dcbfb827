"""Derivatives of log-probabilities with respect to the outputs of the tails."""

from __future__ import annotations

import numpy as np
from scipy.special import expit


def log_expit_gradient(margins: np.ndarray) -> np.ndarray:
    """Return the derivatives of the log-probabilities of two classes.

    Parameters
    ----------
    margins : ndarray of shape (n, 1)
        Logit of the second class.

    Returns
    -------
    ndarray of shape (n, 2, 1)
    """
    return np.stack([-expit(margins), expit(-margins)], axis=1)


def log_softmax_gradient(log_probabilities: np.ndarray) -> np.ndarray:
    """Return the derivatives of log-probabilities with respect to the logits of a softmax.

    Parameters
    ----------
    log_probabilities : ndarray of shape (n, n_classes)

    Returns
    -------
    ndarray of shape (n, n_classes, n_classes)
        The last axis is that of the logits.
    """
    n_classes = log_probabilities.shape[1]
    return np.eye(n_classes) - np.exp(log_probabilities)[:, None, :]
