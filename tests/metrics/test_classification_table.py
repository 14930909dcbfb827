"""Tests of the table of precision, recall and F1 per class."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from cxr_sklearn.metrics import classification_table


def cells_by_class(table: str) -> dict[str, list[str]]:
    """Return the cells of each line of a table by the first word of the line."""
    cells = {}
    for line in table.splitlines()[1:]:
        name, *values = line.split()
        cells[name] = values
    return cells


def test_undefined_precision_is_a_hyphen():
    """A class that is never predicted has no precision, and the other classes are unaffected."""
    cells = cells_by_class(classification_table(["a", "a", "b"], ["a", "a", "a"]))
    assert cells["a"] == ["0.667", "1.000", "0.800", "2"]
    assert cells["b"] == ["-", "0.000", "0.000", "1"]
    assert cells["mean"] == ["-", "0.500", "0.400", "3"]


def test_class_absent_from_y_true_is_named_and_excluded_from_means():
    """A test set may lack a class. Its scores are undefined, and means are over the others."""
    y_true, y_pred = ["a", "a", "b", "b"], ["a", "c", "b", "c"]
    table = classification_table(y_true, y_pred)
    cells = cells_by_class(table)
    assert cells["c"] == ["-", "-", "-", "0"]
    assert cells["mean"] == ["1.000", "0.500", "0.667", "4"]
    assert table.splitlines()[-1] == "not in y_true, and not in the mean: c (2 predicted)"


@pytest.mark.parametrize("seed", range(5))
def test_means_equal_macro_averages_of_scikit_learn(seed):
    """The means equal scikit-learn's macro averages over the classes in y_true."""
    rng = np.random.default_rng(seed)
    # Two classes are predicted that no image belongs to.
    y_true, y_pred = rng.integers(0, 4, 200), rng.integers(0, 6, 200)
    mean = cells_by_class(classification_table(y_true, y_pred))["mean"]
    precision, recall, f1, _ = precision_recall_fscore_support(
        y_true, y_pred, labels=range(4), average="macro", zero_division=np.nan
    )
    assert mean == [f"{precision:.3f}", f"{recall:.3f}", f"{f1:.3f}", "200"]


@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        (["a", None], ["a", "a"], r"y_true\[1\] is None; expected a value per image"),
        (["a", "a"], ["a", np.nan], r"y_pred\[1\] is nan; expected a value per image"),
        ([1, "a"], [1, 1], "labels of the types number, str; expected labels of one type"),
        ([1, 2], ["1", "2"], "labels of the types number, str; expected labels of one type"),
        (np.array([1, "a"], object), [1, 1], "labels of the types number, str"),
        (np.ones((2, 2)), [1, 1], "y_true has shape"),
    ],
)
def test_missing_labels_and_labels_of_several_types_raise(y_true, y_pred, message):
    """The message is one line. An integer never counts as the string of its digits."""
    with pytest.raises(ValueError, match=message) as caught:
        classification_table(y_true, y_pred)
    assert "\n" not in str(caught.value)


def test_integers_and_floats_of_equal_value_are_one_label():
    """A model may predict floats where the true labels are integers."""
    cells = cells_by_class(classification_table([1, 2], np.array([1.0, 2.0])))
    assert cells["mean"][0] == "1.000"
