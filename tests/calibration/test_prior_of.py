"""The adjuster finds out for which class shares the probabilities of a classifier hold."""

from __future__ import annotations

import numpy as np
import pytest
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cxr_sklearn import ResNetOvO, ResNetOvR
from cxr_sklearn.calibration import PrevalenceAdjuster

from .gaussians import CLASSES, TARGET, TRAINING, sample, shares_of
from .toy_models import toy_model

# Models that train for two epochs may not predict every class.
pytestmark = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")

EQUAL = np.full(3, 1 / 3)
BALANCED = LogisticRegression(class_weight="balanced")


def prior_found(estimator, **fit_params):
    X, y = sample(500, TRAINING, 0)
    return PrevalenceAdjuster(estimator).fit(X, y, **fit_params).prior_


def training_shares():
    return shares_of(sample(500, TRAINING, 0)[1])


@pytest.mark.parametrize("weight", ["balanced", None, {"COVID-19": 3, "Normal": 1, "Pneumonia": 2}])
@pytest.mark.parametrize("wrapper", ["none", "pipeline", "frozen", "search"])
def test_class_weight_determines_the_prior(weight, wrapper):
    model = LogisticRegression(class_weight=weight)
    if wrapper == "pipeline":
        model = make_pipeline(StandardScaler(), model)
    elif wrapper == "frozen":
        model = FrozenEstimator(model.fit(*sample(500, TRAINING, 0)))
    elif wrapper == "search":
        model = GridSearchCV(model, {"C": [0.1, 1.0]}, cv=2)
    expected = training_shares()
    if weight == "balanced":
        expected = EQUAL
    elif weight is not None:
        expected = expected * [3, 1, 2] / (expected * [3, 1, 2]).sum()
    np.testing.assert_allclose(prior_found(model), expected)


def test_dict_of_some_class_weights_leaves_the_others_at_1():
    shares = training_shares() * [3, 1, 1]
    found = prior_found(LogisticRegression(class_weight={"COVID-19": 3}))
    np.testing.assert_allclose(found, shares / shares.sum())


def test_priors_that_scikit_learn_stores_are_read():
    given = [0.5, 0.25, 0.25]
    np.testing.assert_allclose(prior_found(GaussianNB(priors=given)), given)
    np.testing.assert_allclose(prior_found(LinearDiscriminantAnalysis(priors=given)), given)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration_on_labels_sets_the_training_shares(method):
    """Calibration on natural data replaces the balanced prior of the model inside."""
    found = prior_found(CalibratedClassifierCV(BALANCED, method=method))
    np.testing.assert_allclose(found, training_shares())


def test_temperature_keeps_equal_shares():
    """A single temperature cannot change the shares, so that the equal prior stays."""
    temperature = CalibratedClassifierCV(BALANCED, method="temperature")
    np.testing.assert_allclose(prior_found(temperature), EQUAL)
    X, y = sample(2000, TRAINING, 0)
    new, labels = sample(5000, TARGET, 1)
    losses = {}
    for name, prior in (("found", "auto"), ("shares of y", shares_of(y))):
        adjuster = PrevalenceAdjuster(temperature, prevalence=TARGET, prior=prior).fit(X, y)
        losses[name] = log_loss(labels, adjuster.predict_proba(new))
    assert losses["found"] < losses["shares of y"] - 0.02


@pytest.mark.parametrize(
    "ensemble", [BaggingClassifier(BALANCED, 3), VotingClassifier([("a", BALANCED)], voting="soft")]
)
def test_ensemble_has_the_prior_of_its_members(ensemble):
    np.testing.assert_allclose(prior_found(ensemble), EQUAL)


def test_threshold_and_stacking_pass_on_the_prior_of_their_last_classifier():
    stacking = StackingClassifier([("a", LogisticRegression())], BALANCED)
    np.testing.assert_allclose(prior_found(stacking), EQUAL)
    stacking = StackingClassifier([("a", BALANCED)], LogisticRegression())
    np.testing.assert_allclose(prior_found(stacking), training_shares())
    X, y = sample(500, TRAINING, 0)
    is_two = y != "Normal"
    threshold = FixedThresholdClassifier(BALANCED, threshold=0.3)
    adjuster = PrevalenceAdjuster(threshold).fit(X[is_two], y[is_two])
    np.testing.assert_allclose(adjuster.prior_, [0.5, 0.5])


def test_adjuster_inside_another_wrapper_has_its_target_as_prior():
    inner = PrevalenceAdjuster(BALANCED, prevalence=TARGET)
    np.testing.assert_allclose(prior_found(make_pipeline(StandardScaler(), inner)), TARGET)
    temperature = CalibratedClassifierCV(inner, method="temperature")
    np.testing.assert_allclose(prior_found(temperature), TARGET)


@pytest.mark.parametrize(
    ("estimator", "part"),
    [
        (OneVsRestClassifier(BALANCED), "estimator__class_weight of OneVsRestClassifier"),
        (
            OneVsRestClassifier(make_pipeline(StandardScaler(), BALANCED)),
            "estimator__logisticregression__class_weight",
        ),
        (
            make_sampling_pipeline(RandomOverSampler(), LogisticRegression()),
            "the step 'randomoversampler' of Pipeline",
        ),
        (
            OneVsRestClassifier(make_sampling_pipeline(RandomOverSampler(), LogisticRegression())),
            "estimator__randomoversampler",
        ),
    ],
)
def test_hidden_change_of_the_shares_raises(estimator, part):
    """Probabilities whose prior cannot be known are not adjusted silently."""
    with pytest.raises(ValueError, match=f"prior='auto' is invalid: {part}") as error:
        prior_found(estimator)
    assert "\n" not in str(error.value)
    X, y = sample(500, TRAINING, 0)
    adjuster = PrevalenceAdjuster(estimator, prior=EQUAL).fit(X, y)
    np.testing.assert_array_equal(adjuster.prior_, EQUAL)


def test_temperature_around_networks_per_class_raises(imbalanced):
    """After a temperature, the sigmoids of ResNetOvR cannot be recovered."""
    temperature = CalibratedClassifierCV(toy_model(ResNetOvR), method="temperature", cv=2)
    with pytest.raises(ValueError, match="estimator__class_weight of CalibratedClassifierCV"):
        PrevalenceAdjuster(temperature).fit(*imbalanced)
    inside = CalibratedClassifierCV(
        PrevalenceAdjuster(toy_model(ResNetOvR)), method="temperature", cv=2
    )
    adjuster = PrevalenceAdjuster(inside).fit(*imbalanced)
    np.testing.assert_allclose(adjuster.prior_, [1 / 2, 1 / 3, 1 / 6], atol=0.02)


@pytest.mark.parametrize("kind", [ResNetOvO, ResNetOvR])
def test_temperature_around_a_frozen_model(imbalanced, kind):
    X, y = imbalanced
    frozen = FrozenEstimator(toy_model(kind).fit(X, y))
    adjuster = PrevalenceAdjuster(CalibratedClassifierCV(frozen, method="temperature"))
    if kind is ResNetOvO:
        np.testing.assert_allclose(adjuster.fit(X, y).prior_, 1 / 3, atol=1e-6)
    else:
        with pytest.raises(ValueError, match="estimator__class_weight of CalibratedClass"):
            adjuster.fit(X, y)


def test_bagging_whose_samples_lack_a_class_has_the_training_shares():
    """The probability of a class that a member has not seen is 0 for this member."""
    X, y = sample(500, TRAINING, 0)
    y[y == "COVID-19"] = "Normal"
    y[0] = "COVID-19"
    bagging = BaggingClassifier(KNeighborsClassifier(), 5, random_state=0)
    adjuster = PrevalenceAdjuster(bagging).fit(X, y)
    assert {len(member.classes_) for member in adjuster.estimator_.estimators_} == {2, 3}
    np.testing.assert_allclose(adjuster.prior_, shares_of(y))


def test_prior_is_found_inside_searches_and_pipelines(imbalanced):
    X, y = imbalanced
    search = GridSearchCV(make_pipeline(toy_model(ResNetOvO)), {"resnetovo__lr": [1e-3]}, cv=2)
    adjuster = PrevalenceAdjuster(search).fit(X, y)
    np.testing.assert_allclose(adjuster.prior_, 1 / 3, atol=1e-6)


def test_sampler_before_a_model_of_this_package_is_part_of_its_prior(imbalanced):
    model = toy_model(ResNetOvO, class_weight=None)
    resampled = make_sampling_pipeline(RandomOverSampler(random_state=0), model)
    adjuster = PrevalenceAdjuster(resampled).fit(*imbalanced)
    np.testing.assert_allclose(adjuster.prior_, 1 / 3, atol=1e-6)


@pytest.mark.parametrize("is_routed", [False, True])
def test_sample_weight_changes_the_training_shares(is_routed):
    _, y = sample(500, TRAINING, 0)
    weight = np.where(y == "COVID-19", 3.0, 1.0)
    expected = 3 * (y == "COVID-19").sum() / weight.sum()
    with config_context(enable_metadata_routing=is_routed):
        model = LogisticRegression()
        if is_routed:
            model.set_fit_request(sample_weight=True)
        found = prior_found(model, sample_weight=weight)
    assert found[0] == pytest.approx(expected)


def test_sample_weight_reaches_the_last_step_of_a_pipeline():
    _, y = sample(500, TRAINING, 0)
    weight = np.where(y == "COVID-19", 3.0, 1.0)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    found = prior_found(model, logisticregression__sample_weight=weight)
    assert found[0] == pytest.approx(3 * (y == "COVID-19").sum() / weight.sum())


def test_weights_that_the_model_does_not_request_raise():
    """Weights never change the shares of the classes but not the model."""
    _, y = sample(500, TRAINING, 0)
    with config_context(enable_metadata_routing=True):
        model = LogisticRegression().set_fit_request(sample_weight=False)
        with pytest.raises(TypeError, match=r"sample_weight.*not routed"):
            prior_found(model, sample_weight=np.ones(len(y)))


def test_prior_is_given_as_array_or_dict():
    X, y = sample(500, TRAINING, 0)
    adjuster = PrevalenceAdjuster(LogisticRegression(), prior=EQUAL).fit(X, y)
    np.testing.assert_array_equal(adjuster.prior_, EQUAL)
    shares = dict(zip(CLASSES, TARGET, strict=True))
    adjuster.set_params(prior=shares).fit(X, y)
    np.testing.assert_allclose(adjuster.prior_, TARGET)
