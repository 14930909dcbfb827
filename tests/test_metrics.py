"""Tables of figures per class."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from cxr_sklearn.metrics import classification_table


def rows_of(table: str) -> dict[str, list[str]]:
    """Return the cells of each line by its first word."""
    return {line.split()[0]: line.split()[1:] for line in table.splitlines()[1:]}


def test_table_marks_what_is_undefined():
    """A class that is never predicted has no precision, and does not spoil the others."""
    rows = rows_of(classification_table(["a", "a", "b"], ["a", "a", "a"]))
    assert rows["a"] == ["0.667", "1.000", "0.800", "2"]
    assert rows["b"] == ["-", "0.000", "0.000", "1"]
    assert rows["mean"] == ["-", "0.500", "0.400", "3"]


def test_a_class_without_true_images_is_named_and_left_out_of_the_means():
    """A test set may lack a class: its figures are undefined, and the means are of the others."""
    y_true, y_pred = ["a", "a", "b", "b"], ["a", "c", "b", "c"]
    table = classification_table(y_true, y_pred)
    rows = rows_of(table)
    assert rows["c"] == ["-", "-", "-", "0"]
    assert rows["mean"] == ["1.000", "0.500", "0.667", "4"]
    assert table.splitlines()[-1] == "not in y_true, and not in the mean: c (2 predicted)"


@pytest.mark.parametrize("seed", range(5))
def test_the_means_are_scikit_learns_over_the_classes_in_y_true(seed):
    """The macro averages over the classes that have images agree with scikit-learn's."""
    rng = np.random.default_rng(seed)
    y_true, y_pred = rng.integers(0, 4, 200), rng.integers(0, 6, 200)
    mean = rows_of(classification_table(y_true, y_pred))["mean"]
    expected = precision_recall_fscore_support(
        y_true, y_pred, labels=range(4), average="macro", zero_division=np.nan
    )
    assert mean == [f"{value:.3f}" for value in expected[:3]] + ["200"]
