"""Compute class probabilities from the probabilities of all pairs of classes."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

# Pairwise probabilities are kept this far from 0 and 1. Where several pairs are certain, and
# contradict each other, the normal equations are singular without it.
_MARGIN = 1e-7

# All rows together have n_rows * n_classes ** 2 values. Chunks of rows limit them to about 64 MB.
_CHUNK_VALUES = 2**23


def couple_probabilities(pairwise: np.ndarray) -> np.ndarray:
    r"""Estimate class probabilities from the probabilities of all pairs of classes.

    The second method of Wu, Lin and Weng: the p that minimises

    .. math:: \\sum_i \\sum_{j \\neq i} (r_{ji} p_i - r_{ij} p_j)^2
              \\quad \\text{subject to} \\quad \\sum_i p_i = 1,

    which is the solution of one linear system per row (their equation 21). The system has a
    unique solution, and it is not negative.

    Parameters
    ----------
    pairwise : ndarray of shape (n_samples, n_classes, n_classes)
        ``pairwise[:, i, j]`` is the probability of class i among the classes i and j, in [0, 1];
        ``pairwise[:, i, j] + pairwise[:, j, i] == 1``. The diagonal is not read.

    Returns
    -------
    probabilities : ndarray of shape (n_samples, n_classes), dtype float64
        Rows sum to 1.

    Raises
    ------
    ValueError
        If the shape is invalid, values are outside [0, 1], or the two values of a pair do not sum
        to 1.

    References
    ----------
    Wu, Lin and Weng, "Probability estimates for multi-class classification by pairwise
    coupling", Journal of Machine Learning Research 5 (2004), section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from cxr_sklearn._models.coupling import couple_probabilities
    >>> p = np.array([0.5, 0.3, 0.2])
    >>> r = p[:, None] / (p[:, None] + p)
    >>> couple_probabilities(r[None]).round(6)
    array([[0.5, 0.3, 0.2]])
    """
    # A copy, because the diagonal is overwritten below.
    r = np.array(pairwise, dtype=np.float64)
    if r.ndim != 3 or r.shape[1] != r.shape[2] or r.shape[1] < 2:
        raise ValueError(
            f"pairwise has shape {r.shape}; expected (n_samples, n_classes, n_classes) with 2 or "
            "more classes"
        )
    k = r.shape[1]
    diagonal = np.arange(k)
    r[:, diagonal, diagonal] = 0.5
    if not (np.all(r >= 0) and np.all(r <= 1)):  # NaN fails too
        raise ValueError("pairwise holds values outside [0, 1]; expected probabilities")
    if not np.allclose(r + r.transpose(0, 2, 1), 1, atol=1e-5):
        raise ValueError("pairwise[:, i, j] + pairwise[:, j, i] is not 1; expected complements")
    chunk = max(1, _CHUNK_VALUES // (k + 1) ** 2)
    if not len(r):
        return np.empty((0, k))
    return np.concatenate([_solve(r[start : start + chunk]) for start in range(0, len(r), chunk)])


def coupling_residual(pairwise: np.ndarray) -> np.ndarray:
    """Return how much the probabilities of the pairs contradict each other.

    Parameters
    ----------
    pairwise : ndarray of shape (n_samples, n_classes, n_classes)
        As in :func:`couple_probabilities`.

    Returns
    -------
    residual : ndarray of shape (n_samples,), dtype float64
        The sum that :func:`couple_probabilities` minimises, at its minimum. 0 if there are class
        probabilities that have the probabilities of all pairs.

    Examples
    --------
    >>> import numpy as np
    >>> from cxr_sklearn._models.coupling import coupling_residual
    >>> p = np.array([0.5, 0.3, 0.2])
    >>> r = p[:, None] / (p[:, None] + p)
    >>> round(float(coupling_residual(r[None])[0]), 6)
    0.0
    """
    p = couple_probabilities(pairwise)
    of_class = np.swapaxes(pairwise, 1, 2) * p[:, :, None]
    difference = of_class - np.swapaxes(of_class, 1, 2)
    diagonal = np.arange(p.shape[1])
    difference[:, diagonal, diagonal] = 0
    return (difference**2).sum(axis=(1, 2))


def pairwise_probabilities(logits: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the probability of each class in each pair.

    Parameters
    ----------
    logits : ndarray of shape (n_samples, n_pairs)
        Logit of the second class of each pair, in the order of
        ``itertools.combinations(range(n_classes), 2)``.
    n_classes : int

    Returns
    -------
    pairwise : ndarray of shape (n_samples, n_classes, n_classes)
        As in :func:`couple_probabilities`, with 0 on the diagonal.
    """
    first, second = np.triu_indices(n_classes, 1)
    pairwise = np.zeros((len(logits), n_classes, n_classes))
    pairwise[:, second, first] = expit(logits)
    pairwise[:, first, second] = expit(-logits)
    return pairwise


def coupling_gradient(pairwise: np.ndarray) -> np.ndarray:
    """Return the derivatives of the coupled log-probabilities by the logits of the pairs.

    The probabilities solve a linear system M x = e, so that their derivatives are the solution of
    M dx = -dM x, where dM is the derivative of the matrix.

    Parameters
    ----------
    pairwise : ndarray of shape (n_samples, n_classes, n_classes)
        As in :func:`couple_probabilities`.

    Returns
    -------
    gradient : ndarray of shape (n_samples, n_classes, n_pairs), dtype float64
        Derivative of the logarithm of the probability of a class by the logit of the second class
        of a pair. Pairs are in the order of ``itertools.combinations(range(n_classes), 2)``.

    Examples
    --------
    >>> import numpy as np
    >>> from cxr_sklearn._models.coupling import coupling_gradient, pairwise_probabilities
    >>> gradient = coupling_gradient(pairwise_probabilities(np.zeros((1, 3)), 3))
    >>> gradient[0, 0, :2].round(3).tolist()  # the first two pairs contain class 0
    [-0.333, -0.333]
    """
    n, k, _ = pairwise.shape
    r = _clipped(pairwise)
    system = _system(r)
    x = np.linalg.solve(system, _unit_sum(n, k))[:, :, 0]
    first, second = np.triu_indices(k, 1)
    won, lost = r[:, second, first], r[:, first, second]  # by the second class
    slope = won * lost
    of_first, of_second = x[:, first], x[:, second]
    # Only four elements of the matrix depend on the logit of a pair.
    pair = np.arange(len(first))
    change = np.zeros((n, k + 1, len(first)))
    cross = -slope * (lost - won)
    change[:, first, pair] = 2 * won * slope * of_first + cross * of_second
    change[:, second, pair] = cross * of_first - 2 * lost * slope * of_second
    derivative = -np.linalg.solve(system, change)[:, :k]
    return derivative / x[:, :k, None].clip(np.finfo(np.float32).tiny)


def _solve(r: np.ndarray) -> np.ndarray:
    n, k, _ = r.shape
    system = _system(_clipped(r))
    # Rounding errors may give tiny negative values.
    p = np.linalg.solve(system, _unit_sum(n, k))[:, :k, 0].clip(0)
    return p / p.sum(axis=1, keepdims=True)


def _clipped(r: np.ndarray) -> np.ndarray:
    """Return probabilities of pairs that are neither 0 nor 1, with 0 on the diagonal."""
    r = r.clip(_MARGIN, 1 - _MARGIN)
    diagonal = np.arange(r.shape[1])
    r[:, diagonal, diagonal] = 0
    return r


def _system(r: np.ndarray) -> np.ndarray:
    """Return the matrix of the system [[Q, 1], [1', 0]] [p, b] = [0, 1], equation 21."""
    n, k, _ = r.shape
    diagonal = np.arange(k)
    # The matrix Q of the paper's section 4.2.
    q = -r.transpose(0, 2, 1) * r
    q[:, diagonal, diagonal] = (r**2).sum(axis=1)
    system = np.zeros((n, k + 1, k + 1))
    system[:, :k, :k] = q
    system[:, :k, k] = system[:, k, :k] = 1
    return system


def _unit_sum(n: int, k: int) -> np.ndarray:
    """Return the right side of the system: the probabilities sum to 1."""
    target = np.zeros((n, k + 1, 1))
    target[:, k] = 1
    return target
