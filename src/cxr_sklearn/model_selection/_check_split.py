"""Check whether a split separates patients and images."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from .._utils.messages import some
from ..quality._duplicates import find_duplicates
from ..quality._keypoints import MIN_SIDE
from ..quality._measure import measure_images
from ..quality._measurements import ImageMeasurements, check_measurements


@dataclass(frozen=True)
class SplitReport:
    """Report of what is on both sides of a split, made by :func:`check_split`.

    Attributes
    ----------
    patients : list of str
        Patients with images on both sides.
    duplicates : DataFrame
        ``train``, ``test`` (paths), ``kind`` ("exact", "near", "mirrored" or "reframed"),
        ``distance`` (number of the 256 bits of the hashes that differ) and ``correlation`` (of the
        thumbnails, or for a reframed pair of the detail that both images show).
    sources : list of str
        Sources with images on both sides. A test on these sources does not show how a model does at
        another hospital.
    unreadable : list of str
        Files that could not be compared. A split with such files is not clean.
    small : list of str
        Files of fewer than 128 pixels along the longer side. Copies of them are found in equal
        framing only.
    """

    patients: list[str]
    duplicates: pd.DataFrame
    sources: list[str]
    unreadable: list[str]
    small: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether all files were compared, and no patient and no image is on both sides."""
        return not self.patients and self.duplicates.empty and not self.unreadable

    def to_frame(self) -> pd.DataFrame:
        """Return a row per finding: ``what``, ``train``, ``test``."""
        rows = [("patient", name, name) for name in self.patients]
        for pair in self.duplicates.itertuples():
            rows.append((f"{pair.kind} duplicate", pair.train, pair.test))
        rows += [("source", name, name) for name in self.sources]
        return pd.DataFrame(rows, columns=["what", "train", "test"])

    def __str__(self) -> str:
        counts = self.duplicates["kind"].value_counts()
        kinds = ", ".join(f"{n} {kind}" for kind, n in counts.items()) or "none"
        lines = [
            f"patients on both sides: {_count(self.patients)}",
            f"duplicates across the split: {kinds}",
            f"sources on both sides: {_count(self.sources)}",
        ]
        if self.unreadable:
            unreadable = _count(self.unreadable)
            lines.append(f"files that could not be read, and were not compared: {unreadable}")
        if self.small:
            lines.append(
                f"files compared in equal framing only: {len(self.small)} (smaller than "
                f"{MIN_SIDE} pixels; use larger copies to find reframed duplicates)"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>{self.to_frame().to_html(index=False, max_rows=50)}"


def _count(names: list[str]) -> str:
    """Return the number of names and the first of them, or "none"."""
    if not names:
        return "none"
    return f"{len(names)} ({some(names)})"


def check_split(
    train: Bunch,
    test: Bunch,
    *,
    measurements: tuple[ImageMeasurements, ImageMeasurements] | None = None,
    n_jobs: int | None = None,
) -> SplitReport:
    """Find patients, images and sources that are on both sides of a split.

    Parameters
    ----------
    train, test : sklearn.utils.Bunch
        As a loader returns them, or :func:`~cxr_sklearn.datasets.select_rows` of one.
    measurements : tuple of two ImageMeasurements, default=None
        Results of :func:`~cxr_sklearn.quality.measure_images` for `train` and for `test`, or of
        :meth:`~cxr_sklearn.quality.ImageMeasurements.take`. No file is then decoded.
    n_jobs : int, default=None
        Number of threads that decode and compare images.

    Returns
    -------
    report : SplitReport

    Raises
    ------
    TypeError, ValueError
        If `measurements` are not those of `train` and `test`.

    Notes
    -----
    Near-duplicates have the same framing: their 256-bit perceptual hashes differ in at most 24
    bits, and their thumbnails correlate by 0.95 or more, mirrored or not, and the local contrast of
    their larger thumbnails by 0.9 or more. Reframed duplicates show the same exposure cropped,
    framed, rotated by some degrees, inverted or with other grey levels: at least four keypoints
    agree on one transformation between the two images, and the fine detail in the part that both
    show correlates by 0.82 or more. The user guide lists the recall for each kind of copy.

    A report without duplicates does not prove that there are none. Copies that are strongly
    blurred, rotated by much more than 5 degrees, turned upside down, or cropped to less than half
    of the image are not found reliably, and images of fewer than 128 pixels are compared in equal
    framing only. Different images of one patient are not duplicates. To find patients on both
    sides, load the data with their patients (`groups`). Images whose patient is unknown are ignored
    in the comparison of patients.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from cxr_sklearn.datasets import make_chest_phantom_files, select_rows
    >>> from cxr_sklearn.model_selection import check_split
    >>> with TemporaryDirectory() as root:
    ...     bunch = make_chest_phantom_files(root, 40, confound="patient", random_state=0)
    ...     report = check_split(select_rows(bunch, range(20)), select_rows(bunch, range(20, 40)))
    >>> report.is_clean
    False
    """
    first, second = _measured(measurements, train, test, n_jobs)
    pairs = find_duplicates(first, second, n_jobs)
    first_paths, second_paths = first.frame["path"].to_numpy(), second.frame["path"].to_numpy()
    duplicates = pd.DataFrame(
        {
            "train": first_paths[pairs["first"].to_numpy(dtype=int)],
            "test": second_paths[pairs["second"].to_numpy(dtype=int)],
            "kind": pairs["kind"],
            "distance": pairs["distance"],
            "correlation": pairs["correlation"],
        }
    )
    unreadable = [*first_paths[~first.is_readable], *second_paths[~second.is_readable]]
    return SplitReport(
        patients=_both(_known(train), _known(test)),
        duplicates=duplicates,
        sources=[name for name in _both(train.sources, test.sources) if name],
        unreadable=unreadable,
        small=[*first_paths[first.is_small], *second_paths[second.is_small]],
    )


def _measured(
    measurements: tuple[ImageMeasurements, ImageMeasurements] | None,
    train: Bunch,
    test: Bunch,
    n_jobs: int | None,
) -> tuple[ImageMeasurements, ImageMeasurements]:
    """Return the measurements of both sides: those that were passed, or new ones."""
    if measurements is None:
        return measure_images(train, n_jobs=n_jobs), measure_images(test, n_jobs=n_jobs)
    if not isinstance(measurements, tuple) or len(measurements) != 2:
        raise TypeError(
            f"measurements is {type(measurements).__name__}; expected a tuple of two "
            "ImageMeasurements. Pass (measure_images(train), measure_images(test))."
        )
    check_measurements(measurements[0], train, "measurements[0]", "train")
    check_measurements(measurements[1], test, "measurements[1]", "test")
    return measurements


def _known(bunch: Bunch) -> np.ndarray:
    """Return the known patients of a bunch.

    If a loader does not know the patient of a file, the patient is named after the file. Files of
    one name in two folders are then not files of one patient.
    """
    known = []
    for path, patient in zip(bunch.data[:, 0], bunch.groups, strict=True):
        path = str(path).replace("\\", "/")
        if not f"/{path}".endswith(f"/{patient}"):
            known.append(patient)
    return np.array(known, dtype=str)


def _both(a: Any, b: Any) -> list[str]:
    """Return the values that two arrays have in common; none if one of them is None."""
    if a is None or b is None:
        return []
    return [str(name) for name in np.intersect1d(a, b)]
