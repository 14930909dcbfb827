"""Compute the tables of an evaluation for one model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ..metrics._decision_curve import THRESHOLDS, benefit_of_images
from ..metrics._figures import (
    Figure,
    all_figures,
    confusion_matrices,
    figure_intervals,
    pool_repeats,
    subset_figures,
)
from ..metrics._intervals import Interval, bootstrap_interval
from ..metrics._reliability import reliability_figures
from ..metrics._resampling import PatientResamples
from ..metrics._scored_images import ScoredImages
from ._interval_settings import Settings
from ._test_data import TestData

FIGURE_COLUMNS = [
    "model",
    "metric",
    "class",
    "subset",
    "value",
    "low",
    "high",
    "method",
    "n_images",
    "n_patients",
]

# Means over the classes. They are comparable only between images that show the same classes.
_MEANS_OF_CLASSES = ("balanced_accuracy", "roc_auc_ovr")

# The figures of a subgroup that are compared with those of the other images.
_COMPARED = (
    "accuracy",
    "balanced_accuracy",
    "roc_auc_ovr",
    "log_loss",
    "brier_score",
    "sensitivity",
    "specificity",
    "roc_auc",
)


class Measurer:
    """Compute the tables of models that are tested on the same images.

    Parameters
    ----------
    data : TestData
        The test images.
    settings : Settings
        Settings of the intervals.
    """

    def __init__(self, data: TestData, settings: Settings) -> None:
        self.data = data
        self.settings = settings
        self.resamples: PatientResamples = settings.resample(data)
        self._labels = data.classes.tolist()

    def tables(self, model: str, proba: np.ndarray) -> dict[str, pd.DataFrame]:
        """Return all tables of one model.

        Parameters
        ----------
        model : str
            Name of the model.
        proba : ndarray of shape (n_repeats, n_images, n_classes)
            Probabilities of each repeat.

        Returns
        -------
        tables : dict of str to DataFrame
            "figures", "confusion", "subsets", "reliability" and "decision_curves".
        """
        images = ScoredImages(self.data.codes, proba, self.resamples.patient)
        subsets = pd.DataFrame(self._subset_rows(images))
        figures = pd.DataFrame(self._figure_rows(images))
        if not subsets.empty:
            figures = pd.concat([figures, _rows_of_subsets(subsets)], ignore_index=True)
        tables = {
            "figures": figures,
            "confusion": pd.DataFrame(self._confusion_rows(images)),
            "subsets": subsets,
            "reliability": pd.DataFrame(self._reliability_rows(images)),
            "decision_curves": pd.DataFrame(self._decision_rows(images)),
        }
        for table in tables.values():
            table.insert(0, "model", model)
        return tables

    def _figure_rows(self, images: ScoredImages) -> Iterator[dict[str, Any]]:
        prevalence = self.settings.prevalence
        target = None if prevalence is None else np.array(prevalence)
        figures = all_figures(images, self.resamples, prevalence=target)
        for figure, found in self._with_intervals(images, figures):
            yield self._row(images, figure, found) | {"subset": "all"}

    def _with_intervals(
        self, images: ScoredImages, figures: list[Figure]
    ) -> Iterator[tuple[Figure, Interval]]:
        level, method = self.settings.confidence_level, self.settings.method
        intervals = figure_intervals(images, self.resamples, figures, level, method)
        yield from zip(figures, intervals, strict=True)

    def _row(self, images: ScoredImages, figure: Figure, found: Interval) -> dict[str, Any]:
        return {
            "metric": figure.metric,
            "class": "" if figure.label is None else self._labels[figure.label],
            **_limits(found),
            **_counts(images, figure.rows),
        }

    def _confusion_rows(self, images: ScoredImages) -> Iterator[dict[str, Any]]:
        matrices = confusion_matrices(images, self.resamples)
        with np.errstate(invalid="ignore"):
            shares = matrices / matrices.sum(axis=2, keepdims=True)
        for true in range(images.n_classes):
            is_true = images.codes == true
            figures = []
            for called in range(images.n_classes):
                figures.append(Figure("share", true, shares[:, true, called], is_true))
            for called, (figure, found) in enumerate(self._with_intervals(images, figures)):
                limits = _limits(found)
                yield {
                    "true": self._labels[true],
                    "predicted": self._labels[called],
                    "count": float(matrices[0, true, called]),
                    "share": limits.pop("value"),
                    **limits,
                    **_counts(images, figure.rows),
                }

    def _subset_rows(self, images: ScoredImages) -> Iterator[dict[str, Any]]:
        for column, labels in self.data.columns.items():
            for level in sorted(set(labels)):
                yield from self._rows_of_level(images, column, level, labels == level)

    def _rows_of_level(
        self, images: ScoredImages, column: str, level: str, is_inside: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        inside = images.take(is_inside)
        rest = self._figures_of_rest(images, is_inside)
        figures = subset_figures(inside, self.resamples)
        for figure, found in self._with_intervals(inside, figures):
            row = {"column": column, "level": level, **self._row(inside, figure, found)}
            row |= {"rest": np.nan, "difference": np.nan}
            row |= {"difference_low": np.nan, "difference_high": np.nan, "excludes_0": False}
            others = rest.get((figure.metric, figure.label))
            if others is not None and figure.metric in _COMPARED:
                row |= self._difference(figure.values, others)
            yield row

    def _figures_of_rest(
        self, images: ScoredImages, is_inside: np.ndarray
    ) -> dict[tuple[str, int | None], np.ndarray]:
        """Return the figures of the other images that can be compared with those of a subset."""
        if is_inside.all():
            return {}
        classes, others = images.codes[is_inside], images.codes[~is_inside]
        has_same_classes = set(classes) == set(others)
        rest = {}
        for figure in subset_figures(images.take(~is_inside), self.resamples):
            if has_same_classes or figure.metric not in _MEANS_OF_CLASSES:
                rest[figure.metric, figure.label] = figure.values
        return rest

    def _difference(self, values: np.ndarray, rest: np.ndarray) -> dict[str, Any]:
        """Return the difference to the rest, of which both parts are resampled together."""
        level, method = self.settings.confidence_level, self.settings.method
        found = bootstrap_interval(self.resamples, values - rest, level, method)
        return {
            "rest": float(rest[0]),
            "difference": found.value,
            "difference_low": found.low,
            "difference_high": found.high,
            "excludes_0": bool(found.low > 0 or found.high < 0),
        }

    def _reliability_rows(self, images: ScoredImages) -> Iterator[dict[str, Any]]:
        pooled = pool_repeats(images)
        proba = pooled.proba[0]
        problems: list[tuple[Any, np.ndarray, np.ndarray]] = []
        is_correct = pooled.predicted[0] == pooled.codes
        problems.append(("", is_correct.astype(float), proba.max(axis=1)))
        for code, label in enumerate(self._labels):
            problems.append((label, (pooled.codes == code).astype(float), proba[:, code]))
        for label, outcome, probability in problems:
            for found in reliability_figures(
                self.resamples,
                pooled.patient,
                outcome,
                probability,
                level=self.settings.confidence_level,
                method=self.settings.method,
                n_repeats=len(images.proba),
            ):
                yield {"class": label, **found}

    def _decision_rows(self, images: ScoredImages) -> Iterator[dict[str, Any]]:
        pooled = pool_repeats(images)
        weight = self.resamples.sums(np.ones(pooled.n_images), pooled.patient)[:, None]
        tails = [(1 - self.settings.confidence_level) / 2, (1 + self.settings.confidence_level) / 2]
        for code, label in enumerate(self._labels):
            outcome = (pooled.codes == code).astype(float)
            benefits = benefit_of_images(outcome, pooled.proba[0, :, code], THRESHOLDS)
            values = self.resamples.sums(benefits, pooled.patient) / weight
            low, high = np.quantile(self.resamples.resampled(values), tails, axis=0)
            share = outcome.mean()
            odds = THRESHOLDS / (1 - THRESHOLDS)
            treat_all = share - (1 - share) * odds
            for i, threshold in enumerate(THRESHOLDS):
                yield {
                    "class": label,
                    "threshold": float(threshold),
                    "net_benefit": float(values[0, i]),
                    "low": float(low[i]),
                    "high": float(high[i]),
                    "net_benefit_of_all": float(treat_all[i]),
                }


def _limits(found: Interval) -> dict[str, Any]:
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "method": found.method,
    }


def _counts(images: ScoredImages, rows: np.ndarray) -> dict[str, int]:
    """Return the number of images and patients behind a figure."""
    return {"n_images": int(rows.sum()), "n_patients": len(np.unique(images.patient[rows]))}


def _rows_of_subsets(subsets: pd.DataFrame) -> pd.DataFrame:
    """Return the figures of subsets in the columns of all figures."""
    names = subsets["column"] + "=" + subsets["level"].astype(str)
    kept = [name for name in FIGURE_COLUMNS if name in subsets.columns]
    return subsets[kept].assign(subset=names)
