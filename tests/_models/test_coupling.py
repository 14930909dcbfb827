"""Pairwise probabilities to class probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from cxr_sklearn._models.coupling import couple_probabilities


def pairs_of(p):
    """Return the pairwise probabilities that class probabilities imply."""
    return p[..., :, None] / (p[..., :, None] + p[..., None, :])


def random_pairs(n, k, seed, sharpness=1.0):
    """Return pairwise probabilities that no class probabilities imply."""
    logits = sharpness * np.random.default_rng(seed).standard_normal((n, k, k))
    return 1 / (1 + np.exp(logits.transpose(0, 2, 1) - logits))


@pytest.mark.parametrize("k", [2, 3, 4, 10])
def test_consistent_pairs_return_the_class_probabilities(k):
    """Pairs that some class probabilities imply give back these, exactly."""
    p = np.random.default_rng(k).dirichlet(np.ones(k), size=200)
    np.testing.assert_allclose(couple_probabilities(pairs_of(p)), p, atol=1e-9)


@pytest.mark.parametrize("k", [3, 5])
def test_minimises_the_objective(k):
    """The result is what a general optimiser finds for Wu, Lin and Weng's objective."""
    for r in random_pairs(8, k, seed=k):

        def objective(p, r=r):
            terms = (r.T * p[:, None] - r * p[None, :]) ** 2
            return terms.sum() - np.trace(terms)

        found = minimize(
            objective,
            np.full(k, 1 / k),
            bounds=[(0, 1)] * k,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            options={"ftol": 1e-15, "maxiter": 1000},
        )
        assert found.success
        np.testing.assert_allclose(couple_probabilities(r[None])[0], found.x, atol=1e-5)


def test_permuting_classes_permutes_the_result():
    """No class is special: renaming them renames their probabilities."""
    r = random_pairs(50, 4, seed=1)
    order = np.array([2, 0, 3, 1])
    permuted = couple_probabilities(r[:, order][:, :, order])
    np.testing.assert_allclose(permuted, couple_probabilities(r)[:, order], atol=1e-10)


def test_two_classes_keep_their_pair():
    """With two classes there is nothing to couple."""
    r = random_pairs(20, 2, seed=2)
    np.testing.assert_allclose(couple_probabilities(r)[:, 0], r[:, 0, 1], atol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 6])
def test_extreme_pairs_give_finite_probabilities(k):
    """Certain pairs, also ones that contradict each other in a circle, give probabilities."""
    rng = np.random.default_rng(0)
    certain = np.triu(rng.integers(0, 2, (100, k, k)).astype(float), 1)
    r = certain + np.tril(1 - certain.transpose(0, 2, 1), -1)
    p = couple_probabilities(r)
    assert np.isfinite(p).all()
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-9)


def test_a_circle_of_certain_pairs_is_a_tie():
    """A beats B beats C beats A: none is preferred."""
    r = np.zeros((1, 3, 3))
    r[0, 0, 1] = r[0, 1, 2] = r[0, 2, 0] = 1
    np.testing.assert_allclose(couple_probabilities(r), 1 / 3, atol=1e-6)


def test_a_class_that_wins_its_pairs_wins():
    """Certain pairs in favour of one class give it all the probability."""
    r = np.full((1, 3, 3), 0.5)
    r[0, 1, :], r[0, :, 1] = 1, 0
    p = couple_probabilities(r)[0]
    assert p[1] > 0.999


def test_rows_are_independent_and_chunks_do_not_matter(monkeypatch):
    """A row's result depends on that row alone."""
    r = random_pairs(300, 3, seed=5, sharpness=4)
    whole = couple_probabilities(r)
    monkeypatch.setattr("cxr_sklearn._models.coupling._CHUNK_VALUES", 64)
    np.testing.assert_array_equal(couple_probabilities(r), whole)
    np.testing.assert_array_equal(couple_probabilities(r[17:18])[0], whole[17])


def test_the_input_is_not_changed():
    """The caller's array stays as it was, diagonal included."""
    r = random_pairs(3, 3, seed=6)
    before = r.copy()
    couple_probabilities(r)
    np.testing.assert_array_equal(r, before)


def test_no_rows():
    """No images, no probabilities."""
    assert couple_probabilities(np.empty((0, 3, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("r", "message"),
    [
        (np.zeros((2, 3)), "has shape"),
        (np.zeros((2, 1, 1)), "2 or more"),
        (np.full((1, 3, 3), 1.5), "outside"),
        (np.full((1, 3, 3), np.nan), "outside"),
        (np.full((1, 3, 3), 0.9), "complements"),
    ],
)
def test_bad_pairs_are_refused(r, message):
    """What is no pairwise probability is an error."""
    with pytest.raises(ValueError, match=message):
        couple_probabilities(r)
