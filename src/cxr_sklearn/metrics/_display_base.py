"""Base class of the displays of test results."""

from __future__ import annotations

from typing import Any, Self

from ._display_data import DisplayData, from_estimator, from_evaluation, from_predictions


class TestResultDisplay:
    """Base class of displays that are drawn from the test results of one model.

    A subclass computes what it draws in ``__init__``, and draws it in ``plot``.
    """

    __test__ = False  # pytest must not collect a class because of its name

    # Each display has a method ``plot`` with options of its own.
    plot: Any

    def __init__(self, data: DisplayData) -> None:
        self._data = data

    @classmethod
    def from_evaluation(
        cls,
        evaluation: Any,
        *,
        model: str | None = None,
        n_resamples: int = 500,
        ax: Any = None,
        **options: Any,
    ) -> Self:
        """Draw the results of an evaluation.

        Parameters
        ----------
        evaluation : Evaluation
            Result of :func:`~cxr_sklearn.evaluation.evaluate` or
            :func:`~cxr_sklearn.evaluation.cross_evaluate`.
        model : str, default=None
            Name of a model; by default the first one.
        n_resamples : int, default=500
            Number of bootstrap resamples for bands.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; by default new ones.
        **options
            Options of :meth:`plot`.

        Returns
        -------
        display : object
            With the attributes ``ax_`` and ``figure_``.
        """
        return cls(from_evaluation(evaluation, model, n_resamples)).plot(ax=ax, **options)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        groups: Any = None,
        confidence_level: float = 0.95,
        n_resamples: int = 500,
        ax: Any = None,
        **options: Any,
    ) -> Self:
        """Draw the results of a fitted classifier on images that it has not seen.

        Parameters
        ----------
        estimator : classifier
            Fitted, with ``predict_proba``.
        X : array-like
            Test images.
        y : array-like of shape (n_images,)
            True labels.
        groups : array-like of shape (n_images,), default=None
            Patient of each image. Without it, bands count every image as a patient.
        confidence_level : float, default=0.95
            Confidence level of the bands.
        n_resamples : int, default=500
            Number of bootstrap resamples for bands.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; by default new ones.
        **options
            Options of :meth:`plot`.

        Returns
        -------
        display : object
            With the attributes ``ax_`` and ``figure_``.
        """
        data = from_estimator(estimator, X, y, groups, confidence_level, n_resamples)
        return cls(data).plot(ax=ax, **options)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_prob: Any,
        *,
        classes: Any = None,
        groups: Any = None,
        confidence_level: float = 0.95,
        n_resamples: int = 500,
        ax: Any = None,
        **options: Any,
    ) -> Self:
        """Draw the results from labels and probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_images,)
            True labels.
        y_prob : array-like of shape (n_images, n_classes)
            Probabilities. For two classes also those of the second class alone.
        classes : array-like of shape (n_classes,), default=None
            Classes in the order of the columns; by default the sorted labels of `y_true`.
        groups : array-like of shape (n_images,), default=None
            Patient of each image. Without it, bands count every image as a patient.
        confidence_level : float, default=0.95
            Confidence level of the bands.
        n_resamples : int, default=500
            Number of bootstrap resamples for bands.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; by default new ones.
        **options
            Options of :meth:`plot`.

        Returns
        -------
        display : object
            With the attributes ``ax_`` and ``figure_``.
        """
        data = from_predictions(y_true, y_prob, classes, groups, confidence_level, n_resamples)
        return cls(data).plot(ax=ax, **options)

    def _finish(self, ax: Any) -> Self:
        """Set the attributes that scikit-learn's displays have after plot."""
        self.ax_ = ax
        self.figure_ = ax.figure
        return self
