"""Precision, recall and F1 per class, under the names used in radiology and machine learning."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from .._utils.values import check_none_missing, check_one_column, elements_of

# The least width of the column of class names, in characters.
_MIN_NAME_WIDTH = 12


def classification_table(y_true: Any, y_pred: Any) -> str:
    """Format precision, recall and F1 of each class as a table.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_pred : array-like of shape (n_samples,)
        Predicted labels.

    Returns
    -------
    table : str
        One line per class, and a line with the unweighted means over the classes in `y_true`.
        Precision is the positive predictive value (PPV), and recall is the sensitivity. A class
        that is never predicted has the precision ``-``. A class that is predicted but absent from
        `y_true` has ``-`` in all three columns, because none of its images can be judged. The
        last line then names such classes.

    Raises
    ------
    ValueError
        If a label is missing, or if labels are of several types, such as ``1`` and ``"1"``.

    Examples
    --------
    >>> from cxr_sklearn.metrics import classification_table
    >>> print(classification_table(["Normal", "Normal", "COVID-19"], ["Normal"] * 3))
                  precision (PPV)  recall (sensitivity)     F1  images
    COVID-19                    -                 0.000  0.000       1
    Normal                  0.667                 1.000  0.800       2
    mean                        -                 0.500  0.400       3
    """
    y_true, y_pred = _check_labels("y_true", y_true), _check_labels("y_pred", y_pred)
    types = sorted({_type_name(label) for label in [*y_true, *y_pred]})
    if len(types) > 1:
        raise ValueError(
            f"y_true and y_pred contain labels of the types {', '.join(types)}; expected labels of "
            "one type. Convert all labels to strings."
        )
    # Elements of object arrays become an array of their common type: 1 and 1.0 are one label.
    y_true, y_pred = np.array(y_true.tolist()), np.array(y_pred.tolist())
    labels = np.unique(np.concatenate([y_true, y_pred]))
    precision, recall, f1, n_images = map(
        np.array,
        precision_recall_fscore_support(y_true, y_pred, labels=labels, zero_division=np.nan),
    )
    # A class of which no image is found has the F1 score 0, also if its precision is undefined.
    f1 = np.nan_to_num(f1)
    is_in_truth = n_images > 0
    for column in (precision, recall, f1):
        column[~is_in_truth] = np.nan

    rows = list(zip(map(str, labels), precision, recall, f1, n_images, strict=True))
    means = [column[is_in_truth].mean() for column in (precision, recall, f1)]
    rows.append(("mean", *means, n_images.sum()))
    lines = _table_lines(rows)
    if not is_in_truth.all():
        absent = []
        for label in labels[~is_in_truth]:
            absent.append(f"{label} ({(y_pred == label).sum()} predicted)")
        lines.append(f"not in y_true, and not in the mean: {', '.join(absent)}")
    return "\n".join(lines)


def _check_labels(name: str, values: Any) -> np.ndarray:
    """Return labels as an array of shape (n,), without converting the elements of a list."""
    check_one_column(name, values)
    check_none_missing(name, values, "Drop the images without a label.")
    return elements_of(values)


def _type_name(label: Any) -> str:
    """Return the name of a label's type; all numbers and booleans share one name."""
    if isinstance(label, (int, float, np.number, np.bool_)):
        return "number"
    # numpy's strings are a subclass of Python's.
    if isinstance(label, str):
        return "str"
    return type(label).__name__


def _table_lines(rows: list[tuple[Any, ...]]) -> list[str]:
    """Return the heading and one line per row, aligned in columns."""
    width = max(_MIN_NAME_WIDTH, *(len(row[0]) for row in rows))
    lines = [f"{'':{width}}  precision (PPV)  recall (sensitivity)     F1  images"]
    for name, precision, recall, f1, n_images in rows:
        cells = [
            f"{name:{width}}",
            f"{_format_score(precision):>15}",
            f"{_format_score(recall):>20}",
            f"{_format_score(f1):>5}",
            f"{int(n_images):>6}",
        ]
        lines.append("  ".join(cells))
    return lines


def _format_score(value: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.3f}"
