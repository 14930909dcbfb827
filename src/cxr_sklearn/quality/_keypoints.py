"""Keypoints of a radiograph: blobs of every size, each with a descriptor of its surroundings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter

DETAIL_SIDE = 192
N_KEYPOINTS = 96
MIN_SIDE = 128  # smaller images have too little detail to tell chests apart
_GRID = 8  # samples along each side of a patch
_SPACING = 2.0  # of the samples, in units of the keypoint's scale
_SCALES = 2.0 * 2 ** (np.arange(7) / 3)  # pixels
_MARGIN = 4  # pixels at the border of an image, without keypoints
_FLAT = 3.0  # grey levels: the greatest standard deviation of a row or column of a frame
_LEAST_INSIDE = 0.5  # of a side: what trimming always leaves
_LOCAL = 12.0  # pixels: the scale of what counts as local contrast
_NOISE = 2.0  # grey levels of local contrast that count as nothing

# Spectra of natural images fall with frequency. These weights make all components of a patch
# about equally large, so that one descriptor differs from the others in all of them.
_FREQUENCY = np.add.outer(np.arange(_GRID) ** 2, np.arange(_GRID) ** 2)
_WEIGHTS = (_FREQUENCY**0.75).ravel()[1:]
N_COMPONENTS = len(_WEIGHTS)

# components whose sign changes when the image is mirrored
IS_ODD = np.tile(np.arange(_GRID) % 2 == 1, _GRID)[1:]


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of one image, the most pronounced first.

    Attributes
    ----------
    detail : ndarray of shape (h, w), dtype uint8
        The image without its frame, of 192 pixels along the longer side.
    side : int
        Pixels along the longer side before that, 192 at most: how much of the detail is real.
    where : ndarray of shape (n, 3), dtype float32
        y and x, from the centre of `detail` and in units of its longer side, and the logarithm to
        base 2 of the scale.
    descriptors : ndarray of shape (n, 63), dtype int8
        Components of the surroundings, times 127. An inverted image has the negative ones; in a
        mirrored one those of ``IS_ODD`` are negative.
    """

    detail: np.ndarray
    side: int
    where: np.ndarray
    descriptors: np.ndarray


NO_KEYPOINTS = Keypoints(
    detail=np.zeros((1, 1), np.uint8),
    side=1,
    where=np.zeros((0, 3), np.float32),
    descriptors=np.zeros((0, N_COMPONENTS), np.int8),
)


def find_keypoints(grey: Image.Image) -> Keypoints:
    """Find keypoints of an image.

    Parameters
    ----------
    grey : PIL.Image.Image
        Of mode "L".

    Returns
    -------
    Keypoints
        None of an image of fewer than 128 pixels along its longer side.
    """
    if max(grey.size) < MIN_SIDE:
        return NO_KEYPOINTS
    trimmed = _trimmed(grey)
    detail = np.asarray(_shrunk(trimmed))
    blurred, scale, y, x = _blobs(local_contrast(detail))
    patches = _patches(blurred, scale, y, x)
    h, w = detail.shape
    side = max(h, w)
    where = np.stack([(y - (h - 1) / 2) / side, (x - (w - 1) / 2) / side, np.log2(_SCALES[scale])])
    native = min(max(trimmed.size), DETAIL_SIDE)
    return Keypoints(detail, native, where.T.astype(np.float32), _described(patches))


def local_contrast(pixels: np.ndarray) -> np.ndarray:
    """Return an image less its local mean, by its local standard deviation.

    It is the same, or nearly, after most changes of brightness, contrast and gamma, and its
    negative after inversion.

    Parameters
    ----------
    pixels : ndarray of shape (h, w), dtype uint8

    Returns
    -------
    ndarray of shape (h, w), dtype float32
    """
    difference = pixels.astype(np.float32)
    difference -= gaussian_filter(difference, _LOCAL, truncate=3)
    variance = gaussian_filter(difference**2, _LOCAL, truncate=3)
    return difference / np.sqrt(variance + _NOISE**2)


def _trimmed(grey: Image.Image) -> Image.Image:
    """Return an image without its frame: rows and columns of one grey at the border."""
    pixels = np.asarray(_shrunk(grey), dtype=np.float32)
    top, bottom = _frame_widths(pixels.std(axis=1))
    left, right = _frame_widths(pixels[top : len(pixels) - bottom].std(axis=0))
    if not (top or bottom or left or right):
        return grey
    h, w = pixels.shape
    box = (left / w, top / h, 1 - right / w, 1 - bottom / h)
    sizes = (grey.width, grey.height, grey.width, grey.height)
    return grey.crop(tuple(round(part * size) for part, size in zip(box, sizes, strict=True)))


def _frame_widths(deviations: np.ndarray) -> tuple[int, int]:
    """Return the number of flat lines at either end."""
    inside = np.flatnonzero(deviations > _FLAT)
    if not len(inside) or inside[-1] + 1 - inside[0] < _LEAST_INSIDE * len(deviations):
        return 0, 0
    return int(inside[0]), int(len(deviations) - 1 - inside[-1])


def _shrunk(grey: Image.Image) -> Image.Image:
    scale = DETAIL_SIDE / max(grey.size)
    size = (max(1, round(scale * grey.width)), max(1, round(scale * grey.height)))
    return grey.resize(size, Image.Resampling.BILINEAR)


def _blobs(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the image at every scale, and scale, y and x of its most pronounced blobs.

    Blobs are extrema of the difference of Gaussians in place and scale (Lowe 2004).
    """
    blurred = np.stack([gaussian_filter(image, s, mode="nearest", truncate=3) for s in _SCALES])
    strength = np.abs(np.diff(blurred, axis=0))
    is_peak = (strength == maximum_filter(strength, size=(3, 5, 5))) & (strength > 0)
    is_peak[[0, -1]] = False
    is_peak[:, :_MARGIN] = is_peak[:, -_MARGIN:] = False
    is_peak[:, :, :_MARGIN] = is_peak[:, :, -_MARGIN:] = False
    found = np.nonzero(is_peak)
    order = np.argsort(-strength[found], kind="stable")[:N_KEYPOINTS]
    scale, y, x = (axis[order] for axis in found)
    return blurred, scale, y, x


def _patches(blurred: np.ndarray, scale: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return 8 by 8 samples around each blob, from the image at its scale."""
    steps = (np.arange(_GRID) - (_GRID - 1) / 2) * _SPACING
    patches = np.empty((len(scale), _GRID, _GRID), np.float32)
    for k in np.unique(scale):
        rows = scale == k
        at_y = y[rows, None, None] + steps[:, None] * _SCALES[k]
        at_x = x[rows, None, None] + steps[None, :] * _SCALES[k]
        at = np.broadcast_arrays(at_y, at_x)
        patches[rows] = map_coordinates(blurred[k], at, order=1, mode="nearest")
    return patches


def _described(patches: np.ndarray) -> np.ndarray:
    """Return the components of patches: cosine transforms without the mean, weighted."""
    components = dctn(patches, axes=(1, 2), norm="ortho").reshape(len(patches), _GRID**2)[:, 1:]
    components = components * _WEIGHTS
    length = np.linalg.norm(components, axis=1, keepdims=True)
    return np.rint(127 * components / np.where(length > 0, length, 1)).astype(np.int8)
