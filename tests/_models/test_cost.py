"""The cost of a training, against what a training does."""

from __future__ import annotations

import pytest

from cxr_sklearn import ResNetClassifier
from cxr_sklearn._models.cost import training_cost

from ..toys import MODELS, toy

OPTIONS = {"backbone": toy, "weights": None, "image_size": 16, "max_epochs": 3, "random_state": 0}


@pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")
@pytest.mark.parametrize("augment", [False, True, 2])
@pytest.mark.parametrize("kind", MODELS)
def test_cost_is_what_a_training_costs(kind, augment, phantoms):
    """Passes and networks are exact; uses are those of the training, without predictions."""
    X, y = phantoms
    model = kind(**OPTIONS, augment=augment, n_iter_no_change=100)
    cost = training_cost(model, len(X), 3)
    model.fit(X, y)
    assert cost.n_passes == model.cache_info_.misses
    assert cost.n_views == {False: 0, True: 4, 2: 2}[augment]
    n_tails = 1 if kind is ResNetClassifier else len(model.estimators_)
    assert cost.n_tails == n_tails
    if not augment:  # with views there can be more passes than uses
        uses = model.cache_info_.passes_saved + model.cache_info_.misses
        # Each network also predicts some rows once: those it is judged on, or those of a fold.
        assert cost.n_uses < uses <= 1.6 * cost.n_uses
