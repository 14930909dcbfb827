"""Check the labels, patients, sources and subgroups of the images that a model is tested on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import _num_samples

from .._utils.messages import some
from .._utils.patient_numbers import check_length, patient_codes
from .._utils.values import check_none_missing, check_one_column, is_blank, is_missing
from ..exceptions import ImageLevelWarning
from ._subgroups import subgroup_labels


@dataclass(frozen=True, eq=False)
class TestData:
    """What is known of the test images besides their predictions.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Classes, in the order of the columns of the probabilities.
    codes : ndarray of shape (n_images,), dtype int
        True class of each image, as an index into `classes`.
    patient : ndarray of shape (n_images,), dtype int
        Number of the patient of each image. Without patients, each image has its own number.
    has_patients : bool
        Whether patients were passed.
    columns : dict of str to ndarray of shape (n_images,), dtype object
        Subgroup of each image, by the name of the column; sources are the column "source".
    """

    __test__ = False  # pytest must not collect a class because of its name

    classes: np.ndarray
    codes: np.ndarray
    patient: np.ndarray
    has_patients: bool
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def n_images(self) -> int:
        """Number of images."""
        return len(self.codes)


def check_test_data(
    y: Any, classes: Any, *, groups: Any, sources: Any, subgroups: Any, caller: str
) -> TestData:
    """Check everything that is passed with the images.

    Parameters
    ----------
    y : array-like of shape (n_images,)
        True labels.
    classes : array-like of shape (n_classes,)
        Classes of the model.
    groups, sources : array-like of shape (n_images,), or None
        Patients and sources.
    subgroups : DataFrame, mapping or None
        Columns with one value per image.
    caller : str
        Name of the function, for messages.

    Returns
    -------
    TestData

    Raises
    ------
    ValueError
        If a value is missing or invalid, or if there are not enough classes or patients.

    Warns
    -----
    ImageLevelWarning
        If `groups` is None.
    UserWarning
        If a class of the model has no image.
    """
    check_none_missing("y", y, "Drop the images without a label.")
    labels = check_one_column("y", y)
    codes = _codes_of(labels, np.asarray(classes))
    if groups is None:
        warnings.warn(
            f"{caller}: groups is missing, so that intervals are at the level of the image; images "
            "of one patient make them too narrow. Pass the patient of each image as groups.",
            ImageLevelWarning,
            stacklevel=3,
        )
        patient = np.arange(len(codes))
    else:
        patient = patient_codes(groups, len(codes))
    columns = {}
    if sources is not None:
        columns["source"] = _check_sources(sources, len(codes))
    for name, values in _named_columns(subgroups).items():
        check_length(f"subgroups[{name!r}]", values, len(codes))
        if name in columns:
            raise ValueError(
                f"subgroups[{name!r}] has the name of the column of sources; expected another "
                "name. Rename the column."
            )
        columns[name] = subgroup_labels(name, values)
    return TestData(np.asarray(classes), codes, patient, groups is not None, columns)


def _codes_of(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the index of each label in the classes."""
    index_of = {label: i for i, label in enumerate(classes.tolist())}
    listed = labels.tolist()
    unknown = sorted({repr(label) for label in listed if label not in index_of})
    if unknown:
        raise ValueError(
            f"y contains the labels {some(unknown)}, which are not classes of the model; expected "
            f"{some(repr(name) for name in classes.tolist())}. Correct the labels, or drop these "
            "images."
        )
    codes = np.array([index_of[label] for label in listed], dtype=int)
    present = np.unique(codes)
    if len(present) < 2:
        found = (
            "no image" if not len(present) else f"the class {classes.tolist()[present[0]]!r} only"
        )
        raise ValueError(
            f"y contains {found}; expected images of two classes or more. Add test images of other "
            "classes."
        )
    absent = np.setdiff1d(np.arange(len(classes)), present)
    if len(absent):
        names = some(repr(classes.tolist()[code]) for code in absent)
        warnings.warn(
            f"y contains no image of {names}; figures of these classes are left empty, and means "
            "over the classes leave them out",
            stacklevel=4,
        )
    return codes


def _check_sources(sources: Any, n_images: int) -> np.ndarray:
    column = check_one_column("sources", sources)
    check_length("sources", column, n_images)
    for i, value in enumerate(column.tolist()):
        if is_missing(value) or is_blank(value):
            raise ValueError(
                f"sources[{i}] is {value!r}: an unknown source; expected the source of each image. "
                "Name it 'unknown', or drop the image."
            )
    return np.array([str(value) for value in column.tolist()], dtype=object)


def _named_columns(subgroups: Any) -> dict[str, Any]:
    """Return the columns of a data frame, a mapping or a series."""
    if subgroups is None:
        return {}
    if isinstance(subgroups, pd.Series):
        return {str(subgroups.name or "subgroup"): subgroups.to_numpy()}
    if isinstance(subgroups, pd.DataFrame):
        return {str(name): subgroups[name].to_numpy() for name in subgroups.columns}
    if isinstance(subgroups, Mapping):
        return {str(name): np.asarray(values) for name, values in subgroups.items()}
    raise TypeError(
        f"subgroups is {type(subgroups).__name__}; expected a DataFrame, or a dict from names to "
        "columns. Pass, for example, bunch.frame[['age', 'sex']]."
    )


def check_lengths(X: Any, y: Any) -> None:
    """Raise if there is not one label per image."""
    n_images, n_labels = _num_samples(X), _num_samples(y)
    if n_images != n_labels:
        raise ValueError(
            f"X has {n_images} images and y has {n_labels} labels; expected one label per image. "
            "Select the same rows of both."
        )


def check_probabilities(name: str, proba: Any, n_images: int, n_classes: int) -> np.ndarray:
    """Return the probabilities of a model as float64 with rows that sum to 1, or raise.

    Parameters
    ----------
    name : str
        Name of the model, for messages.
    proba : array-like of shape (n_images, n_classes)
        Result of ``predict_proba``.
    n_images, n_classes : int
        Expected shape.

    Returns
    -------
    ndarray of shape (n_images, n_classes), dtype float64
    """
    values = np.asarray(proba, dtype=np.float64)
    if values.shape != (n_images, n_classes):
        raise ValueError(
            f"{name}: predict_proba returned the shape {values.shape}; expected "
            f"({n_images}, {n_classes}), a row per image and a column per class. Pass a classifier "
            "that knows all classes."
        )
    totals = values.sum(axis=1)
    # NaN fails this comparison too.
    is_valid = (values >= 0).all(axis=1) & (np.abs(totals - 1) < 1e-3)
    if not is_valid.all():
        row = int(np.flatnonzero(~is_valid)[0])
        raise ValueError(
            f"{name}: predict_proba returned {values[row].tolist()} for row {row}; expected "
            "probabilities that are not NaN, not negative, and have a sum of 1. Check the model, "
            "or drop this image."
        )
    return values / totals[:, None]
