"""Forest plot of differences between models."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd

from ._display_data import COLOURS, make_axes
from ._metric_names import LOWER_IS_BETTER, metric_name


class ComparisonDisplay:
    """Forest plot: differences between models with their intervals.

    Parameters
    ----------
    differences : DataFrame
        With the columns ``name``, ``difference``, ``low`` and ``high``.
    metric : str
        Name of the metric, for the axis.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes, after :meth:`plot`.
    figure_ : matplotlib.figure.Figure
        Figure, after :meth:`plot`.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import pandas as pd
    >>> from cxr_sklearn.metrics import ComparisonDisplay
    >>> differences = pd.DataFrame(
    ...     {"name": ["a less b"], "difference": [0.1], "low": [0.0], "high": [0.2]}
    ... )
    >>> ComparisonDisplay(differences, "accuracy").plot().ax_.get_xlabel()
    'difference in accuracy'
    """

    def __init__(self, differences: pd.DataFrame, metric: str) -> None:
        self.differences = differences
        self.metric = metric

    @classmethod
    def from_comparison(
        cls, comparison: Any, *, metric: str = "balanced_accuracy", ax: Any = None
    ) -> Self:
        """Draw the differences of a comparison.

        Parameters
        ----------
        comparison : Comparison
            Result of :func:`~cxr_sklearn.evaluation.compare`.
        metric : str, default="balanced_accuracy"
            Metric to draw.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; by default new ones.

        Returns
        -------
        display : ComparisonDisplay
        """
        rows = _rows_of(comparison.frame, metric)
        names = rows["model"] + " less " + rows["reference"]
        labels = rows["class"].astype(str)
        names = names.where(labels == "", names + ", " + labels)
        return cls(rows.assign(name=names), metric).plot(ax=ax)

    @classmethod
    def from_evaluation(
        cls, evaluation: Any, *, metric: str = "balanced_accuracy", ax: Any = None
    ) -> Self:
        """Draw the gains of an evaluation over its baselines.

        Parameters
        ----------
        evaluation : Evaluation
            Result of :func:`~cxr_sklearn.evaluation.cross_evaluate` with baselines.
        metric : str, default="balanced_accuracy"
            Metric to draw.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; by default new ones.

        Returns
        -------
        display : ComparisonDisplay
        """
        if evaluation.gains.empty:
            raise ValueError(
                "evaluation has no baselines; expected a result of cross_evaluate with baselines. "
                "Use from_comparison for the result of compare."
            )
        rows = _rows_of(evaluation.gains, metric)
        return cls(rows.assign(name=rows["model"] + " over " + rows["baseline"]), metric).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the differences.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; by default new ones.

        Returns
        -------
        self : ComparisonDisplay
        """
        ax = make_axes(ax)
        rows = self.differences
        # The first row is drawn at the top.
        position = np.arange(len(rows))[::-1]
        value = rows["difference"].to_numpy(dtype=float)
        limits = np.abs(rows[["low", "high"]].to_numpy(dtype=float).T - value)
        ax.errorbar(
            value, position, xerr=np.nan_to_num(limits), fmt="o", color=COLOURS[0], capsize=3
        )
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_yticks(position, rows["name"].tolist())
        ax.set_ylim(-0.6, len(rows) - 0.4)
        ax.grid(axis="x", alpha=0.3)
        label = f"difference in {metric_name(self.metric)}"
        if self.metric in LOWER_IS_BETTER:
            label += " (negative is better)"
        ax.set_xlabel(label)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


def _rows_of(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    rows = table[table["metric"] == metric]
    if rows.empty:
        known = table["metric"].unique().tolist()
        raise ValueError(f"metric={metric!r} was not compared; expected one of {known}")
    return rows.reset_index(drop=True)
