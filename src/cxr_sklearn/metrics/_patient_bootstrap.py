"""How sure a figure is, patients being what was sampled."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BLOCK = 2**23  # weights at a time, 64 MiB as float64


def patient_draws(groups: np.ndarray, n_resamples: int, seed: int = 0) -> np.ndarray:
    """Return how often each image counts: once each, then in resamples of whole patients.

    Parameters
    ----------
    groups : array-like of shape (n_images,)
        Patient of each image.
    n_resamples : int
    seed : int, default=0

    Returns
    -------
    ndarray of shape (1 + n_resamples, n_images), dtype int16
    """
    _, codes = np.unique(groups, return_inverse=True)
    n = codes.max() + 1
    draws = np.ones((1 + n_resamples, len(codes)), dtype=np.int16)
    rng, share = np.random.default_rng(seed), np.full(n, 1 / n)
    for block in _blocks(draws[1:]):
        block[:] = rng.multinomial(n, share, size=len(block))[:, codes]
    return draws


def _blocks(draws: np.ndarray) -> Iterator[np.ndarray]:
    """Return some draws at a time, so that what is made of them stays small."""
    step = max(1, _BLOCK // max(1, draws.shape[1]))
    return (draws[start : start + step] for start in range(0, len(draws), step))


def weighted_auc(positive: np.ndarray, score: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve under each draw.

    Parameters
    ----------
    positive : ndarray of shape (n_images,), dtype bool
    score : ndarray of shape (n_images,)
    draws : ndarray of shape (n_draws, n_images)
        How often each image counts.

    Returns
    -------
    ndarray of shape (n_draws,), dtype float64
        NaN where a draw lacks one of the two.
    """
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # of runs of equal scores
    positive = positive[order]
    found = []
    for block in _blocks(draws):
        weight = block[:, order].astype(np.float64)
        ups = np.add.reduceat(weight * positive, starts, axis=1)
        downs = np.add.reduceat(weight * ~positive, starts, axis=1)
        below = downs.cumsum(axis=1) - downs / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append((ups * below).sum(axis=1) / (ups.sum(axis=1) * downs.sum(axis=1)))
    return np.concatenate(found)


def balanced_accuracy(true: np.ndarray, predicted: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the mean recall of the classes under each draw.

    Parameters
    ----------
    true, predicted : ndarray of shape (n_images,), dtype int
        Class numbers.
    draws : ndarray of shape (n_draws, n_images)

    Returns
    -------
    ndarray of shape (n_draws,), dtype float64
        Over the classes that a draw has.
    """
    labelled = (true[:, None] == np.unique(true)).astype(np.float64)
    found = labelled * (true == predicted)[:, None]
    recalls = []
    for block in _blocks(draws):
        weight = block.astype(np.float64)
        with np.errstate(invalid="ignore"):
            recalls.append(np.nanmean((weight @ found) / (weight @ labelled), axis=1))
    return np.concatenate(recalls)


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Return the figure and the percentile interval of what :func:`patient_draws` made of it."""
    resampled = values[1:][np.isfinite(values[1:])]
    if not len(resampled):
        return float(values[0]), np.nan, np.nan
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(values[0]), float(low), float(high)
