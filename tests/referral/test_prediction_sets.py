"""Prediction sets contain the class as often as they promise, at the level of the patient."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_sklearn.referral import set_names
from cxr_sklearn.referral._prediction_sets import class_limits

LEVEL = 0.1


def images_of(n_patients, rng, spread=1.5):
    """Return nonconformities, classes and patients; images of a patient are alike."""
    patient = np.repeat(np.arange(n_patients), rng.integers(1, 9, n_patients))
    codes = rng.integers(2, size=n_patients)[patient]
    shared = spread * rng.normal(size=n_patients)[patient]
    values = np.abs(shared + rng.normal(size=len(patient)))
    return np.column_stack([values, values]), codes, patient


def coverage_of_new_patients(limits_of, n_studies=400):
    """Return how often a random image of a new patient has its class in its set, on average."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(n_studies):
        limits = limits_of(*images_of(40, rng))
        new, codes, patient = images_of(200, rng)
        is_in = new[np.arange(len(codes)), codes] <= limits[codes]
        weight = 1 / np.bincount(patient)[patient]
        covered.append((is_in * weight).sum() / weight.sum())
    return np.mean(covered)


def test_sets_of_new_patients_contain_their_class():
    """Between 1 - level and a little more, as for split conformal sets."""
    found = coverage_of_new_patients(lambda s, c, p: class_limits(s, c, p, LEVEL))
    assert 1 - LEVEL - 0.005 <= found <= 1 - LEVEL + 0.06


def test_images_as_patients_promise_too_much():
    """Patients with many images would dominate the limit if images counted as patients."""

    def many_images_are_easy(n_patients, rng):
        n_images = np.where(rng.uniform(size=n_patients) < 0.5, 8, 1)
        patient = np.repeat(np.arange(n_patients), n_images)
        values = rng.uniform(size=len(patient)) + np.repeat(n_images == 1, n_images)
        return np.column_stack([values, values]), np.zeros(len(patient), dtype=int), patient

    rng = np.random.default_rng(1)
    found = {True: [], False: []}
    for _ in range(300):
        values, codes, patient = many_images_are_easy(40, rng)
        new, new_codes, new_patient = many_images_are_easy(300, rng)
        weight = 1 / np.bincount(new_patient)[new_patient]
        for by_patient in (True, False):
            owner = patient if by_patient else np.arange(len(patient))
            limit = class_limits(values, codes, owner, LEVEL)[0]
            found[by_patient].append(((new[:, 0] <= limit) * weight).sum() / weight.sum())
    assert np.mean(found[True]) >= 1 - LEVEL - 0.005
    assert np.mean(found[False]) < 1 - LEVEL - 0.05
    assert len(new_codes) == len(new)


def test_one_image_per_patient_is_split_conformal():
    """The quantile is the ceil((n + 1)(1 - level))-th smallest value of the class."""
    rng = np.random.default_rng(2)
    values = rng.uniform(size=(57, 3))
    codes = rng.integers(3, size=57)
    limits = class_limits(values, codes, np.arange(57), 0.2)
    for code in range(3):
        of_class = np.sort(values[codes == code, code])
        rank = int(np.ceil((len(of_class) + 1) * 0.8))
        assert limits[code] == of_class[rank - 1]


@pytest.mark.parametrize("n", [0, 8])
def test_a_class_of_few_patients_is_in_every_set(n):
    values = np.random.default_rng(3).uniform(size=(50 + n, 2))
    codes = np.r_[np.zeros(50, dtype=int), np.ones(n, dtype=int)]
    limits = class_limits(values, codes, np.arange(50 + n), LEVEL)
    assert np.isfinite(limits[0])
    assert np.isinf(limits[1])


def test_sets_have_names():
    names = set_names([[True, True, False], [False, False, False]], ["a", "b", "c"])
    assert names.tolist() == ["a or b", "none"]
    with pytest.raises(ValueError, match=r"sets has the shape \(1, 2\); expected \(n_images, 3\)"):
        set_names([[True, True]], ["a", "b", "c"])
