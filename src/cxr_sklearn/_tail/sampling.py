"""imbalanced-learn's samplers on rows that are known by id."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from imblearn.utils import check_sampling_strategy
from sklearn.base import clone

from .._utils.messages import one_line
from .rows import TrainingRows


def resample(
    sampler: Any, rows: TrainingRows, ids: np.ndarray, y: np.ndarray, seed: int, problem: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Resample the rows of one binary problem.

    Ids are never given to a sampler that computes with them: a mean of two ids is the id of an
    unrelated image.

    Parameters
    ----------
    sampler : imbalanced-learn sampler
    rows : TrainingRows
    ids, y : ndarray of shape (n,), of int
        Training part of the problem.
    seed : int
        For a sampler without a ``random_state`` of its own.
    problem : str
        Name of the binary problem, for messages.

    Returns
    -------
    ids, y : ndarray of shape (m,)
        Chosen rows, or positions in `values`.
    values : ndarray of shape (m, *rows.shape), dtype float32, or None
        Activations, where the sampler made rows that no image has.

    Raises
    ------
    ValueError
        If the sampler fails or removes every row of a class, or if made rows meet sample weights,
        augmentation or a cut below the head.
    """
    sampler = _prepared(sampler, seed)
    name = type(sampler).__name__
    # these two pick rows without looking at their values
    blind = isinstance(sampler, RandomUnderSampler) or (
        isinstance(sampler, RandomOverSampler) and sampler.shrinkage is None
    )
    X = ids[:, None] if blind else rows.take(ids).reshape(len(ids), -1)
    X_new, y_new = _resampled(sampler, X, y, problem)
    index = getattr(sampler, "sample_indices_", None)
    if index is not None and np.array_equal(X_new, X[index]):
        return ids[index], y_new, None
    if len(rows.shape) > 1:
        raise ValueError(
            f"sampler={name} makes new rows, which is possible for pooled features only; expected "
            "trainable='head', or a sampler that selects existing rows. Pass, for example, "
            "RandomOverSampler()."
        )
    if np.ptp(rows.sample_weight[ids]) > 0:
        raise ValueError(
            f"sampler={name} makes new rows, which have no sample_weight (nor the weight of a "
            "class_weight dict); expected no sample_weight and class_weight='balanced' or None, or "
            "a sampler that selects existing rows. Pass, for example, RandomOverSampler()."
        )
    if rows.n_views:
        raise ValueError(
            f"sampler={name} makes new rows, which have no augmented views; expected "
            "augment=False, or a sampler that selects existing rows. Pass, for example, "
            "RandomOverSampler()."
        )
    values = np.asarray(X_new, dtype=np.float32).reshape(-1, *rows.shape)
    return np.arange(len(values)), y_new, values


def share_factors(
    sampler: Any, rows: TrainingRows, ids: np.ndarray, y: np.ndarray, seed: int, problem: str
) -> np.ndarray:
    """Return by how much a sampler multiplies the rows of each class.

    Parameters
    ----------
    sampler : imbalanced-learn sampler
    rows : TrainingRows
    ids, y : ndarray of shape (n,), of int
        Training part of the problem, with all of the classes 0 ... k - 1.
    seed : int
        For a sampler without a ``random_state`` of its own.
    problem : str
        Name of the problem, for messages.

    Returns
    -------
    ndarray of shape (k,), dtype float64
        1 for samplers that clean a data set and aim at no shares. For others of imbalanced-learn
        the factors are those that the sampler aims at: what it removes afterwards does not count.
    """
    counts = np.bincount(y)
    kind = getattr(sampler, "_sampling_type", None)
    if kind == "clean-sampling":
        return np.ones(len(counts))
    sampler = _prepared(sampler, seed)
    if kind in ("over-sampling", "under-sampling"):
        inner = getattr(sampler, "smote", None)  # SMOTEENN and SMOTETomek oversample by it
        strategy = (sampler if inner is None else inner).sampling_strategy
        aim = counts.copy()
        for label, n in check_sampling_strategy(strategy, y, kind).items():
            aim[label] = n if kind == "under-sampling" else counts[label] + n
    else:  # a pipeline or a sampler of the user's: only running it shows what it does
        _, y_new = _resampled(sampler, rows.take(ids).reshape(len(ids), -1), y, problem)
        aim = np.bincount(y_new, minlength=len(counts))
    return aim / counts


def _resampled(
    sampler: Any, X: np.ndarray, y: np.ndarray, problem: str
) -> tuple[np.ndarray, np.ndarray]:
    """Run a sampler, and raise if it fails or removes a class."""
    name = type(sampler).__name__
    try:
        X_new, y_new = sampler.fit_resample(X, y)
    except ValueError as error:
        reason = one_line(str(error))
        raise ValueError(
            f"sampler={name} fails in the problem {problem!r} ({reason}); expected a sampler that "
            "suits the images of its classes. Change its parameters, or add images."
        ) from error
    emptied = np.setdiff1d(y, y_new)
    if len(emptied):
        raise ValueError(
            f"sampler={name} removes all {int((y == emptied[0]).sum())} training rows of one class "
            f"of the problem {problem!r}; expected 1 or more to remain. Choose a sampler that "
            "keeps rare classes, or increase its n_neighbors or sampling_strategy."
        )
    return X_new, y_new


def _prepared(sampler: Any, seed: int) -> Any:
    """Return a copy of a sampler that has a seed, and takes a ratio in every problem."""
    sampler = clone(sampler)
    for step, transformer in getattr(sampler, "steps", ()):
        if hasattr(transformer, "transform"):
            raise ValueError(
                f"sampler: its step {step!r} ({type(transformer).__name__}) transforms the rows, "
                "but predictions are made from rows that it has not transformed; expected samplers "
                "only. Remove this step, because the model standardises its activations itself."
            )
    for name, value in sorted(sampler.get_params().items()):
        owner, _, parameter = name.rpartition("__")
        if value is None and parameter == "random_state":
            sampler.set_params(**{name: seed})
        if parameter != "sampling_strategy":
            continue
        if isinstance(value, (Mapping, list, tuple)) or callable(value):
            raise ValueError(
                f"sampler: {name}={value!r} names classes, but class labels differ in each binary "
                "problem; expected a string or a float, such as 'auto', 'minority' or 0.5. Pass "
                "one of these, or put the sampler before the model in an imbalanced-learn pipeline."
            )
        if isinstance(value, float) and 0 < value <= 1:  # others are left to its own check
            owned_by = sampler.get_params()[owner] if owner else sampler
            kind = getattr(owned_by, "_sampling_type", "")
            # called with the labels that reach this sampler, which in a pipeline are others
            sampler.set_params(**{name: partial(_changed_sizes, kind, value)})
    return sampler


def _changed_sizes(kind: str, ratio: float, y: np.ndarray) -> dict[int, int]:
    """Return the rows that a ratio means, of each class whose size it changes.

    An over-sampler brings each class to at least `ratio` times the largest, an under-sampler to at
    most 1 / `ratio` times the smallest. imbalanced-learn takes a ratio for two classes only, and
    refuses it where they have it already, as some pairs of classes may.
    """
    classes, counts = np.unique(y, return_counts=True)
    if kind == "under-sampling":
        sizes = np.minimum(counts, np.floor(counts.min() / ratio)).astype(int)
    else:
        sizes = np.maximum(counts, np.floor(ratio * counts.max())).astype(int)
    changed = sizes != counts
    return dict(zip(classes[changed].tolist(), sizes[changed].tolist(), strict=True))
