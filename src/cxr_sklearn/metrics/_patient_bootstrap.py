"""Bootstrap of figures by resampling patients, not images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Number of weights that are processed at a time: 64 MiB as float64.
_BLOCK = 2**23


def patient_draws(groups: np.ndarray, n_resamples: int, seed: int = 0) -> np.ndarray:
    """Draw bootstrap resamples of whole patients, as weights of the images.

    Parameters
    ----------
    groups : array-like of shape (n_images,)
        Patient of each image.
    n_resamples : int
        Number of resamples.
    seed : int, default=0
        Seed of the random numbers.

    Returns
    -------
    draws : ndarray of shape (1 + n_resamples, n_images), dtype int16
        Number of times that each image counts. The first row is the sample itself, in which each
        image counts once.
    """
    _, codes = np.unique(groups, return_inverse=True)
    n_patients = codes.max() + 1
    draws = np.ones((1 + n_resamples, len(codes)), dtype=np.int16)
    rng = np.random.default_rng(seed)
    probability = np.full(n_patients, 1 / n_patients)
    for block in _blocks(draws[1:]):
        # All images of a patient get the count of that patient.
        block[:] = rng.multinomial(n_patients, probability, size=len(block))[:, codes]
    return draws


def _blocks(draws: np.ndarray) -> Iterator[np.ndarray]:
    """Yield some draws at a time, so that arrays made from them need little memory."""
    step = max(1, _BLOCK // max(1, draws.shape[1]))
    for start in range(0, len(draws), step):
        yield draws[start : start + step]


def weighted_auc(positive: np.ndarray, score: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Compute the area under the ROC curve in each draw.

    Parameters
    ----------
    positive : ndarray of shape (n_images,), dtype bool
        Whether each image belongs to the positive class.
    score : ndarray of shape (n_images,)
        Score of each image.
    draws : ndarray of shape (n_draws, n_images)
        Number of times that each image counts, from :func:`patient_draws`.

    Returns
    -------
    auc : ndarray of shape (n_draws,), dtype float64
        NaN where a draw lacks positive or negative images.
    """
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    # Images with equal scores are ties, and are summed as one run.
    run_starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    positive = positive[order]
    found = []
    for block in _blocks(draws):
        weights = block[:, order].astype(np.float64)
        positives = np.add.reduceat(weights * positive, run_starts, axis=1)
        negatives = np.add.reduceat(weights * ~positive, run_starts, axis=1)
        # Mann-Whitney statistic: a positive image is ranked above all negative images with lower
        # scores, and above half of the negative images with the same score.
        below = negatives.cumsum(axis=1) - negatives / 2
        n_pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append((positives * below).sum(axis=1) / n_pairs)
    return np.concatenate(found)


def balanced_accuracy(true: np.ndarray, predicted: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Compute the mean recall of the classes in each draw.

    Parameters
    ----------
    true, predicted : ndarray of shape (n_images,), dtype int
        Codes of the classes.
    draws : ndarray of shape (n_draws, n_images)
        Number of times that each image counts, from :func:`patient_draws`.

    Returns
    -------
    accuracy : ndarray of shape (n_draws,), dtype float64
        Mean over the classes that have images in the draw.
    """
    # One column per class, so that a matrix product counts the images of all classes at once.
    is_of_class = (true[:, None] == np.unique(true)).astype(np.float64)
    is_correct = is_of_class * (true == predicted)[:, None]
    found = []
    for block in _blocks(draws):
        weights = block.astype(np.float64)
        # A class without images in a draw is 0 / 0, and is left out of the mean.
        with np.errstate(invalid="ignore"):
            recalls = (weights @ is_correct) / (weights @ is_of_class)
            found.append(np.nanmean(recalls, axis=1))
    return np.concatenate(found)


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Return a figure and its percentile interval.

    Parameters
    ----------
    values : ndarray of shape (1 + n_resamples,)
        The figure in the sample, then in each resample of :func:`patient_draws`.
    level : float, default=0.95
        Confidence level.

    Returns
    -------
    value, low, high : float
        The limits are NaN if the figure is undefined in all resamples.
    """
    resampled = values[1:][np.isfinite(values[1:])]
    if not len(resampled):
        return float(values[0]), np.nan, np.nan
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(values[0]), float(low), float(high)
