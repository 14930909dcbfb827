"""PrevalenceAdjuster moves probabilities to another prevalence, and estimates it."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from cxr_sklearn import ResNetOvO, ResNetOvR
from cxr_sklearn.calibration import PrevalenceAdjuster
from cxr_sklearn.calibration._em import em_prevalence

from ..toys import MODELS
from .gaussians import (
    CENTRES,
    CLASSES,
    TARGET,
    TRAINING,
    ExactClassifier,
    ExactNetworks,
    exact_posterior,
    sample,
    shares_of,
)
from .toy_models import toy_model

# Models that train for two epochs may not predict every class.
pytestmark = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")


def expected_failures(adjuster):
    """Name the checks that mini-batch training cannot satisfy."""
    if isinstance(adjuster.estimator, LogisticRegression):
        return {}
    reason = "a row of weight 2 and two rows of weight 1 fall into other mini-batches"
    return {
        "check_sample_weight_equivalence_on_dense_data": reason,
        "check_sample_weight_equivalence_on_sparse_data": reason,
    }


@parametrize_with_checks(
    [
        PrevalenceAdjuster(LogisticRegression()),
        *(PrevalenceAdjuster(toy_model(kind, max_epochs=10)) for kind in MODELS),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_checks_pass(estimator, check):
    check(estimator)


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


# The priors of networks that are trained with balanced classes, with none, and with others.
NETWORK_PRIORS = [(0.5, 0.5, 0.5), tuple(TRAINING), (0.3, 0.4, 0.6)]


def assert_exact_at_target(adjuster):
    X, _ = sample(300, TRAINING, 1)
    np.testing.assert_allclose(adjuster.predict_proba(X), exact_posterior(X, TARGET), atol=1e-9)


@pytest.mark.parametrize("binary_prior", NETWORK_PRIORS)
def test_networks_per_class_have_an_exact_correction(binary_prior):
    X, y = sample(300, TRAINING, 0)
    assert_exact_at_target(
        PrevalenceAdjuster(ExactNetworks(binary_prior), prevalence=TARGET).fit(X, y)
    )


@pytest.mark.parametrize("prior", [[1 / 3] * 3, TRAINING])
def test_naive_corrections_of_networks_per_class_are_wrong(prior):
    """Taking the normalised sigmoids for probabilities at one class prior gives wrong results."""
    X, y = sample(300, TRAINING, 0)
    # An explicit prior replaces the priors of the networks.
    adjuster = PrevalenceAdjuster(ExactNetworks(), prevalence=TARGET, prior=prior).fit(X, y)
    with pytest.raises(AssertionError):
        assert_exact_at_target(adjuster)
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


def test_dict_leaves_other_classes_in_proportion():
    X, y = sample(1000, TRAINING, 0)
    adjuster = PrevalenceAdjuster(LogisticRegression(), prevalence={"COVID-19": 0.1}).fit(X, y)
    shares = shares_of(y)
    assert adjuster.prevalence_[0] == 0.1
    assert adjuster.prevalence_[1] / adjuster.prevalence_[2] == pytest.approx(shares[1] / shares[2])


# -- estimation -----------------------------------------------------------------------------------


def assert_prevalence_is_target(estimate):
    """Compare with the truth, for 20,000 images.

    The standard error of a share is at most sqrt(0.7 · 0.3 / 20,000) = 0.003 if the classes are
    known. They overlap, which makes it about twice as great; the tolerance is 3 of these.
    """
    np.testing.assert_allclose(estimate, TARGET, atol=0.02)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("estimator", [ExactClassifier(), ExactNetworks()])
def test_estimated_prevalence_is_that_of_the_unlabelled_images(estimator, seed):
    X, y = sample(500, TRAINING, seed)
    new, _ = sample(20_000, TARGET, 100 + seed)
    adjuster = PrevalenceAdjuster(estimator).fit(X, y)
    adjuster.estimate_prevalence(new, n_resamples=10, random_state=seed)
    assert_prevalence_is_target(adjuster.prevalence_)


def test_wrong_estimates_are_rejected_by_the_same_assertion():
    """The usual mistakes: no division by the prior, and the mean of the probabilities."""
    new, _ = sample(20_000, TARGET, 100)
    proba = exact_posterior(new, TRAINING)
    undivided = em_prevalence(proba, np.ones(3), np.ones((1, len(new))))[0]
    for wrong in (undivided, proba.mean(axis=0)):
        with pytest.raises(AssertionError):
            assert_prevalence_is_target(wrong)


def assert_log_loss_is_best(labels, X, proba):
    best = log_loss(labels, exact_posterior(X, TARGET))
    assert log_loss(labels, proba) < best + 0.002


def test_adjustment_to_the_estimate_improves_the_log_loss():
    X, y = sample(500, TRAINING, 0)
    new, labels = sample(5000, TARGET, 1)
    adjuster = PrevalenceAdjuster(ExactClassifier()).fit(X, y)
    adjuster.estimate_prevalence(new, n_resamples=10, random_state=0)
    before = exact_posterior(new, TRAINING)
    adjusted = adjuster.predict_proba(new)
    assert log_loss(labels, adjusted) < log_loss(labels, before) - 0.05
    assert_log_loss_is_best(labels, new, adjusted)
    undivided = before * adjuster.prevalence_
    undivided /= undivided.sum(axis=1, keepdims=True)
    for wrong in (before, undivided):
        with pytest.raises(AssertionError):
            assert_log_loss_is_best(labels, new, wrong)


def covered(n_studies, by_patient, n_patients=150):
    """Return the share of studies whose interval contains the prevalence, for each class."""
    adjuster = PrevalenceAdjuster(ExactClassifier()).fit(np.zeros((3, 1)), CLASSES)
    is_covered = []
    for seed in range(n_studies):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(n_patients), 4)
        codes = rng.choice(3, size=n_patients, p=TRAINING)[patient]
        # The images of a patient look alike.
        shared = rng.normal(size=n_patients)[patient]
        x = CENTRES[codes] + np.sqrt(0.5) * (shared + rng.normal(size=len(codes)))
        adjuster.estimate_prevalence(
            x[:, None], groups=patient if by_patient else None, n_resamples=200, random_state=seed
        )
        low, high = adjuster.prevalence_interval_
        is_covered.append((low <= TRAINING) & (high >= TRAINING))
    return np.mean(is_covered, axis=0)


def test_interval_contains_the_prevalence_at_about_the_nominal_level():
    """At a level of 95 %, fewer than 87 of 100 intervals cover with a probability of 0.0004."""
    assert (covered(100, by_patient=True) >= 0.87).all()
    assert (covered(100, by_patient=False) < 0.87).all()


@pytest.mark.slow
def test_interval_of_the_prevalence_covers_by_patient_only():
    """The limits are 95 % and 3 standard errors of the simulation; images alone cover less."""
    by_patient = covered(500, by_patient=True)
    assert (by_patient >= 0.92).all()
    assert (by_patient <= 0.98).all()
    assert (covered(500, by_patient=False) < 0.85).all()


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
    adjuster = PrevalenceAdjuster(ExactClassifier()).fit(X, y)
    adjuster.estimate_prevalence(new, n_resamples=50, random_state=0)
    assert adjuster.prevalence_[0] < 0.02
    assert np.isfinite(adjuster.predict_proba(new)).all()


# -- models of this package -----------------------------------------------------------------------


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
def test_patients_reach_the_model(imbalanced, is_routed):
    """Patients are passed on to the model, with metadata routing and without."""
    X, y = imbalanced
    groups = np.arange(len(y)) // 2
    with config_context(enable_metadata_routing=is_routed):
        model = toy_model(ResNetOvO, early_stopping=True, validation_fraction=0.3)
        adjuster = PrevalenceAdjuster(model).fit(X, y, groups=groups)
    held = adjuster.estimator_.validation_indices_
    rest = np.setdiff1d(np.arange(len(y)), held)
    assert not set(groups[held]) & set(groups[rest])


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
        ({"confidence_level": "high"}, "confidence_level='high' is invalid"),
        ({"n_resamples": 0}, "n_resamples=0 is invalid"),
        ({"n_resamples": 1.5}, "n_resamples=1.5 is invalid"),
        ({"groups": [1, None] * 50}, "groups"),
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


def test_prediction_is_the_most_probable_class():
    X, y = sample(300, TRAINING, 0)
    adjuster = PrevalenceAdjuster(LogisticRegression(), prevalence=TARGET).fit(X, y)
    expected = CLASSES[adjuster.predict_proba(X).argmax(axis=1)]
    np.testing.assert_array_equal(adjuster.predict(X), expected)
    assert (adjuster.predict(X) != adjuster.estimator_.predict(X)).any()


def test_one_row_is_predicted_but_gives_no_prevalence():
    X, y = sample(300, TRAINING, 0)
    adjuster = PrevalenceAdjuster(LogisticRegression(), prevalence=TARGET).fit(X, y)
    np.testing.assert_allclose(adjuster.predict_proba(X[:1]), adjuster.predict_proba(X)[:1])
    with pytest.raises(ValueError, match="images of one patient; expected 2 patients or more"):
        adjuster.estimate_prevalence(X[:1])


@pytest.mark.parametrize("method", ["predict", "predict_proba", "estimate_prevalence"])
def test_unfitted_adjuster_raises(method):
    with pytest.raises(NotFittedError):
        getattr(PrevalenceAdjuster(LogisticRegression()), method)(np.zeros((3, 1)))


def test_frozen_model_with_images_of_some_classes_needs_a_prevalence():
    """The shares of y stand for the training set only if all classes are in it."""
    X, y = sample(300, TRAINING, 0)
    frozen = FrozenEstimator(ExactClassifier().fit(X, y))
    few = y != "COVID-19"
    with pytest.raises(ValueError, match=r"prevalence=None is invalid.*'COVID-19'"):
        PrevalenceAdjuster(frozen).fit(X[few], y[few])
    adjuster = PrevalenceAdjuster(frozen, prevalence=TARGET).fit(X[few], y[few])
    np.testing.assert_allclose(adjuster.predict_proba(X), exact_posterior(X, TARGET), atol=1e-12)
    with pytest.raises(ValueError, match="y is invalid: 'Covid' is not a class"):
        PrevalenceAdjuster(frozen).fit(X, np.where(few, y, "Covid"))


def test_adjuster_is_the_last_step_of_a_pipeline():
    X, y = sample(300, TRAINING, 0)
    pipeline = make_pipeline(
        StandardScaler(), PrevalenceAdjuster(LogisticRegression(), prevalence=TARGET)
    )
    assert pipeline.fit(X, y).predict_proba(X).shape == (300, 3)
    pipeline[-1].estimate_prevalence(pipeline[0].transform(X), n_resamples=10)
    assert pipeline[-1].prevalence_interval_.shape == (2, 3)


def test_same_random_state_gives_the_same_interval():
    X, y = sample(300, TRAINING, 0)
    adjuster = PrevalenceAdjuster(LogisticRegression()).fit(X, y)
    first, second = (
        adjuster.estimate_prevalence(X, n_resamples=20, random_state=0).prevalence_interval_
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
