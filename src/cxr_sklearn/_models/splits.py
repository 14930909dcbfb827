"""Splits inside a fit, which are stratified and do not divide patients or equal images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, check_cv

from .._images.images import Images
from .._utils.values import is_blank, is_missing

# Splits by group are made greedily and depend on the order of the groups, so several orders are
# tried.
_TRIES = 10


def patient_groups(
    images: Images, groups: Any, group_by: Callable[[str], Any] | None
) -> np.ndarray:
    """Return a group for each image. Images of one patient or of equal content are in one group.

    Parameters
    ----------
    images : Images
    groups : ndarray of shape (n,) or None
        Patients that were passed to ``fit``. They take precedence over `group_by`.
    group_by : callable or None
        Function from a path to its patient.

    Returns
    -------
    ndarray of shape (n,), of int
    """
    # Without patients, each image is a group of its own.
    codes = np.arange(len(images))
    if groups is not None:
        try:
            _, codes = np.unique(groups, return_inverse=True)
        except TypeError:
            kinds = ", ".join(sorted({type(group).__name__ for group in groups}))
            raise ValueError(
                f"groups holds values of the types {kinds}; expected one type. Convert all values "
                "to strings."
            ) from None
    elif group_by is not None:
        if images.paths is None:
            raise ValueError(
                "group_by takes the path of an image, but X holds pixels; expected a column of "
                "paths. Pass paths as X, or pass groups to fit."
            )
        _, codes = np.unique(_patients_by(group_by, images.paths), return_inverse=True)
    _, contents = np.unique(np.array(images.digests(), dtype="S16"), return_inverse=True)
    # Patients and contents are the nodes of a graph, and each image links its patient with its
    # content. A group consists of all images in a connected component.
    n_groups = codes.max() + 1
    n_nodes = n_groups + contents.max() + 1
    links = coo_array((np.ones(len(codes)), (codes, n_groups + contents)), (n_nodes, n_nodes))
    _, component = connected_components(links, directed=False)
    return component[codes]


def _patients_by(group_by: Callable[[str], Any], paths: np.ndarray) -> list[str]:
    """Return the patient of each path, or raise if `group_by` returns no valid patient.

    A value that is equal only to itself, such as a match of a regular expression, is not valid:
    each image would count as a patient of its own.
    """
    patients = []
    for path in paths:
        value = group_by(path)
        if is_missing(value) or is_blank(value):
            raise ValueError(
                f"group_by returns {value!r} for {path!r}; expected a patient for every image. "
                "Return the path itself if the patient is unknown."
            )
        hash_function: Any = type(value).__hash__
        if hash_function is None or hash_function is object.__hash__:
            raise ValueError(
                f"group_by returns a value of type {type(value).__name__} for {path!r}; expected a "
                "string or an integer. Return, for example, match.group(1) instead of match."
            )
        patients.append(str(value))
    return patients


def _folds(codes: np.ndarray, groups: np.ndarray, n_splits: int, seed: int) -> list[np.ndarray]:
    """Return the test rows of a stratified partition by group."""
    # Without real groups the ordinary splitter gives the same kind of folds, 1000 times as fast.
    alone = len(np.unique(groups)) == len(groups)
    kind = StratifiedKFold if alone else StratifiedGroupKFold
    splitter = kind(n_splits, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # The callers handle classes with fewer groups than folds.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return [test for _, test in splitter.split(codes, codes, None if alone else groups)]


def _groups_per_class(codes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    return np.array([len(np.unique(groups[codes == c])) for c in range(codes.max() + 1)])


def validation_mask(
    codes: np.ndarray, groups: np.ndarray, fraction: float, names: Sequence[str], seed: int
) -> np.ndarray:
    """Choose the rows of the validation part.

    Parameters
    ----------
    codes : ndarray of shape (n,), of int
        Classes 0 to k - 1, each with one row or more.
    groups : ndarray of shape (n,), of int
    fraction : float
        Requested share, in (0, 1).
    names : sequence of str
        The classes, for messages.
    seed : int

    Returns
    -------
    ndarray of shape (n,), dtype bool
        Every class has training rows, and validation rows if that is possible.
    """
    _require_groups(codes, groups, names, "early_stopping=True")
    # One of n folds is a share of 1 / n, and the others together are a share of 1 - 1 / n.
    n_splits = max(2, round(1 / min(fraction, 1 - fraction)))
    n_splits = min(n_splits, len(np.unique(groups)), int(np.bincount(codes).max()))
    n_classes = codes.max() + 1
    best, best_score = None, (-1, -np.inf)
    for attempt in range(_TRIES):
        for test in _folds(codes, groups, n_splits, seed + attempt):
            mask = np.zeros(len(codes), dtype=bool)
            mask[test] = True
            if fraction > 0.5:
                mask = ~mask
            if len(np.unique(codes[~mask])) < n_classes:
                # A class without training rows could not be learned.
                continue
            # More classes in the validation part are better, then a share close to the fraction.
            score = (len(np.unique(codes[mask])), -abs(mask.mean() - fraction))
            if score > best_score:
                best, best_score = mask, score
        if best is not None and best_score[0] == n_classes:
            break
    if best is None:
        raise ValueError(
            f"validation_fraction={fraction}: no split by group leaves every class in training; "
            "expected a training part with every class. Reduce the fraction, add patients, or pass "
            "early_stopping=False."
        )
    return best


def stacking_folds(
    codes: np.ndarray,
    groups: np.ndarray,
    is_validation: np.ndarray,
    cv: Any,
    names: Sequence[str],
    seed: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Partition rows for out-of-fold outputs.

    Parameters
    ----------
    codes, groups, is_validation : ndarray of shape (n,)
    cv : int, splitter or iterable of splits
        A number is reduced to the number of groups of the scarcest class.
    names : sequence of str
    seed : int

    Returns
    -------
    list of (train, test) index arrays
        Each row is tested once, and every training part has rows of every class.
    """
    cv = 5 if cv is None else cv
    if not isinstance(cv, (int, np.integer)):
        if not hasattr(cv, "split"):
            cv = _listed_folds(cv, len(codes))
        with warnings.catch_warnings():
            # Whether the splitter divides groups is checked below.
            warnings.filterwarnings("ignore", "The groups parameter is ignored", UserWarning)
            splits = list(check_cv(cv, codes, classifier=True).split(codes[:, None], codes, groups))
        _check_partition(splits, codes, groups, is_validation, names)
        return splits
    # Rows of the validation part are tested in the folds, but never trained on.
    trained = ~is_validation
    scarcest = int(_groups_per_class(codes[trained], groups[trained]).min())
    _require_groups(codes[trained], groups[trained], names, f"cv={cv}")
    for n_splits in range(min(int(cv), scarcest), 1, -1):
        for attempt in range(_TRIES):
            tests = _folds(codes, groups, n_splits, seed + attempt)
            splits = [(np.setdiff1d(np.arange(len(codes)), test), test) for test in tests]
            if not any(_missing(train, codes, is_validation) for train, _ in splits):
                return splits
    raise ValueError(
        f"cv={cv}: no division into folds by group leaves every class in every training part; "
        "expected more patients of the scarcest class. Add patients, or reduce cv."
    )


def _missing(train: np.ndarray, codes: np.ndarray, is_validation: np.ndarray) -> set[int]:
    """Return the classes without a training row."""
    return set(range(codes.max() + 1)) - set(codes[train][~is_validation[train]])


def _listed_folds(cv: Any, n_rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return an iterable of folds as a list, after a check that they contain row numbers."""
    folds = []
    for i, fold in enumerate(cv):
        parts = [np.asarray(part) for part in fold] if np.iterable(fold) else []
        if len(parts) != 2 or any(part.ndim != 1 or part.dtype.kind not in "iu" for part in parts):
            raise ValueError(
                f"cv is invalid: its item {i} is not a pair of row numbers; expected (train, "
                "test), two arrays of integers. Use, for example, the splits of "
                "StratifiedGroupKFold."
            )
        highest = max(int(part.max(initial=0)) for part in parts)
        if highest >= n_rows:
            raise ValueError(
                f"cv names row {highest}, but {n_rows} rows are trained on, numbered from 0 (rows "
                "of sample_weight 0 are left out); expected these numbers. Pass a number of folds "
                "or a splitter, or drop rows before fit."
            )
        folds.append((parts[0], parts[1]))
    if not folds:
        raise ValueError(
            "cv contains no fold; expected a number, a splitter or a list of (train, test). "
            "Convert an iterator to a list, because the first fit uses it up."
        )
    return folds


def _check_partition(
    splits: list[tuple[np.ndarray, np.ndarray]],
    codes: np.ndarray,
    groups: np.ndarray,
    is_validation: np.ndarray,
    names: Sequence[str],
) -> None:
    tested = np.sort(np.concatenate([test for _, test in splits]))
    if not np.array_equal(tested, np.arange(len(codes))):
        raise ValueError(
            "cv: its test parts do not contain every row once; expected a partition. Pass, for "
            "example, StratifiedGroupKFold."
        )
    for train, test in splits:
        if shared := np.intersect1d(groups[train], groups[test]).size:
            raise ValueError(
                f"cv: a fold has {shared} patients (or equal images) in training and in test; "
                "expected none. Pass an integer, or StratifiedGroupKFold."
            )
        if missing := _missing(train, codes, is_validation):
            raise ValueError(
                f"cv: a fold has no training row of class {names[min(missing)]!r}; expected every "
                "class in every training part. Pass an integer, so that the folds are stratified."
            )


def _require_groups(
    codes: np.ndarray, groups: np.ndarray, names: Sequence[str], parameter: str
) -> None:
    counts = _groups_per_class(codes, groups)
    scarcest = int(counts.argmin())
    if counts[scarcest] < 2:
        raise ValueError(
            f"{parameter} divides each class, but class {names[scarcest]!r} has images of "
            f"{counts[scarcest]} patient (or distinct content) to train on; expected 2 or more of "
            "each class"
        )
