"""Net benefit, thresholds of least cost, and tests of differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, wilcoxon

from cxr_sklearn.metrics import cost_threshold, delong_test, net_benefit
from cxr_sklearn.metrics._permutation import holm


def test_net_benefit_follows_its_definition():
    rng = np.random.default_rng(0)
    y, p = rng.integers(2, size=200), rng.random(200)
    for t in (0.1, 0.4, 0.8):
        called = p >= t
        expected = (called & (y == 1)).mean() - (called & (y == 0)).mean() * t / (1 - t)
        assert net_benefit(y, p, [t])[0] == pytest.approx(expected)


def test_net_benefit_of_acting_on_all_images():
    y = np.repeat([0, 1], [70, 30])
    assert net_benefit(y, np.ones(100), [0.3])[0] == pytest.approx(0.0)


@pytest.mark.parametrize("thresholds", [[0], [1], [np.nan]])
def test_invalid_threshold_raises(thresholds):
    with pytest.raises(ValueError, match=r"thresholds contains .*between 0 and 1"):
        net_benefit([0, 1], [0.2, 0.8], thresholds)


@pytest.mark.parametrize("costs", [[[0, 1], [5, 0]], [[-1, 2], [1, 0.5]]])
def test_threshold_has_the_least_cost_of_all(costs):
    rng = np.random.default_rng(0)
    p = rng.random(300).round(2)
    y = rng.random(300) < p
    found = cost_threshold(y, p, costs)
    costs = np.array(costs)
    all_costs = []
    for t in [*np.unique(p), np.inf]:
        all_costs.append(costs[y.astype(int), (p >= t).astype(int)].mean())
    assert found.cost == pytest.approx(min(all_costs))
    at_threshold = costs[y.astype(int), (p >= found.threshold).astype(int)].mean()
    assert at_threshold == pytest.approx(found.cost)
    assert found.cost_at_half == pytest.approx(costs[y.astype(int), (p >= 0.5).astype(int)].mean())


def test_threshold_of_calibrated_probabilities_is_the_theoretical_one():
    rng = np.random.default_rng(0)
    p = rng.random(50_000)
    found = cost_threshold(rng.random(50_000) < p, p, [[0, 1], [4, 0]])
    assert found.theoretical_threshold == pytest.approx(0.2)
    assert found.threshold == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ([0, 1], "its shape is"),
        ([[0, np.nan], [1, 0]], "two finite costs"),
        ([[1, 0], [0, 1]], "costs no more than the right decision"),
    ],
)
def test_invalid_costs_raise(costs, message):
    with pytest.raises(ValueError, match=message):
        cost_threshold([0, 1], [0.2, 0.8], costs)


# -- DeLong ---------------------------------------------------------------------------------------


def test_delong_error_is_that_of_the_definition():
    """The covariance of the placement values, computed pair by pair."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [40, 30]).astype(bool)
    scores = [y + rng.normal(size=70).round(1) for _ in range(2)]
    placements = []
    for score in scores:
        pairs = (score[y][:, None] > score[~y]) + 0.5 * (score[y][:, None] == score[~y])
        placements.append((pairs.mean(axis=1), pairs.mean(axis=0)))
    (v1, w1), (v2, w2) = placements
    expected = np.sqrt(np.var(v1 - v2, ddof=1) / 30 + np.var(w1 - w2, ddof=1) / 40)
    found = delong_test(y, *scores)
    assert found.difference == pytest.approx(v1.mean() - v2.mean())
    assert found.standard_error == pytest.approx(expected)
    assert found.p == pytest.approx(2 * norm.sf(abs(found.difference) / expected))


def test_delong_of_equal_scores_is_1():
    assert delong_test([0, 0, 1, 1], [1, 2, 3, 4], [1, 2, 3, 4]) == (0, 0, 1)


@pytest.mark.parametrize(
    ("y", "score", "message"),
    [
        ([0, 0, 1], [1, 2, 3], "1 positive and 2 negative images"),
        ([0, 0, 1, 1], [1, 2, 3, np.inf], "score_a contains NaN or infinity"),
    ],
)
def test_invalid_arguments_of_delong_raise(y, score, message):
    with pytest.raises(ValueError, match=message):
        delong_test(y, score, np.arange(len(y)))


def test_holm_is_stricter_than_single_tests_and_milder_than_bonferroni():
    p = [0.01, 0.02, 0.03, 0.5]
    adjusted = holm(p)
    np.testing.assert_allclose(adjusted, [0.04, 0.06, 0.06, 0.5])
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, 4 * np.array(p))).all()
    # The example has a known result, and an unrelated test agrees on its order.
    assert wilcoxon([1, 2, 3, 4, 5]).pvalue < 0.1
