"""Figures that depend on the order of the scores: ROC and precision-recall, with weights."""

from __future__ import annotations

import numpy as np

from ._resampling import PatientResamples

# Levels at which sensitivity and specificity are reported.
LEVELS = (0.90, 0.95)

AUC, AVERAGE_PRECISION = "roc_auc", "average_precision"


def sensitivity_name(level: float) -> str:
    """Return the name of the sensitivity at a specificity."""
    return f"sensitivity_at_specificity_{round(100 * level)}"


def specificity_name(level: float) -> str:
    """Return the name of the specificity at a sensitivity."""
    return f"specificity_at_sensitivity_{round(100 * level)}"


def ranking_figures(
    resamples: PatientResamples,
    patient: np.ndarray,
    is_positive: np.ndarray,
    score: np.ndarray,
    only_auc: bool = False,
) -> dict[str, np.ndarray]:
    """Compute figures of a score in every row of weights.

    Parameters
    ----------
    resamples : PatientResamples
        Weights of the patients.
    patient : ndarray of shape (n_images,), dtype int
        Patient of each image.
    is_positive : ndarray of shape (n_images,), dtype bool
        Whether each image belongs to the positive class.
    score : ndarray of shape (n_images,)
        Score of each image, greater for the positive class.
    only_auc : bool, default=False
        Whether the area under the ROC curve suffices.

    Returns
    -------
    figures : dict of str to ndarray of shape (n_rows,)
        NaN where a row has no positive or no negative image.
    """
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    # Images with equal scores cannot be separated by a threshold, and are summed as one run.
    run_starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    has_ties = len(run_starts) < len(ordered)
    patient, positive = patient[order], is_positive[order].astype(np.float64)

    parts = []
    for _, weights in resamples.blocks(len(order)):
        weight = weights[:, patient].astype(np.float64)
        positives = weight * positive
        negatives = weight - positives
        if has_ties:
            positives = np.add.reduceat(positives, run_starts, axis=1)
            negatives = np.add.reduceat(negatives, run_starts, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append(_block_figures(positives, negatives, only_auc))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _block_figures(
    positives: np.ndarray, negatives: np.ndarray, only_auc: bool
) -> dict[str, np.ndarray]:
    """Compute the figures of a block from the weights of runs, in ascending order of scores."""
    n_positive, n_negative = positives.sum(axis=1), negatives.sum(axis=1)
    negatives_up_to = np.cumsum(negatives, axis=1)
    # Mann-Whitney statistic: a positive image is ranked above all negative images with lower
    # scores, and above half of the negative images with the same score.
    n_below = np.einsum("ij,ij->i", positives, negatives_up_to)
    n_tied = np.einsum("ij,ij->i", positives, negatives)
    figures = {AUC: (n_below - n_tied / 2) / (n_positive * n_negative)}
    if only_auc:
        return figures

    # Column j is the threshold at which the runs from j on are called positive.
    true_positives = np.cumsum(positives[:, ::-1], axis=1)[:, ::-1]
    true_negatives = negatives_up_to - negatives
    n_called = true_positives + (n_negative[:, None] - true_negatives)
    precision = np.divide(true_positives, n_called, where=n_called > 0, out=n_called)
    figures[AVERAGE_PRECISION] = np.einsum("ij,ij->i", positives, precision) / n_positive
    rows = np.arange(len(positives))
    n_runs = positives.shape[1]
    # Sums of floats may miss an exact share by rounding.
    tolerance = 1e-9
    for level in LEVELS:
        # The specificity increases with the threshold, and the sensitivity decreases.
        needed = (level - tolerance) * n_negative[:, None]
        first = (true_negatives < needed).sum(axis=1)
        # Beyond the last run no image is called positive.
        reached = true_positives[rows, np.minimum(first, n_runs - 1)] * (first < n_runs)
        # A row without negative images has no specificity.
        defined = np.where(n_negative > 0, reached / n_positive, np.nan)
        figures[sensitivity_name(level)] = defined
        needed = (level - tolerance) * n_positive[:, None]
        last = (true_positives >= needed).sum(axis=1) - 1
        defined = np.where(n_positive > 0, true_negatives[rows, last] / n_negative, np.nan)
        figures[specificity_name(level)] = defined
    return figures
