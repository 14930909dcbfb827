"""Figures of the faithfulness of maps, with intervals by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..metrics._intervals import (
    NO_INTERVAL,
    Interval,
    bootstrap_interval,
    exact_interval,
    is_extreme,
)
from ..metrics._resampling import resample_patients

# Maps whose rank correlation with those of a random network may be this high do not depend enough
# on what the model has learned.
MAX_SIMILARITY = 0.5

_FEWEST_PATIENTS = 2  # for an interval

_N_RESAMPLES = 2000

_MEANINGS = {
    "energy in the lungs": "positive values in the lungs, relative to their area; 1: no preference",
    "pointing game": "greatest value inside a box; the reference is the area of the box",
    "deletion": "area under the probability while the map's cells are hidden; less is better",
    "insertion": "area under the probability while the map's cells are shown; more is better",
    "randomised weights": "absolute rank correlation with maps of random networks",
    "randomised labels": "absolute rank correlation with maps of models of shuffled labels",
}


@dataclass(frozen=True, eq=False)
class ImageFigures:
    """A measure of the maps of all images.

    Attributes
    ----------
    name : str
    values, references : ndarray of shape (n_images,)
        The measure, and what it is compared to. NaN where an image has no value.
    sign : {1, -1}
        Whether high values are good, or low ones.
    is_check : bool
        Whether it is a sanity check.
    """

    name: str
    values: np.ndarray
    references: np.ndarray
    sign: int
    is_check: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Faithfulness:
    """Figures that show whether the maps of a model can be trusted.

    Attributes
    ----------
    frame : pandas.DataFrame
        One row per measure, with the columns ``value``, ``low`` and ``high`` (mean over the images,
        with its interval by patient), ``reference`` (what a map without information would have, or
        the limit of a sanity check), ``gain``, ``gain_low`` and ``gain_high`` (improvement over the
        reference, positive if the map is better), ``n_images`` and ``n_patients``.
    images : pandas.DataFrame
        One row per image and one column per measure. NaN where an image has no value.
    is_informative : bool
        Whether all sanity checks distinguish the maps from those of a random network. Also False if
        there are too few patients to know it.
    method : str
        Method that made the maps.
    confidence_level : float
        Confidence level of the intervals.

    See Also
    --------
    faithfulness : Compute these figures.

    Examples
    --------
    >>> from cxr_sklearn import ResNetClassifier
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> from cxr_sklearn.inspection import faithfulness
    >>> X, y = make_chest_phantoms(30, image_size=32, random_state=0)
    >>> model = ResNetClassifier(backbone="resnet18", weights=None, image_size=32, random_state=0)
    >>> result = faithfulness(model.fit(X, y), X, n_random=1, random_state=0)
    >>> list(result.frame.index)
    ['energy in the lungs', 'deletion', 'insertion', 'randomised weights']
    """

    frame: pd.DataFrame
    images: pd.DataFrame
    is_informative: bool
    method: str
    confidence_level: float

    def __str__(self) -> str:
        level = f"{100 * self.confidence_level:g} %"
        n_images, n_patients = len(self.images), int(self.frame.attrs["n_patients"])
        lines = [
            f"Faithfulness of {self.method} maps: {_count(n_images, 'image')} of "
            f"{_count(n_patients, 'patient')}, means with {level} intervals by patient"
        ]
        for name, row in self.frame.iterrows():
            limits = "(no interval)"
            if np.isfinite(row["low"]):
                limits = f"({row['low']:.2f} to {row['high']:.2f})"
            reference = "limit" if name in self.frame.attrs["checks"] else "reference"
            figures = f"{row['value']:.2f} {limits}, {reference} {row['reference']:.2f}"
            lines.append(f"  {name:<20} {figures:<40} {_MEANINGS[str(name)]}")
        lines.append(self.verdict)
        return "\n".join(lines)

    __repr__ = __str__

    @property
    def verdict(self) -> str:
        """One sentence: whether the sanity checks distinguish the maps from those of chance."""
        if self.is_informative:
            return (
                "The maps depend on what the model has learned: they differ from those of random "
                "networks."
            )
        if self.frame.loc[self.frame.attrs["checks"], "n_patients"].min() < _FEWEST_PATIENTS:
            return (
                "It is not known whether these maps can be trusted: the sanity checks need images "
                "of two patients or more."
            )
        failed = [name for name in self.frame.attrs["checks"] if not passes(self.frame.loc[name])]
        return (
            f"UNINFORMATIVE: the check with {' and with '.join(failed)} does not distinguish these "
            "maps from those of a model that has learned nothing. Do not interpret them."
        )


def passes(check: pd.Series) -> bool:
    """Return whether a sanity check distinguishes the maps from those of a random network."""
    # Values that never vary have no interval.
    highest = check["high"] if np.isfinite(check["high"]) else check["value"]
    return bool(check["n_patients"] >= _FEWEST_PATIENTS and highest < MAX_SIMILARITY)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def make_report(
    figures: Sequence[ImageFigures],
    patients: np.ndarray,
    method: str,
    confidence_level: float,
    seed: int,
) -> Faithfulness:
    """Compute means with intervals by patient.

    Parameters
    ----------
    figures : sequence of ImageFigures
    patients : ndarray of shape (n_images,), dtype int
    method : str
    confidence_level : float
    seed : int
        Seed of the resamples.
    """
    rows = {}
    for one in figures:
        mean = mean_interval(one.values, patients, confidence_level, seed)
        has_value = np.isfinite(one.values)
        references = one.references[has_value]
        rows[one.name] = {
            "value": mean.value,
            "low": mean.low,
            "high": mean.high,
            "reference": float(references.mean()) if len(references) else np.nan,
            **_gain(one, mean, references, patients, confidence_level, seed),
            "n_images": int(has_value.sum()),
            "n_patients": len(np.unique(patients[has_value])),
        }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.attrs["n_patients"] = len(np.unique(patients))
    frame.attrs["checks"] = [one.name for one in figures if one.is_check]
    is_informative = all(passes(frame.loc[name]) for name in frame.attrs["checks"])
    images = pd.DataFrame({one.name: one.values for one in figures})
    return Faithfulness(frame, images, is_informative, method, confidence_level)


def _gain(
    figures: ImageFigures,
    mean: Interval,
    references: np.ndarray,
    patients: np.ndarray,
    level: float,
    seed: int,
) -> dict[str, float]:
    """Return the improvement over the reference, with its interval."""
    if len(np.unique(references)) == 1:
        shifted = [figures.sign * (limit - references[0]) for limit in (mean.low, mean.high)]
        low, high = sorted(shifted)
        value = figures.sign * (mean.value - references[0])
        return {"gain": value, "gain_low": low, "gain_high": high}
    gains = figures.sign * (figures.values - figures.references)
    paired = mean_interval(gains, patients, level, seed)
    return {"gain": paired.value, "gain_low": paired.low, "gain_high": paired.high}


def mean_interval(values: np.ndarray, patients: np.ndarray, level: float, seed: int) -> Interval:
    """Return the mean of the values of images, with its interval by patient.

    Parameters
    ----------
    values : ndarray of shape (n_images,)
        NaN where an image has no value.
    patients : ndarray of shape (n_images,), dtype int
    level : float
    seed : int
    """
    has_value = np.isfinite(values)
    known = values[has_value]
    if not len(known):
        return Interval(np.nan, np.nan, np.nan, NO_INTERVAL)
    mean, of_known = float(known.mean()), patients[has_value]
    n_images = np.unique(of_known, return_counts=True)[1]
    if len(n_images) < 2:
        return Interval(mean, np.nan, np.nan, NO_INTERVAL)
    # The resamples of hits alone do not vary.
    if is_extreme(mean) and bool(np.isin(known, (0, 1)).all()):
        return exact_interval(mean, n_images, level)
    resamples = resample_patients(of_known, None, _N_RESAMPLES, seed)
    means = resamples.sums(known) / resamples.sums(np.ones(len(known)))
    return bootstrap_interval(resamples, means, level)
