"""Results of an evaluation: the tables of all models, and the predictions behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..metrics._scored_images import ScoredImages
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


class Results:
    """Tables of one or several models that were tested on the same images.

    The attributes are those of :class:`Evaluation`, which adds a summary and files.

    Parameters
    ----------
    data : TestData
        The test images.
    settings : Settings
        Settings of the intervals.
    proba : dict of str to ndarray of shape (n_repeats, n_images, n_classes)
        Probabilities of each model.
    tables : dict of str to DataFrame
        Tables of all models, as :class:`Measurer` makes them.
    fold : ndarray of shape (n_repeats, n_images), or None
        Fold in which each image was tested.
    baselines : tuple of str
        Names of the models that are baselines.
    gains, transfer : DataFrame or None
        Differences to baselines, and between known and new sources.
    notes : tuple of str
        Sentences that a reader must know.
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

    @property
    def unit(self) -> str:
        """Return "patients", or "images" if no patients were passed."""
        return "patients" if self._data.has_patients else "images"
