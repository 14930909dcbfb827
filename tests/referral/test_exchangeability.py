"""The comparison with the calibration images is valid, and detects another source."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_sklearn.referral._calibration_images import _one_per_patient
from cxr_sklearn.referral._two_sample_test import two_sample_test

NAMES = [f"feature {i}" for i in range(20)]


def p_values(make, n_studies=300):
    """Return p-values of studies, each with 60 calibration patients and 25 new ones."""
    found = []
    for seed in range(n_studies):
        rng = np.random.default_rng(seed)
        calibration, new = make(rng)
        found.append(two_sample_test(calibration, new, NAMES, 99, rng).p_value)
    return np.array(found)


def test_equal_distributions_are_found_different_rarely():
    p = p_values(lambda rng: (rng.normal(size=(60, 20)), rng.normal(size=(25, 20))))
    assert (p <= 0.1).mean() <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / len(p))
    assert (p <= 0.5).mean() > 0.3


def test_a_shift_is_found():
    p = p_values(lambda rng: (rng.normal(size=(60, 20)), 0.6 + rng.normal(size=(25, 20))), 60)
    assert (p <= 0.05).mean() > 0.9


def with_repeats(n_patients, n_images, rng):
    """Return images that are almost equal within a patient."""
    patient = np.repeat(np.arange(n_patients), n_images)
    return rng.normal(size=(n_patients, 20))[patient] + 0.1 * rng.normal(
        size=(len(patient), 20)
    ), patient


def test_images_as_patients_would_be_found_different_too_often():
    """One image per patient is compared, because repeated images are no new evidence."""

    def of_images(rng):
        return with_repeats(15, 4, rng)[0], with_repeats(6, 4, rng)[0]

    def of_patients(rng):
        parts = []
        for n_patients in (15, 6):
            values, patient = with_repeats(n_patients, 4, rng)
            parts.append(values[_one_per_patient(patient, rng)])
        return tuple(parts)

    assert (p_values(of_images, 100) <= 0.1).mean() > 0.3
    right = p_values(of_patients)
    assert (right <= 0.1).mean() <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / len(right))


def test_the_result_names_the_greatest_difference():
    rng = np.random.default_rng(0)
    new = rng.normal(size=(40, 20))
    new[:, 7] += 3
    found = two_sample_test(rng.normal(size=(80, 20)), new, NAMES, 199, rng)
    assert found.differences[0][0] == "feature 7"
    assert found.p_value == 1 / 200
    assert "feature 7 +3" in str(found)
    assert (found.n_calibration, found.n_new) == (80, 40)


@pytest.mark.parametrize("n", [2, 3])
def test_few_new_patients_are_compared(n):
    rng = np.random.default_rng(0)
    found = two_sample_test(rng.normal(size=(30, 20)), rng.normal(size=(n, 20)), NAMES, 99, rng)
    assert 0 < found.p_value <= 1
