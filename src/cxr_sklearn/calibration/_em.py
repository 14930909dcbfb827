"""Estimate the shares of classes in unlabelled images by expectation maximisation."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

# The iteration ends when the log-likelihood is at most this far below its maximum. The shares are
# then about 5 % of their standard error away from those of the maximum.
_TOLERANCE = 1e-3
_MOST_STEPS = 1000

# Logarithms of shares are not extrapolated below this, which is far below 1 image in any data set.
_LEAST_LOG_SHARE = -50.0


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
        Each row has the sum 1.

    Warns
    -----
    ConvergenceWarning
        If the maximum is not reached. The model then hardly distinguishes the classes.

    Notes
    -----
    The likelihood has a single maximum. At shares s, let D_c be the mean of L_c / (s · L) over the
    images, where L_c is the likelihood of class c. A step of expectation maximisation multiplies
    s_c by D_c. Since the log-likelihood is concave, it is at most n · (max D - 1) below its
    maximum, which decides when to end. Steps are extrapolated (SQUAREM), because a rare class, or
    classes that are hard to distinguish, would need thousands of them.

    References
    ----------
    Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori
    probabilities: a simple procedure", Neural Computation 14 (2002), equation 2.9.

    Varadhan and Roland, "Simple and globally convergent methods for accelerating the convergence of
    any EM algorithm", Scandinavian Journal of Statistics 35 (2008).
    """
    likelihood = proba / prior
    # A factor per image has no influence on the shares. The greatest likelihood becomes 1, so that
    # no sum below underflows.
    likelihood /= likelihood.max(axis=1, keepdims=True)
    shares = np.tile(prior / prior.sum(), (len(weights), 1))
    active = np.arange(len(weights))
    longest = np.ones((len(weights), 1))
    for _ in range(_MOST_STEPS):
        first, gap = _step(shares[active], likelihood, weights[active])
        is_open = gap >= _TOLERANCE
        shares[active] = np.where(is_open[:, None], shares[active], first)
        active, first = active[is_open], first[is_open]
        if not len(active):
            return shares
        weight = weights[active]
        second, _ = _step(first, likelihood, weight)
        further = _extrapolated(shares[active], first, second, longest[active])
        gain = _log_likelihood(further, likelihood, weight)
        gain -= _log_likelihood(second, likelihood, weight)
        is_better = gain[:, None] > 0
        shares[active] = np.where(is_better, further, second)
        # Extrapolate further after a success, and less far after a failure.
        longest[active] = np.where(is_better, 4 * longest[active], longest[active] / 8).clip(1)
    warnings.warn(
        f"the estimate of the prevalence has not converged in {_MOST_STEPS} steps: the "
        "probabilities hardly distinguish the classes; expected a model that does. Train it "
        "longer, or pass prevalence.",
        ConvergenceWarning,
        stacklevel=3,
    )
    return shares


def _evidence(shares: np.ndarray, likelihood: np.ndarray) -> np.ndarray:
    """Return the likelihood of each image at each row of shares, greater than 0."""
    return (shares @ likelihood.T).clip(np.finfo(np.float64).tiny)


def _step(
    shares: np.ndarray, likelihood: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Make a step, and return an upper limit of the gain in log-likelihood that remains."""
    total = weights.sum(axis=1, keepdims=True)
    # The mean posterior probability of a class at the present shares, divided by its share.
    factor = ((weights / _evidence(shares, likelihood)) @ likelihood) / total
    updated = shares * factor
    gap = total[:, 0] * (factor.max(axis=1) - 1)
    return updated / updated.sum(axis=1, keepdims=True), gap


def _log_likelihood(shares: np.ndarray, likelihood: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (weights * np.log(_evidence(shares, likelihood))).sum(axis=1)


def _extrapolated(
    start: np.ndarray, first: np.ndarray, second: np.ndarray, longest: np.ndarray
) -> np.ndarray:
    """Continue two steps, in logarithms, so that all shares stay above 0."""
    start, first, second = _log(start), _log(first), _log(second)
    change = first - start
    curvature = second - first - change
    length = np.linalg.norm(change, axis=1, keepdims=True)
    bend = np.linalg.norm(curvature, axis=1, keepdims=True)
    # A stride of 1 gives the second step itself.
    stride = np.clip(length / np.maximum(bend, 1e-12), 1, longest)
    moved = (start + 2 * stride * change + stride**2 * curvature).clip(_LEAST_LOG_SHARE, 50)
    shares = np.exp(moved - moved.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def _log(shares: np.ndarray) -> np.ndarray:
    return np.log(shares.clip(np.exp(_LEAST_LOG_SHARE)))
