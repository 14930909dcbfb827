"""Decision curves: net benefit by threshold, with bands by patient."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ._decision_curve import THRESHOLDS, benefit_of_images
from ._display_base import TestResultDisplay
from ._display_data import DisplayData, chosen_labels, line_style, make_axes
from ._figures import pool_repeats


class DecisionCurveDisplay(TestResultDisplay):
    """Net benefit of acting on the probability of a class, compared with acting on all or none.

    Use it to see for which thresholds a model helps to decide: where its curve lies above the two
    others.

    Attributes
    ----------
    curves : dict of class to (thresholds, benefit, low, high)
        Net benefit with its band.
    benefit_of_all : dict of class to ndarray
        Net benefit of acting on all images.
    ax_ : matplotlib.axes.Axes
        Axes, after :meth:`plot`.
    figure_ : matplotlib.figure.Figure
        Figure, after :meth:`plot`.

    See Also
    --------
    net_benefit : The figure, with its reference.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from cxr_sklearn.metrics import DecisionCurveDisplay
    >>> y, p = ["a", "a", "b", "b", "b"], [0.1, 0.6, 0.5, 0.8, 0.9]
    >>> display = DecisionCurveDisplay.from_predictions(y, p, label="b")
    >>> sorted(display.curves)
    ['a', 'b']
    """

    def __init__(self, data: DisplayData) -> None:
        super().__init__(data)
        pooled = pool_repeats(data.images)
        weight = data.resamples.sums(np.ones(pooled.n_images), pooled.patient)[:, None]
        odds = THRESHOLDS / (1 - THRESHOLDS)
        self.curves, self.benefit_of_all = {}, {}
        for code, label in enumerate(data.labels):
            outcome = (pooled.codes == code).astype(float)
            benefits = benefit_of_images(outcome, pooled.proba[0, :, code], THRESHOLDS)
            values = data.resamples.sums(benefits, pooled.patient) / weight
            self.curves[label] = (THRESHOLDS, values[0], *data.band(values))
            share = outcome.mean()
            self.benefit_of_all[label] = share - (1 - share) * odds

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
        self : DecisionCurveDisplay
        """
        ax = make_axes(ax)
        highest = 0.0
        for number, name in chosen_labels(self._data.labels, label):
            style = line_style(number)
            thresholds, benefit, low, high = self.curves[name]
            ax.plot(thresholds, benefit, label=str(name), **style)
            if band:
                ax.fill_between(thresholds, low, high, color=style["color"], alpha=0.2, linewidth=0)
            thin = {"color": style["color"], "linewidth": 0.8, "alpha": 0.7}
            ax.plot(thresholds, self.benefit_of_all[name], label=f"act on all, {name}", **thin)
            highest = max(highest, float(benefit.max()), float(high.max()))
        ax.axhline(0, color="black", linewidth=0.8, label="act on none")
        # Acting on all images has a large loss at high thresholds, which is not of interest.
        ax.set(xlim=(0, 1), ylim=(-0.25 * highest - 0.01, 1.1 * highest + 0.01))
        ax.set(xlabel="threshold probability", ylabel="net benefit")
        ax.set_title(self._data.name)
        ax.legend(loc="upper right")
        return self._finish(ax)
