"""Reliability diagrams of all classes, with intervals by patient."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.calibration import CalibrationDisplay

from ._display_base import TestResultDisplay
from ._display_data import MARKERS, DisplayData, chosen_labels, line_style, make_axes
from ._figures import pool_repeats
from ._intervals import BCA
from ._reliability import reliability_figures

TOP_LABEL = "predicted class"


class ReliabilityDisplay(TestResultDisplay):
    """Observed frequency by predicted probability, per class, with intervals by patient.

    Use it to see whether, among the images with a predicted probability of 80 % for a class, 80 %
    belong to this class. Images of similar probability are grouped into at most 10 bins with about
    the same number of images.

    Attributes
    ----------
    curves : dict of class to list of dict
        Bins with the keys "predicted", "observed", "low", "high", "n_images" and "n_patients". The
        key "predicted class" contains the frequency with which the prediction is correct.
    ax_ : matplotlib.axes.Axes
        Axes, after :meth:`plot`.
    figure_ : matplotlib.figure.Figure
        Figure, after :meth:`plot`.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from cxr_sklearn.metrics import ReliabilityDisplay
    >>> rng = np.random.default_rng(0)
    >>> p = rng.uniform(size=200)
    >>> y = np.where(rng.uniform(size=200) < p, "sick", "healthy")
    >>> display = ReliabilityDisplay.from_predictions(y, 1 - p, classes=["sick", "healthy"])
    >>> len(display.curves["sick"])
    10
    """

    def __init__(self, data: DisplayData) -> None:
        super().__init__(data)
        pooled = pool_repeats(data.images)
        proba = pooled.proba[0]
        self.curves: dict[Any, list[dict[str, Any]]] = {}
        for code, label in enumerate(data.labels):
            self.curves[label] = self._bins((pooled.codes == code).astype(float), proba[:, code])
        is_correct = (proba.argmax(axis=1) == pooled.codes).astype(float)
        self.curves[TOP_LABEL] = self._bins(is_correct, proba.max(axis=1))

    def _bins(self, outcome: np.ndarray, probability: np.ndarray) -> list[dict[str, Any]]:
        data = self._data
        found = reliability_figures(
            data.resamples,
            pool_repeats(data.images).patient,
            outcome,
            probability,
            level=data.level,
            method=BCA,
            n_repeats=len(data.images.proba),
        )
        return list(found)

    def plot(self, ax: Any = None, *, label: Any = None) -> Self:
        """Draw the diagram.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; by default new ones.
        label : class, default=None
            Draw this class only; "predicted class" draws how often the prediction is correct.

        Returns
        -------
        self : ReliabilityDisplay
        """
        ax = make_axes(ax)
        choices = [*self._data.labels, TOP_LABEL]
        # All classes are drawn by default, but not the predicted class, which mixes them.
        drawn = (
            chosen_labels(choices, label) if label is not None else list(enumerate(choices[:-1]))
        )
        for number, name in drawn:
            bins = self.curves[name]
            predicted = np.array([one["predicted"] for one in bins])
            observed = np.array([one["observed"] for one in bins])
            limits = np.array([[one["low"], one["high"]] for one in bins])
            style = line_style(number) | {"marker": MARKERS[number % len(MARKERS)]}
            curve = CalibrationDisplay(observed, predicted, predicted, estimator_name=str(name))
            curve.plot(ax=ax, ref_line=False, **style)
            distances = np.abs(limits.T - observed)
            ax.errorbar(
                predicted, observed, yerr=distances, fmt="none", color=style["color"], capsize=2
            )
        ax.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":", label="calibrated")
        ax.set(xlabel="predicted probability", ylabel="observed frequency")
        ax.set(xlim=(0, 1), ylim=(0, 1.02))
        ax.set_title(self._data.name)
        ax.legend(loc="upper left")
        return self._finish(ax)
