"""Check the labels, patients and weights that ``fit`` is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, assert_all_finite

from .._images.images import Images
from .._utils.values import check_none_blank, check_none_missing, check_one_column
from .checks import check_targets_are_labels


@dataclass(frozen=True)
class LabelledImages:
    """Images to train on, each with a label and a weight above 0.

    Attributes
    ----------
    images : Images
    y : ndarray of shape (n_images,)
        Labels.
    weight : ndarray of shape (n_images,), dtype float64
    groups : ndarray of shape (n_images,), or None
        Patients.
    rows : ndarray of shape (n_images,), dtype int
        Row number of each image in the X that ``fit`` was given.
    """

    images: Images
    y: np.ndarray
    weight: np.ndarray
    groups: np.ndarray | None
    rows: np.ndarray


def label_images(
    images: Images, y: Any, groups: Any, sample_weight: Any, estimator_name: str
) -> LabelledImages:
    """Check what ``fit`` is given with the images, and leave out images of weight 0.

    Parameters
    ----------
    images : Images
    y : array-like of shape (n_images,)
        Labels.
    groups : array-like of shape (n_images,), or None
        Patients.
    sample_weight : array-like of shape (n_images,), or None
    estimator_name : str
        For messages.

    Returns
    -------
    LabelledImages

    Raises
    ------
    ValueError, TypeError
        If there is not one valid value per image.
    """
    labels = check_labels(y, len(images), estimator_name)
    patients = None if groups is None else _check_groups(groups, len(images))
    weight = np.ones(len(images))
    if sample_weight is not None:
        # scikit-learn's function takes the number of rows from its second argument.
        weight = _check_sample_weight(sample_weight, weight[:, None], ensure_non_negative=True)
    # An image of weight 0 would still count as an image of its class in samplers and splits.
    rows = np.flatnonzero(weight > 0)
    if len(rows) < len(images):
        images, labels, weight = images.take(rows), labels[rows], weight[rows]
        if patients is not None:
            patients = patients[rows]
    return LabelledImages(images, labels, weight, patients, rows)


def check_labels(y: Any, n_images: int, estimator_name: str) -> np.ndarray:
    """Return the labels of images as an array.

    Parameters
    ----------
    y : array-like of shape (n_images,)
        Labels.
    n_images : int
        Expected number.
    estimator_name : str
        For messages.

    Returns
    -------
    ndarray of shape (n_images,)

    Raises
    ------
    ValueError, TypeError
        If there is not one valid label per image.
    """
    if y is None:
        raise ValueError(
            f"{estimator_name} requires y to be passed, but the target y is None; expected a label "
            "per image"
        )
    check_targets_are_labels(y)
    labels = column_or_1d(y, warn=True)
    if len(labels) == 1 < n_images:
        raise ValueError(
            f"X has {n_images} rows and y has one label; expected a label per image. If X is "
            "one image, pass [X], and add images of other classes."
        )
    check_consistent_length(range(n_images), labels)
    if labels.dtype.kind == "f":
        assert_all_finite(labels, input_name="y")
    check_none_missing("y", y, "Drop the images without a label.")
    check_classification_targets(labels)
    return labels


def _check_groups(groups: Any, n_images: int) -> np.ndarray:
    column = check_one_column("groups", groups)
    remedy = "Give each image of an unknown patient a value of its own."
    check_none_missing("groups", groups, remedy)
    check_none_blank("groups", groups, remedy)
    if len(column) != n_images:
        raise ValueError(
            f"groups has {len(column)} values for {n_images} images; expected one per image. If a "
            "sampler before this step changes the rows, use the parameter sampler or group_by of "
            "the model."
        )
    return column
