"""Evaluation: results with a summary, files and errors to look at."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import pandas as pd

from .._utils.files import replace_file
from ..metrics._decision_curve import CostThreshold, cost_threshold
from . import _json, _text
from ._results import Results


class Evaluation(Results):
    """Figures of one or several classifiers, with intervals by patient.

    Made by :func:`evaluate` and :func:`cross_evaluate`. Print it for a summary. Use its tables for
    a publication, and :func:`compare` for differences between models.

    Attributes
    ----------
    models : list of str
        Names of the models.
    baselines : list of str
        Names of the models that do not see the lungs. They are rows of the tables as well.
    classes : ndarray of shape (n_classes,)
        Classes.
    n_images, n_patients : int
        Number of test images and of their patients. Without patients, `n_patients` is the number of
        images.
    overall : DataFrame
        Figures of all classes together: ``model``, ``metric``, ``value``, ``low``, ``high``,
        ``method``, ``n_images``, ``n_patients``.
    per_class : DataFrame
        The same with the column ``class``.
    calibration : DataFrame
        Smooth calibration error, slope and intercept per class, the smooth calibration error of the
        predicted class, and the two parts of the log loss: ``calibration_loss``, which
        recalibration removes, and ``refinement_loss``.
    confusion : DataFrame
        A row per true and predicted class: ``count``, and ``share`` of the true class with its
        interval.
    subsets : DataFrame
        Figures of each source and subgroup, and their difference to those of the other images:
        ``excludes_0`` states whether the interval of the difference excludes 0. Empty without
        sources and subgroups.
    reliability : DataFrame
        Observed frequency by groups of similar probability, per class, and of the predicted class.
    decision_curves : DataFrame
        Net benefit per class at thresholds from 1 % to 99 %.
    gains : DataFrame
        Differences between each model and each baseline on the same images. Empty without
        baselines.
    transfer : DataFrame
        Figures on sources left out (external), on folds of all sources (internal), and their
        difference. Empty unless the sources were left out one by one.
    notes : list of str
        Sentences that a reader must know, the most important first.
    predictions : DataFrame
        One row per model, repeat and image. ``margin`` is the probability of the predicted class
        minus that of the true class or, if the prediction is correct, minus that of the second most
        probable class.

    See Also
    --------
    compare : Differences between models, with p-values.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from cxr_sklearn.evaluation import evaluate
    >>> X, y = load_iris(return_X_y=True)
    >>> patients = [row // 2 for row in range(len(X))]
    >>> model = LogisticRegression(max_iter=1000).fit(X[::2], y[::2])
    >>> evaluation = evaluate(model, X[1::2], y[1::2], groups=patients[1::2], random_state=0)
    >>> evaluation.n_images, evaluation.n_patients
    (75, 75)
    >>> row = evaluation.overall.query("metric == 'roc_auc_ovr'").iloc[0]
    >>> bool(row["low"] < row["value"] < row["high"])
    True
    """

    def worst(self, n: int = 10, model: str | None = None) -> pd.DataFrame:
        """Return the most confident errors.

        Look at these images first: wrong labels and shortcuts are often found among them.

        Parameters
        ----------
        n : int, default=10
            Number of images.
        model : str, default=None
            Name of a model; by default the first one.

        Returns
        -------
        errors : DataFrame
            Rows of `predictions`, the greatest margin first.
        """
        chosen = self._model_name(model)
        predictions = self._predictions_of(chosen, 0)
        errors = predictions[~predictions["correct"]]
        return errors.sort_values("margin", ascending=False, kind="stable").head(n)

    def cost_threshold(
        self, label: Any, cost_matrix: Any, model: str | None = None
    ) -> CostThreshold:
        """Find the threshold of least cost for the probability of one class.

        Parameters
        ----------
        label : class
            One of `classes`.
        cost_matrix : array-like of shape (2, 2)
            ``[[true negative, false positive], [false negative, true positive]]``.
        model : str, default=None
            Name of a model; by default the first one.

        Returns
        -------
        result : CostThreshold
            See :func:`~cxr_sklearn.metrics.cost_threshold`.
        """
        images = self.scored_images(self._model_name(model))
        code = self._class_code(label)
        outcome = np.tile(images.codes == code, len(images.proba))
        return cost_threshold(outcome, images.proba[:, :, code].ravel(), cost_matrix)

    def _class_code(self, label: Any) -> int:
        labels = self.classes.tolist()
        if label not in labels:
            raise ValueError(f"label={label!r} is not a class; expected one of {labels}")
        return labels.index(label)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as a dict of plain values, as :meth:`to_json` writes it.

        Returns
        -------
        content : dict
            With the keys ``format``, ``version``, ``settings``, ``figures``, ``predictions`` and
            others. It contains no identifiers of patients.
        """
        return _json.to_dict(self)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str | None:
        """Write everything as JSON, or return it as a string.

        Parameters
        ----------
        path : str or path, default=None
            File to write. By default the JSON is returned.

        Returns
        -------
        text : str or None
            The JSON, if `path` is None.
        """
        text = json.dumps(self.to_dict(), allow_nan=False)
        if path is None:
            return text
        with replace_file(path) as stream:
            stream.write(text.encode())
        return None

    @classmethod
    def from_json(cls, source: str | os.PathLike[str]) -> Evaluation:
        """Load an evaluation that :meth:`to_json` wrote.

        Parameters
        ----------
        source : str or path
            Path of a file, or the JSON itself.

        Returns
        -------
        evaluation : Evaluation

        Raises
        ------
        ValueError
            If the content is not an evaluation, or has a newer version.
        OSError
            If the file cannot be read.
        """
        return cls(**_json.arguments_from(source))

    def __str__(self) -> str:
        return _text.summary(self)

    def __repr__(self) -> str:
        names = ", ".join(self.models)
        return (
            f"<Evaluation of {names}: {self.n_images} images of {self.n_patients} "
            f"{self.unit}; print it for a summary>"
        )

    def _repr_html_(self) -> str:
        return _text.html(self)
