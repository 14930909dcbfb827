"""The p-values are valid, and wrong variants of them are not."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_sklearn.referral._certificate import accepted_needed
from cxr_sklearn.referral._p_values import _BOLDNESS, betting_p_value, binomial_p_value

BOUND = 0.1


def excess_at_the_limit(n_patients, n_studies, correlation, rng, rate=BOUND):
    """Return the mean excess of errors of patients with 1 to 8 images, at a risk of `rate`."""
    excess = np.empty((n_patients, n_studies))
    for study in range(n_studies):
        n_images = rng.integers(1, 9, n_patients)
        # The error probability of a patient varies, so that its images are correlated.
        of_patient = np.full(n_patients, rate)
        if correlation:
            a = rate * (1 / correlation - 1)
            of_patient = rng.beta(a, a * (1 - rate) / rate, n_patients)
        excess[:, study] = rng.binomial(n_images, of_patient) / n_images - BOUND
    return excess


def test_59_accepted_patients_without_an_error_certify_5_per_cent():
    assert binomial_p_value(np.array(0), np.array(59), 0.05) <= 0.05
    assert binomial_p_value(np.array(0), np.array(58), 0.05) > 0.05
    assert accepted_needed(0, 0.05, 0.05) == 59
    assert accepted_needed(0, 0.05, 0.1) == 45
    assert accepted_needed(0, 0.01, 0.05) == 299


def test_the_number_of_patients_has_the_promised_power():
    rng = np.random.default_rng(0)
    n = accepted_needed(0.02, 0.05, 0.05)
    passed = binomial_p_value(rng.binomial(n, 0.02, 4000), np.full(4000, n), 0.05) <= 0.05
    assert 0.77 < passed.mean() < 0.9
    assert accepted_needed(0.05, 0.05, 0.05) is None


def test_no_accepted_patient_proves_nothing():
    assert binomial_p_value(np.array(0), np.array(0), 0.05) == 1
    assert betting_p_value(np.zeros((50, 1)), 0.05, 0.05) == 1
    assert betting_p_value(np.zeros((0, 3)), 0.05, 0.05).tolist() == [1, 1, 1]


@pytest.mark.parametrize("correlation", [0, 0.3, 0.6])
@pytest.mark.parametrize("n_patients", [30, 150])
def test_betting_rejects_a_true_hypothesis_rarely(n_patients, correlation):
    rng = np.random.default_rng(1)
    excess = excess_at_the_limit(n_patients, 3000, correlation, rng)
    p = betting_p_value(excess, BOUND, 0.1)
    for level in (0.01, 0.05, 0.1, 0.5):
        standard_error = np.sqrt(level * (1 - level) / 3000)
        assert (p <= level).mean() <= level + 3 * standard_error


def test_betting_detects_a_low_risk():
    excess = excess_at_the_limit(150, 500, 0.3, np.random.default_rng(2), rate=0.04)
    assert (betting_p_value(excess, BOUND, 0.1) <= 0.1).mean() > 0.8


def test_bets_that_know_the_patient_are_invalid():
    """The variance may depend on earlier patients only; one patient more breaks the guarantee."""
    excess = excess_at_the_limit(150, 1000, 0, np.random.default_rng(3))

    def p_value_with_a_look_ahead(excess):
        # The bet is higher if the patient himself will have fewer errors.
        stake = np.where(excess < 0, 0.99, 0.0) / (1 - BOUND)
        return 1 / np.exp(np.cumsum(np.log1p(-stake * excess), axis=0)).max(axis=0)

    assert (p_value_with_a_look_ahead(excess) <= 0.1).mean() > 0.2


def test_images_as_patients_reject_too_often():
    """The binomial test on images is what the betting test replaces."""
    rng = np.random.default_rng(4)
    rejected = 0
    for _ in range(2000):
        n_images = rng.integers(1, 9, 150)
        a = BOUND * (1 / 0.6 - 1)
        errors = rng.binomial(n_images, rng.beta(a, a * (1 - BOUND) / BOUND, 150))
        rejected += binomial_p_value(errors.sum(), n_images.sum(), BOUND) <= 0.1
    assert rejected / 2000 > 0.1 + 3 * np.sqrt(0.1 * 0.9 / 2000)


def test_betting_agrees_with_a_loop():
    """The formula of the paper, written patient by patient."""
    excess = excess_at_the_limit(40, 1, 0.3, np.random.default_rng(5), rate=0.02)
    delta, first = 0.05, BOUND * (1 - BOUND) / 4
    capital, greatest = np.ones(len(_BOLDNESS)), 1.0
    for number, value in enumerate(excess[:, 0]):
        earlier = excess[:number, 0]
        mean = earlier.sum() / (number + 5)
        variance = ((earlier**2).sum() + 5 * first) / (number + 5) - mean**2
        bet = np.sqrt(2 * np.log(1 / delta) / (len(excess) * max(variance, 1e-6)))
        capital *= 1 - np.minimum(bet, np.array(_BOLDNESS) / (1 - BOUND)) * value
        greatest = max(greatest, capital.mean())
    assert betting_p_value(excess, BOUND, delta)[0] == pytest.approx(1 / greatest)


def test_each_column_is_tested_on_its_own():
    excess = excess_at_the_limit(60, 4, 0.3, np.random.default_rng(6), rate=0.03)
    together = betting_p_value(excess, BOUND, 0.1)
    alone = [betting_p_value(excess[:, [i]], BOUND, 0.1)[0] for i in range(4)]
    np.testing.assert_allclose(together, alone)
