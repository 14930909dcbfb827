"""PrevalenceAdjuster moves probabilities to another prevalence, and estimates it."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
from imblearn.over_sampling import RandomOverSampler
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from cxr_sklearn import ResNetClassifier, ResNetOvO, ResNetOvR, ResNetStacking
from cxr_sklearn.calibration import PrevalenceAdjuster

from ..toys import MODELS, toy

CLASSES = np.array(["COVID-19", "Normal", "Pneumonia"])
CENTRES = np.array([0.0, 1.5, 3.0])
TRAINING = np.array([0.2, 0.5, 0.3])
TARGET = np.array([0.02, 0.7, 0.28])


# Models that train for two epochs may not predict every class.
pytestmark = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")


@parametrize_with_checks([PrevalenceAdjuster(LogisticRegression())])
def test_scikit_learn_checks_pass(estimator, check):
    check(estimator)


def likelihood(x):
    """Return the likelihood of each class of a Gaussian mixture, of shape (n, 3)."""
    return norm.pdf(np.ravel(x)[:, None], CENTRES)


class ExactClassifier(ClassifierMixin, BaseEstimator):
    """The exact posterior of the Gaussian classes at a prior, so that only the prior matters."""

    def __init__(self, prior=(0.2, 0.5, 0.3)):
        self.prior = prior

    def fit(self, X, y):
        self.classes_ = CLASSES
        self.class_prior_ = np.asarray(self.prior)
        return self

    def predict_proba(self, X):
        joint = likelihood(X) * np.asarray(self.prior)
        return joint / joint.sum(axis=1, keepdims=True)


class ExactNetworks(ClassifierMixin, BaseEstimator):
    """One exact network per class, each trained with a prior of 1/2, as ResNetOvR has them."""

    def fit(self, X, y):
        self.classes_ = CLASSES
        self.class_prior_ = TRAINING
        self.binary_prior_ = np.full(3, 0.5)
        return self

    def sigmoids(self, X):
        of_class = likelihood(X)
        weighted = of_class * TRAINING
        rest = (weighted.sum(axis=1, keepdims=True) - weighted) / (1 - TRAINING)
        return of_class / (of_class + rest)

    def predict_proba(self, X):
        sigmoids = self.sigmoids(X)
        return sigmoids / sigmoids.sum(axis=1, keepdims=True)


def sample(n, shares, seed):
    """Draw images whose classes have these shares."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(3, size=n, p=shares)
    return rng.normal(CENTRES[codes])[:, None], CLASSES[codes]


def exact_posterior(X, shares):
    joint = likelihood(X) * shares
    return joint / joint.sum(axis=1, keepdims=True)


# -- the formula ----------------------------------------------------------------------------------


def test_adjusted_probabilities_are_the_exact_posterior_at_the_target():
    X, y = sample(300, TRAINING, 0)
    adjuster = PrevalenceAdjuster(ExactClassifier(), prevalence=TARGET).fit(X, y)
    np.testing.assert_allclose(adjuster.predict_proba(X), exact_posterior(X, TARGET), atol=1e-12)
    # The unadjusted probabilities do not have this property.
    assert (
        np.abs(ExactClassifier().fit(X, y).predict_proba(X) - exact_posterior(X, TARGET)).max()
        > 0.1
    )


def test_networks_per_class_have_an_exact_correction():
    X, y = sample(300, TRAINING, 0)
    networks = ExactNetworks()
    adjuster = PrevalenceAdjuster(networks, prevalence=TARGET).fit(X, y)
    np.testing.assert_allclose(adjuster.predict_proba(X), exact_posterior(X, TARGET), atol=1e-9)


@pytest.mark.parametrize("prior", [[1 / 3] * 3, TRAINING])
def test_naive_corrections_of_networks_per_class_are_wrong(prior):
    """Taking the normalised sigmoids for probabilities at one class prior gives wrong results."""
    X, y = sample(300, TRAINING, 0)
    adjuster = PrevalenceAdjuster(ExactNetworks(), prevalence=TARGET, prior=prior).fit(X, y)
    # An explicit prior replaces the priors of the networks.
    error = np.abs(adjuster.predict_proba(X) - exact_posterior(X, TARGET)).max()
    assert error > 0.05


def test_certain_networks_stay_certain():
    """Probabilities of 1 and almost 0, as float32 has them, do not become NaN."""
    proba = np.array([[1.0, 1.2e-38, 1.2e-38], [1 / 3, 1 / 3, 1 / 3]], dtype=np.float32)

    class Certain(ExactNetworks):
        def predict_proba(self, X):
            return proba

    X, y = sample(2, TRAINING, 0)
    adjusted = PrevalenceAdjuster(Certain(), prevalence=TARGET).fit(X, y).predict_proba(X)
    assert np.isfinite(adjusted).all()
    assert adjusted[0, 0] > 0.999


def test_prevalence_defaults_to_the_shares_of_the_training_set():
    """Probabilities of balanced training are moved back to the training set."""
    X, y = sample(4000, TRAINING, 1)
    balanced = LogisticRegression(class_weight="balanced")
    adjuster = PrevalenceAdjuster(balanced).fit(X, y)
    plain = LogisticRegression().fit(X, y)
    assert np.abs(adjuster.predict_proba(X) - plain.predict_proba(X)).mean() < 0.02
    assert np.abs(balanced.fit(X, y).predict_proba(X) - plain.predict_proba(X)).mean() > 0.05


@pytest.mark.parametrize("weight", ["balanced", None, {"COVID-19": 3, "Normal": 1, "Pneumonia": 2}])
def test_class_weight_determines_the_prior(weight):
    X, y = sample(500, TRAINING, 0)
    model = LogisticRegression(class_weight=weight)
    shares = np.array([(y == label).mean() for label in CLASSES])
    expected = {"balanced": np.full(3, 1 / 3), "None": shares}.get(str(weight))
    if expected is None:
        expected = shares * [3, 1, 2] / (shares * [3, 1, 2]).sum()
    for wrapped in (
        model,
        make_pipeline(StandardScaler(), model),
        FrozenEstimator(model.fit(X, y)),
    ):
        np.testing.assert_allclose(PrevalenceAdjuster(wrapped).fit(X, y).prior_, expected)


def test_calibrated_classifier_has_the_shares_of_the_training_set():
    """Calibration on natural data replaces the balanced prior of the model inside."""
    X, y = sample(500, TRAINING, 0)
    calibrated = CalibratedClassifierCV(LogisticRegression(class_weight="balanced"))
    adjuster = PrevalenceAdjuster(calibrated).fit(X, y)
    np.testing.assert_allclose(adjuster.prior_, [(y == label).mean() for label in CLASSES])


def test_sample_weight_changes_the_training_shares():
    X, y = sample(200, TRAINING, 0)
    weight = np.where(y == "COVID-19", 3.0, 1.0)
    adjuster = PrevalenceAdjuster(LogisticRegression()).fit(X, y, sample_weight=weight)
    share = 3 * (y == "COVID-19").sum() / weight.sum()
    assert adjuster.prior_[0] == pytest.approx(share)


def test_dict_leaves_other_classes_in_proportion():
    X, y = sample(1000, TRAINING, 0)
    adjuster = PrevalenceAdjuster(LogisticRegression(), prevalence={"COVID-19": 0.1}).fit(X, y)
    shares = np.array([(y == label).mean() for label in CLASSES])
    assert adjuster.prevalence_[0] == 0.1
    assert adjuster.prevalence_[1] / adjuster.prevalence_[2] == pytest.approx(shares[1] / shares[2])


# -- estimation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("estimator", [ExactClassifier(), ExactNetworks()])
def test_estimated_prevalence_is_that_of_the_unlabelled_images(estimator, seed):
    X, y = sample(500, TRAINING, seed)
    new, _ = sample(20_000, TARGET, 100 + seed)
    adjuster = PrevalenceAdjuster(estimator).fit(X, y)
    adjuster.estimate_prevalence(new, n_resamples=100, random_state=seed)
    np.testing.assert_allclose(adjuster.prevalence_, TARGET, atol=0.02)
    # The mean of the unadjusted probabilities, the usual mistake, is rejected by this tolerance.
    mean = ExactClassifier().fit(X, y).predict_proba(new).mean(axis=0)
    assert np.abs(mean - TARGET).max() > 0.05


def test_adjustment_to_the_estimate_improves_the_log_loss():
    X, y = sample(500, TRAINING, 0)
    new, labels = sample(5000, TARGET, 1)
    adjuster = PrevalenceAdjuster(ExactClassifier()).fit(X, y).estimate_prevalence(new)
    before = log_loss(labels, ExactClassifier().fit(X, y).predict_proba(new))
    after = log_loss(labels, adjuster.predict_proba(new))
    best = log_loss(labels, exact_posterior(new, TARGET))
    assert after < before - 0.05
    assert after < best + 0.002


def covered(n_studies, by_patient, n_patients=150):
    """Return the share of studies whose interval contains the prevalence of a class."""
    found = []
    for seed in range(n_studies):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(n_patients), 4)
        codes = rng.choice(3, size=n_patients, p=TARGET)[patient]
        # The images of a patient look alike.
        shared = rng.normal(size=n_patients)[patient]
        x = CENTRES[codes] + np.sqrt(0.5) * shared + np.sqrt(0.5) * rng.normal(size=len(codes))
        adjuster = PrevalenceAdjuster(ExactClassifier()).fit(x[:, None], CLASSES[codes % 3])
        adjuster.estimate_prevalence(
            x[:, None], groups=patient if by_patient else None, n_resamples=200, random_state=seed
        )
        low, high = adjuster.prevalence_interval_
        found.append((low[1] <= TARGET[1]) & (TARGET[1] <= high[1]))
    return np.mean(found)


@pytest.mark.slow
def test_interval_of_the_prevalence_covers_by_patient_only():
    """The interval contains the truth in about 95 % of studies, and that by image less often."""
    assert 0.92 <= covered(300, by_patient=True) <= 0.98
    assert covered(300, by_patient=False) < 0.85


def test_interval_is_set_by_estimation_only():
    X, y = sample(200, TRAINING, 0)
    adjuster = PrevalenceAdjuster(LogisticRegression()).fit(X, y)
    assert adjuster.prevalence_interval_ is None
    low, high = adjuster.estimate_prevalence(X, random_state=0).prevalence_interval_
    assert (low < adjuster.prevalence_).all()
    assert (adjuster.prevalence_ < high).all()
    assert adjuster.fit(X, y).prevalence_interval_ is None


def test_absent_class_is_estimated_near_0():
    X, y = sample(500, TRAINING, 0)
    new, _ = sample(5000, [0, 0.6, 0.4], 1)
    adjuster = PrevalenceAdjuster(ExactClassifier()).fit(X, y).estimate_prevalence(new)
    assert adjuster.prevalence_[0] < 0.02
    assert np.isfinite(adjuster.predict_proba(new)).all()


# -- models of this package -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def imbalanced():
    """Return phantoms with 30, 20 and 10 images of the classes."""
    from cxr_sklearn.datasets import make_chest_phantoms

    X, y = make_chest_phantoms(240, image_size=16, random_state=0)
    rows = np.concatenate(
        [np.flatnonzero(y == c)[:n] for c, n in zip(CLASSES, (30, 20, 10), strict=True)]
    )
    return X[rows], y[rows]


def toy_model(kind, **settings):
    settings = {"max_epochs": 2, "random_state": 0} | settings
    return kind(backbone=toy, weights=None, image_size=16, **settings)


@pytest.mark.parametrize("kind", [ResNetClassifier, ResNetOvO, ResNetStacking])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"class_weight": "balanced"}, [1 / 3, 1 / 3, 1 / 3]),
        ({"class_weight": None}, [1 / 2, 1 / 3, 1 / 6]),
        ({"class_weight": None, "sampler": RandomOverSampler()}, [1 / 3, 1 / 3, 1 / 3]),
        ({"class_weight": dict(zip(CLASSES, (1, 1, 2), strict=True))}, [3 / 7, 2 / 7, 2 / 7]),
    ],
)
def test_models_know_their_prior(imbalanced, kind, settings, expected):
    """The prior contains class weights and samplers."""
    model = toy_model(kind, **settings).fit(*imbalanced)
    np.testing.assert_allclose(model.class_prior_, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"class_weight": "balanced"}, [1 / 2] * 3), ({"class_weight": None}, [1 / 2, 1 / 3, 1 / 6])],
)
def test_networks_per_class_know_the_prior_of_each(imbalanced, settings, expected):
    model = toy_model(ResNetOvR, **settings).fit(*imbalanced)
    np.testing.assert_allclose(model.binary_prior_, expected, atol=1e-6)
    np.testing.assert_allclose(model.class_prior_, [1 / 2, 1 / 3, 1 / 6], atol=1e-6)


def test_two_classes_have_one_network_and_one_prior(imbalanced):
    X, y = imbalanced
    rows = y != "Normal"
    model = toy_model(ResNetOvR, class_weight=None).fit(X[rows], y[rows])
    assert model.binary_prior_ is None
    np.testing.assert_allclose(model.class_prior_, [3 / 4, 1 / 4], atol=1e-6)


def test_inconsistent_ratios_of_pairs_give_the_closest_prior(imbalanced):
    """A ratio of 1/2 in every pair is no class prior; the result is that of least squares."""
    sampler = RandomOverSampler(sampling_strategy=1.0)
    model = toy_model(ResNetOvO, class_weight=None, sampler=sampler).fit(*imbalanced)
    odds = [logit(tail.class_prior_[1]) for tail in model.estimators_]
    log_prior = np.log(model.class_prior_)
    fitted = [log_prior[1] - log_prior[0], log_prior[2] - log_prior[0], log_prior[2] - log_prior[1]]
    np.testing.assert_allclose(fitted, odds, atol=1e-6)


@pytest.mark.parametrize("kind", MODELS)
def test_models_of_this_package_are_adjusted(imbalanced, kind):
    X, y = imbalanced
    adjuster = PrevalenceAdjuster(toy_model(kind), prevalence={"COVID-19": 0.01}).fit(
        X, y, groups=np.arange(len(y))
    )
    proba = adjuster.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    before = adjuster.estimator_.predict_proba(X)
    assert (proba[:, 0] < before[:, 0]).all()


def test_ovr_uses_the_priors_of_its_networks(imbalanced):
    """The correction of ResNetOvR is that of the sigmoids of its own networks."""
    X, y = imbalanced
    adjuster = PrevalenceAdjuster(toy_model(ResNetOvR, max_epochs=1)).fit(X, y)
    q = adjuster.estimator_.predict_proba(X).astype(float)
    proba = adjuster.predict_proba(X)
    # Undo the correction: the odds of the posterior, at priors of 1/2, are those of sigmoids that
    # are proportional to the normalised ones.
    sigmoids = expit(logit(proba) - logit(adjuster.prior_))
    np.testing.assert_allclose(sigmoids / sigmoids.sum(axis=1, keepdims=True), q, atol=1e-5)


# -- composition ----------------------------------------------------------------------------------


def test_adjuster_is_tuned_in_a_grid_search(imbalanced):
    X, y = imbalanced
    search = GridSearchCV(
        PrevalenceAdjuster(toy_model(ResNetOvO), prevalence=TARGET),
        {"estimator__lr": [1e-3, 1e-2]},
        cv=2,
        error_score="raise",
    ).fit(X, y)
    assert search.best_params_["estimator__lr"] in (1e-3, 1e-2)


def test_prior_is_found_inside_searches_and_pipelines(imbalanced):
    X, y = imbalanced
    search = GridSearchCV(make_pipeline(toy_model(ResNetOvO)), {"resnetovo__lr": [1e-3]}, cv=2)
    adjuster = PrevalenceAdjuster(search).fit(X, y)
    np.testing.assert_allclose(adjuster.prior_, 1 / 3, atol=1e-6)


def test_saved_adjuster_predicts_the_same(imbalanced, tmp_path):
    X, y = imbalanced
    adjuster = PrevalenceAdjuster(toy_model(ResNetOvR), prevalence=TARGET).fit(X, y)
    adjuster.estimate_prevalence(X, random_state=0)
    joblib.dump(adjuster, tmp_path / "adjuster.joblib")
    loaded = joblib.load(tmp_path / "adjuster.joblib")
    np.testing.assert_array_equal(loaded.predict_proba(X), adjuster.predict_proba(X))


def test_fitted_model_is_kept_as_it_is(imbalanced):
    X, y = imbalanced
    model = toy_model(ResNetOvO).fit(X, y)
    adjuster = PrevalenceAdjuster(FrozenEstimator(model), prevalence=TARGET).fit(
        X[:5], y[[0, 1, 2, 30, 59]]
    )
    assert adjuster.estimator_.estimator is model


@pytest.mark.parametrize("is_routed", [False, True])
def test_groups_reach_the_model(imbalanced, is_routed):
    """Patients are passed on to the model, with metadata routing and without."""
    X, y = imbalanced
    groups = np.arange(len(y)) // 2
    with config_context(enable_metadata_routing=is_routed):
        model = toy_model(ResNetOvO, early_stopping=True, validation_fraction=0.3)
        adjuster = PrevalenceAdjuster(model).fit(X, y, groups=groups)
    held = adjuster.estimator_.validation_indices_
    rest = np.setdiff1d(np.arange(len(y)), held)
    assert not set(groups[held]) & set(groups[rest])


# -- calibration of scikit-learn ------------------------------------------------------------------


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
def test_calibrated_classifier_takes_folds_by_patient(imbalanced, method):
    X, y = imbalanced
    groups = np.arange(len(y)) // 2
    folds = list(StratifiedGroupKFold(2).split(X, y, groups))
    calibrated = CalibratedClassifierCV(toy_model(ResNetOvO), method=method, cv=folds).fit(X, y)
    assert calibrated.predict_proba(X).shape == (len(y), 3)
    assert len(calibrated.calibrated_classifiers_) == 2


def test_calibrated_classifier_routes_patients_to_folds_and_model(imbalanced):
    """With metadata routing, patients reach the splitter and the model."""
    X, y = imbalanced
    groups = np.arange(len(y)) // 2
    with config_context(enable_metadata_routing=True):
        model = toy_model(ResNetOvO, early_stopping=True, validation_fraction=0.3)
        calibrated = CalibratedClassifierCV(model, cv=StratifiedGroupKFold(2))
        calibrated.fit(X, y, groups=groups)
    for number, (train, _) in enumerate(StratifiedGroupKFold(2).split(X, y, groups)):
        fitted = calibrated.calibrated_classifiers_[number].estimator
        held = train[fitted.validation_indices_]
        assert not set(groups[held]) & set(groups[np.setdiff1d(train, held)])


def test_calibrated_classifier_is_tuned_in_a_grid_search(imbalanced):
    X, y = imbalanced
    calibrated = CalibratedClassifierCV(toy_model(ResNetOvO), method="temperature", cv=2)
    search = GridSearchCV(calibrated, {"estimator__lr": [1e-3, 1e-2]}, cv=2, error_score="raise")
    assert search.fit(X, y).predict_proba(X).shape == (len(y), 3)


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"prevalence": [0.5, 0.5]}, "prevalence=.*shape is \\(2,\\).*one share for each"),
        ({"prevalence": [0.5, 0.6, 0.1]}, "prevalence=.*sum of 1"),
        ({"prevalence": [np.nan, 0.5, 0.5]}, "prevalence=.*numbers from 0 to 1"),
        ({"prevalence": {"Covid": 0.1}}, "prevalence=.*'Covid' is not a class; expected some of"),
        ({"prevalence": {"COVID-19": 1.2}}, "prevalence=.*from 0 to 1"),
        ({"prior": [0, 0.5, 0.5]}, "prior of the classes \\['COVID-19'\\] is 0"),
        ({"prior": {"COVID-19": -1}}, "prior=.*numbers from 0 to 1"),
    ],
)
def test_invalid_shares_raise(parameters, message):
    X, y = sample(100, TRAINING, 0)
    adjuster = PrevalenceAdjuster(LogisticRegression(), **parameters)
    with pytest.raises(ValueError, match=message) as error:
        adjuster.fit(X, y)
    assert "\n" not in str(error.value)


def test_failed_fit_leaves_the_adjuster_as_it_was():
    X, y = sample(100, TRAINING, 0)
    adjuster = PrevalenceAdjuster(LogisticRegression(), prevalence=TARGET).fit(X, y)
    before = adjuster.predict_proba(X)
    adjuster.set_params(prevalence=[1, 1, 1])
    with pytest.raises(ValueError, match="sum of 1"):
        adjuster.fit(X, y)
    np.testing.assert_array_equal(adjuster.predict_proba(X), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"confidence_level": 95}, "confidence_level=95 is invalid"),
        ({"groups": [1, 2]}, "groups has 2 values for 100 images"),
        ({"groups": [1] * 100}, "images of one patient"),
    ],
)
def test_invalid_arguments_of_estimation_raise(arguments, message):
    X, y = sample(100, TRAINING, 0)
    adjuster = PrevalenceAdjuster(LogisticRegression()).fit(X, y)
    with pytest.raises(ValueError, match=message):
        adjuster.estimate_prevalence(X, **arguments)


def test_target_of_0_removes_a_class():
    X, y = sample(100, TRAINING, 0)
    adjuster = PrevalenceAdjuster(LogisticRegression(), prevalence={"COVID-19": 0}).fit(X, y)
    assert (adjuster.predict_proba(X)[:, 0] == 0).all()
    assert "COVID-19" not in adjuster.predict(X)


def test_clone_has_the_same_parameters():
    adjuster = PrevalenceAdjuster(LogisticRegression(), prevalence=TARGET, prior={"Normal": 0.5})
    assert clone(adjuster).get_params()["prior"] == {"Normal": 0.5}
