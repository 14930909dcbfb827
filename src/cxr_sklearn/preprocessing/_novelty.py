"""Images that the principal components of a set do not explain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

N_COMPONENTS = 15

# with fewer images the components describe the images rather than the set
MIN_IMAGES = 100
_N_FOLDS = 5
_SMALLEST = 1e-6  # of an unexplained share, so that its logarithm is finite


class Spread(NamedTuple):
    """Median and robust standard deviation of the logarithm of unexplained shares."""

    median: float
    deviation: float

    def limit(self, n_deviations: float) -> float:
        """Return the share that is this many robust standard deviations above the median."""
        return float(np.exp(self.median + n_deviations * self.deviation))

    def deviations(self, shares: np.ndarray) -> np.ndarray:
        """Return how many robust standard deviations above the median shares are."""
        return (np.log(np.maximum(shares, _SMALLEST)) - self.median) / self.deviation


def principal_components(ranks: np.ndarray) -> np.ndarray:
    """Return the directions that explain most of equalised images, not centred.

    Parameters
    ----------
    ranks : ndarray of shape (n, n_pixels), dtype float32
        Equalised images, of length 1.

    Returns
    -------
    components : ndarray of shape (15, n_pixels), dtype float32
        Orthonormal.
    """
    gram = ranks.T.astype(float) @ ranks
    n = len(gram)
    _, vectors = eigh(gram, subset_by_index=[n - N_COMPONENTS, n - 1])
    return np.ascontiguousarray(vectors.T[::-1], dtype=np.float32)


def unexplained(ranks: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Return the share of each image that components do not explain.

    Parameters
    ----------
    ranks : ndarray of shape (n, n_pixels), dtype float32
        Equalised images, of length 1 (or 0, of which nothing is explained).
    components : ndarray of shape (n_components, n_pixels), dtype float32
        Orthonormal.

    Returns
    -------
    share : ndarray of shape (n,), dtype float32
        Between 0 and 1.
    """
    return np.clip(1 - np.square(ranks @ components.T).sum(axis=1), 0, 1)


def unexplained_out_of_fold(ranks: np.ndarray, is_typical: np.ndarray) -> np.ndarray:
    """Return the share of each image that components of other images of the set do not explain.

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
        share[fold == k] = unexplained(ranks[fold == k], components)
    return share


def spread(shares: np.ndarray) -> Spread:
    """Return median and robust standard deviation of the logarithm of shares."""
    logs = np.log(np.maximum(shares, _SMALLEST))
    median = float(np.median(logs))
    deviation = 1.4826 * float(np.median(np.abs(logs - median)))
    return Spread(median, max(deviation, _SMALLEST))
