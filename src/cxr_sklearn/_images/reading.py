"""Read image files as square greyscale images, or as rows of pixels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from PIL import Image, ImageOps

from .._utils.messages import one_line
from .._utils.quiet import quiet
from .decode import decode_grey, round_to_uint8
from .row_file import Put

RESIZE_MODES = ("pad", "crop", "stretch")


def read_image(path: str | os.PathLike[str], image_size: int, resize: str = "pad") -> np.ndarray:
    """Read one file as a square greyscale image.

    Parameters
    ----------
    path : str or path
        A PNG, JPEG, TIFF, BMP, WebP or DICOM file.
    image_size : int
        Side of the result, pixels.
    resize : {"pad", "crop", "stretch"}
        How to make an image square.

    Returns
    -------
    ndarray of shape (image_size, image_size), dtype uint8

    Raises
    ------
    OSError
        If the file is missing, unreadable or not an image. The message does not contain the path,
        because callers list all bad files in one message.
    """
    plane = decode_grey(path)
    try:
        return np.asarray(round_to_uint8(_to_square(plane, image_size, resize)))
    except MemoryError:
        raise OSError("needs more memory than there is") from None


def _to_square(image: Image.Image, side: int, resize: str) -> Image.Image:
    """Resize an image to a square of the given side."""
    if image.size == (side, side):
        return image
    if resize == "stretch":
        return image.resize((side, side), Image.Resampling.BILINEAR)
    if resize == "crop":
        return ImageOps.fit(image, (side, side), method=Image.Resampling.BILINEAR)
    # The longer side fills the square, and black margins fill the rest. A very narrow image keeps
    # a width of one pixel.
    scale = side / max(image.size)
    width = max(1, round(scale * image.width))
    height = max(1, round(scale * image.height))
    square = Image.new(image.mode, (side, side))
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    square.paste(resized, ((side - width) // 2, (side - height) // 2))
    return square


class Failure(NamedTuple):
    """A file that could not be read."""

    row: int
    path: str
    reason: str


def read_images(
    paths: Sequence[str], image_size: int, resize: str = "pad", n_jobs: int | None = None
) -> np.ndarray:
    """Read files as rows of pixels.

    Returns
    -------
    ndarray of shape (n_files, image_size * image_size), dtype uint8

    Raises
    ------
    OSError
        If files could not be read. The message contains the path of each, and the reason.
    """
    rows = np.zeros((len(paths), image_size * image_size), np.uint8)
    failures = _read_into(rows.__setitem__, paths, range(len(paths)), image_size, resize, n_jobs)
    if failures:
        raise all_unreadable(failures, len(paths))
    return rows


def _read_into(
    put: Put,
    paths: Sequence[str],
    rows: Iterable[int],
    image_size: int,
    resize: str,
    n_jobs: int | None,
) -> list[Failure]:
    """Read the files of some rows, pass each row to `put`, and return the failures."""

    def attempt(row: int) -> Failure | None:
        try:
            pixels = read_image(paths[row], image_size, resize)
        except OSError as error:
            return Failure(row, paths[row], str(error))
        put(row, pixels.reshape(-1))
        return None

    # Threads are enough, because decoders release the lock of the interpreter. Processes could not
    # be used, because `put` writes to memory of this process.
    parallel = Parallel(n_jobs=n_jobs, require="sharedmem")
    # Logs are switched off once, because doing it for each file takes longer than decoding small
    # files.
    with quiet():
        results = parallel(delayed(attempt)(row) for row in rows)
    return [failure for failure in results if failure]


def all_unreadable(failures: list[Failure], n_files: int) -> OSError:
    """Return the error for files that could not be read."""
    # All files are listed, however many there are, so that the user can remove them in one step.
    named = ", ".join(f"{one_line(f.path)} ({f.reason})" for f in failures)
    return OSError(
        f"{len(failures)} of {n_files} image files could not be read: {named}; expected PNG, JPEG, "
        "TIFF, BMP, WebP or DICOM files. Remove or replace these files."
    )
