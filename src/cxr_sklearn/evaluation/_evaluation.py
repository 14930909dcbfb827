"""Results of an evaluation: tables of figures with intervals, and the predictions behind them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from .._utils.files import replace_file
from ..metrics._decision_curve import CostThreshold, cost_threshold
from ..metrics._scored_images import ScoredImages
from . import _json, _text
from ._interval_settings import Settings
from ._tables import FIGURE_COLUMNS
from ._test_data import TestData

# Figures of all classes together are rows of this class.
ALL_CLASSES = ""

_CALIBRATION = (
    "smooth_ece",
    "calibration_slope",
    "calibration_intercept",
    "calibration_loss",
    "refinement_loss",
)


class Evaluation:
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
        Smooth calibration error, slope and intercept per class, and the split of the log loss.
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
        One row per model, repeat and image.

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

    def __init__(
        self,
        *,
        data: TestData,
        settings: Settings,
        proba: Mapping[str, np.ndarray],
        tables: Mapping[str, pd.DataFrame],
        fold: np.ndarray | None = None,
        baselines: tuple[str, ...] = (),
        gains: pd.DataFrame | None = None,
        transfer: pd.DataFrame | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.baselines = list(baselines)
        self.models = [name for name in proba if name not in self.baselines]
        self.classes = data.classes
        self.n_images = data.n_images
        self.n_patients = len(np.unique(data.patient))
        self.gains = pd.DataFrame() if gains is None else gains
        self.transfer = pd.DataFrame() if transfer is None else transfer
        self.notes = list(notes)
        self.confusion = tables["confusion"]
        self.subsets = tables["subsets"]
        self.reliability = tables["reliability"]
        self.decision_curves = tables["decision_curves"]
        self._figures = tables["figures"]
        self._data = data
        self._settings = settings
        self._proba = dict(proba)
        self._fold = fold

    # -- tables ---------------------------------------------------------------------------------

    @property
    def confidence_level(self) -> float:
        """Confidence level of the intervals."""
        return self._settings.confidence_level

    @property
    def overall(self) -> pd.DataFrame:
        """Figures of all classes together."""
        return self._selected(is_overall=True).drop(columns=["class", "subset"])

    @property
    def per_class(self) -> pd.DataFrame:
        """Figures of each class."""
        return self._selected(is_overall=False).drop(columns="subset")

    @property
    def calibration(self) -> pd.DataFrame:
        """Calibration of the probabilities of each class, and of the predicted class."""
        figures = self._figures
        chosen = figures["metric"].isin(_CALIBRATION) & (figures["subset"] == "all")
        return figures[chosen].drop(columns="subset").reset_index(drop=True)

    def _selected(self, is_overall: bool) -> pd.DataFrame:
        figures = self._figures
        chosen = (figures["class"] == ALL_CLASSES) == is_overall
        chosen &= (figures["subset"] == "all") & ~figures["metric"].isin(_CALIBRATION)
        return figures[chosen].reset_index(drop=True)

    def to_frame(self) -> pd.DataFrame:
        """Return all figures in one table.

        Returns
        -------
        figures : DataFrame
            One row per figure: ``model``, ``metric``, ``class`` ("" for all classes together),
            ``subset`` ("all", or a source or subgroup such as "sex=F"), ``value``, ``low``,
            ``high``, ``method`` ("bca", "percentile", "exact" or "none"), ``n_images`` and
            ``n_patients``. The last two count the images and patients behind the figure, such as
            those of the class for a sensitivity.
        """
        return self._figures[FIGURE_COLUMNS].copy()

    @property
    def predictions(self) -> pd.DataFrame:
        """Predictions of all models: one row per model, repeat and image.

        ``index`` is the row number of the image, ``fold`` the fold in which it was tested (-1
        outside of cross-validation), ``p_...`` the probabilities, and ``margin`` the probability of
        the predicted class less that of the true class, or of the second class if the prediction is
        correct. Patients are numbers, so that the table has no identifiers.
        """
        parts = []
        for model, proba in self._proba.items():
            for repeat in range(len(proba)):
                parts.append(self._predictions_of(model, repeat))
        return pd.concat(parts, ignore_index=True)

    def _predictions_of(self, model: str, repeat: int) -> pd.DataFrame:
        proba = self._proba[model][repeat]
        codes, classes = self._data.codes, self.classes
        predicted = proba.argmax(axis=1)
        fold = np.full(len(codes), -1) if self._fold is None else self._fold[repeat]
        columns: dict[str, Any] = {
            "model": model,
            "index": np.arange(len(codes)),
            "repeat": repeat,
            "fold": fold,
            "patient": self._data.patient,
        }
        for column, label in enumerate(classes.tolist()):
            columns[f"p_{label}"] = proba[:, column]
        is_correct = predicted == codes
        rival = np.where(
            is_correct, np.sort(proba, axis=1)[:, -2], proba[np.arange(len(codes)), codes]
        )
        columns |= {
            "prediction": classes[predicted],
            "true": classes[codes],
            "correct": is_correct,
            "margin": proba.max(axis=1) - rival,
            **self._data.columns,
        }
        return pd.DataFrame(columns)

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

    def _model_name(self, model: str | None) -> str:
        if model is None:
            return self.models[0]
        if model not in self._proba:
            raise ValueError(
                f"model={model!r} was not evaluated; expected one of {list(self._proba)}"
            )
        return model

    def scored_images(self, model: str | None = None) -> ScoredImages:
        """Return true classes, probabilities and patients of one model, for figures of your own.

        Parameters
        ----------
        model : str, default=None
            Name of a model; by default the first one.

        Returns
        -------
        images : ScoredImages
            With the arrays ``codes``, ``proba`` of shape (n_repeats, n_images, n_classes), and
            ``patient``.
        """
        return ScoredImages(
            self._data.codes, self._proba[self._model_name(model)], self._data.patient
        )

    # -- files and text -------------------------------------------------------------------------

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

    @property
    def unit(self) -> str:
        """Return "patients", or "images" if no patients were passed."""
        return "patients" if self._data.has_patients else "images"

    def _repr_html_(self) -> str:
        return _text.html(self)
