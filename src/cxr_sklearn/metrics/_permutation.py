"""Permutation test of two models: the predictions of whole patients are exchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import rankdata

from ._figures import Figure
from ._resampling import PatientResamples
from ._scored_images import ScoredImages

# Equal statistics may differ by rounding, and must then count as equal.
_ROUNDING = 1e-9


def permutation_p_values(
    first: ScoredImages,
    second: ScoredImages,
    figures_of: Callable[[ScoredImages, PatientResamples], Sequence[Figure]],
    n_permutations: int,
    seed: int,
) -> dict[tuple[str, int | None], float]:
    """Test whether two models differ in figures, by exchanging them for random patients.

    If the models are equally good, it does not matter which of them predicts the images of a
    patient. The test exchanges their predictions for a random half of the patients, and compares
    the difference with that of the actual predictions.

    Parameters
    ----------
    first, second : ScoredImages
        Predictions of two models for the same images.
    figures_of : callable
        Computes figures from images and weights.
    n_permutations : int
        Number of random exchanges.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    p : dict of (metric, label) to float
        Two-sided p-values.
    """
    n_patients = int(first.patient.max()) + 1
    rng = np.random.default_rng(seed)
    # The first row exchanges nobody: it is the difference of the actual predictions.
    is_exchanged = np.zeros((1 + n_permutations, n_patients), dtype=np.float32)
    is_exchanged[1:] = rng.integers(2, size=(n_permutations, n_patients))
    # Both models are one set of images with two "patients" for each patient, of which exactly one
    # has weight. The weights choose the model, so that all figures can be computed by weights.
    both = ScoredImages(
        codes=np.concatenate([first.codes, second.codes]),
        proba=np.concatenate([first.proba, second.proba], axis=1),
        patient=np.concatenate([first.patient, second.patient + n_patients]),
    )
    one = _weights(both, np.hstack([1 - is_exchanged, is_exchanged]))
    other = _weights(both, np.hstack([is_exchanged, 1 - is_exchanged]))
    p = {}
    for a, b in zip(figures_of(both, one), figures_of(both, other), strict=True):
        difference = np.abs(a.values - b.values)
        if not np.isfinite(difference[0]):
            p[a.metric, a.label] = np.nan
            continue
        is_extreme = difference[1:] >= difference[0] - _ROUNDING
        # The actual arrangement counts as one of the permutations, so that p is never 0.
        p[a.metric, a.label] = float((1 + is_extreme.sum()) / (1 + n_permutations))
    return p


def _weights(images: ScoredImages, weights: np.ndarray) -> PatientResamples:
    return PatientResamples(
        patient=images.patient,
        weights=weights,
        n_resamples=len(weights) - 1,
        jackknife_factor=np.empty(0),
        jackknife_stratum=np.empty(0, dtype=int),
    )


def with_ranks(images: ScoredImages) -> ScoredImages:
    """Return the images with ranks instead of probabilities, for figures that depend on the order.

    Probabilities of two models may have different scales. Their ranks have the same one, so that
    exchanging them changes the order of the images of a patient only.
    """
    return ScoredImages(images.codes, rankdata(images.proba, axis=1), images.patient)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjust p-values for several tests with the method of Holm (1979).

    Examples
    --------
    >>> [round(float(p), 2) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    factors = np.arange(len(p), 0, -1)
    adjusted = np.maximum.accumulate(p[order] * factors).clip(max=1)
    result = np.empty(len(p))
    result[order] = adjusted
    return result
