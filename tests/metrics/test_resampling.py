"""Resamples of patients keep patients whole, classes present and variances right."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_sklearn.metrics import _resampling
from cxr_sklearn.metrics._resampling import resample_patients

GROUPS = np.repeat(np.arange(30), 3)
CLASSES = np.repeat([0, 1, 2], [6, 30, 54])


def test_images_of_a_patient_have_one_weight():
    resamples = resample_patients(["b", "a", "a", "c"], n_resamples=50, random_state=0)
    assert resamples.patient.tolist() == [1, 0, 0, 2]
    assert resamples.weights.shape[1] == 3


def test_first_row_is_the_sample():
    resamples = resample_patients(GROUPS, CLASSES, 20, 0)
    assert (resamples.weights[0] == 1).all()


def test_no_resample_loses_a_class():
    """A class of two patients is in every resample; without strata it is not."""
    stratified = resample_patients(GROUPS, CLASSES, 2000, 0)
    mass = stratified.sums(np.eye(3)[CLASSES])
    assert (mass[: 1 + 2000] > 0).all()
    plain = resample_patients(GROUPS, None, 2000, 0)
    assert (plain.sums(np.eye(3)[CLASSES])[: 1 + 2000] == 0).any()


def test_each_stratum_keeps_its_total_weight():
    """Of n patients n - 1 are drawn, with weights of n / (n - 1)."""
    resamples = resample_patients(GROUPS, CLASSES, 200, 0)
    mass = resamples.sums(np.eye(3)[CLASSES])
    np.testing.assert_allclose(mass, np.tile([6, 30, 54], (len(mass), 1)), rtol=1e-5)


def test_spread_of_a_mean_is_its_standard_error():
    """The variance is unbiased. Drawing n of n patients would give (n - 1) / n of it."""
    values = np.random.default_rng(0).normal(size=5)
    resamples = resample_patients(np.arange(5), None, 40_000, 0)
    found = resamples.resampled(resamples.sums(values) / 5).var()
    expected = values.var(ddof=1) / 5
    assert found == pytest.approx(expected, rel=0.03)
    assert found > 1.1 * expected * 4 / 5


def test_patient_with_several_classes_belongs_to_the_scarcest():
    groups = [0, 0, 1, 2, 3, 4]
    classes = [1, 0, 1, 1, 1, 0]
    resamples = resample_patients(groups, classes, 500, 0)
    # Patients 0 and 4 have the scarce class, and always have a total weight of 2.
    np.testing.assert_allclose(resamples.weights[:501, [0, 4]].sum(axis=1), 2, rtol=1e-6)


def test_single_patient_of_a_stratum_is_in_every_resample():
    resamples = resample_patients([0, 1, 2], ["a", "b", "b"], 100, 0)
    assert (resamples.weights[:101, 0] == 1).all()


def test_resamples_depend_on_the_seed_only():
    first = resample_patients(GROUPS, CLASSES, 20, 7).weights
    np.testing.assert_array_equal(first, resample_patients(GROUPS, CLASSES, 20, 7).weights)
    assert not np.array_equal(first, resample_patients(GROUPS, CLASSES, 20, 8).weights)
    state = np.random.RandomState(0)
    drawn = [resample_patients(GROUPS, CLASSES, 20, state).weights for _ in range(2)]
    assert not np.array_equal(*drawn)


def test_global_random_state_is_untouched():
    np.random.seed(0)
    expected = np.random.RandomState(0).random_sample()
    resample_patients(GROUPS, CLASSES, 20, 0)
    assert np.random.random_sample() == expected


def test_sums_do_not_depend_on_the_block_size(monkeypatch):
    """Many patients are processed in blocks, with the same result."""
    values = np.random.default_rng(0).normal(size=(90, 2))
    whole = resample_patients(GROUPS, CLASSES, 50, 0)
    expected = whole.sums(values)
    monkeypatch.setattr(_resampling, "_BLOCK", 100)
    np.testing.assert_allclose(whole.sums(values), expected, rtol=1e-6)


def test_acceleration_is_that_of_the_mean():
    """For a mean it is skewness / (6 · sqrt(n)), by patient."""
    values = np.random.default_rng(0).exponential(size=60)
    resamples = resample_patients(np.arange(60), None, 10, 0)
    acceleration = resamples.acceleration(resamples.sums(values) / 60)
    skewness = ((values - values.mean()) ** 3).mean() / values.var() ** 1.5
    assert acceleration == pytest.approx(skewness / (6 * np.sqrt(60)), rel=1e-3)


def test_acceleration_of_grouped_jackknife_is_close(monkeypatch):
    """With more patients than groups, groups of patients are left out."""
    values = np.random.default_rng(0).exponential(size=3000)
    resamples = resample_patients(np.arange(3000), None, 10, 0)
    assert len(resamples.weights) == 1 + 10 + 500
    acceleration = resamples.acceleration(resamples.sums(values) / 3000)
    assert acceleration == pytest.approx(2 / (6 * np.sqrt(3000)), abs=0.003)


def test_acceleration_is_0_where_a_figure_is_undefined():
    resamples = resample_patients(np.arange(5), None, 10, 0)
    assert resamples.acceleration(np.full(16, np.nan)) == 0
    assert resamples.acceleration(np.ones(16)) == 0
    without = resample_patients(np.arange(5), None, 10, 0, jackknife=False)
    assert without.acceleration(np.ones(11)) == 0
