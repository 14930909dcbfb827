"""Equalised thumbnails of a set of images, and their mean: the mean radiograph."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.stats import rankdata

THUMBNAIL_SIDE = 32  # pixels

# Limits of the correlation with the mean radiograph. An image below the first is probably upside
# down, inverted, or not a chest radiograph. An image below the second is unlike the others.
MIN_UPRIGHT_CORRELATION = 0.0
MIN_TYPICAL_CORRELATION = 0.3


def make_thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Shrink an image to 32 by 32 pixels, without the margins that a loader adds.

    Parameters
    ----------
    pixels : ndarray of shape (height, width)

    Returns
    -------
    ndarray of shape (32, 32), dtype float32
    """
    image = Image.fromarray(_remove_padding(pixels).astype(np.float32))
    return np.asarray(image.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX))


def _remove_padding(pixels: np.ndarray) -> np.ndarray:
    """Return an image without black margins of equal width on two opposite sides.

    XRayLoader adds such margins to images that are not square. Without them the image is equal to
    the result of ``resize="stretch"``, so that the shape of the original does not matter.
    """
    margins = []
    for axis in (0, 1):
        filled = np.flatnonzero(pixels.any(axis=1 - axis))
        if not len(filled):
            # The image is black, so there is nothing to distinguish margins from.
            return pixels
        # Padding is the same on both sides. The rest of a wider margin belongs to the image.
        margins.append(min(filled[0], pixels.shape[axis] - 1 - filled[-1]))
    # A loader pads one axis only: the other margin, if there is one, belongs to the image too.
    axis = int(np.argmax(margins))
    inside = [slice(None), slice(None)]
    inside[axis] = slice(margins[axis], pixels.shape[axis] - margins[axis])
    return pixels[tuple(inside)]


def equalise(thumbnails: np.ndarray) -> np.ndarray:
    """Replace every grey level by its rank, and scale each image to mean 0 and length 1.

    Ranks do not change with the exposure of the radiograph.

    Parameters
    ----------
    thumbnails : ndarray of shape (n, height, width)

    Returns
    -------
    ranks : ndarray of shape (n, height * width), dtype float32
        0 for an image with a single grey level.
    """
    n, height, width = thumbnails.shape
    flat = thumbnails.reshape(n, height * width)
    if n == 0:
        return flat.astype(np.float32)
    # Pixels of equal grey level share the mean of their ranks.
    ranks = np.array(rankdata(flat, axis=1), dtype=np.float32)
    ranks -= ranks.mean(axis=1, keepdims=True)
    length = np.linalg.norm(ranks, axis=1, keepdims=True)
    return ranks / np.where(length > 0, length, 1)


def mean_radiograph(thumbnails: np.ndarray) -> np.ndarray:
    """Compute the mean of equalised thumbnails, without images that are unlike a first mean.

    Parameters
    ----------
    thumbnails : ndarray of shape (n, 32, 32)

    Returns
    -------
    mean : ndarray of shape (1024,), dtype float32
        Of length 1.
    """
    ranks = equalise(thumbnails)
    mean = _scale_to_unit_length(ranks.mean(axis=0))
    # Some inverted images or CT slices must not blur the mean, so it is computed again without.
    is_typical = ranks @ mean >= MIN_TYPICAL_CORRELATION
    if not is_typical.any():
        return mean
    return _scale_to_unit_length(ranks[is_typical].mean(axis=0))


def _scale_to_unit_length(vector: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vector)
    if length == 0:
        return vector
    return vector / length
