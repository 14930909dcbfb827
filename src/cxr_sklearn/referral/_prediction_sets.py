"""Class-conditional conformal prediction sets from patients with several images."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._utils.values import check_one_column


def class_limits(
    nonconformity: np.ndarray, codes: np.ndarray, patient: np.ndarray, level: float
) -> np.ndarray:
    """Return the limit of each class up to which an image belongs to its prediction set.

    The images of a patient are not exchangeable with each other, but the patients are. A random
    image of a new patient of a class is therefore compared with a random image of each calibration
    patient: the images of a patient share the weight 1.

    Parameters
    ----------
    nonconformity : ndarray of shape (n_images, n_classes)
        How badly each class fits each image.
    codes : ndarray of shape (n_images,), dtype int
        True class.
    patient : ndarray of shape (n_images,), dtype int
        Patient.
    level : float in (0, 1)
        Greatest probability that the set of an image does not contain its class.

    Returns
    -------
    limits : ndarray of shape (n_classes,), dtype float64
        Infinite for a class with too few patients: fewer than 1 / level - 1.

    References
    ----------
    Lee, Barber and Willett, "Distribution-free inference with hierarchical data", arXiv 2306.06342
    (2023), section 3; applied to the patients of each class.
    """
    limits = np.full(nonconformity.shape[1], np.inf)
    for code in range(len(limits)):
        is_class = codes == code
        values, owner = nonconformity[is_class, code], patient[is_class]
        _, number, n_images = np.unique(owner, return_inverse=True, return_counts=True)
        n_patients = len(n_images)
        # The new patient has a weight of 1 too, at infinity.
        weight = 1 / n_images[number] / (n_patients + 1) if n_patients else values
        order = np.argsort(values)
        reached = np.cumsum(weight[order])
        # Sums of many weights are not exact.
        is_enough = reached >= 1 - level - 1e-9
        if is_enough.any():
            limits[code] = values[order][is_enough.argmax()]
    return limits


def set_names(sets: Any, classes: Any) -> np.ndarray:
    """Return prediction sets in words.

    Parameters
    ----------
    sets : array-like of shape (n_images, n_classes), dtype bool
        Result of :meth:`ReferralClassifier.predict_set`.
    classes : array-like of shape (n_classes,)
        Classes in the order of the columns.

    Returns
    -------
    names : ndarray of shape (n_images,), dtype object
        Such as "COVID-19 or Pneumonia"; "none" for an empty set.

    Raises
    ------
    ValueError
        If there is not one column per class.

    Examples
    --------
    >>> from cxr_sklearn.referral import set_names
    >>> set_names([[True, False, True], [False, True, False]], ["COVID-19", "Normal", "Pneumonia"])
    array(['COVID-19 or Pneumonia', 'Normal'], dtype=object)
    """
    found = np.asarray(sets, dtype=bool)
    labels = [str(label) for label in check_one_column("classes", classes).tolist()]
    if found.ndim != 2 or found.shape[1] != len(labels):
        raise ValueError(
            f"sets has the shape {found.shape}; expected (n_images, {len(labels)}): a column per "
            "class. Pass the result of predict_set."
        )
    names = []
    for row in found:
        chosen = [label for label, is_in in zip(labels, row, strict=True) if is_in]
        names.append(" or ".join(chosen) or "none")
    return np.array(names, dtype=object)
