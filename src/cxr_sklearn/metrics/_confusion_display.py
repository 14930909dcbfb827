"""Confusion matrix with counts and shares."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay

from ._display_base import TestResultDisplay
from ._display_data import DisplayData, make_axes
from ._figures import confusion_matrices


class ConfusionDisplay(TestResultDisplay):
    """Confusion matrix with counts, and shares of the true class with their intervals.

    The colour shows the share, so that frequent classes do not hide rare ones.

    Attributes
    ----------
    counts : ndarray of shape (n_classes, n_classes)
        Images by true class (rows) and predicted class (columns); means over repeats.
    shares : ndarray of shape (n_classes, n_classes)
        Shares of the true class. NaN for a class without images.
    low, high : ndarray of shape (n_classes, n_classes)
        Limits of the shares.
    ax_ : matplotlib.axes.Axes
        Axes, after :meth:`plot`.
    figure_ : matplotlib.figure.Figure
        Figure, after :meth:`plot`.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from cxr_sklearn.metrics import ConfusionDisplay
    >>> y, p = ["a", "a", "b", "b", "b"], [0.1, 0.6, 0.5, 0.8, 0.9]
    >>> ConfusionDisplay.from_predictions(y, p, groups=[1, 2, 3, 4, 4]).counts.tolist()
    [[1.0, 1.0], [1.0, 2.0]]
    """

    def __init__(self, data: DisplayData) -> None:
        super().__init__(data)
        matrices = confusion_matrices(data.images, data.resamples)
        with np.errstate(invalid="ignore"):
            shares = matrices / matrices.sum(axis=2, keepdims=True)
        self.counts, self.shares = matrices[0], shares[0]
        k = len(data.labels)
        flat = np.nan_to_num(shares).reshape(len(shares), -1)
        low, high = data.band(flat)
        self.low, self.high = low.reshape(k, k), high.reshape(k, k)

    def plot(self, ax: Any = None, *, intervals: bool = True, cmap: str = "Blues") -> Self:
        """Draw the matrix.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; by default new ones.
        intervals : bool, default=True
            Whether to write the intervals of the shares.
        cmap : str, default="Blues"
            Colour map.

        Returns
        -------
        self : ConfusionDisplay
        """
        ax = make_axes(ax)
        matrix = ConfusionMatrixDisplay(self.shares, display_labels=self._data.labels)
        limits = {"vmin": 0.0, "vmax": 1.0}
        matrix.plot(ax=ax, cmap=cmap, colorbar=False, im_kw=limits)
        for position, text in np.ndenumerate(matrix.text_):
            text.set_text(self._cell(position, intervals))
            text.set_linespacing(1.4)
        ax.set(xlabel="predicted class", ylabel="true class")
        ax.set_title(self._data.name)
        return self._finish(ax)

    def _cell(self, position: tuple[int, ...], intervals: bool) -> str:
        count, share = self.counts[position], self.shares[position]
        text = f"{count:.0f}" if count == round(count) else f"{count:.1f}"
        if not np.isfinite(share):
            return text
        text += f"\n{100 * share:.0f} %"
        if intervals:
            text += f"\n{100 * self.low[position]:.0f} to {100 * self.high[position]:.0f}"
        return text
