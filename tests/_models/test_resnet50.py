"""The real ResNet50: what the toys stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score
from sklearn.utils.estimator_checks import check_estimator

from cxr_sklearn import (
    ResNetClassifier,
    ResNetFeatures,
    ResNetOvO,
    ResNetStacking,
    clear_cache,
)
from cxr_sklearn.datasets import make_chest_phantoms

from ..toys import MODELS
from .test_common import expected_failures
from .test_contracts import PAPER_COUNTS

pytestmark = pytest.mark.slow

REAL = {"weights": None, "image_size": 64, "random_state": 0}


@pytest.fixture(scope="module", autouse=True)
def _two_threads():
    """Use both cores: these tests run alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def paper():
    """Return phantoms of 64 pixels in the class proportions of the paper."""
    return make_chest_phantoms(188, weights=PAPER_COUNTS, image_size=64, random_state=0)


@pytest.mark.parametrize(
    ("kind", "trainable"),
    [*((kind, "head") for kind in MODELS), (ResNetClassifier, "layer4"), (ResNetOvO, "layer4")],
)
def test_the_papers_two_failures_are_impossible(kind, trainable, paper):
    """The trunk keeps every bit, and every class is recalled, at the paper's imbalance."""
    X, y = paper
    features = ResNetFeatures(**REAL, trainable=trainable).fit(X)
    before = {k: v.clone() for k, v in features.module_.state_dict().items()}
    activations = features.transform(X)
    epochs = 30 if trainable == "head" else 8
    model = kind(**REAL, trainable=trainable, max_epochs=epochs).fit(X, y)
    after = model.trunk_.module_.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    clear_cache()
    np.testing.assert_array_equal(model.trunk_.transform(X), activations)
    recall = recall_score(y, model.predict(X), average=None)
    # networks of random features see little here, and stacking, judged out of fold, knows it
    assert recall.min() > (0.1 if kind is ResNetStacking else 0.5), recall


@pytest.mark.parametrize("kind", MODELS)
def test_a_hard_scarce_class_is_recalled(kind):
    """Also where only the scarce class is hard: faint opacities among clear classes."""
    X, y = make_chest_phantoms(
        150, weights={"Normal": 4, "Pneumonia": 1}, image_size=64, random_state=0
    )
    # the frequent third class is a normal xray of inverted polarity, which nothing mistakes
    inverted = 255 - X[y == "Normal"][:60]
    X = np.r_[X, inverted]
    y = np.r_[y, ["Inverted"] * len(inverted)]
    model = kind(**REAL, hidden_layer_sizes=(64,), max_epochs=30).fit(X, y)
    recall = recall_score(y, model.predict(X), average=None)
    # networks of random features see little here, and stacking, judged out of fold, knows it
    assert recall.min() > (0.1 if kind is ResNetStacking else 0.5), recall


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.EstimatorCheckFailedWarning")
def test_the_default_backbone_passes_the_common_checks():
    """ResNet50 itself, at 32 pixels, keeps scikit-learn's contract."""
    model = ResNetOvO(weights=None, image_size=32, max_epochs=10)
    results = check_estimator(model, expected_failed_checks=expected_failures(model), on_fail=None)
    failed = [r["check_name"] for r in results if r["status"] == "failed"]
    assert failed == []
    assert sum(r["status"] == "passed" for r in results) > 50
