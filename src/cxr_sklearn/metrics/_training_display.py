"""Loss curves of all networks of a fitted model."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ._display_data import MARKERS, line_style, make_axes


class TrainingDisplay:
    """Training and validation loss of every network of a fitted model, by epoch.

    Use it to see whether training has converged, and whether a network memorises its training
    images: its validation loss then increases while its training loss decreases.

    Parameters
    ----------
    curves : dict of str to (train_loss, valid_loss)
        Losses by epoch of each network. The validation loss is None without early stopping.

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
    >>> from cxr_sklearn import ResNetOvO
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> from cxr_sklearn.metrics import TrainingDisplay
    >>> X, y = make_chest_phantoms(30, image_size=32, random_state=0)
    >>> model = ResNetOvO(backbone="resnet18", weights=None, image_size=32, random_state=0)
    >>> display = TrainingDisplay.from_estimator(model.fit(X, y))
    >>> list(display.curves)
    ['COVID-19 / Normal', 'COVID-19 / Pneumonia', 'Normal / Pneumonia']
    """

    def __init__(self, curves: dict[str, tuple[Any, Any]]) -> None:
        self.curves = curves

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Draw the loss curves of a fitted model.

        Parameters
        ----------
        estimator : classifier of cxr_sklearn, or a pipeline that ends with one
            Fitted.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; by default new ones.

        Returns
        -------
        display : TrainingDisplay

        Raises
        ------
        ValueError
            If the estimator has no loss curves.
        """
        if hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        if not hasattr(estimator, "loss_curve_"):
            raise ValueError(
                f"estimator is {type(estimator).__name__}, which has no loss_curve_; expected a "
                "fitted model of cxr_sklearn. Call fit first."
            )
        return cls(_curves_of(estimator)).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; by default new ones.

        Returns
        -------
        self : TrainingDisplay
        """
        ax = make_axes(ax)
        for number, (name, (train, valid)) in enumerate(self.curves.items()):
            style = line_style(number)
            epochs = np.arange(1, len(train) + 1)
            ax.plot(epochs, train, label=f"{name}, training", **style)
            if valid is not None:
                marker = {"marker": MARKERS[number % len(MARKERS)], "markersize": 4}
                epochs = np.arange(1, len(valid) + 1)
                ax.plot(epochs, valid, label=f"{name}, validation", **style, **marker)
        ax.set(xlabel="epoch", ylabel="loss")
        ax.legend()
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


def _curves_of(estimator: Any) -> dict[str, tuple[Any, Any]]:
    """Return the losses of each network by its name."""
    losses, scores = estimator.loss_curve_, estimator.validation_scores_
    if np.ndim(losses[0]) == 0:
        # One network for all classes.
        losses, scores = [losses], None if scores is None else [scores]
        names = [type(estimator).__name__]
    elif hasattr(estimator, "pairs_"):
        names = [f"{first} / {second}" for first, second in estimator.pairs_]
    elif len(losses) == 1:
        names = [str(estimator.classes_[1])]
    else:
        names = [f"{label} / rest" for label in estimator.classes_]
    curves = {}
    for number, name in enumerate(names):
        valid = None
        if scores is not None and scores[number] is not None:
            # Scores are negated losses.
            valid = [-score for score in scores[number]]
        curves[name] = (losses[number], valid)
    return curves
