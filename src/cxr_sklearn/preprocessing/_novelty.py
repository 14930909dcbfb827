"""Novelty of an image: the share that the principal components of a set leave unexplained."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

N_COMPONENTS = 15

# In a smaller set, the components describe the single images rather than what they have in common.
MIN_IMAGES = 100

_N_FOLDS = 5

# Smallest unexplained share and deviation, so that logarithms and quotients are finite.
_SMALLEST = 1e-6

# Factor from the median absolute deviation to the standard deviation of a normal distribution.
_MAD_TO_SD = 1.4826


class Spread(NamedTuple):
    """Median and robust standard deviation of the logarithms of unexplained shares.

    Attributes
    ----------
    median : float
    deviation : float
    """

    median: float
    deviation: float

    def limit(self, n_deviations: float) -> float:
        """Return the share that is `n_deviations` robust standard deviations above the median."""
        return float(np.exp(self.median + n_deviations * self.deviation))

    def deviations(self, shares: np.ndarray) -> np.ndarray:
        """Return the distance of shares above the median, in robust standard deviations."""
        return (np.log(np.maximum(shares, _SMALLEST)) - self.median) / self.deviation


def robust_spread(shares: np.ndarray) -> Spread:
    """Compute the median and the robust standard deviation of the logarithms of shares."""
    logs = np.log(np.maximum(shares, _SMALLEST))
    median = float(np.median(logs))
    deviation = _MAD_TO_SD * float(np.median(np.abs(logs - median)))
    return Spread(median, max(deviation, _SMALLEST))


def principal_components(ranks: np.ndarray) -> np.ndarray:
    """Compute the principal components of equalised images, without centring them.

    Parameters
    ----------
    ranks : ndarray of shape (n, n_pixels), dtype float32
        Equalised images, of length 1.

    Returns
    -------
    components : ndarray of shape (15, n_pixels), dtype float32
        Orthonormal; the first component explains most.
    """
    gram = ranks.T.astype(float) @ ranks
    n_pixels = len(gram)
    # `eigh` returns eigenvalues in increasing order, so the largest ones come last.
    _, vectors = eigh(gram, subset_by_index=[n_pixels - N_COMPONENTS, n_pixels - 1])
    return np.ascontiguousarray(vectors.T[::-1], dtype=np.float32)


def unexplained_shares(ranks: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Compute the share of each image that components do not explain.

    Parameters
    ----------
    ranks : ndarray of shape (n, n_pixels), dtype float32
        Equalised images, of length 1, or 0 for images with a single grey level. Of the latter
        nothing is explained.
    components : ndarray of shape (n_components, n_pixels), dtype float32
        Orthonormal.

    Returns
    -------
    share : ndarray of shape (n,), dtype float32
        Between 0 and 1.
    """
    return np.clip(1 - np.square(ranks @ components.T).sum(axis=1), 0, 1)


def out_of_fold_unexplained_shares(ranks: np.ndarray, is_typical: np.ndarray) -> np.ndarray:
    """Compute the share of each image that components of other images do not explain.

    Components explain the images that they were computed from better than new ones, so each image
    is left out of the components by which it is judged.

    Parameters
    ----------
    ranks : ndarray of shape (n, n_pixels), dtype float32
        Equalised images, of length 1.
    is_typical : ndarray of shape (n,), dtype bool
        Images that components may be computed from.

    Returns
    -------
    share : ndarray of shape (n,), dtype float32
        Between 0 and 1.
    """
    fold = np.random.default_rng(0).permutation(len(ranks)) % _N_FOLDS
    share = np.zeros(len(ranks), dtype=np.float32)
    for k in range(_N_FOLDS):
        components = principal_components(ranks[is_typical & (fold != k)])
        share[fold == k] = unexplained_shares(ranks[fold == k], components)
    return share
