"""p-values for the hypothesis that a risk exceeds its limit."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

BINOMIAL, BETTING = "exact binomial", "betting"

# A bet loses at most this share of the capital on one patient. The capitals of several bettors are
# averaged: a cautious one survives several errors, and a bold one needs few patients without any.
_BOLDNESS = (0.75, 0.99)


def binomial_p_value(n_errors: np.ndarray, n_accepted: np.ndarray, bound: float) -> np.ndarray:
    """Test whether the error probability exceeds a limit, if each patient has one image.

    Parameters
    ----------
    n_errors : ndarray of int
        Number of errors among the accepted images.
    n_accepted : ndarray of int
        Number of accepted images.
    bound : float in (0, 1)
        Limit.

    Returns
    -------
    p : ndarray of float
        Probability of at most as many errors, if the error probability is equal to the limit.
        1 without accepted images.

    References
    ----------
    Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 26 (1934).
    """
    return binom.cdf(n_errors, n_accepted, bound)


def betting_p_value(
    excess: np.ndarray,
    bound: float | np.ndarray,
    delta: float,
    prior: np.ndarray | None = None,
) -> np.ndarray:
    """Test whether the mean excess of errors is positive, for patients with several images.

    A bettor starts with the capital 1, and bets on each patient that there are fewer errors than
    the limit allows. If the risk is at least the limit, no strategy increases the expected
    capital. By Ville's inequality, the capital then ever reaches c with a probability of at most
    1 / c, so that 1 / (greatest capital) is a p-value.

    Parameters
    ----------
    excess : ndarray of shape (n_patients, ...)
        Mean over the images of each patient of (error - limit) for accepted images, and 0 for the
        others. Values are in [-limit, 1 - limit]. The order of the patients must be random.
    bound : float in (0, 1), or ndarray of shape (...)
        Limit.
    delta : float in (0, 1)
        Level at which the test shall be powerful.
    prior : ndarray of shape (...), default=None
        Variance of the excess, estimated on other patients, with which the bets begin.

    Returns
    -------
    p : ndarray of shape (...)

    References
    ----------
    Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", Journal of
    the Royal Statistical Society B 86 (2024), section 4: bets with the predictable plug-in
    sqrt(2 log(1 / delta) / (n variance)).
    """
    n = len(excess)
    if n == 0:
        return np.ones(excess.shape[1:])
    first = np.broadcast_to(bound * (1 - bound) / 4, excess.shape[1:]) if prior is None else prior
    bet = np.sqrt(2 * np.log(1 / delta) / (n * _variance_so_far(excess, first)))
    capital = np.zeros(excess.shape)
    for boldness in _BOLDNESS:
        stake = np.minimum(bet, boldness / (1 - bound))
        capital += np.exp(np.cumsum(np.log1p(-stake * excess), axis=0))
    greatest = capital.max(axis=0) / len(_BOLDNESS)
    return 1 / np.maximum(greatest, 1)


def _variance_so_far(excess: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the variance of the patients before each patient, which a bet may depend on.

    The first value counts as much as five patients.
    """
    weight = 5
    number = np.arange(len(excess)).reshape(-1, *[1] * (excess.ndim - 1))
    total = np.cumsum(excess, axis=0) - excess
    squares = np.cumsum(excess**2, axis=0) - excess**2
    mean = total / (number + weight)
    variance = (squares + weight * first) / (number + weight) - mean**2
    return np.maximum(variance, 1e-6)
