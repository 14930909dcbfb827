"""Per-class figures under the names that radiology and machine learning use."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from .._utils.values import check_none_missing, check_one_column, elements_of


def classification_table(y_true: Any, y_pred: Any) -> str:
    """Return precision, recall and F1 of each class as text.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_pred : array-like of shape (n_samples,)
        Predicted labels.

    Returns
    -------
    table : str
        A line per class, and one of unweighted means over the classes in `y_true`. Precision is
        the positive predictive value (PPV), recall the sensitivity; a class that is never
        predicted has precision ``-``. A class that is predicted and absent from `y_true` has
        ``-`` for all three, since none of its images are judged. The last line then names such
        classes.

    Raises
    ------
    ValueError
        If a label is missing, or labels are of several types, such as ``1`` and ``"1"``.

    Examples
    --------
    >>> from cxr_sklearn.metrics import classification_table
    >>> print(classification_table(["Normal", "Normal", "COVID-19"], ["Normal"] * 3))
                  precision (PPV)  recall (sensitivity)     F1  images
    COVID-19                    -                 0.000  0.000       1
    Normal                  0.667                 1.000  0.800       2
    mean                        -                 0.500  0.400       3
    """
    y_true, y_pred = _labels("y_true", y_true), _labels("y_pred", y_pred)
    types = sorted({_type(label) for label in [*y_true, *y_pred]})
    if len(types) > 1:
        raise ValueError(
            f"y_true and y_pred hold labels of the types {', '.join(types)}; expected one type: "
            "write them all as strings, say"
        )
    y_true, y_pred = np.array(y_true.tolist()), np.array(y_pred.tolist())
    labels = np.unique(np.concatenate([y_true, y_pred]))
    figures = precision_recall_fscore_support(y_true, y_pred, labels=labels, zero_division=np.nan)
    precision, recall, f1, support = map(np.array, figures)
    f1 = np.nan_to_num(f1)  # undefined where nothing was found
    is_judged = support > 0
    for values in (precision, recall, f1):
        values[~is_judged] = np.nan
    rows = list(zip(map(str, labels), precision, recall, f1, support, strict=True))
    means = [values[is_judged].mean() for values in (precision, recall, f1)]
    rows.append(("mean", *means, support.sum()))
    width = max(12, *(len(row[0]) for row in rows))
    lines = [f"{'':{width}}  precision (PPV)  recall (sensitivity)     F1  images"]
    for name, p, r, f, n in rows:
        lines.append(f"{name:{width}}  {_cell(p):>15}  {_cell(r):>20}  {_cell(f):>5}  {int(n):>6}")
    if not is_judged.all():
        absent = [f"{name} ({(y_pred == name).sum()} predicted)" for name in labels[~is_judged]]
        lines.append(f"not in y_true, and not in the mean: {', '.join(absent)}")
    return "\n".join(lines)


def _labels(name: str, values: Any) -> np.ndarray:
    """Return labels as an array of shape (n,), elements of lists as they are."""
    check_one_column(name, values)
    check_none_missing(name, values, "drop the images without a label")
    return elements_of(values)


def _type(label: Any) -> str:
    """Return the name of a label's type, the same for all numbers and truth values."""
    if isinstance(label, (int, float, np.number, np.bool_)):
        return "number"
    return "str" if isinstance(label, str) else type(label).__name__


def _cell(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"
