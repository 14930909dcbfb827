"""Keypoints of a radiograph: blobs of all sizes, with descriptors of their surroundings.

An image keeps most of its keypoints when it is cropped, framed, rotated a little, mirrored or
inverted. Two images in another framing are found by the keypoints that they share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter

DETAIL_SIDE = 192  # pixels along the longer side of an image in which keypoints are searched
N_KEYPOINTS = 96  # per image
MIN_SIDE = 128  # pixels; smaller images have too little detail to tell chests apart

_SCALES = 2.0 * 2 ** (np.arange(7) / 3)  # pixels: from fine to coarse, three per octave
_MARGIN = 4  # pixels at the border of an image in which no keypoint is searched

# A descriptor is computed from a patch of 8 by 8 samples around the keypoint.
_PATCH_SIDE = 8  # samples
_SPACING = 2.0  # distance of the samples, in units of the keypoint's scale

# A frame consists of rows and columns with a standard deviation up to this many grey levels. At
# least this share of the side is left when a frame is removed.
_MAX_FRAME_DEVIATION = 3.0
_MIN_SHARE_INSIDE = 0.5

# Local contrast: scale of the neighbourhood in pixels, and the deviation in grey levels that
# counts as noise, so that flat areas stay flat.
_CONTRAST_SCALE = 12.0
_CONTRAST_NOISE = 2.0

# Spectra of natural images fall with frequency. These weights make all components of a patch
# about equally large, so that two descriptors that differ do so in all of their components.
_FREQUENCY = np.add.outer(np.arange(_PATCH_SIDE) ** 2, np.arange(_PATCH_SIDE) ** 2)
_WEIGHTS = (_FREQUENCY**0.75).ravel()[1:]
N_COMPONENTS = len(_WEIGHTS)

# Components that change their sign when the image is mirrored.
IS_ODD = np.tile(np.arange(_PATCH_SIDE) % 2 == 1, _PATCH_SIDE)[1:]


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of one image, the most pronounced first.

    Attributes
    ----------
    detail : ndarray of shape (h, w), dtype uint8
        The image without its frame, resized to 192 pixels along the longer side.
    native_side : int
        Pixels along the longer side before resizing, at most 192: the resolution of the detail.
    positions : ndarray of shape (n, 3), dtype float32
        y and x from the centre of `detail`, in units of its longer side, and the logarithm to
        base 2 of the scale.
    descriptors : ndarray of shape (n, 63), dtype int8
        Components of the surroundings, times 127. All components of an inverted image are
        negated. In a mirrored image, the components in ``IS_ODD`` are negated.
    """

    detail: np.ndarray
    native_side: int
    positions: np.ndarray
    descriptors: np.ndarray


NO_KEYPOINTS = Keypoints(
    detail=np.zeros((1, 1), np.uint8),
    native_side=1,
    positions=np.zeros((0, 3), np.float32),
    descriptors=np.zeros((0, N_COMPONENTS), np.int8),
)


def find_keypoints(grey: Image.Image) -> Keypoints:
    """Find the keypoints of an image.

    Parameters
    ----------
    grey : PIL.Image.Image
        Image of mode "L".

    Returns
    -------
    keypoints : Keypoints
        Empty for an image with fewer than 128 pixels along the longer side.
    """
    if max(grey.size) < MIN_SIDE:
        return NO_KEYPOINTS
    trimmed = _remove_frame(grey)
    detail = np.asarray(_resize_to_detail(trimmed))
    blurred, scale, y, x = _find_blobs(_local_contrast(detail))
    patches = _sample_patches(blurred, scale, y, x)
    height, width = detail.shape
    side = max(height, width)
    y_from_centre, x_from_centre = y - (height - 1) / 2, x - (width - 1) / 2
    positions = np.stack([y_from_centre / side, x_from_centre / side, np.log2(_SCALES[scale])])
    return Keypoints(
        detail=detail,
        native_side=min(max(trimmed.size), DETAIL_SIDE),
        positions=positions.T.astype(np.float32),
        descriptors=_describe(patches),
    )


def _local_contrast(pixels: np.ndarray) -> np.ndarray:
    """Subtract the local mean from an image, and divide it by its local standard deviation.

    The result hardly depends on brightness, contrast and gamma. Inversion changes its sign.
    """
    difference = pixels.astype(np.float32)
    difference -= gaussian_filter(difference, _CONTRAST_SCALE, truncate=3)
    variance = gaussian_filter(difference**2, _CONTRAST_SCALE, truncate=3)
    return difference / np.sqrt(variance + _CONTRAST_NOISE**2)


def _remove_frame(grey: Image.Image) -> Image.Image:
    """Cut off rows and columns at the border that have a single grey level."""
    # A frame is searched in the small image, which costs little and ignores noise.
    pixels = np.asarray(_resize_to_detail(grey), dtype=np.float32)
    top, bottom = _frame_widths(pixels.std(axis=1))
    # Rows of the frame are left out here: they would add variance to columns of the frame.
    left, right = _frame_widths(pixels[top : len(pixels) - bottom].std(axis=0))
    if not (top or bottom or left or right):
        return grey
    height, width = pixels.shape
    box = (
        round(left / width * grey.width),
        round(top / height * grey.height),
        round((1 - right / width) * grey.width),
        round((1 - bottom / height) * grey.height),
    )
    return grey.crop(box)


def _frame_widths(deviations: np.ndarray) -> tuple[int, int]:
    """Return the number of flat lines at the beginning and at the end."""
    inside = np.flatnonzero(deviations > _MAX_FRAME_DEVIATION)
    # A mostly flat image has no frame that could be distinguished from its content.
    if not len(inside) or inside[-1] + 1 - inside[0] < _MIN_SHARE_INSIDE * len(deviations):
        return 0, 0
    return int(inside[0]), int(len(deviations) - 1 - inside[-1])


def _resize_to_detail(grey: Image.Image) -> Image.Image:
    """Resize an image to 192 pixels along its longer side."""
    scale = DETAIL_SIDE / max(grey.size)
    size = (max(1, round(scale * grey.width)), max(1, round(scale * grey.height)))
    return grey.resize(size, Image.Resampling.BILINEAR)


def _find_blobs(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the image at every scale, and the scale, y and x of its most pronounced blobs.

    Blobs are extrema of the difference of Gaussians in position and scale (Lowe 2004).
    """
    blurred = np.stack([gaussian_filter(image, s, mode="nearest", truncate=3) for s in _SCALES])
    strength = np.abs(np.diff(blurred, axis=0))
    is_peak = (strength == maximum_filter(strength, size=(3, 5, 5))) & (strength > 0)
    # At the finest and the coarsest scale, and at the border, neighbours are missing.
    is_peak[[0, -1]] = False
    is_peak[:, :_MARGIN] = is_peak[:, -_MARGIN:] = False
    is_peak[:, :, :_MARGIN] = is_peak[:, :, -_MARGIN:] = False
    peaks = np.nonzero(is_peak)
    strongest = np.argsort(-strength[peaks], kind="stable")[:N_KEYPOINTS]
    scale, y, x = (axis[strongest] for axis in peaks)
    return blurred, scale, y, x


def _sample_patches(
    blurred: np.ndarray, scale: np.ndarray, y: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """Return 8 by 8 samples around each blob, from the image at the scale of the blob."""
    offsets = (np.arange(_PATCH_SIDE) - (_PATCH_SIDE - 1) / 2) * _SPACING
    patches = np.empty((len(scale), _PATCH_SIDE, _PATCH_SIDE), np.float32)
    # Blobs of one scale are sampled together, because the samples have the same distance.
    for k in np.unique(scale):
        rows = scale == k
        sample_y = y[rows, None, None] + offsets[:, None] * _SCALES[k]
        sample_x = x[rows, None, None] + offsets[None, :] * _SCALES[k]
        samples = np.broadcast_arrays(sample_y, sample_x)
        patches[rows] = map_coordinates(blurred[k], samples, order=1, mode="nearest")
    return patches


def _describe(patches: np.ndarray) -> np.ndarray:
    """Return the weighted cosine transform of each patch, without its mean, as int8."""
    components = dctn(patches, axes=(1, 2), norm="ortho").reshape(len(patches), _PATCH_SIDE**2)
    # The first component is the mean, which depends on brightness.
    components = components[:, 1:] * _WEIGHTS
    length = np.linalg.norm(components, axis=1, keepdims=True)
    return np.rint(127 * components / np.where(length > 0, length, 1)).astype(np.int8)
