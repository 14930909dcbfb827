"""Decode every file of a data set once, and measure it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import imagehash
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from PIL import Image, ImageOps
from sklearn.utils import Bunch

from .._images.decode import DecodedImage, decode_image
from .._utils.quiet import quiet
from ..preprocessing._thumbnails import THUMBNAIL_SIDE
from ._keypoints import NO_KEYPOINTS, find_keypoints
from ._measurements import HEADER_COLUMNS, ImageMeasurements, paths_of
from ._pixel_statistics import (
    BORDER_SIDE,
    BORDER_WIDTHS,
    N_BORDER_STATISTICS,
    border_statistics,
    colour_statistics,
    grey_statistics,
    sharpness,
)

_LARGE_SIDE, _SMALL_SIDE = 64, 8  # pixels, of thumbnails
_HASH_SIDE = 16  # a hash has 16 * 16 = 256 bits
_N_LEVELS = 32  # ranges of grey levels in a histogram
_BLOCK = 2048  # images whose lungs are found together

_COLUMNS = (
    "path",
    "error",
    *HEADER_COLUMNS,
    "n_bytes",
    "aspect",
    "sd",
    "contrast",
    "black_white",
    "saturated",
    "colour",
    "sharpness",
    "digest",
)


def measure_images(
    bunch: Bunch, *, n_jobs: int | None = None, progress: Callable[[], Any] | None = None
) -> ImageMeasurements:
    """Measure the images of a data set once, for all functions that need the measurements.

    :func:`audit`, :func:`curate` and :func:`~cxr_sklearn.model_selection.check_split` decode every
    file, which takes most of their time for large images. If you pass the result of this function
    as their argument `measurements`, no file is decoded again.

    Parameters
    ----------
    bunch : sklearn.utils.Bunch
        Images, as a loader such as :func:`~cxr_sklearn.datasets.load_xray_folder` returns them.
    n_jobs : int, default=None
        Number of threads that decode and measure.
    progress : callable, default=None
        Function without arguments that is called after each file.

    Returns
    -------
    measurements : ImageMeasurements
        One row per image. A file that cannot be read has the reason in the column ``error`` of
        ``measurements.frame``.

    Notes
    -----
    Measurements are not updated if a file changes later. Measure the images again after you have
    changed files.

    See Also
    --------
    ImageMeasurements.take : Measurements of a part of the images.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from cxr_sklearn.datasets import make_chest_phantom_files
    >>> from cxr_sklearn.quality import CurationRules, audit, curate, measure_images
    >>> with TemporaryDirectory() as root:
    ...     bunch = make_chest_phantom_files(root, 60, random_state=0)
    ...     measurements = measure_images(bunch)
    ...     result = audit(bunch, measurements=measurements)
    ...     curated = curate(bunch, rules=CurationRules(min_side=64), measurements=measurements)
    >>> result.n_images, len(curated.kept.data)
    (60, 60)
    """
    return measure_files(paths_of(bunch), n_jobs, progress)


def measure_files(
    paths: Sequence[str], n_jobs: int | None = None, progress: Callable[[], Any] | None = None
) -> ImageMeasurements:
    """Decode and measure files.

    Parameters
    ----------
    paths : sequence of str
        Files.
    n_jobs, progress
        As in :func:`measure_images`.

    Returns
    -------
    ImageMeasurements
    """
    measurements = _empty_measurements(len(paths))
    # Squares of the images of one block, in which the lungs are found after all are decoded.
    squares = np.zeros((min(len(paths), _BLOCK), BORDER_SIDE, BORDER_SIDE), np.uint8)

    def measure(row: int) -> dict[str, Any]:
        try:
            image = decode_image(paths[row])
        except OSError as error:
            values: dict[str, Any] = {"error": str(error) or type(error).__name__}
        else:
            values = {"error": "", **_scalar_values(image)}
            squares[row % _BLOCK] = _fill_arrays(measurements, row, image.grey)
        if progress is not None:
            progress()
        return {"path": paths[row], **values}

    # Threads fill the shared arrays in place, which worker processes could not. They run in
    # parallel, because Pillow and numpy release the interpreter's lock for most of the work.
    parallel = Parallel(n_jobs=n_jobs, require="sharedmem")
    rows: list[dict[str, Any]] = []
    for start in range(0, len(paths), _BLOCK):
        block = range(start, min(start + _BLOCK, len(paths)))
        # Entered once for all files, since silencing the logs takes longer than decoding a small
        # file.
        with quiet():
            values = parallel(delayed(measure)(row) for row in block)
        is_read = np.array([value["error"] == "" for value in values])
        _fill_lungs(measurements, start + np.flatnonzero(is_read), squares[: len(block)][is_read])
        rows += values
    return replace(measurements, frame=pd.DataFrame(rows, columns=list(_COLUMNS)))


def _empty_measurements(n: int) -> ImageMeasurements:
    """Return arrays of zeros for n files."""
    n_bits = _HASH_SIDE**2
    borders = {}
    for width in BORDER_WIDTHS:
        borders[width] = np.zeros((n, N_BORDER_STATISTICS), np.float32)
    return ImageMeasurements(
        frame=pd.DataFrame(),
        thumbnails=np.zeros((n, THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8),
        large_thumbnails=np.zeros((n, _LARGE_SIDE, _LARGE_SIDE), np.uint8),
        small_thumbnails=np.zeros((n, _SMALL_SIDE, _SMALL_SIDE), np.uint8),
        thumbnails_without_lungs=np.zeros((n, _SMALL_SIDE, _SMALL_SIDE), np.uint8),
        thumbnails_of_lungs=np.zeros((n, _SMALL_SIDE, _SMALL_SIDE), np.uint8),
        histograms=np.zeros((n, _N_LEVELS), np.float32),
        border_statistics=borders,
        hashes=np.zeros((n, n_bits), bool),
        mirrored_hashes=np.zeros((n, n_bits), bool),
        keypoints=[NO_KEYPOINTS] * n,
    )


def _scalar_values(image: DecodedImage) -> dict[str, Any]:
    """Return the values of one file that go into the frame."""
    grey = image.grey
    # Images of equal pixels and another shape are different images.
    content = str(grey.size).encode() + grey.tobytes()
    header = {name: getattr(image.header, name) for name in HEADER_COLUMNS}
    return {
        **header,
        "n_bytes": image.header.n_bytes,
        "aspect": grey.width / grey.height,
        **grey_statistics(grey),
        **colour_statistics(image.rgb),
        "sharpness": sharpness(grey),
        "digest": hashlib.sha256(content).hexdigest(),
    }


def _fill_arrays(measurements: ImageMeasurements, row: int, grey: Image.Image) -> np.ndarray:
    """Fill one row of each array, and return the image as a square."""
    # The image is stretched to a square, so that no array reveals the aspect ratio. Otherwise a
    # baseline could succeed by a property that another baseline measures.
    square = grey.resize((BORDER_SIDE, BORDER_SIDE), Image.Resampling.BILINEAR)
    measurements.thumbnails[row] = _shrink(square, THUMBNAIL_SIDE)
    measurements.large_thumbnails[row] = _shrink(square, _LARGE_SIDE)
    measurements.small_thumbnails[row] = _shrink(square, _SMALL_SIDE)

    counts = np.array(grey.histogram()[:256], dtype=np.float32)
    measurements.histograms[row] = counts.reshape(_N_LEVELS, -1).sum(axis=1) / counts.sum()

    mirrored = ImageOps.mirror(square)
    measurements.hashes[row] = imagehash.phash(square, _HASH_SIDE).hash.ravel()
    measurements.mirrored_hashes[row] = imagehash.phash(mirrored, _HASH_SIDE).hash.ravel()

    # Keypoints are searched in the original, which has more detail.
    measurements.keypoints[row] = find_keypoints(grey)
    pixels = np.asarray(square)
    for width in BORDER_WIDTHS:
        measurements.border_statistics[width][row] = border_statistics(pixels, width)
    return pixels


def _fill_lungs(measurements: ImageMeasurements, rows: np.ndarray, squares: np.ndarray) -> None:
    """Fill the rows of the arrays for which the lungs have to be found."""
    # Imported here, so that the command line does not wait for PyTorch.
    from ..preprocessing._lung_regions import blank_lungs, keep_lungs
    from ..preprocessing._lung_segmentation import segment_lungs

    segmentation = segment_lungs(squares)
    for target, altered in (
        (measurements.thumbnails_without_lungs, blank_lungs(squares, segmentation)),
        (measurements.thumbnails_of_lungs, keep_lungs(squares, segmentation)),
    ):
        for row, image in zip(rows, altered.images, strict=True):
            target[row] = _shrink(Image.fromarray(image), _SMALL_SIDE)


def _shrink(image: Image.Image, side: int) -> np.ndarray:
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))
