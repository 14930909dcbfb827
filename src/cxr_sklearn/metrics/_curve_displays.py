"""ROC and precision-recall curves of all classes, with bands by patient."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.metrics import (
    PrecisionRecallDisplay as SklearnPrecisionRecallDisplay,
)
from sklearn.metrics import (
    RocCurveDisplay,
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from ._display_base import TestResultDisplay
from ._display_data import DisplayData, chosen_labels, line_style, make_axes
from ._figures import pool_repeats

# Points of the horizontal axis at which bands are computed.
_GRID = np.linspace(0, 1, 101)


class RocDisplay(TestResultDisplay):
    """ROC curve of each class against all others, with a confidence band.

    Use it to read off the sensitivity that a model has at each specificity. The band comes from a
    bootstrap of patients. Repeats of a cross-validation are pooled.

    Attributes
    ----------
    curves : dict of class to (fpr, tpr, low, high)
        False positive rates from 0 to 1, with the true positive rate and its band.
    ax_ : matplotlib.axes.Axes
        Axes, after :meth:`plot`.
    figure_ : matplotlib.figure.Figure
        Figure, after :meth:`plot`.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from cxr_sklearn.metrics import RocDisplay
    >>> y, p = ["a", "a", "b", "b", "b"], [0.1, 0.6, 0.5, 0.8, 0.9]
    >>> display = RocDisplay.from_predictions(y, p, groups=[1, 2, 3, 4, 4])
    >>> display.ax_.get_xlabel()
    '1 - specificity'
    """

    def __init__(self, data: DisplayData) -> None:
        super().__init__(data)
        pooled = pool_repeats(data.images)
        self.curves = {}
        self._auc = {}
        for code, label in enumerate(data.labels):
            is_positive = pooled.codes == code
            if is_positive.all() or not is_positive.any():
                continue
            score = pooled.proba[0, :, code]
            fpr, tpr, _ = roc_curve(is_positive, score)
            values = _curves_in_resamples(data, pooled.patient, is_positive, score, _roc_points)
            low, high = data.band(values)
            self.curves[label] = (_GRID, np.interp(_GRID, fpr, tpr), low, high)
            self._auc[label] = (fpr, tpr, float(roc_auc_score(is_positive, score)))

    def plot(self, ax: Any = None, *, label: Any = None, band: bool = True) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; by default new ones.
        label : class, default=None
            Draw the curve of this class only.
        band : bool, default=True
            Whether to draw the bands.

        Returns
        -------
        self : RocDisplay
        """
        ax = make_axes(ax)
        for number, name in chosen_labels(self._data.labels, label):
            if name not in self.curves:
                continue
            style = line_style(number)
            fpr, tpr, auc = self._auc[name]
            curve = RocCurveDisplay(fpr=fpr, tpr=tpr, roc_auc=auc, name=str(name))
            curve.plot(ax=ax, curve_kwargs=style)
            if band:
                grid, _, low, high = self.curves[name]
                ax.fill_between(grid, low, high, color=style["color"], alpha=0.2, linewidth=0)
        ax.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
        ax.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.02))
        ax.set_title(self._data.name)
        ax.legend(loc="lower right")
        return self._finish(ax)


class PrecisionRecallDisplay(TestResultDisplay):
    """Precision-recall curve of each class against all others, with a confidence band.

    Use it instead of the ROC curve for rare classes: it shows which share of the positive
    predictions is right. The band comes from a bootstrap of patients. Repeats of a cross-validation
    are pooled.

    Attributes
    ----------
    curves : dict of class to (recall, precision, low, high)
        Recalls from 0 to 1, with the precision and its band.
    ax_ : matplotlib.axes.Axes
        Axes, after :meth:`plot`.
    figure_ : matplotlib.figure.Figure
        Figure, after :meth:`plot`.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from cxr_sklearn.metrics import PrecisionRecallDisplay
    >>> y, p = ["a", "a", "b", "b", "b"], [0.1, 0.6, 0.5, 0.8, 0.9]
    >>> display = PrecisionRecallDisplay.from_predictions(y, p, groups=[1, 2, 3, 4, 4])
    >>> display.ax_.get_xlabel()
    'recall (sensitivity)'
    """

    def __init__(self, data: DisplayData) -> None:
        super().__init__(data)
        pooled = pool_repeats(data.images)
        self.curves = {}
        self._precision = {}
        for code, label in enumerate(data.labels):
            is_positive = pooled.codes == code
            if not is_positive.any():
                continue
            score = pooled.proba[0, :, code]
            precision, recall, _ = precision_recall_curve(is_positive, score)
            average = float(average_precision_score(is_positive, score))
            values = _curves_in_resamples(data, pooled.patient, is_positive, score, _pr_points)
            low, high = data.band(values)
            middle = np.interp(_GRID, recall[::-1], precision[::-1])
            self.curves[label] = (_GRID, middle, low, high)
            self._precision[label] = (precision, recall, average)

    def plot(self, ax: Any = None, *, label: Any = None, band: bool = True) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; by default new ones.
        label : class, default=None
            Draw the curve of this class only.
        band : bool, default=True
            Whether to draw the bands.

        Returns
        -------
        self : PrecisionRecallDisplay
        """
        ax = make_axes(ax)
        for number, name in chosen_labels(self._data.labels, label):
            if name not in self.curves:
                continue
            style = line_style(number)
            precision, recall, average = self._precision[name]
            curve = SklearnPrecisionRecallDisplay(
                precision=precision, recall=recall, average_precision=average, name=str(name)
            )
            curve.plot(ax=ax, curve_kwargs=style)
            if band:
                grid, _, low, high = self.curves[name]
                ax.fill_between(grid, low, high, color=style["color"], alpha=0.2, linewidth=0)
        ax.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)", xlim=(0, 1), ylim=(0, 1.02))
        ax.set_title(self._data.name)
        ax.legend(loc="lower left")
        return self._finish(ax)


def _curves_in_resamples(
    data: DisplayData, patient: np.ndarray, is_positive: np.ndarray, score: np.ndarray, points: Any
) -> np.ndarray:
    """Return the curve at the points of the grid in every row of weights."""
    order = np.argsort(-score, kind="stable")
    ordered, positive = score[order], is_positive[order]
    # Images of equal scores are reached at once.
    is_last = np.r_[ordered[1:] != ordered[:-1], True]
    curves = np.empty((len(data.resamples.weights), len(_GRID)))
    for rows, weights in data.resamples.blocks(len(order)):
        weight = weights[:, patient[order]].astype(np.float64)
        true = np.cumsum(weight * positive, axis=1)[:, is_last]
        false = np.cumsum(weight * ~positive, axis=1)[:, is_last]
        for offset in range(len(weight)):
            curves[rows.start + offset] = points(true[offset], false[offset])
    return curves


def _roc_points(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Return sensitivities at the false positive rates of the grid."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.interp(_GRID, np.r_[0, false / false[-1]], np.r_[0, true / true[-1]])


def _pr_points(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Return precisions at the recalls of the grid."""
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = true / (true + false)
        recall = true / true[-1]
    # The first images may have no weight, so that the precision is undefined there.
    known = np.isfinite(precision)
    return np.interp(_GRID, recall[known], precision[known])
