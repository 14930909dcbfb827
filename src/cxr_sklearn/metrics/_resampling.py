"""Resample patients, for intervals that hold for other patients and not only for other images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array

# Number of weights of images that are processed at a time: 8 MiB as float64.
_BLOCK = 2**20

# The jackknife leaves out groups of patients if there are more patients than this. The sampling
# error of the acceleration, the only figure that is computed from it, is then about 0.001.
_MOST_JACKKNIFE_GROUPS = 500


@dataclass(frozen=True, eq=False)
class PatientResamples:
    """Weights of the patients in the sample, in bootstrap resamples, and in a jackknife.

    A figure is computed once with each row of weights, all images of a patient having the weight
    of that patient. Made by :func:`resample_patients`.

    Attributes
    ----------
    patient : ndarray of shape (n_images,), dtype int
        Number of the patient of each image, from 0.
    weights : ndarray of shape (1 + n_resamples + n_jackknife, n_patients), dtype float32
        The first row is the sample itself, in which each patient has the weight 1.
    n_resamples : int
        Number of bootstrap resamples.
    jackknife_factor : ndarray of shape (n_jackknife,)
        Number of jackknife groups of the stratum of each row of the jackknife, less 1.
    jackknife_stratum : ndarray of shape (n_jackknife,), dtype int
        Stratum of the patients that each row of the jackknife leaves out.
    """

    patient: np.ndarray
    weights: np.ndarray
    n_resamples: int
    jackknife_factor: np.ndarray
    jackknife_stratum: np.ndarray

    @property
    def n_patients(self) -> int:
        """Number of patients."""
        return self.weights.shape[1]

    def blocks(self, n_images: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield some rows of weights at a time, so that weights of images need little memory."""
        step = max(1, _BLOCK // max(1, n_images))
        for start in range(0, len(self.weights), step):
            rows = slice(start, start + step)
            yield rows, self.weights[rows]

    def sums(self, values: np.ndarray, patient: np.ndarray | None = None) -> np.ndarray:
        """Compute weighted sums over the images in every row of weights.

        Parameters
        ----------
        values : ndarray of shape (n_images,) or (n_images, n_columns)
            Values of the images.
        patient : ndarray of shape (n_images,), default=None
            Patients of the images; by default those of all images.

        Returns
        -------
        sums : ndarray of shape (n_rows,) or (n_rows, n_columns), dtype float64
        """
        patient = self.patient if patient is None else patient
        columns = values.reshape(len(values), -1)
        of_patients = np.empty((self.n_patients, columns.shape[1]))
        # All images of a patient have one weight, so that their values are added once.
        for i in range(columns.shape[1]):
            of_patients[:, i] = np.bincount(patient, columns[:, i], minlength=self.n_patients)
        sums = np.empty((len(self.weights), columns.shape[1]))
        for rows, weights in self.blocks(self.n_patients):
            sums[rows] = weights.astype(np.float64) @ of_patients
        return sums.reshape(len(sums), *values.shape[1:])

    def sums_by_cell(
        self, cell: np.ndarray, values: np.ndarray, n_cells: int, patient: np.ndarray
    ) -> np.ndarray:
        """Compute weighted sums over the images of each cell, such as a bin of probabilities.

        Parameters
        ----------
        cell : ndarray of shape (n_images,), dtype int
            Cell of each image.
        values : ndarray of shape (n_images,)
            Values of the images.
        n_cells : int
            Number of cells.
        patient : ndarray of shape (n_images,), dtype int
            Patients of the images.

        Returns
        -------
        sums : ndarray of shape (n_rows, n_cells), dtype float64
        """
        # Each image is in one cell, so that almost all entries of the matrix are 0.
        shape = (n_cells, self.n_patients)
        by_patient = coo_array((values, (cell, patient)), shape=shape).tocsr()
        sums = np.empty((len(self.weights), n_cells))
        for rows, weights in self.blocks(self.n_patients):
            sums[rows] = (by_patient @ weights.T.astype(np.float64)).T
        return sums

    def sample(self, values: np.ndarray) -> Any:
        """Return the figure of the sample itself."""
        return values[0]

    def resampled(self, values: np.ndarray) -> np.ndarray:
        """Return the figures of the bootstrap resamples."""
        return values[1 : 1 + self.n_resamples]

    def acceleration(self, values: np.ndarray) -> float:
        """Compute the acceleration of the BCa interval from the jackknife.

        Parameters
        ----------
        values : ndarray of shape (n_rows,)
            A figure in every row of weights.

        Returns
        -------
        acceleration : float
            0 if the figure is undefined in a row of the jackknife, or never varies.
        """
        jackknife = values[1 + self.n_resamples :]
        if not len(jackknife) or not np.isfinite(jackknife).all():
            return 0.0
        # Influence of each group, compared with the other groups of its stratum.
        n_groups = np.bincount(self.jackknife_stratum)
        means = np.bincount(self.jackknife_stratum, jackknife) / np.maximum(n_groups, 1)
        influence = self.jackknife_factor * (means[self.jackknife_stratum] - jackknife)
        variance = float((influence**2).sum())
        if variance == 0:
            return 0.0
        return float((influence**3).sum() / (6 * variance**1.5))


def resample_patients(
    groups: Any,
    strata: Any = None,
    n_resamples: int = 2000,
    random_state: Any = None,
    *,
    jackknife: bool = True,
) -> PatientResamples:
    """Draw bootstrap resamples of whole patients within strata, and make a jackknife.

    Of the n patients of a stratum, n - 1 are drawn with replacement, and their weights are
    multiplied by n / (n - 1). Otherwise, the variance of a mean would be too small by the factor
    (n - 1) / n, which matters for classes of few patients (Rao, Wu and Yue, 1992, "Some recent work
    on resampling methods for complex surveys", Survey Methodology 18).

    Parameters
    ----------
    groups : array-like of shape (n_images,)
        Patient of each image.
    strata : array-like of shape (n_images,), default=None
        Stratum of each image, usually its class. A patient belongs to the stratum of fewest
        patients among those of its images. By default all patients form one stratum.
    n_resamples : int, default=2000
        Number of resamples.
    random_state : int, RandomState or None, default=None
        Seed of the random numbers.
    jackknife : bool, default=True
        Whether to make a jackknife, which BCa intervals need.

    Returns
    -------
    PatientResamples
    """
    _, patient = np.unique(np.asarray(groups), return_inverse=True)
    n_patients = int(patient.max()) + 1
    stratum = np.zeros(n_patients, dtype=int)
    if strata is not None:
        _, codes = np.unique(np.asarray(strata), return_inverse=True)
        stratum = _stratum_of_patients(patient, codes)
    rng = np.random.default_rng(_seed(random_state))
    left_out, factor, of_stratum = _jackknife(stratum, rng, jackknife)
    weights = np.empty((1 + n_resamples + len(left_out), n_patients), dtype=np.float32)
    weights[0] = 1
    weights[1 + n_resamples :] = left_out
    for code in range(stratum.max() + 1):
        members = np.flatnonzero(stratum == code)
        weights[1 : 1 + n_resamples, members] = _resample_stratum(len(members), n_resamples, rng)
    return PatientResamples(patient, weights, n_resamples, factor, of_stratum)


def _seed(random_state: Any) -> Any:
    """Return a seed for numpy's generator, from what scikit-learn calls random_state."""
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return random_state


def _stratum_of_patients(patient: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the stratum of each patient, numbered from 0 without gaps."""
    pairs = np.unique(np.column_stack([patient, codes]), axis=0)
    n_patients_of = np.bincount(pairs[:, 1])
    # The scarcest stratum of each patient comes first, so that it keeps its patients.
    order = np.lexsort((n_patients_of[pairs[:, 1]], pairs[:, 0]))
    pairs = pairs[order]
    is_first = np.r_[True, pairs[1:, 0] != pairs[:-1, 0]]
    return np.unique(pairs[is_first, 1], return_inverse=True)[1]


def _resample_stratum(n: int, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return weights of shape (n_resamples, n) of the patients of one stratum."""
    if n == 1:
        # A single patient shows no variation.
        return np.ones((n_resamples, 1), dtype=np.float32)
    weights = np.empty((n_resamples, n), dtype=np.float32)
    step = max(1, _BLOCK // n)
    for start in range(0, n_resamples, step):
        block = weights[start : start + step]
        drawn = rng.integers(n, size=(len(block), n - 1))
        drawn += n * np.arange(len(block))[:, None]
        counts = np.bincount(drawn.ravel(), minlength=block.size)
        block[:] = counts.reshape(block.shape) * (n / (n - 1))
    return weights


def _jackknife(
    stratum: np.ndarray, rng: np.random.Generator, is_needed: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the weights of the jackknife, and the factor and the stratum of each row."""
    rows, factors, strata = [], [], []
    for code in range(stratum.max() + 1) if is_needed else ():
        members = np.flatnonzero(stratum == code)
        share = len(members) / len(stratum)
        n_groups = min(len(members), max(2, round(_MOST_JACKKNIFE_GROUPS * share)))
        if n_groups < 2:
            continue
        # Groups are drawn at random, because the order of patients may have a meaning.
        for group in np.array_split(rng.permutation(members), n_groups):
            row = np.ones(len(stratum), dtype=np.float32)
            row[members] = n_groups / (n_groups - 1)
            row[group] = 0
            rows.append(row)
            factors.append(n_groups - 1)
            strata.append(code)
    weights = np.array(rows, dtype=np.float32).reshape(len(rows), len(stratum))
    return weights, np.array(factors, dtype=float), np.array(strata, dtype=int)
