"""PyTorch's default type of numbers, which some scripts change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cxr_sklearn import (
    ResNetClassifier,
    ResNetFeatures,
    ResNetOvO,
    ResNetStacking,
    clear_cache,
)

from ..toys import toy

SMALL = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0, "max_epochs": 2}
# Two epochs are enough to have a model, and too few to learn every class.
pytestmark = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")


@pytest.fixture
def double_by_default():
    """Make float64 PyTorch's default type, as some scripts do for the rest of their work."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("trainable", ["head", "layer4", "all"])
@pytest.mark.parametrize("kind", [ResNetClassifier, ResNetOvO, ResNetStacking])
def test_results_do_not_depend_on_the_default_type(kind, trainable, phantoms, request):
    """Networks and tails are float32, and the default type is not changed."""
    X, y = phantoms
    model = kind(**SMALL, trainable=trainable, hidden_layer_sizes=(4,), label_smoothing=0.1)
    expected = model.fit(X, y).predict_proba(X)
    clear_cache()
    request.getfixturevalue("double_by_default")
    np.testing.assert_array_equal(model.fit(X, y).predict_proba(X), expected)
    assert torch.get_default_dtype() == torch.float64


def test_named_backbones_are_float32_with_another_default_type(phantoms, double_by_default):
    """Networks of torchvision are float32 with both engines."""
    options = {"backbone": "resnet18", "weights": None, "image_size": 32}
    for engine in ("auto", "torch"):
        features = ResNetFeatures(**options, engine=engine).fit(phantoms[0])
        assert {p.dtype for p in features.module_.parameters()} == {torch.float32}
        assert features.transform(phantoms[0][:2]).dtype == np.float32
