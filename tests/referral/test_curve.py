"""The risk-coverage curve, its band, its area and its display."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cxr_sklearn.metrics import patient_interval
from cxr_sklearn.referral import ReferralClassifier, RiskCoverageDisplay, risk_coverage_auc
from cxr_sklearn.referral._curve import curve_thresholds, risk_coverage_curve

from .studies import labelled_numbers, load_benchmark

pytest.importorskip("matplotlib").use("Agg")


@pytest.mark.parametrize("most_images", [1, 8])
def test_the_band_contains_the_whole_curve(most_images):
    """At most delta of the bands leave the true curve; pointwise limits leave it more often."""
    benchmark = load_benchmark()
    risks = benchmark.RISKS["error"][0]
    outside, pointwise = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        learning = benchmark.simulate(60, most_images, 0.3, rng)
        testing = benchmark.simulate(150, most_images, 0.3, rng)
        thresholds = curve_thresholds(learning)
        truth = np.array([benchmark.true_risk(max(0, t)) for t in thresholds])
        curve = risk_coverage_curve(testing, risks, thresholds, 0.1)
        outside.append(((truth < curve["low"]) | (truth > curve["high"])).any())
        # Without the correction for the number of points.
        narrow = risk_coverage_curve(testing, risks, thresholds, 0.1 * len(thresholds))
        pointwise.append(((truth < narrow["low"]) | (truth > narrow["high"])).any())
    assert np.mean(outside) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 100)
    if most_images == 1:
        assert np.mean(pointwise) > 0.2


def test_the_curve_has_the_shares_of_the_images():
    benchmark = load_benchmark()
    decisions = benchmark.simulate(200, 8, 0.3, np.random.default_rng(0))
    curve = risk_coverage_curve(
        decisions, benchmark.RISKS["error"][0], np.array([-np.inf, 0.5]), 0.1
    )
    weight = decisions.weight / decisions.n_patients
    is_accepted, is_wrong = decisions.score >= 0.5, decisions.is_wrong()
    assert curve["coverage"].tolist() == pytest.approx([1, weight[is_accepted].sum()])
    assert curve["value"].tolist() == pytest.approx(
        [weight[is_wrong].sum(), weight[is_accepted & is_wrong].sum() / weight[is_accepted].sum()]
    )
    assert curve["accepted"].tolist() == [len(weight), is_accepted.sum()]
    assert (curve["low"] <= curve["value"]).all()
    assert (curve["value"] <= curve["high"]).all()


def test_the_area_is_the_mean_risk():
    rng = np.random.default_rng(0)
    score, is_wrong = rng.uniform(size=50), rng.uniform(size=50) < 0.3
    order = np.argsort(-score)
    risks = np.cumsum(is_wrong[order]) / np.arange(1, 51)
    assert risk_coverage_auc(is_wrong, score) == pytest.approx(risks.mean())
    # Images of equal score are referred together.
    assert risk_coverage_auc(is_wrong, np.ones(50)) == pytest.approx(is_wrong.mean())
    # An image of weight 2 counts as two.
    twice = np.r_[np.arange(50), 7]
    weight = np.where(np.arange(50) == 7, 2, 1)
    assert risk_coverage_auc(is_wrong, score, sample_weight=weight) == pytest.approx(
        risk_coverage_auc(is_wrong[twice], score[twice])
    )
    assert risk_coverage_auc(is_wrong, -1.0 * is_wrong) < risk_coverage_auc(is_wrong, score)


def test_the_area_has_an_interval_by_patient():
    rng = np.random.default_rng(0)
    is_wrong = rng.uniform(size=200) < 0.3
    found = patient_interval(
        risk_coverage_auc,
        is_wrong,
        rng.uniform(size=200),
        groups=np.arange(200) // 2,
        n_resamples=200,
        random_state=0,
    )
    assert found.low < found.value < found.high


def test_missing_scores_are_named():
    with pytest.raises(ValueError, match=r"score\[1\] is NaN"):
        risk_coverage_auc([0, 1], [0.5, np.nan])


def test_display_draws_curves_limits_and_threshold():
    X, y, patients = labelled_numbers(1500, 0, steepness=6)
    risk = {"ill": {"missed": 0.1, "false": 0.12}}
    model = ReferralClassifier(LogisticRegression(), risk=risk, random_state=0)
    display = RiskCoverageDisplay.from_estimator(model.fit(X, y, groups=patients))
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == [
        "missed ill",
        "limit, missed ill",
        "false ill",
        "limit, false ill",
        "certified threshold",
    ]
    assert display.figure_ is display.ax_.figure
    x, value = display.ax_.lines[0].get_data()
    assert (np.diff(x) > 0).all()
    assert len(value) == len(x)
    without = RiskCoverageDisplay(model.curve_).plot(band=False)
    labels = [text.get_text() for text in without.ax_.get_legend().get_texts()]
    assert labels == ["missed ill", "false ill"]
