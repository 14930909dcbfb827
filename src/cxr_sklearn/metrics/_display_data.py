"""What the displays of test results share: their input, colours and axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._utils.values import check_one_column
from ._resampling import PatientResamples, resample_patients
from ._scored_images import ScoredImages

# The palette of Okabe and Ito (2008), whose colours differ for colour-blind people too. Line styles
# and markers differ as well, for prints in grey.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True, eq=False)
class DisplayData:
    """Test results of one model, for a display.

    Attributes
    ----------
    images : ScoredImages
        True classes, probabilities and patients.
    labels : list
        Classes.
    resamples : PatientResamples
        Resamples of the patients, for bands.
    level : float
        Confidence level of the bands.
    name : str
        Name of the model, or "".
    """

    images: ScoredImages
    labels: list[Any]
    resamples: PatientResamples
    level: float
    name: str = ""

    def band(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pointwise percentile limits of curves of shape (n_rows, n_points)."""
        tails = [(1 - self.level) / 2, (1 + self.level) / 2]
        low, high = np.nanquantile(self.resamples.resampled(values), tails, axis=0)
        return low, high


def from_evaluation(evaluation: Any, model: str | None, n_resamples: int) -> DisplayData:
    """Return the results of one model of an evaluation."""
    images = evaluation.scored_images(model)
    return DisplayData(
        images=images,
        labels=evaluation.classes.tolist(),
        resamples=resample_patients(images.patient, images.codes, n_resamples, 0),
        level=evaluation.confidence_level,
        name=evaluation.models[0] if model is None else model,
    )


def from_estimator(
    estimator: Any, X: Any, y: Any, groups: Any, level: float, n_resamples: int
) -> DisplayData:
    """Return the results of a fitted classifier on test images."""
    proba = estimator.predict_proba(X)
    data = from_predictions(y, proba, estimator.classes_, groups, level, n_resamples)
    return DisplayData(data.images, data.labels, data.resamples, level, type(estimator).__name__)


def from_predictions(
    y_true: Any, y_prob: Any, classes: Any, groups: Any, level: float, n_resamples: int
) -> DisplayData:
    """Return results from labels and probabilities.

    Raises
    ------
    ValueError
        If the shapes differ, or a label is not a class.
    """
    labels = np.unique(np.asarray(y_true)) if classes is None else np.asarray(classes)
    column = check_one_column("y_true", y_true)
    proba = np.asarray(y_prob, dtype=np.float64)
    if proba.ndim == 1 and len(labels) == 2:
        proba = np.column_stack([1 - proba, proba])
    if proba.shape != (len(column), len(labels)):
        raise ValueError(
            f"y_prob has the shape {proba.shape}; expected ({len(column)}, {len(labels)}): a row "
            "per image and a column per class. Pass classes, if y_true lacks one."
        )
    if not np.isfinite(proba).all():
        raise ValueError("y_prob contains NaN or infinity; expected probabilities")
    index_of = {label: i for i, label in enumerate(labels.tolist())}
    unknown = [label for label in column.tolist() if label not in index_of]
    if unknown:
        raise ValueError(
            f"y_true contains {unknown[0]!r}, which is not in classes={labels.tolist()}; expected "
            "labels of these classes"
        )
    codes = np.array([index_of[label] for label in column.tolist()], dtype=int)
    patients = np.arange(len(codes)) if groups is None else check_one_column("groups", groups)
    if len(patients) != len(codes):
        raise ValueError(
            f"groups has {len(patients)} values for {len(codes)} images; expected one per image"
        )
    resamples = resample_patients(patients, codes, n_resamples, 0)
    images = ScoredImages(codes, proba[None], resamples.patient)
    return DisplayData(images, labels.tolist(), resamples, level)


def make_axes(ax: Any) -> Any:
    """Return axes: those passed, or new ones.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    if ax is not None:
        return ax
    return pyplot().subplots(layout="constrained")[1]


def pyplot() -> Any:
    """Return the module ``matplotlib.pyplot``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "displays need matplotlib, which is not installed. Run pip install 'cxr-sklearn[plot]'."
        ) from error
    return plt


def line_style(number: int) -> dict[str, Any]:
    """Return colour and line style of a curve."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINE_STYLES[number % len(LINE_STYLES)],
    }


def chosen_labels(labels: Sequence[Any], requested: Any) -> list[tuple[int, Any]]:
    """Return the index and the name of the classes to draw: all, or one that is requested."""
    listed = list(enumerate(labels))
    if requested is None:
        return listed
    if requested not in labels:
        raise ValueError(f"label={requested!r} is not a class; expected one of {list(labels)}")
    return [entry for entry in listed if entry[1] == requested]
