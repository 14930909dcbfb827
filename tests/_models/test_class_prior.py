"""Fitted models state the class shares for which their probabilities hold."""

from __future__ import annotations

import numpy as np
import pytest
from imblearn.over_sampling import RandomOverSampler
from scipy.special import expit, logit, softmax

from cxr_sklearn import ResNetClassifier, ResNetOvO, ResNetOvR, ResNetStacking
from cxr_sklearn.datasets import make_chest_phantoms

from ..toys import MODELS, toy

# Models that train for two epochs may not predict every class.
pytestmark = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")

CLASSES = ("COVID-19", "Normal", "Pneumonia")


@pytest.fixture(scope="module")
def imbalanced():
    """Return phantoms with 30, 20 and 10 images of the classes."""
    X, y = make_chest_phantoms(240, image_size=16, random_state=0)
    rows = np.concatenate(
        [np.flatnonzero(y == c)[:n] for c, n in zip(CLASSES, (30, 20, 10), strict=True)]
    )
    return X[rows], y[rows]


def fitted(kind, data, sample_weight=None, **settings):
    settings = {"max_epochs": 2, "random_state": 0} | settings
    model = kind(backbone=toy, weights=None, image_size=16, **settings)
    return model.fit(*data, sample_weight=sample_weight)


SETTINGS = [
    ({"class_weight": "balanced"}, [1 / 3, 1 / 3, 1 / 3]),
    ({"class_weight": None}, [1 / 2, 1 / 3, 1 / 6]),
    ({"class_weight": None, "sampler": RandomOverSampler()}, [1 / 3, 1 / 3, 1 / 3]),
    ({"class_weight": dict(zip(CLASSES, (1, 1, 2), strict=True))}, [3 / 7, 2 / 7, 2 / 7]),
]


@pytest.mark.parametrize("kind", [ResNetClassifier, ResNetOvO, ResNetStacking])
@pytest.mark.parametrize(("settings", "expected"), SETTINGS)
def test_class_weights_and_samplers_are_part_of_the_prior(imbalanced, kind, settings, expected):
    model = fitted(kind, imbalanced, **settings)
    np.testing.assert_allclose(model.class_prior_, expected, atol=1e-6)
    assert model.class_prior_.sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", [ResNetClassifier, ResNetOvO, ResNetStacking])
def test_sample_weight_is_part_of_the_prior(imbalanced, kind):
    weight = np.where(imbalanced[1] == "Pneumonia", 3.0, 1.0)
    model = fitted(kind, imbalanced, weight, class_weight=None)
    np.testing.assert_allclose(model.class_prior_, [3 / 8, 2 / 8, 3 / 8], atol=1e-6)


@pytest.mark.parametrize("kind", MODELS)
def test_prior_is_that_of_the_rows_that_are_trained_on(imbalanced, kind):
    """Rows of the validation part are not part of it."""
    model = fitted(
        kind, imbalanced, class_weight=None, early_stopping=True, validation_fraction=0.3
    )
    trained = np.delete(imbalanced[1], model.validation_indices_)
    shares = [np.mean(trained == label) for label in CLASSES]
    np.testing.assert_allclose(model.class_prior_, shares, atol=1e-6)


@pytest.mark.parametrize("kind", [ResNetClassifier, ResNetOvO, ResNetStacking])
@pytest.mark.parametrize(("settings", "expected"), SETTINGS)
def test_a_model_of_random_labels_predicts_its_prior(kind, settings, expected):
    """Images that say nothing about the labels leave the prior as the best prediction."""
    X, _ = make_chest_phantoms(600, image_size=16, random_state=0)
    y = np.random.default_rng(0).permutation(np.repeat(CLASSES, [300, 200, 100]))
    model = fitted(kind, (X, y), **settings, max_epochs=30)
    new, _ = make_chest_phantoms(300, image_size=16, random_state=1)
    np.testing.assert_allclose(model.predict_proba(new).mean(axis=0), expected, atol=0.05)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"class_weight": "balanced"}, [1 / 2] * 3),
        ({"class_weight": None}, [1 / 2, 1 / 3, 1 / 6]),
        ({"class_weight": None, "sampler": RandomOverSampler()}, [1 / 2] * 3),
    ],
)
def test_networks_per_class_have_a_prior_each(imbalanced, settings, expected):
    model = fitted(ResNetOvR, imbalanced, **settings)
    np.testing.assert_allclose(model.binary_prior_, expected, atol=1e-6)
    np.testing.assert_allclose(model.class_prior_, [1 / 2, 1 / 3, 1 / 6], atol=1e-6)


def test_two_classes_have_one_network_and_one_prior(imbalanced):
    X, y = imbalanced
    rows = y != "Normal"
    model = fitted(ResNetOvR, (X[rows], y[rows]), class_weight=None)
    assert model.binary_prior_ is None
    np.testing.assert_allclose(model.class_prior_, [3 / 4, 1 / 4], atol=1e-6)


def test_inconsistent_ratios_of_pairs_give_the_closest_prior(imbalanced):
    """The prior is the one whose log-odds are closest to those of the pairs, by least squares."""
    model = fitted(ResNetOvO, imbalanced, class_weight=None)
    targets = np.array([0.4, -0.3, 1.0])
    for tail, log_odds in zip(model.estimators_, targets, strict=True):
        tail.class_prior_ = np.array([1 - expit(log_odds), expit(log_odds)])
    found = np.log(model._class_prior(None))
    # The optimum for complete pairs: the mean of the log-odds of a class against all classes.
    scores = np.array([-0.4 + 0.3, 0.4 - 1.0, -0.3 + 1.0]) / 3
    np.testing.assert_allclose(found, np.log(softmax(scores)), atol=1e-9)


def test_ratios_of_a_sampler_differ_between_pairs(imbalanced):
    """A ratio in every pair is no class prior: 1 to 2 twice would be 1 to 4."""
    sampler = RandomOverSampler(sampling_strategy=0.9)
    model = fitted(ResNetOvO, imbalanced, class_weight=None, sampler=sampler)
    odds = [logit(tail.class_prior_[1]) for tail in model.estimators_]
    np.testing.assert_allclose(odds, [np.log(0.9)] * 3, atol=1e-6)
    assert model.class_prior_[0] > model.class_prior_[1] > model.class_prior_[2]
