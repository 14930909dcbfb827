"""Folds of a cross-validation in which every image is tested once, and no patient is divided."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from .._utils.messages import some
from ..model_selection import LeaveOneSourceOut
from ._test_data import TestData

# Training and test rows.
Fold = tuple[np.ndarray, np.ndarray]


def make_repeats(
    cv: Any, repeats: int, X: Any, y: np.ndarray, data: TestData, seed: int
) -> list[list[Fold]]:
    """Return the folds of each repeat.

    Parameters
    ----------
    cv : int, splitter, or iterable of (train, test)
        For a number, patients are divided with StratifiedGroupKFold.
    repeats : int
        Number of repeats, with other folds each; only for a number of folds.
    X : array-like
        Images.
    y : ndarray of shape (n_images,)
        True labels.
    data : TestData
        Classes, patients and sources.
    seed : int
        Seed of the folds.

    Returns
    -------
    repeats : list of list of (train, test)
        In each repeat, each image is tested once. A splitter that tests each image several times,
        such as a repeated one, gives several repeats.

    Raises
    ------
    ValueError
        If `cv` does not test each image equally often, divides a patient, or leaves out a class.
    """
    if not isinstance(repeats, (int, np.integer)) or repeats < 1:
        raise ValueError(f"repeats={repeats!r} is invalid; expected an integer of 1 or more")
    if isinstance(cv, (int, np.integer)) and not isinstance(cv, bool):
        return _numbered_folds(int(cv), int(repeats), y, data, seed)
    if repeats != 1:
        raise ValueError(
            f"repeats={repeats} needs a number of folds as cv, and cv is {cv!r:.80}; expected "
            "repeats=1. Pass a splitter that repeats itself."
        )
    found = _partitions(_splits_of(cv, X, y, data), data.n_images)
    for folds in found:
        check_folds(folds, data, "cv")
    return found


def _numbered_folds(
    n_folds: int, repeats: int, y: np.ndarray, data: TestData, seed: int
) -> list[list[Fold]]:
    if n_folds < 2:
        raise ValueError(f"cv={n_folds} is invalid; expected 2 folds or more")
    pairs = np.unique(np.column_stack([data.patient, data.codes]), axis=0)
    n_patients = np.bincount(pairs[:, 1], minlength=len(data.classes))
    scarcest = int(n_patients.argmin())
    if n_patients[scarcest] < n_folds:
        raise ValueError(
            f"cv={n_folds} is invalid: class {data.classes.tolist()[scarcest]!r} has "
            f"{n_patients[scarcest]} patients; expected at least as many patients of each class as "
            "folds. Pass a smaller cv, or add patients."
        )
    found = []
    for repeat in range(repeats):
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed + repeat)
        folds = list(splitter.split(y, data.codes, data.patient))
        check_folds(folds, data, f"cv={n_folds}")
        found.append(folds)
    return found


def _splits_of(cv: Any, X: Any, y: np.ndarray, data: TestData) -> list[Fold]:
    """Return the folds of a splitter or of an iterable."""
    if isinstance(cv, LeaveOneSourceOut):
        if "source" not in data.columns:
            raise ValueError(
                "cv=LeaveOneSourceOut() needs the source of each image, and sources is missing. "
                "Pass sources."
            )
        return list(cv.split(X, y, data.columns["source"]))
    if hasattr(cv, "split") and not isinstance(cv, str):
        with warnings.catch_warnings():
            # Whether the folds divide patients is checked below.
            warnings.filterwarnings("ignore", "The groups parameter is ignored", UserWarning)
            return list(cv.split(X, y, data.patient))
    if not isinstance(cv, Iterable) or isinstance(cv, str):
        raise ValueError(
            f"cv={cv!r} is invalid; expected a number of folds, a splitter, or a list of (train, "
            "test)"
        )
    return [(np.asarray(train), np.asarray(test)) for train, test in cv]


def _partitions(splits: Sequence[Fold], n_images: int) -> list[list[Fold]]:
    """Divide folds into repeats, each of which tests every image once."""
    repeats: list[list[Fold]] = []
    is_tested = np.ones(n_images, dtype=bool)
    for train, test in splits:
        if is_tested.all():
            repeats.append([])
            is_tested = np.zeros(n_images, dtype=bool)
        if is_tested[test].any() or len(np.unique(test)) < len(test):
            break
        is_tested[test] = True
        repeats[-1].append((train, test))
    else:
        if repeats and is_tested.all():
            return repeats
    raise ValueError(
        "cv does not test every image once per repeat; expected a partition, such as those of "
        "StratifiedGroupKFold or LeaveOneSourceOut. Pass a number of folds."
    )


def check_folds(folds: Sequence[Fold], data: TestData, name: str) -> None:
    """Raise if a fold divides a patient, or leaves a class out of training."""
    for number, (train, test) in enumerate(folds):
        shared = np.intersect1d(data.patient[train], data.patient[test])
        if len(shared):
            raise ValueError(
                f"{name}: fold {number} has {len(shared)} patients in training and in test; "
                "expected none, because a model may recognise a patient. Pass a splitter by "
                "patient, such as StratifiedGroupKFold; patients in several sources must be left "
                "out."
            )
        absent = np.setdiff1d(np.arange(len(data.classes)), data.codes[train])
        if len(absent):
            names = some(repr(data.classes.tolist()[code]) for code in absent)
            raise ValueError(
                f"{name}: fold {number} has no training image of {names}; expected every class in "
                "every training part. Pass a smaller number of folds, or add patients."
            )
