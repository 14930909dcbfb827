"""All figures of a classifier, with their values in resamples of the patients."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._confusion import OVERALL, PER_CLASS, confusion_figures, predictive_values
from ._intervals import (
    EXACT,
    FEWEST_PATIENTS,
    NO_INTERVAL,
    Interval,
    bootstrap_interval,
    exact_interval,
    is_extreme,
)
from ._ranking import AUC, LEVELS, ranking_figures, sensitivity_name, specificity_name
from ._recalibration import calibration_lines, recalibrated_log_loss
from ._resampling import PatientResamples
from ._scored_images import ScoredImages
from ._smooth_calibration import smooth_calibration_errors

# A probability of 0 for the true class would make the log loss infinite. This is the limit that
# scikit-learn uses for float64.
_LEAST_PROBABILITY = np.finfo(np.float64).eps

# Proportions of images: with few patients, or if they are 0 or 1, their intervals are exact.
_PROPORTIONS = {"accuracy", "ppv", "npv", "sensitivity", "specificity", "share"}

# Means over the classes of figures that are proportions of patients or of pairs of patients.
_MEANS_OF_CLASSES = {"balanced_accuracy": "sensitivity", "roc_auc_ovr": AUC}


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure in the sample and in all resamples.

    Attributes
    ----------
    metric : str
        Name, such as "sensitivity".
    label : int or None
        Index of the class, or None for a figure of all classes.
    values : ndarray of shape (n_rows,)
        The figure in every row of weights of the resamples.
    rows : ndarray of shape (n_images,), dtype bool
        Images that the figure is computed from.
    """

    metric: str
    label: int | None
    values: np.ndarray
    rows: np.ndarray


def all_figures(
    images: ScoredImages, resamples: PatientResamples, *, prevalence: np.ndarray | None = None
) -> list[Figure]:
    """Compute every figure of a classifier in all resamples.

    Parameters
    ----------
    images : ScoredImages
        Test images.
    resamples : PatientResamples
        Resamples of their patients.
    prevalence : ndarray of shape (n_classes,), default=None
        Shares of the classes for which PPV and NPV are computed in addition.

    Returns
    -------
    figures : list of Figure
        Overall figures first, then those of each class.
    """
    figures = [
        *confusion_group(images, resamples, prevalence),
        *ranking_group(images, resamples),
        *loss_group(images, resamples),
        *calibration_group(images, resamples),
    ]
    return sorted(figures, key=lambda figure: -1 if figure.label is None else figure.label)


def subset_figures(images: ScoredImages, resamples: PatientResamples) -> list[Figure]:
    """Compute the figures that are reported for a source or a subgroup."""
    return [
        *confusion_group(images, resamples),
        *ranking_group(images, resamples, only_auc=True),
        *loss_group(images, resamples),
    ]


# -- groups of figures ----------------------------------------------------------------------------


def confusion_matrices(images: ScoredImages, resamples: PatientResamples) -> np.ndarray:
    """Return confusion matrices, the means over the repeats, of shape (n_rows, k, k)."""
    k = images.n_classes
    total = np.zeros((images.n_images, k * k))
    for predicted in images.predicted:
        total[np.arange(images.n_images), images.codes * k + predicted] += 1
    total /= len(images.predicted)
    return resamples.sums(total, images.patient).reshape(-1, k, k)


def confusion_group(
    images: ScoredImages, resamples: PatientResamples, prevalence: np.ndarray | None = None
) -> Iterator[Figure]:
    """Yield the figures of the confusion matrix: accuracy, sensitivity, PPV and others."""
    overall: dict[str, Any] = dict.fromkeys(OVERALL, 0.0)
    per_class: dict[str, Any] = dict.fromkeys(PER_CLASS, 0.0)
    if prevalence is not None:
        per_class |= {"ppv_at_prevalence": 0.0, "npv_at_prevalence": 0.0}
    n_repeats = len(images.proba)
    # Each repeat is a result of its own: a figure is the mean over the results.
    for repeat in range(n_repeats):
        matrices = confusion_matrices(_repeat(images, repeat), resamples)
        of_all, of_classes = confusion_figures(matrices)
        if prevalence is not None:
            ppv, npv = predictive_values(matrices, prevalence)
            of_classes |= {"ppv_at_prevalence": ppv, "npv_at_prevalence": npv}
        for name, values in of_all.items():
            overall[name] += values / n_repeats
        for name, values in of_classes.items():
            per_class[name] += values / n_repeats
    everything = np.ones(images.n_images, dtype=bool)
    for name, values in overall.items():
        yield Figure(name, None, values, everything)
    for label in range(images.n_classes):
        for name, values in per_class.items():
            yield Figure(name, label, values[:, label], _denominator(images, name, label))


def ranking_group(
    images: ScoredImages, resamples: PatientResamples, only_auc: bool = False
) -> Iterator[Figure]:
    """Yield the areas under the curves, and the points on them."""
    k = images.n_classes
    per_class: list[dict[str, Any]] = [{} for _ in range(k)]
    for repeat in range(len(images.proba)):
        for label in range(k):
            found = ranking_figures(
                resamples,
                images.patient,
                images.codes == label,
                images.proba[repeat, :, label],
                only_auc,
            )
            for name, values in found.items():
                share = values / len(images.proba)
                per_class[label][name] = per_class[label].get(name, 0.0) + share
    everything = np.ones(images.n_images, dtype=bool)
    aucs = [figures[AUC] for figures in per_class if np.isfinite(figures[AUC][0])]
    if aucs:
        yield Figure("roc_auc_ovr", None, np.mean(aucs, axis=0), everything)
    if not only_auc:
        yield Figure("roc_auc_ovo", None, _one_versus_one(images, resamples), everything)
    for label, figures in enumerate(per_class):
        for name, values in figures.items():
            yield Figure(name, label, values, everything)


def _one_versus_one(images: ScoredImages, resamples: PatientResamples) -> np.ndarray:
    """Return the mean AUC of all ordered pairs of classes (Hand and Till, 2001)."""
    values = []
    for repeat in images.proba:
        for positive, negative in itertools.permutations(range(images.n_classes), 2):
            rows = np.isin(images.codes, [positive, negative])
            if not (images.codes == positive).any() or not (images.codes == negative).any():
                # A class without images forms no pair.
                continue
            is_positive = images.codes[rows] == positive
            score = repeat[rows, positive]
            found = ranking_figures(resamples, images.patient[rows], is_positive, score, True)
            values.append(found[AUC])
    return np.mean(values, axis=0)


def loss_group(images: ScoredImages, resamples: PatientResamples) -> Iterator[Figure]:
    """Yield log loss, Brier score, and the Brier score of each class."""
    n, k = images.n_images, images.n_classes
    outcome = np.eye(k)[images.codes]
    losses = np.zeros((n, 2 + k))
    for proba in images.proba:
        of_true = proba[np.arange(n), images.codes].clip(_LEAST_PROBABILITY)
        squares = (proba - outcome) ** 2
        # scikit-learn halves the Brier score of two classes, so that it is that of one of them.
        brier = squares.sum(axis=1) / (2 if k == 2 else 1)
        losses += np.column_stack([-np.log(of_true), brier, squares]) / len(images.proba)
    totals = resamples.sums(losses, images.patient)
    weight = resamples.sums(np.ones(n), images.patient)
    with np.errstate(invalid="ignore"):
        means = totals / weight[:, None]
    everything = np.ones(n, dtype=bool)
    yield Figure("log_loss", None, means[:, 0], everything)
    yield Figure("brier_score", None, means[:, 1], everything)
    for label in range(k):
        yield Figure("brier_score", label, means[:, 2 + label], everything)


def calibration_group(images: ScoredImages, resamples: PatientResamples) -> Iterator[Figure]:
    """Yield the calibration errors, slopes and intercepts, and the split of the log loss."""
    everything = np.ones(images.n_images, dtype=bool)
    pooled = pool_repeats(images)
    top = pooled.proba[0].max(axis=1)
    is_correct = (pooled.predicted[0] == pooled.codes).astype(np.float64)
    error = smooth_calibration_errors(resamples, pooled.patient, is_correct, top)
    yield Figure("smooth_ece", None, error, everything)
    yield from _log_loss_split(images, resamples)
    for label in range(images.n_classes):
        outcome = (pooled.codes == label).astype(np.float64)
        probability = pooled.proba[0, :, label]
        error = smooth_calibration_errors(resamples, pooled.patient, outcome, probability)
        slope, intercept = calibration_lines(resamples, pooled.patient, outcome, probability)
        yield Figure("smooth_ece", label, error, everything)
        yield Figure("calibration_slope", label, slope, everything)
        yield Figure("calibration_intercept", label, intercept, everything)


def _log_loss_split(images: ScoredImages, resamples: PatientResamples) -> Iterator[Figure]:
    n = images.n_images
    losses = np.zeros((n, 2))
    for proba in images.proba:
        of_true = proba[np.arange(n), images.codes].clip(_LEAST_PROBABILITY)
        refinement = recalibrated_log_loss(images.codes, proba, images.patient)
        losses += np.column_stack([-np.log(of_true) - refinement, refinement]) / len(images.proba)
    # The recalibration is not fitted again in each resample: it minimises the loss, so that a
    # small change of it does not change the loss to first order.
    means = resamples.sums(losses, images.patient)
    means /= resamples.sums(np.ones(n), images.patient)[:, None]
    everything = np.ones(n, dtype=bool)
    yield Figure("calibration_loss", None, means[:, 0], everything)
    yield Figure("refinement_loss", None, means[:, 1], everything)


def pool_repeats(images: ScoredImages) -> ScoredImages:
    """Return the images of all repeats as one repeat, each patient with all of its images."""
    n_repeats = len(images.proba)
    if n_repeats == 1:
        return images
    return ScoredImages(
        codes=np.tile(images.codes, n_repeats),
        proba=images.proba.reshape(1, -1, images.n_classes),
        patient=np.tile(images.patient, n_repeats),
    )


def _repeat(images: ScoredImages, repeat: int) -> ScoredImages:
    return ScoredImages(images.codes, images.proba[repeat : repeat + 1], images.patient)


def _denominator(images: ScoredImages, metric: str, label: int) -> np.ndarray:
    """Return the images that a figure of the confusion matrix is computed from."""
    if metric == "sensitivity":
        return images.codes == label
    if metric == "specificity":
        return images.codes != label
    if metric == "ppv":
        return images.predicted[0] == label
    if metric == "npv":
        return images.predicted[0] != label
    return np.ones(images.n_images, dtype=bool)


# -- intervals ------------------------------------------------------------------------------------


def figure_intervals(
    images: ScoredImages,
    resamples: PatientResamples,
    figures: Sequence[Figure],
    level: float,
    method: str,
) -> list[Interval]:
    """Compute the interval of each figure: by bootstrap, or exactly if that is not possible.

    Parameters
    ----------
    images : ScoredImages
        Test images.
    resamples : PatientResamples
        Resamples of their patients.
    figures : sequence of Figure
        Figures of these images.
    level : float in (0, 1)
        Confidence level.
    method : {"bca", "percentile"}
        Bootstrap interval.

    Returns
    -------
    intervals : list of Interval
        In the order of `figures`.
    """
    intervals = []
    for figure in figures:
        value = float(figure.values[0])
        counts = images.images_of_patients(figure.rows, resamples.n_patients)
        n_patients = int((counts > 0).sum())
        is_scarce = n_patients < FEWEST_PATIENTS or is_extreme(value)
        if figure.metric in _PROPORTIONS and is_scarce:
            interval = exact_interval(value, counts, level)
        elif figure.metric == AUC and is_extreme(value) and figure.label is not None:
            interval = _exact_auc(images, figure.label, value, level)
        elif figure.metric in _MEANS_OF_CLASSES and is_extreme(value):
            interval = _exact_mean(images, resamples, figure, level)
        else:
            n_patients = _n_deciding_patients(images, figure, n_patients)
            interval = bootstrap_interval(resamples, figure.values, level, method, n_patients)
        intervals.append(interval)
    return intervals


def _n_deciding_patients(images: ScoredImages, figure: Figure, n_patients: int) -> int:
    """Return the number of patients that limits how exact a figure is.

    A figure that compares a class with the others is as uncertain as the smaller side.
    """
    if figure.label is None or not figure.rows.all():
        return n_patients
    is_positive = images.codes == figure.label
    n_positive = len(np.unique(images.patient[is_positive]))
    return min(n_positive, len(np.unique(images.patient[~is_positive])))


def _exact_auc(images: ScoredImages, label: int, value: float, level: float) -> Interval:
    """Return an exact interval of an AUC of 0 or 1.

    As many disjoint pairs of a patient of the class and a patient of the others are formed as
    possible. Each pair is in the right order with a probability of the AUC, independently.
    """
    positive = np.unique(images.patient[images.codes == label])
    negative = np.unique(images.patient[images.codes != label])
    both = np.intersect1d(positive, negative)
    n_pairs = min(len(positive), len(negative)) - len(both)
    if n_pairs < 1 or not np.isfinite(value):
        return Interval(value, np.nan, np.nan, NO_INTERVAL)
    return exact_interval(value, np.ones(n_pairs), level)


def _exact_mean(
    images: ScoredImages, resamples: PatientResamples, figure: Figure, level: float
) -> Interval:
    """Return the mean of exact intervals of the classes, which hold together at the level."""
    value = float(figure.values[0])
    labels = np.unique(images.codes)
    # Bonferroni: all intervals of the classes hold at once with the requested confidence.
    class_level = 1 - (1 - level) / len(labels)
    limits = []
    for label in labels:
        if _MEANS_OF_CLASSES[figure.metric] == AUC:
            found = _exact_auc(images, int(label), value, class_level)
        else:
            counts = images.images_of_patients(images.codes == label, resamples.n_patients)
            found = exact_interval(value, counts, class_level)
        limits.append((found.low, found.high))
    low, high = np.mean(limits, axis=0)
    if not np.isfinite(low):
        return Interval(value, np.nan, np.nan, NO_INTERVAL)
    return Interval(value, float(low), float(high), EXACT)


__all__ = ["LEVELS", "Figure", "all_figures", "sensitivity_name", "specificity_name"]
