"""Use lungs that were found: their box, images without them, and images of nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation

from ._lung_segmentation import LungSegmentation, lung_masks, segment_lungs

# A box of a smaller share of the image does not contain both lungs.
_SMALLEST_BOX = 0.05

# Margin around the lungs, as a share of the side of the image.
_BLANK_MARGIN, _MASK_MARGIN = 0.03, 0.02

# Share of each side of the image that is kept where no lungs are found.
_FRAME = 0.15


@dataclass(frozen=True, eq=False)
class AlteredImages:
    """Images of which a part was replaced.

    Attributes
    ----------
    images : ndarray
        In the form in which they were given.
    is_found : ndarray of shape (n,), dtype bool
        Whether lungs were found.
    """

    images: np.ndarray
    is_found: np.ndarray


def lung_boxes(segmentation: LungSegmentation) -> np.ndarray:
    """Return the box around the lungs of each image.

    Parameters
    ----------
    segmentation : LungSegmentation

    Returns
    -------
    boxes : ndarray of shape (n, 4), dtype float32
        Left, top, right and bottom, as shares of width and height. NaN where no lungs were found.
    """
    masks = segmentation.probabilities > 0.5
    boxes = np.full((len(masks), 4), np.nan, np.float32)
    side = masks.shape[1]
    for row in np.flatnonzero(masks.any((1, 2))):
        lines = np.flatnonzero(masks[row].any(axis=1))
        columns = np.flatnonzero(masks[row].any(axis=0))
        boxes[row] = columns[0], lines[0], columns[-1] + 1, lines[-1] + 1
    return boxes / np.float32(side)


def blank_lungs(images: np.ndarray, segmentation: LungSegmentation | None = None) -> AlteredImages:
    """Replace the box around the lungs by one grey level.

    The box and not the outline of the lungs is blanked. The outline itself would show the shape of
    lungs and heart, and a dense opacity that the outline leaves out would remain visible.

    Parameters
    ----------
    images : ndarray of shape (n, height, width) or (n, height, width, 3)
    segmentation : LungSegmentation, default=None
        Lungs of these images. By default they are found.

    Returns
    -------
    AlteredImages
        The grey level is the mean of what is left of each image, so that the box contains no other
        information. Where no lungs are found, a box in the centre is blanked.
    """
    segmentation = _segmentation(images, segmentation)
    boxes = _plausible_boxes(segmentation)
    altered = images.copy()
    for image, box in zip(altered, boxes, strict=True):
        inside = _inside(box, *image.shape[:2])
        image[inside] = _mean(image[~inside], images.dtype)
    return AlteredImages(altered, np.asarray(np.isfinite(boxes[:, 0])))


def keep_lungs(images: np.ndarray, segmentation: LungSegmentation | None = None) -> AlteredImages:
    """Replace everything outside of the lungs by one grey level.

    Parameters
    ----------
    images : ndarray of shape (n, height, width) or (n, height, width, 3)
    segmentation : LungSegmentation, default=None
        Lungs of these images. By default they are found.

    Returns
    -------
    AlteredImages
        The grey level is the mean of the lungs. Where no lungs are found, the whole image has one
        grey level.
    """
    segmentation = _segmentation(images, segmentation)
    masks = dilated_masks(segmentation, *images.shape[1:3])
    altered = images.copy()
    for image, mask in zip(altered, masks, strict=True):
        image[~mask] = _mean(image[mask] if mask.any() else image.reshape(1, -1), images.dtype)
    return AlteredImages(altered, np.asarray(masks.any((1, 2))))


def dilated_masks(segmentation: LungSegmentation, height: int, width: int) -> np.ndarray:
    """Return the lungs with a margin of 2 % of the side, as masks of another size.

    Parameters
    ----------
    segmentation : LungSegmentation
    height, width : int

    Returns
    -------
    masks : ndarray of shape (n, height, width), dtype bool
    """
    masks = lung_masks(segmentation, height, width)
    width_of_margin = max(1, round(_MASK_MARGIN * max(height, width)))
    for mask in masks:
        if mask.any():
            mask[:] = binary_dilation(mask, iterations=width_of_margin)
    return masks


def _segmentation(images: np.ndarray, segmentation: LungSegmentation | None) -> LungSegmentation:
    if segmentation is not None:
        return segmentation
    grey = images.mean(axis=3, dtype=np.float32) if images.ndim == 4 else images
    return segment_lungs(grey)


def _plausible_boxes(segmentation: LungSegmentation) -> np.ndarray:
    """Return the boxes, NaN where they are too small."""
    boxes = lung_boxes(segmentation)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    boxes[~(area >= _SMALLEST_BOX)] = np.nan
    return boxes


def _inside(box: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the mask of a box with its margin, or of the centre if there is no box."""
    if np.isfinite(box[0]):
        left, top, right, bottom = box + _BLANK_MARGIN * np.array([-1, -1, 1, 1])
    else:
        left, top, right, bottom = _FRAME, _FRAME, 1 - _FRAME, 1 - _FRAME
    lines, columns = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    is_line = (lines > top) & (lines < bottom)
    inside: np.ndarray = is_line[:, None] & (columns > left) & (columns < right)
    return inside


def _mean(pixels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the mean grey level, or colour, of some pixels. 0 if there are none."""
    if not pixels.size:
        return np.zeros((), dtype)
    mean = pixels.mean(axis=0 if pixels.ndim == 2 and pixels.shape[1] == 3 else None)
    if dtype.kind in "ui":
        mean = np.rint(mean)
    return np.asarray(mean).astype(dtype)
