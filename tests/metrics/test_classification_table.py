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


@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        (["a", None], ["a", "a"], r"y_true\[1\] is None; expected a value per image"),
        (["a", "a"], ["a", np.nan], r"y_pred\[1\] is nan; expected a value per image"),
        ([1, "a"], [1, 1], "labels of the types number, str; expected one type"),
        ([1, 2], ["1", "2"], "labels of the types number, str; expected one type"),
        (np.array([1, "a"], object), [1, 1], "labels of the types number, str"),
        (np.ones((2, 2)), [1, 1], "y_true has shape"),
    ],
)
def test_labels_that_are_missing_or_of_several_types_are_refused(y_true, y_pred, message):
    """Integers and strings were the same label, or an error of numpy."""
    with pytest.raises(ValueError, match=message) as caught:
        classification_table(y_true, y_pred)
    assert "\n" not in str(caught.value)


def test_integers_and_floats_of_one_value_are_one_label():
    """Predictions of a model of the other kind of number count."""
    assert rows_of(classification_table([1, 2], np.array([1.0, 2.0])))["mean"][0] == "1.000"
