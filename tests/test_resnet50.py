"""The real ResNet50: what the toys stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score
from sklearn.utils.estimator_checks import estimator_checks_generator

from cxr_sklearn import (
    ResNetClassifier,
    ResNetFeatures,
    ResNetOvO,
    ResNetOvR,
    ResNetStacking,
    clear_cache,
)
from cxr_sklearn.datasets import make_chest_phantoms

from .test_contracts import PAPER_COUNTS

pytestmark = pytest.mark.slow

MODELS = (ResNetClassifier, ResNetOvR, ResNetOvO, ResNetStacking)
REAL = {"weights": None, "image_size": 64, "random_state": 0}


@pytest.fixture(scope="module", autouse=True)
def _two_threads():
    """These tests run alone, and ResNet50 gains from a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def paper():
    """Return phantoms of 64 pixels in the class proportions of the paper."""
    return make_chest_phantoms(188, weights=PAPER_COUNTS, image_size=64, random_state=0)


@pytest.mark.parametrize("trainable", ["head", "layer4"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_papers_two_failures_are_impossible(kind, trainable, paper):
    """The trunk keeps every bit, and every class is recalled, at the paper's imbalance."""
    X, y = paper
    features = ResNetFeatures(**REAL, trainable=trainable).fit(X)
    before = {k: v.clone() for k, v in features.module_.state_dict().items()}
    activations = features.transform(X)
    epochs = 20 if trainable == "head" else 3
    options = {"cv": 2} if kind is ResNetStacking else {}
    model = kind(**REAL, trainable=trainable, max_epochs=epochs, lr=1e-3, **options).fit(X, y)
    after = model.trunk_.module_.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    clear_cache()
    np.testing.assert_array_equal(model.trunk_.transform(X), activations)
    recall = recall_score(y, model.predict(X), average=None)
    assert recall.min() > 0.3, recall


@pytest.mark.parametrize("kind", MODELS)
def test_a_hard_scarce_class_is_recalled(kind):
    """Also where only the scarce class is hard: faint opacities among clear classes."""
    X, y = make_chest_phantoms(
        150, weights={"Normal": 4, "Pneumonia": 1}, image_size=64, random_state=0
    )
    # the frequent third class is a normal film of inverted polarity, which nothing mistakes
    inverted = 255 - X[y == "Normal"][:60]
    X = np.r_[X, inverted]
    y = np.r_[y, ["Inverted"] * len(inverted)]
    model = kind(**REAL, hidden_layer_sizes=(64,), max_epochs=30).fit(X, y)
    recall = recall_score(y, model.predict(X), average=None)
    assert recall.min() > 0.3, recall


def test_default_settings_pass_the_common_checks():
    """ResNet50 itself, at 32 pixels, keeps scikit-learn's contract."""
    model = ResNetOvO(weights=None, image_size=32, max_epochs=10)
    mini_batches = dict.fromkeys(
        (
            "check_sample_weight_equivalence_on_dense_data",
            "check_sample_weight_equivalence_on_sparse_data",
        ),
        "mini-batches",
    )
    n_checks = 0
    for estimator, check in estimator_checks_generator(model):
        name = getattr(check, "func", check).__name__
        if name in mini_batches or "class_weight" in name:
            continue  # the latter: the default checks below run it on a toy
        try:
            check(estimator)
        except pytest.skip.Exception:  # a check for packages that are not installed
            continue
        n_checks += 1
    assert n_checks > 40
