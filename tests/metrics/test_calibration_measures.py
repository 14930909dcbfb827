"""Smooth calibration error, calibration line, recalibration, reliability bins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from cxr_sklearn.metrics import calibration_line, smooth_calibration_error
from cxr_sklearn.metrics._recalibration import calibration_lines, recalibrated_log_loss
from cxr_sklearn.metrics._reliability import reliability_bins
from cxr_sklearn.metrics._resampling import resample_patients
from cxr_sklearn.metrics._smooth_calibration import smooth_calibration_errors


def smooth_error_by_quadrature(y, p, bandwidth):
    """Return the smoothed error of the paper: an integral over reflected Gaussian kernels."""

    def smoothed(t):
        kernel = np.zeros(len(p))
        for period in (-2, 0, 2):
            kernel += norm.pdf(t, p + period, bandwidth) + norm.pdf(t, -p + period, bandwidth)
        return abs(((y - p) * kernel).mean())

    return quad(smoothed, 0, 1, limit=400, epsabs=1e-5)[0]


@pytest.mark.parametrize("seed", range(3))
def test_smooth_error_is_the_fixed_point_of_the_paper(seed):
    """Smoothed with a bandwidth of its own size, the error is itself (definition 5)."""
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 2, size=200)
    y = (rng.random(200) < p**1.5).astype(float)
    error = smooth_calibration_error(y, p)
    assert smooth_error_by_quadrature(y, p, error) == pytest.approx(error, abs=0.002)
    # Another bandwidth is no fixed point, so that the test can fail.
    assert abs(smooth_error_by_quadrature(y, p, 3 * error) - 3 * error) > 0.01


def test_smooth_error_decreases_with_the_number_of_calibrated_images():
    rng = np.random.default_rng(0)
    errors = []
    for n in (200, 2000, 20_000):
        p = rng.random(n)
        errors.append(smooth_calibration_error(rng.random(n) < p, p))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.015


def test_smooth_error_of_a_constant_shift_is_the_shift():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.2, 0.6, size=20_000)
    y = rng.random(20_000) < p + 0.2
    assert smooth_calibration_error(y, p) == pytest.approx(0.2, abs=0.015)


def test_smooth_error_weights_images():
    rng = np.random.default_rng(0)
    p, y = rng.random(100), rng.integers(2, size=100)
    weight = rng.integers(0, 3, size=100)
    repeated = smooth_calibration_error(np.repeat(y, weight), np.repeat(p, weight))
    assert smooth_calibration_error(y, p, sample_weight=weight) == pytest.approx(repeated)


def test_smooth_errors_of_resamples_are_those_of_weighted_samples():
    rng = np.random.default_rng(0)
    p, y = rng.random(80), rng.integers(2, size=80).astype(float)
    patient = np.arange(80) // 2
    resamples = resample_patients(patient, y, 10, 0)
    found = smooth_calibration_errors(resamples, patient, y, p)
    for row in (0, 3, 9):
        weight = resamples.weights[row, patient]
        expected = smooth_calibration_error(y, p, sample_weight=weight)
        assert found[row] == pytest.approx(expected, abs=1e-6)


def test_calibration_line_is_a_logistic_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    y = rng.random(500) < expit(0.5 * x - 1)
    line = calibration_line(y, expit(x))
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(x[:, None], y)
    assert line.slope == pytest.approx(model.coef_[0, 0], abs=1e-4)
    # The intercept is that of slope 1: mean probability and observed share are then equal.
    assert expit(x + line.intercept).mean() == pytest.approx(y.mean(), abs=1e-6)


def test_calibrated_probabilities_have_slope_1_and_intercept_0():
    rng = np.random.default_rng(0)
    x = 2 * rng.normal(size=50_000)
    line = calibration_line(rng.random(50_000) < expit(x), expit(x))
    assert line.slope == pytest.approx(1, abs=0.03)
    assert line.intercept == pytest.approx(0, abs=0.04)


def test_separated_classes_have_no_slope():
    line = calibration_line([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert np.isnan(line.slope)
    assert np.isfinite(line.intercept)


def test_one_class_has_no_line():
    line = calibration_line([1, 1, 1], [0.1, 0.2, 0.8])
    assert np.isnan([line.slope, line.intercept]).all()


def test_lines_of_resamples_are_those_of_repeated_images():
    """Also where images are grouped into points of almost equal logits."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=1500)
    y = (rng.random(1500) < expit(x)).astype(float)
    resamples = resample_patients(np.arange(1500), y, 5, 0)
    slopes, intercepts = calibration_lines(resamples, np.arange(1500), y, expit(x))
    for row in (0, 2, 5):
        weight = resamples.weights[row]
        model = LogisticRegression(C=np.inf, tol=1e-10).fit(x[:, None], y, sample_weight=weight)
        assert slopes[row] == pytest.approx(model.coef_[0, 0], abs=2e-3)
        mean = (weight * expit(x + intercepts[row])).sum() / weight.sum()
        assert mean == pytest.approx((weight * y).sum() / weight.sum(), abs=1e-3)


def three_classes(n, temperature, seed=0):
    """Return classes and probabilities whose logits are too large by a factor."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    codes = np.array([rng.choice(3, p=row) for row in p])
    q = np.exp(temperature * logits)
    return codes, q / q.sum(axis=1, keepdims=True), p


def test_calibration_loss_is_what_recalibration_removes():
    """For logits that are three times too large, the refinement loss is the calibrated one."""
    codes, q, p = three_classes(6000, 3)
    refinement = recalibrated_log_loss(codes, q, np.arange(6000)).mean()
    assert refinement == pytest.approx(log_loss(codes, p), abs=0.005)
    assert log_loss(codes, q) - refinement > 0.3


def test_calibrated_probabilities_have_no_calibration_loss():
    codes, q, _ = three_classes(6000, 1)
    assert log_loss(codes, q) - recalibrated_log_loss(codes, q, np.arange(6000)).mean() == (
        pytest.approx(0, abs=0.003)
    )


def test_recalibration_is_fitted_on_other_patients():
    """Copies of one image per patient give the same loss as single images."""
    codes, q, _ = three_classes(300, 2)
    once = recalibrated_log_loss(codes, q, np.arange(300))
    copies = np.repeat(np.arange(300), 2)
    twice = recalibrated_log_loss(codes[copies], q[copies], copies)
    np.testing.assert_allclose(twice[::2], once, atol=0.02)


def test_bins_have_equal_numbers_of_images():
    p = np.random.default_rng(0).random(1000)
    counts = np.bincount(reliability_bins(p))
    assert len(counts) == 10
    assert counts.min() >= 99


def test_equal_probabilities_share_a_bin():
    p = np.repeat([0.2, 0.9], [70, 30])
    assert np.bincount(reliability_bins(p)).tolist() == [70, 30]
    assert reliability_bins(np.full(50, 0.5)).max() == 0


@pytest.mark.parametrize("function", [smooth_calibration_error, calibration_line])
@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([0, 2], [0.1, 0.2], "y_true contains .*2.*; expected booleans, or 0 and 1"),
        (["a", "b"], [0.1, 0.2], "y_true contains .*'a'.*expected booleans"),
        ([0, 1], [0.1, 1.2], r"y_prob\[1\] is 1.2; expected probabilities from 0 to 1"),
        ([0, 1], [0.1, np.nan], r"y_prob\[1\] is nan"),
        ([0, None], [0.1, 0.2], r"y_true\[1\] is None"),
    ],
)
def test_invalid_outcomes_and_probabilities_raise(function, y, p, message):
    with pytest.raises(ValueError, match=message):
        function(y, p)


def test_logits_of_extreme_probabilities_are_finite():
    line = calibration_line([0, 1, 0, 1], [0.0, 1.0, 1.0, 0.0])
    assert line.slope == pytest.approx(0, abs=1e-6)
    assert np.isfinite(logit(0.5))
