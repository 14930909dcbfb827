"""Compare new images with the calibration images."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import _num_samples

from .._utils.patient_numbers import patient_codes
from ._image_features import image_features
from ._two_sample_test import ExchangeabilityTest, two_sample_test

# The comparison needs a matrix of n × n values for n patients.
_MOST_COMPARED = 1000


class CalibrationImages:
    """Features of one image of each calibration patient.

    Parameters
    ----------
    fitted : classifier
        Fitted.
    X : array-like
        Calibration images.
    patient : ndarray of shape (n_images,), dtype int
        Their patients.
    seed : int
        Seed of the choice of images.
    """

    def __init__(self, fitted: Any, X: Any, patient: np.ndarray, seed: int) -> None:
        rows = _one_per_patient(patient, np.random.default_rng(seed))[:_MOST_COMPARED]
        self.features, self.names = image_features(fitted, _safe_indexing(X, rows))

    def compare(
        self, fitted: Any, X: Any, groups: Any, n_permutations: int, random_state: Any
    ) -> ExchangeabilityTest:
        """Test whether new images look like these.

        Raises
        ------
        ValueError
            If there are fewer than two new patients, or nothing to compare.
        """
        n_images = _num_samples(X)
        if not self.names:
            raise ValueError(
                "X contains neither images nor columns of numbers, so that new rows cannot be "
                "compared with the calibration rows; expected images. Compare them by other means."
            )
        if n_images < 2:
            raise ValueError(
                f"X has n_samples={n_images}; expected images of 2 patients or more, to compare "
                "them with the calibration images"
            )
        patient = np.arange(n_images) if groups is None else patient_codes(groups, n_images)
        rng = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
        rows = _one_per_patient(patient, rng)[:_MOST_COMPARED]
        new, _ = image_features(fitted, _safe_indexing(X, rows))
        if new.shape[1] != len(self.names):
            raise ValueError(
                f"X has {new.shape[1]} columns of numbers; expected {len(self.names)}, as in the "
                "calibration images"
            )
        return two_sample_test(self.features, new, self.names, n_permutations, rng)


def _one_per_patient(patient: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the row of one random image of each patient, in random order."""
    order = rng.permutation(len(patient))
    _, first = np.unique(patient[order], return_index=True)
    return rng.permutation(order[first])
