"""Measurements of image files: the data that the audit, curation and the check of a split use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from ._keypoints import MIN_SIDE, Keypoints

# Properties of a file that depend on the device or the software that wrote it.
HEADER_COLUMNS = ("format", "mode", "width", "height", "bit_depth")


@dataclass(frozen=True, eq=False, repr=False)
class ImageMeasurements:
    """Measurements of image files, as :func:`measure_images` returns them.

    There is one row per file, in the order of the files. Rows of files that could not be read
    contain NaN or 0.

    Attributes
    ----------
    frame : DataFrame of n rows
        ``path``; ``error`` ("" if the file was read); the header: ``format``, ``mode``, ``width``,
        ``height``, ``bit_depth``; ``n_bytes``; ``aspect`` (width / height); grey levels: ``sd``
        (standard deviation), ``contrast`` (99th minus 1st percentile) and ``black_white`` (share
        of black and white pixels); colour: ``saturated`` (share of pixels of saturated colour) and
        ``colour`` (mean difference of the channels); ``sharpness`` (variance of the Laplacian,
        divided by the variance of the image); ``digest`` (of the decoded pixels).
    thumbnails : ndarray of shape (n, 32, 32), dtype uint8
        Small copies of the images.
    large_thumbnails : ndarray of shape (n, 64, 64), dtype uint8
        Copies with more detail.
    small_thumbnails : ndarray of shape (n, 8, 8), dtype uint8
        Copies with less detail.
    thumbnails_without_lungs, thumbnails_of_lungs : ndarray of shape (n, 8, 8), dtype uint8
        Copies in which the box around the lungs, or everything but the lungs, has one grey level.
    histograms : ndarray of shape (n, 32), dtype float32
        Shares of 32 ranges of grey levels.
    border_statistics : dict of int to ndarray of shape (n, n_statistics), dtype float32
        Statistics of a ring at the border, by its width in 128ths of the side.
    hashes, mirrored_hashes : ndarray of shape (n, 256), dtype bool
        Perceptual hashes of the images, and of their mirror images.
    keypoints : list of n Keypoints
        Small parts of an image that are recognised in another framing.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from cxr_sklearn.datasets import make_chest_phantom_files
    >>> from cxr_sklearn.quality import ImageMeasurements, measure_images
    >>> with TemporaryDirectory() as root:
    ...     bunch = make_chest_phantom_files(root, 20, random_state=0)
    ...     measurements: ImageMeasurements = measure_images(bunch)
    >>> measurements
    ImageMeasurements of 20 files, 20 readable
    >>> measurements.take(bunch.target == "Normal").frame["width"].unique().tolist()
    [64]
    """

    frame: pd.DataFrame
    thumbnails: np.ndarray
    large_thumbnails: np.ndarray
    small_thumbnails: np.ndarray
    thumbnails_without_lungs: np.ndarray
    thumbnails_of_lungs: np.ndarray
    histograms: np.ndarray
    border_statistics: dict[int, np.ndarray]
    hashes: np.ndarray
    mirrored_hashes: np.ndarray
    keypoints: list[Keypoints]

    @property
    def is_readable(self) -> np.ndarray:
        """Mask of the files that were read."""
        return (self.frame["error"] == "").to_numpy()

    @property
    def is_small(self) -> np.ndarray:
        """Mask of the readable images of fewer than 128 pixels along the longer side.

        They have too few pixels to find copies in another framing.
        """
        longer_side = self.frame[["width", "height"]].max(axis=1)
        return self.is_readable & (longer_side < MIN_SIDE).to_numpy()

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {len(self)} files, {self.is_readable.sum()} readable"

    def take(self, rows: Any) -> ImageMeasurements:
        """Return the measurements of some files.

        Use it together with :func:`~cxr_sklearn.datasets.select_rows`, with the same rows.

        Parameters
        ----------
        rows : array-like of bool of shape (n,), or of int
            Mask, or row numbers in any order.

        Returns
        -------
        measurements : ImageMeasurements
        """
        rows = np.asarray(rows)
        if not rows.size:
            rows = rows.astype(int)  # an empty list becomes an array of floats
        numbers = np.arange(len(self))[rows]
        borders = {width: values[numbers] for width, values in self.border_statistics.items()}
        return ImageMeasurements(
            frame=self.frame.iloc[numbers].reset_index(drop=True),
            thumbnails=self.thumbnails[numbers],
            large_thumbnails=self.large_thumbnails[numbers],
            small_thumbnails=self.small_thumbnails[numbers],
            thumbnails_without_lungs=self.thumbnails_without_lungs[numbers],
            thumbnails_of_lungs=self.thumbnails_of_lungs[numbers],
            histograms=self.histograms[numbers],
            border_statistics=borders,
            hashes=self.hashes[numbers],
            mirrored_hashes=self.mirrored_hashes[numbers],
            keypoints=[self.keypoints[number] for number in numbers],
        )


def paths_of(bunch: Bunch) -> list[str]:
    """Return the paths of a bunch as a list of strings."""
    return [str(path) for path in bunch.data[:, 0]]


def check_measurements(
    measurements: Any, bunch: Bunch, name: str = "measurements", bunch_name: str = "bunch"
) -> None:
    """Raise unless measurements belong to the files of a bunch, in the same order.

    Parameters
    ----------
    measurements : object
        Argument that should be measurements.
    bunch : sklearn.utils.Bunch
        Images to compare with.
    name, bunch_name : str
        Names of the two parameters, for messages.

    Raises
    ------
    TypeError
        If `measurements` is not an ImageMeasurements.
    ValueError
        If the paths differ.
    """
    if not isinstance(measurements, ImageMeasurements):
        raise TypeError(
            f"{name} is {type(measurements).__name__}; expected ImageMeasurements. Pass the result "
            f"of measure_images({bunch_name})."
        )
    measured, expected = measurements.frame["path"].tolist(), paths_of(bunch)
    if measured == expected:
        return
    if len(measured) != len(expected):
        difference = f"{len(measured)} files were measured, and {bunch_name} has {len(expected)}"
    else:
        row = next(i for i, path in enumerate(measured) if path != expected[i])
        difference = f"row {row} is {measured[row]!r}, and {expected[row]!r} in {bunch_name}"
    raise ValueError(
        f"{name} belongs to other images: {difference}; expected the same paths in the same order. "
        f"Pass measure_images({bunch_name}), or use measurements.take(rows) with the rows that you "
        "passed to select_rows."
    )
