"""imbalanced-learn's samplers on rows that are known by id."""

from __future__ import annotations

from typing import Any

import numpy as np
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from sklearn.base import clone

from ._rows import TrainingRows


def resample(
    sampler: Any, rows: TrainingRows, ids: np.ndarray, y: np.ndarray, seed: int
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

    Returns
    -------
    ids, y : ndarray of shape (m,)
        Chosen rows, or positions in `values`.
    values : ndarray of shape (m, *rows.shape), dtype float32, or None
        Activations, where the sampler made rows that no image has.

    Raises
    ------
    ValueError
        If made rows meet sample weights, augmentation or a cut below the head.
    """
    sampler = clone(sampler)
    for name, value in sorted(sampler.get_params().items()):
        if value is None and name.rpartition("__")[2] == "random_state":
            sampler.set_params(**{name: seed})
        if name.rpartition("__")[2] == "sampling_strategy" and isinstance(value, (dict, list)):
            raise ValueError(
                f"sampler: {name}={value!r} names classes, which within a binary problem are "
                "others; expected a word or a number ('auto', 'minority', 0.5), or the sampler "
                "before the model in an imbalanced-learn pipeline"
            )
    # these two pick rows without looking at their values
    blind = isinstance(sampler, RandomUnderSampler) or (
        isinstance(sampler, RandomOverSampler) and sampler.shrinkage is None
    )
    X = ids[:, None] if blind else rows.take(ids).reshape(len(ids), -1)
    X_new, y_new = sampler.fit_resample(X, y)
    index = getattr(sampler, "sample_indices_", None)
    if index is not None and np.array_equal(X_new, X[index]):
        return ids[index], y_new, None
    name = type(sampler).__name__
    if len(rows.shape) > 1:
        raise ValueError(
            f"sampler={name} makes new rows, which only pooled features can be mixed to; expected "
            "trainable='head' with it, or a sampler that picks rows (RandomOverSampler)"
        )
    if np.ptp(rows.sample_weight[ids]) > 0:
        raise ValueError(
            f"sampler={name} makes new rows, which have no sample_weight (nor the weight of a "
            "class_weight dict); expected class_weight='balanced' or None and no sample_weight "
            "with it, or a sampler that picks rows (RandomOverSampler)"
        )
    if rows.n_views:
        raise ValueError(
            f"sampler={name} makes new rows, which have no augmented views; expected augment=False "
            "with it, or a sampler that picks rows (RandomOverSampler)"
        )
    values = np.asarray(X_new, dtype=np.float32).reshape(-1, *rows.shape)
    return np.arange(len(values)), y_new, values
