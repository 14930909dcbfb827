"""The rows that the networks of one fit share."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_sklearn import ResNetOvO

from ..toys import toy

SMALL = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0, "max_epochs": 2}
# Two epochs are enough to have a model, and too few to learn every class.
pytestmark = pytest.mark.filterwarnings("ignore::cxr_sklearn.exceptions.NeverPredictedWarning")


def test_fitted_tails_have_no_training_rows(phantoms):
    """A fitted tail cannot be fitted again, and its rows are deleted."""
    X, y = phantoms
    tail = ResNetOvO(**SMALL).fit(X, y).estimators_[0]
    with pytest.raises(RuntimeError, match="Fit the model to which it belongs"):
        _ = tail.rows.blueprint
    with pytest.raises(RuntimeError, match=r"Pass trunk_\.transform\(X\)"):
        tail.rows.take(np.arange(3))
