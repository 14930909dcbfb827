"""True classes, probabilities and patients of the images that a classifier is tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class ScoredImages:
    """Images with their true classes, predicted probabilities and patients.

    Attributes
    ----------
    codes : ndarray of shape (n_images,), dtype int
        True class of each image, as the index of a column of `proba`.
    proba : ndarray of shape (n_repeats, n_images, n_classes), dtype float64
        Probabilities. Repeats are the results of repeated cross-validation; figures are means over
        them.
    patient : ndarray of shape (n_images,), dtype int
        Number of the patient of each image.
    """

    codes: np.ndarray
    proba: np.ndarray
    patient: np.ndarray

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.proba.shape[2]

    @property
    def n_images(self) -> int:
        """Number of images."""
        return len(self.codes)

    @cached_property
    def predicted(self) -> np.ndarray:
        """Predicted class of each image, of shape (n_repeats, n_images)."""
        return self.proba.argmax(axis=2)

    def take(self, rows: np.ndarray) -> ScoredImages:
        """Return some of the images. The numbers of the patients are unchanged."""
        return replace(
            self, codes=self.codes[rows], proba=self.proba[:, rows], patient=self.patient[rows]
        )

    def images_of_patients(self, rows: np.ndarray, n_patients: int) -> np.ndarray:
        """Return the number of selected images of each patient."""
        return np.bincount(self.patient[rows], minlength=n_patients)
