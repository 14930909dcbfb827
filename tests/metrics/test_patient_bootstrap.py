"""Tests of the bootstrap by patient, and of the figures that it resamples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import balanced_accuracy_score

from cxr_sklearn.metrics import _patient_bootstrap
from cxr_sklearn.metrics._patient_bootstrap import (
    balanced_accuracy,
    interval,
    patient_draws,
    weighted_auc,
)


def test_weighted_auc_equals_auc_of_repeated_rows():
    """A draw that counts a row twice has the AUC of a sample that contains the row twice."""
    rng = np.random.default_rng(0)
    positive, score = rng.random(60) < 0.4, rng.integers(0, 12, 60) / 12
    draws = np.r_[np.ones((1, 60), int), rng.integers(0, 3, (5, 60))]
    found = weighted_auc(positive, score, draws)
    for weights, auc in zip(draws, found, strict=True):
        is_positive, scores = np.repeat(positive, weights), np.repeat(score, weights)
        n_positive, n_negative = is_positive.sum(), (~is_positive).sum()
        rank_sum = rankdata(scores)[is_positive].sum()
        mann_whitney = rank_sum - n_positive * (n_positive + 1) / 2
        assert auc == pytest.approx(mann_whitney / (n_positive * n_negative))


def test_balanced_accuracy_equals_scikit_learns_for_repeated_rows():
    """In each draw it is the balanced accuracy of a sample of repeated rows."""
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 3, (2, 80))
    draws = rng.integers(0, 3, (4, 80))
    for weights, value in zip(draws, balanced_accuracy(true, predicted, draws), strict=True):
        expected = balanced_accuracy_score(np.repeat(true, weights), np.repeat(predicted, weights))
        assert value == pytest.approx(expected)


def test_figures_do_not_depend_on_the_block_size(monkeypatch):
    """Large sets are resampled and evaluated in blocks of draws, with the same result."""

    def compute_figures():
        rng = np.random.default_rng(0)
        draws = patient_draws(rng.integers(0, 20, 50), 30)
        y, score = rng.integers(0, 2, 50), rng.random(50)
        auc = weighted_auc(y == 1, score, draws)
        return draws, auc, balanced_accuracy(y, (score > 0.5).astype(int), draws)

    whole = compute_figures()
    monkeypatch.setattr(_patient_bootstrap, "_BLOCK", 200)  # four draws of 50 images
    for found, expected in zip(compute_figures(), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_draws_keep_patients_whole():
    """All images of a patient count equally often, and the first draw is the sample itself."""
    groups = np.array(["a", "a", "b", "c", "c", "c"])
    draws = patient_draws(groups, 50)
    assert (draws[0] == 1).all()
    assert (draws[:, 0] == draws[:, 1]).all()
    assert (draws[:, 3:] == draws[:, 3:4]).all()
    # Each draw has as many patients as the sample.
    assert (draws[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_interval_without_defined_resamples_has_no_limits():
    """The limits are NaN if the figure is undefined in all resamples."""
    value, low, high = interval(np.array([0.5, np.nan, np.nan]))
    assert value == 0.5
    assert np.isnan([low, high]).all()
