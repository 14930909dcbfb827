"""Tests of Cramér's V and its permutation test by patient."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_sklearn.metrics._association import cramers_v


def test_cramers_v_is_1_for_equal_columns_and_0_for_independent_columns():
    """A column with a single value has no association."""
    y = np.repeat(["a", "b"], 40)
    patients = np.arange(80).astype(str)
    assert cramers_v(y, y, patients) == (pytest.approx(1.0), pytest.approx(0.001))
    v, p = cramers_v(np.tile(["s", "t"], 40), y, patients)
    assert v == pytest.approx(0, abs=1e-9)
    assert p > 0.5
    v, p = cramers_v(["s"] * 80, y, patients)
    assert np.isnan(v)
    assert p == 1


def test_patients_with_several_values_are_permuted_whole():
    """Chance is not significant if each patient has four values that no other patient has."""
    patients = np.repeat(np.arange(40), 4)
    y = np.where(patients % 2, "a", "b")
    p = []
    for seed in range(20):
        kind_of_patient = np.random.default_rng(seed).integers(0, 3, 40)
        values = [f"{kind_of_patient[k]}-{j % 4}" for j, k in enumerate(patients)]
        p.append(cramers_v(values, y, patients.astype(str))[1])
    assert min(p) > 0.001
    assert np.mean(np.array(p) <= 0.1) <= 0.3


def test_many_images_of_one_patient_are_not_significant():
    """Forty images of one patient at one source count as one observation."""
    y = np.repeat(["a", "b"], 40)
    _, p = cramers_v(y, y, np.repeat(["1", "2"], 40))
    assert p > 0.3
