"""Check a training set, and divide it by patient."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from .._models.targets import check_labels
from .._utils.patient_numbers import patient_codes
from ..exceptions import ImageLevelWarning

# Divisions that are tried until each class is in the part that the classifier is fitted on.
_N_ATTEMPTS = 100


def check_training_set(X: Any, y: Any, groups: Any, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Check the arguments of ``fit``.

    Parameters
    ----------
    X : array-like
        Images.
    y : array-like of shape (n_images,)
        Labels.
    groups : array-like of shape (n_images,), or None
        Patients.
    unit : {"patient", "image"}
        What is independent.

    Returns
    -------
    labels : ndarray of shape (n_images,)
    patient : ndarray of shape (n_images,), dtype int
        Number of the patient of each image.

    Warns
    -----
    ImageLevelWarning
        If `groups` is None, and `unit` is "patient"; or if `unit` is "image", and a patient has
        several images.
    """
    n_images = _num_samples(X)
    labels = check_labels(y, n_images, "ReferralClassifier")
    if len(np.unique(labels)) < 2:
        raise ValueError(
            f"y contains one class ({np.unique(labels).tolist()}) in n_samples={n_images}; "
            "expected images of 2 classes or more"
        )
    if groups is None:
        if unit == "patient":
            warnings.warn(
                "ReferralClassifier: groups is missing, so that every image counts as a "
                "patient; if patients have several images, the guarantee is wrong. Pass the "
                "patient of each image as groups, or unit='image' if each has one.",
                ImageLevelWarning,
                stacklevel=4,
            )
        return labels, np.arange(n_images)
    patient = patient_codes(groups, n_images)
    if unit == "image" and np.bincount(patient).max() > 1:
        warnings.warn(
            "unit='image' counts each image as a patient, but groups has patients with several "
            "images; the guarantee is wrong if these are alike. Pass unit='patient'.",
            ImageLevelWarning,
            stacklevel=4,
        )
    return labels, patient


def divide_training_set(
    labels: np.ndarray, patient: np.ndarray, rows: np.ndarray, calibration_size: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Divide images by patient at random.

    Patients are not stratified by class: the guarantee is about patients that are drawn at random.

    Parameters
    ----------
    labels : ndarray of shape (n_images,)
        Labels.
    patient : ndarray of shape (n_images,), dtype int
        Patients.
    rows : ndarray of int
        Rows to divide. The others are in no part.
    calibration_size : float in [0, 1)
        Share of the patients that choose the threshold. 0 for a frozen classifier, which is fitted
        already: all images are in both parts.
    seed : int

    Returns
    -------
    training, calibration : ndarray of int
        Row numbers.

    Raises
    ------
    ValueError
        If no division leaves images of each class to fit.
    """
    if not calibration_size:
        return rows, rows
    numbers = np.unique(patient[rows])
    n_calibration = max(1, round(calibration_size * len(numbers)))
    rng = np.random.default_rng(seed)
    n_classes = len(np.unique(labels[rows]))
    for _ in range(_N_ATTEMPTS):
        drawn = rng.permutation(numbers)[:n_calibration]
        is_calibration = np.isin(patient[rows], drawn)
        training = rows[~is_calibration]
        if len(np.unique(labels[training])) == n_classes:
            return training, rows[is_calibration]
    scarcest = min(np.unique(labels).tolist(), key=lambda label: len(set(patient[labels == label])))
    n_scarcest = len(set(patient[labels == scarcest]))
    raise ValueError(
        f"calibration_size={calibration_size:g} leaves no image of a class to fit (class "
        f"{scarcest!r} has {n_scarcest} of {len(numbers)} patients, n_samples={len(labels)}); "
        "expected patients of each class in both parts. Add patients, or pass a smaller "
        "calibration_size."
    )


def class_codes(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the index of each label in the classes."""
    code_of = {label: code for code, label in enumerate(classes.tolist())}
    unknown = np.array([label for label in labels.tolist() if label not in code_of])
    if len(unknown):
        raise ValueError(
            f"y is invalid: {unknown.tolist()[0]!r} is not a class of the fitted estimator; "
            f"expected some of {classes.tolist()}. Leave out the images of other classes."
        )
    return np.array([code_of[label] for label in labels.tolist()], dtype=int)


def check_probabilities(proba: Any) -> np.ndarray:
    """Return the probabilities of calibration images as float64, or raise."""
    values = np.asarray(proba, dtype=np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise ValueError(
            f"predict_proba of the estimator returned {values[row].tolist()} for a calibration "
            "image; expected finite probabilities. Check the model, or drop such images."
        )
    return values


def rows_of(arguments: dict[str, Any], rows: np.ndarray, n_images: int) -> dict[str, Any]:
    """Restrict the arguments that have one value per image to some images."""
    found = {}
    for name, value in arguments.items():
        has_rows = hasattr(value, "__len__") and not isinstance(value, (str, dict))
        found[name] = value
        if has_rows and len(value) == n_images:
            found[name] = _safe_indexing(value, rows)
    return found
