"""Internal splits that cannot be made."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_sklearn import ResNetStacking
from cxr_sklearn._models.splits import stacking_folds, validation_mask

from ..toys import toy

SMALL = {"backbone": toy, "weights": None, "image_size": 16, "random_state": 0, "max_epochs": 2}


def test_validation_part_without_a_class_in_training_raises():
    """The message for a fraction that is too large has three remedies."""
    codes = np.array([0] * 20 + [1, 1, 2, 2, 3, 3, 4, 4])
    with pytest.raises(ValueError, match=r"^validation_fraction=0\.9: no split by group") as caught:
        validation_mask(codes, np.arange(28), 0.9, list("abcde"), seed=0)
    assert "Reduce the fraction, add patients, or pass early_stopping=False." in str(caught.value)


def test_folds_without_a_class_in_training_raise():
    """Three patients, each without one of three classes, cannot be divided into training parts."""
    groups = np.repeat([0, 1, 2], 20)
    codes = np.array([0, 1] * 10 + [1, 2] * 10 + [2, 0] * 10)
    with pytest.raises(ValueError, match=r"^cv=5: no division into folds by group") as caught:
        stacking_folds(codes, groups, np.zeros(60, bool), 5, list("abc"), seed=0)
    assert "more patients of the scarcest class" in str(caught.value)


def test_listed_folds_without_a_class_in_training_raise(phantoms):
    """The message names the class of which no row is in the training part."""
    X, y = phantoms
    test = np.flatnonzero(y == "Normal")
    rest = np.flatnonzero(y != "Normal")
    with pytest.raises(ValueError, match="no training row of class 'Normal'"):
        ResNetStacking(**SMALL, cv=[(rest, test), (test, rest)]).fit(X, y)


def test_listed_folds_that_test_a_row_twice_raise(phantoms):
    """Out-of-fold outputs need folds that test each row once."""
    X, y = phantoms
    rows = np.arange(len(X))
    with pytest.raises(ValueError, match="do not contain every row once; expected a partition"):
        ResNetStacking(**SMALL, cv=[(rows[:40], rows[40:]), (rows[20:], rows[:30])]).fit(X, y)
