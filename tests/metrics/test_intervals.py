"""Intervals: bootstrap, exact intervals, and those that do not exist."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from cxr_sklearn.metrics import patient_interval
from cxr_sklearn.metrics._intervals import bootstrap_interval, exact_interval
from cxr_sklearn.metrics._resampling import resample_patients


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_interval_of_a_mean_agrees_with_scipy(method):
    """SciPy's bootstrap gives the same limits, up to sampling and our correction for n - 1."""
    values = np.random.default_rng(0).exponential(size=400)
    resamples = resample_patients(np.arange(400), None, 8000, 0)
    found = bootstrap_interval(resamples, resamples.sums(values) / 400, 0.95, method)
    name = {"bca": "BCa", "percentile": "percentile"}[method]
    expected = bootstrap((values,), np.mean, method=name, n_resamples=8000, rng=1)
    tolerance = 0.04 * (found.high - found.low)
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=tolerance)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=tolerance)
    assert found.method == method


def test_bca_moves_towards_the_longer_tail():
    values = np.random.default_rng(0).exponential(size=40)
    resamples = resample_patients(np.arange(40), None, 4000, 0)
    draws = resamples.sums(values) / 40
    bca = bootstrap_interval(resamples, draws, 0.95, "bca")
    percentile = bootstrap_interval(resamples, draws, 0.95, "percentile")
    assert bca.low > percentile.low
    assert bca.high > percentile.high


def test_few_patients_widen_the_interval():
    values = np.random.default_rng(0).normal(size=400)
    resamples = resample_patients(np.arange(400), None, 4000, 0)
    draws = resamples.sums(values) / 400
    few, many = (bootstrap_interval(resamples, draws, 0.95, "percentile", n) for n in (10, 400))
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(2.26 / 1.97, rel=0.05)


def test_constant_figure_has_no_interval():
    resamples = resample_patients(np.arange(5), None, 20, 0)
    found = bootstrap_interval(resamples, np.ones(26), 0.95)
    assert found.value == 1
    assert np.isnan([found.low, found.high]).all()
    assert found.method == "none"


def test_undefined_resamples_are_left_out():
    resamples = resample_patients(np.arange(5), None, 100, 0)
    values = resamples.sums(np.arange(5.0))
    values[1:50] = np.nan
    found = bootstrap_interval(resamples, values, 0.95, "percentile")
    assert np.isfinite([found.low, found.high]).all()


@pytest.mark.parametrize("n_found", [0, 1, 5, 8])
def test_exact_interval_is_clopper_pearson_for_one_image_per_patient(n_found):
    found = exact_interval(n_found / 8, np.ones(8), 0.95)
    expected = binomtest(n_found, 8).proportion_ci(0.95, "exact")
    assert found.low == pytest.approx(expected.low)
    assert found.high == pytest.approx(expected.high)
    assert found.method == "exact"


def test_exact_interval_counts_patients_and_not_images():
    """Five images of each patient do not narrow it, and unequal patients widen it."""
    alone = exact_interval(1.0, np.ones(8), 0.95)
    assert exact_interval(1.0, np.full(8, 5), 0.95).low == pytest.approx(alone.low)
    assert exact_interval(1.0, np.array([40, *[1] * 7]), 0.95).low < alone.low / 2
    as_images = exact_interval(1.0, np.ones(40), 0.95)
    assert as_images.low > alone.low + 0.2


def test_exact_interval_without_patients_does_not_exist():
    assert exact_interval(np.nan, np.zeros(3), 0.95).method == "none"


@pytest.mark.parametrize("n_patients", [5, 8])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_exact_interval_covers_for_few_patients(n_patients, correlation):
    """At least 95 % of intervals contain the truth. Counting images instead fails this test."""
    rng = np.random.default_rng(0)
    truth, n_studies = 0.9, 600
    is_covered = np.empty((n_studies, 2), dtype=bool)
    for study in range(n_studies):
        sizes = rng.integers(1, 7, size=n_patients)
        if correlation == 1:
            rates = (rng.random(n_patients) < truth).astype(float)
        elif correlation == 0:
            rates = np.full(n_patients, truth)
        else:
            scale = 1 / correlation - 1
            rates = rng.beta(truth * scale, (1 - truth) * scale, size=n_patients)
        n_found = rng.binomial(sizes, rates).sum()
        proportion = n_found / sizes.sum()
        for column, counts in enumerate((sizes, np.ones(sizes.sum()))):
            found = exact_interval(proportion, counts, 0.95)
            is_covered[study, column] = found.low <= truth <= found.high
    by_patient, by_image = is_covered.mean(axis=0)
    assert by_patient >= 0.94
    if correlation >= 0.5:
        assert by_image < 0.935


def test_patient_interval_takes_any_metric_of_scikit_learn():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(80), 2)
    y = (patients % 2).astype(int)
    score = y + rng.normal(size=160)
    found = patient_interval(roc_auc_score, y, score, groups=patients, random_state=0)
    assert found.value == pytest.approx(roc_auc_score(y, score))
    assert found.low < found.value < found.high


def test_patient_interval_is_wider_than_that_of_images_for_equal_images():
    """Four copies of each image carry no more information than one."""
    rng = np.random.default_rng(0)
    once = np.arange(60) % 2
    y = np.repeat(once, 4)
    predicted = np.repeat(np.where(rng.random(60) < 0.8, once, 1 - once), 4)
    widths = []
    for groups in (np.repeat(np.arange(60), 4), np.arange(240)):
        found = patient_interval(
            balanced_accuracy_score, y, predicted, groups=groups, n_resamples=500, random_state=0
        )
        widths.append(found.high - found.low)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": [1] * 4}, "groups contains one patient"),
        ({"groups": [1, 2, None, 3]}, r"groups\[2\] is None"),
        ({"groups": [1, 2, 3, 4], "method": "normal"}, "method='normal' is invalid"),
    ],
)
def test_invalid_arguments_of_patient_interval_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        patient_interval(balanced_accuracy_score, [0, 1, 0, 1], [0, 1, 1, 1], **arguments)
