"""The images that an audit examines, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from ..datasets._patients import age_in_years
from ._measurements import ImageMeasurements
from ._shortcuts import name_families

# Families of file names with fewer files than this, or than 1 % of all files, are pooled.
_MIN_FAMILY = 3


@dataclass(frozen=True)
class AuditData:
    """Readable images of a bunch.

    Attributes
    ----------
    measurements : ImageMeasurements
    y : ndarray of str of shape (n,)
        Classes.
    groups : ndarray of str of shape (n,)
        Patients.
    sources : ndarray of str of shape (n,)
        Sources; "" where a source is not known.
    sources_are_inferred : bool
        Whether the sources are families of file names, because the bunch has no sources.
    frame : DataFrame of n rows
        Columns of the bunch, such as ``age`` and ``view``.
    """

    measurements: ImageMeasurements
    y: np.ndarray
    groups: np.ndarray
    sources: np.ndarray
    sources_are_inferred: bool
    frame: pd.DataFrame

    @property
    def paths(self) -> np.ndarray:
        """Path of each image."""
        return self.measurements.frame["path"].to_numpy()

    @property
    def names(self) -> list[str]:
        """File name of each image, without its folder."""
        return [Path(path).name for path in self.paths]

    @property
    def ages(self) -> pd.Series | None:
        """Age of each patient in years, NaN where it is not known; None without such a column."""
        if "age" not in self.frame:
            return None
        return self.frame["age"].map(_years)

    def patient_table(self) -> pd.DataFrame:
        """Return a row per image: ``class`` and ``patient``."""
        return pd.DataFrame({"class": self.y, "patient": self.groups})


def readable_images(bunch: Bunch, measurements: ImageMeasurements) -> AuditData:
    """Return the images of a bunch that could be read.

    Parameters
    ----------
    bunch : sklearn.utils.Bunch
    measurements : ImageMeasurements
        Measurements of all its images.

    Returns
    -------
    AuditData
    """
    keep = measurements.is_readable
    y = np.asarray(bunch.target)[keep].astype(str)
    readable = measurements.take(keep)
    frame = bunch.get("frame")
    if frame is None:
        frame = pd.DataFrame(index=range(len(y)))
    else:
        frame = frame[keep].reset_index(drop=True)

    sources_are_inferred = bunch.get("sources") is None
    if sources_are_inferred:
        names = [Path(path).name for path in readable.frame["path"]]
        sources = name_families(names, least=max(_MIN_FAMILY, len(y) // 100))
    else:
        given = pd.Series(np.asarray(bunch.sources, dtype=object)[keep])
        sources = given.fillna("").to_numpy(dtype=str)
    return AuditData(
        measurements=readable,
        y=y,
        groups=np.asarray(bunch.groups)[keep].astype(str),
        sources=sources,
        sources_are_inferred=sources_are_inferred,
        frame=frame,
    )


def _years(age: Any) -> float:
    """Return an age in years from a number, a string, or DICOM's ``045Y``; NaN otherwise."""
    try:
        return float(age)
    except (TypeError, ValueError):
        return age_in_years(str(age))


def count(n: int, noun: str) -> str:
    """Return a number with its noun, for instance "1 image" or "2 images"."""
    if n == 1:
        return f"{n} {noun}"
    return f"{n} {noun}s"
