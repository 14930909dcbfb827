"""Expectation maximisation finds the shares of classes in unlabelled images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning

from cxr_sklearn.calibration._em import em_prevalence

from .gaussians import TARGET, TRAINING, exact_posterior, likelihood, sample


def estimate(X, prior=TRAINING, weights=None):
    weights = np.ones((1, len(X))) if weights is None else weights
    return em_prevalence(exact_posterior(X, TRAINING), prior, weights)


@pytest.mark.parametrize("target", [TARGET, [0.4, 0.3, 0.3], [0.0, 0.6, 0.4]])
def test_estimate_is_the_maximum_of_the_likelihood(target):
    """The result is that of a general optimiser, which knows nothing of EM."""
    X, _ = sample(2000, target, 0)
    of_class = likelihood(X)
    best = minimize(lambda z: -np.log(of_class @ softmax(z)).sum(), np.zeros(3), tol=1e-12)
    found = estimate(X)[0]
    assert np.log(of_class @ found).sum() > -best.fun - 2e-3
    np.testing.assert_allclose(found, softmax(best.x), atol=1e-3)


def test_each_row_of_weights_has_an_estimate_of_its_own():
    """A row of weights counts images as if they were repeated."""
    X, _ = sample(300, TARGET, 0)
    weights = np.random.default_rng(0).integers(0, 3, size=(4, 300)).astype(float)
    together = estimate(X, weights=weights)
    for row, shares in zip(weights, together, strict=True):
        repeated = np.repeat(X, row.astype(int), axis=0)
        np.testing.assert_allclose(estimate(repeated)[0], shares, atol=1e-4)


def test_start_at_another_prior_with_the_same_likelihoods_gives_the_same_estimate():
    X, _ = sample(2000, TARGET, 0)
    equal = np.full(3, 1 / 3)
    from_equal = em_prevalence(exact_posterior(X, equal), equal, np.ones((1, len(X))))
    np.testing.assert_allclose(from_equal, estimate(X), atol=2e-3)


def test_certain_probabilities_give_the_frequencies():
    """Probabilities of 0 and 1 cause no division by 0, also where a class has no weight."""
    proba = np.repeat(np.eye(3), [1, 6, 3], axis=0).clip(np.finfo(float).tiny)
    weights = np.ones((2, 10))
    weights[1, 0] = 0
    shares = em_prevalence(proba, TRAINING, weights)
    np.testing.assert_allclose(shares, [[0.1, 0.6, 0.3], [0, 2 / 3, 1 / 3]], atol=1e-4)


def test_one_image_gives_its_class():
    assert estimate(np.array([[3.5]]))[0].argmax() == 2


def test_shares_that_the_images_do_not_determine_are_reported():
    """Classes that look almost alike need more steps than the limit."""
    rng = np.random.default_rng(0)
    proba = TRAINING * np.exp(0.02 * rng.normal(size=(3000, 3)))
    proba /= proba.sum(axis=1, keepdims=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cxr_sklearn.calibration._em._MOST_STEPS", 3)
        with pytest.warns(ConvergenceWarning, match="not converged in 3 steps"):
            em_prevalence(proba, TRAINING, np.ones((1, 3000)))
