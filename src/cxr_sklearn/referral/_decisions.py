"""Decisions on images whose class is known: what the tests and the curves are computed from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ._risks import Risk


@dataclass(frozen=True, eq=False)
class Decisions:
    """Confidence, prediction and class of the images of some patients.

    Attributes
    ----------
    score : ndarray of shape (n_images,), dtype float64
        Confidence in the prediction; an image is accepted if it reaches the threshold.
    codes, predicted : ndarray of shape (n_images,), dtype int
        True and predicted class.
    patient : ndarray of shape (n_images,), dtype int
        Number of the patient of each image, from 0 without gaps, in ascending order.
    """

    score: np.ndarray
    codes: np.ndarray
    predicted: np.ndarray
    patient: np.ndarray

    @property
    def n_patients(self) -> int:
        """Number of patients."""
        return int(self.patient[-1]) + 1 if len(self.patient) else 0

    @property
    def has_single_images(self) -> bool:
        """Whether each patient has one image."""
        return self.n_patients == len(self.patient)

    @property
    def weight(self) -> np.ndarray:
        """Weight of each image: those of a patient have the sum 1."""
        return 1 / np.bincount(self.patient)[self.patient]

    def of_patients(self, numbers: np.ndarray) -> Decisions:
        """Return the decisions on some patients, in the order given."""
        start = np.searchsorted(self.patient, numbers)
        stop = np.searchsorted(self.patient, numbers, side="right")
        rows = [np.arange(a, b) for a, b in zip(start, stop, strict=True)]
        order = np.concatenate(rows) if rows else np.zeros(0, dtype=int)
        patient = np.repeat(np.arange(len(numbers)), stop - start)
        return replace(
            self,
            score=self.score[order],
            codes=self.codes[order],
            predicted=self.predicted[order],
            patient=patient,
        )

    def accepted(self, thresholds: np.ndarray) -> np.ndarray:
        """Return which images are not referred, of shape (n_images, n_thresholds)."""
        return self.score[:, None] >= thresholds

    def is_referred(self, threshold: float) -> np.ndarray:
        """Return which images are referred at one threshold, those without a confidence too."""
        return ~(self.score >= threshold)

    def is_wrong(self) -> np.ndarray:
        """Return which predictions are wrong."""
        return self.codes != self.predicted

    def counts(self, risk: Risk, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Count errors and accepted images of a risk.

        Returns
        -------
        n_errors, n_accepted : ndarray of shape (n_thresholds,), dtype int
        """
        concerned = self.accepted(thresholds) & self._concerned(risk)
        return (concerned & self.is_wrong()[:, None]).sum(axis=0), concerned.sum(axis=0)

    def shares(self, risk: Risk, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the shares of errors and of accepted images: a random image of a random patient.

        Returns
        -------
        errors, accepted : ndarray of shape (n_thresholds,), dtype float64
            The risk is their quotient.
        """
        concerned = (self.accepted(thresholds) & self._concerned(risk)) * self.weight[:, None]
        wrong = concerned * self.is_wrong()[:, None]
        n = max(1, self.n_patients)
        return wrong.sum(axis=0) / n, concerned.sum(axis=0) / n

    def excess(self, risk: Risk, thresholds: np.ndarray, bound: float | np.ndarray) -> np.ndarray:
        """Return the mean excess of errors over a limit, for each patient.

        Parameters
        ----------
        risk : Risk
        thresholds : ndarray of shape (n_thresholds,)
        bound : float, or ndarray of shape (n_thresholds,)
            Limit.

        Returns
        -------
        ndarray of shape (n_patients, n_thresholds), dtype float64
            Mean over the images of a patient of (error - limit) for accepted images that the risk
            concerns, and 0 for the others. Its expectation is positive if and only if the risk
            exceeds the limit.
        """
        concerned = self.accepted(thresholds) & self._concerned(risk)
        values = concerned * (self.is_wrong()[:, None] - bound) * self.weight[:, None]
        return _sum_by_patient(values, self.patient)

    def _concerned(self, risk: Risk) -> np.ndarray:
        return risk.concerns(self.codes, self.predicted)[:, None]


def _sum_by_patient(values: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Add up the rows of each patient, which follow each other."""
    if not len(values):
        return values
    starts = np.flatnonzero(np.r_[True, patient[1:] != patient[:-1]])
    return np.add.reduceat(values, starts, axis=0)
