"""Estimate the shares of classes in unlabelled images by expectation maximisation."""

from __future__ import annotations

import numpy as np

_MOST_STEPS = 1000
_TOLERANCE = 1e-6


def em_prevalence(proba: np.ndarray, prior: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Estimate class shares, in several weightings of the images at once.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
        Posterior probabilities that hold for `prior`.
    prior : ndarray of shape (n_classes,)
        Shares for which they hold; greater than 0.
    weights : ndarray of shape (n_rows, n)
        Weights of the images, one estimate per row.

    Returns
    -------
    shares : ndarray of shape (n_rows, n_classes)

    References
    ----------
    Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori
    probabilities: a simple procedure", Neural Computation 14 (2002), equation 2.9.
    """
    likelihood = proba / prior
    total = weights.sum(axis=1, keepdims=True)
    shares = np.tile(prior, (len(weights), 1))
    for _ in range(_MOST_STEPS):
        # Expectation: the posterior probabilities at the present shares. Maximisation: their mean.
        evidence = shares @ likelihood.T
        updated = shares * ((weights / evidence) @ likelihood) / total
        change = np.abs(updated - shares).max()
        shares = updated
        if change < _TOLERANCE:
            break
    return shares / shares.sum(axis=1, keepdims=True)
