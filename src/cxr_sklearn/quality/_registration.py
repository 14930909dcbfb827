"""Registration: lay one image over another, and measure how well their details agree."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform, binary_erosion, gaussian_filter

# Pixels along the longer side at each level, from coarse to fine, and the correlation below which
# finer levels cannot help.
_LEVELS = ((64, 0.5), (128, 0.6), (192, 0.0))
_STEPS_PER_LEVEL = 3

# Local contrast: standard deviations in pixels of its window, and of the smoothing afterwards. The
# coarse contrast guides the map, and the fine contrast decides.
_COARSE_CONTRAST = (3.0, 1.0)
_FINE_CONTRAST = (2.0, 0.7)
_CONTRAST_NOISE = 2.0  # grey levels that count as noise

_MIN_PIXELS = 32 * 32 // 9  # that must overlap for a correlation
_BORDER = 2  # pixels at the border of the overlap that are left out

# Limits of one step: of the factors of the map, and of the shift in pixels.
_MAX_STEP = np.array([[0.05, 0.05, 2.0], [0.05, 0.05, 2.0]])

# A smaller gain of the grey levels means that the two images have nothing in common.
_MIN_GAIN = 0.1


def overlay(
    first: np.ndarray, second: np.ndarray, start: np.ndarray, sign: int, resolution: int = 192
) -> tuple[float, float, np.ndarray]:
    """Refine an affine map between two images, and measure their agreement under the map.

    Parameters
    ----------
    first, second : ndarray of shape (h, w), dtype uint8
        Images.
    start : ndarray of shape (2, 3)
        Affine map from (y, x) of the first image to (y, x) of the second. Coordinates start at
        the centres, in units of the longer sides.
    sign : {1, -1}
        -1 if the second image is inverted.
    resolution : int, default=192
        Pixels along the longer side up to which both images have detail.

    Returns
    -------
    correlation : float
        Correlation of the fine detail where the images overlap, from -1 to 1.
    overlap : float
        Share of the smaller image that lies on the other, from 0 to 1.
    matrix : ndarray of shape (2, 3)
        Refined map.
    """
    matrix = start.astype(float)
    # Levels above the resolution of the images would compare interpolated pixels.
    max_side = max(resolution, _LEVELS[0][0])
    levels = [level for level in _LEVELS if level[0] <= max_side]
    for side, min_correlation in levels:
        a, b = _resize(first, side), sign * _resize(second, side)
        for _ in range(_STEPS_PER_LEVEL):
            step = _gauss_newton_step(*_laid_over(a, b, matrix, side, *_COARSE_CONTRAST))
            matrix = _compose(matrix, step, side)
        is_last = side == levels[-1][0]
        scales = _FINE_CONTRAST if is_last else _COARSE_CONTRAST
        a_contrast, b_contrast, inside = _laid_over(a, b, matrix, side, *scales)
        within = binary_erosion(inside, iterations=_BORDER, border_value=1)
        correlation = _correlation(a_contrast, b_contrast, within)
        if correlation < min_correlation:
            break
    # The determinant converts an area of the first image to an area of the second.
    scale = abs(np.linalg.det(matrix[:, :2]))
    smaller_area = min(a.size * scale, b.size)
    if smaller_area == 0:
        return correlation, 0.0, matrix
    return correlation, min(float(inside.sum()) * scale / smaller_area, 1.0), matrix


def _resize(image: np.ndarray, side: int) -> np.ndarray:
    """Resize an image to a number of pixels along its longer side."""
    scale = side / max(image.shape)
    size = max(1, round(scale * image.shape[1])), max(1, round(scale * image.shape[0]))
    resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32)


def _laid_over(
    a: np.ndarray, b: np.ndarray, matrix: np.ndarray, side: int, window: float, smoothing: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the local contrast of `a`, that of `b` laid over it, and the mask of the overlap."""
    a_centre, b_centre = (np.array(a.shape) - 1) / 2, (np.array(b.shape) - 1) / 2
    offset = b_centre + side * matrix[:, 2] - matrix[:, :2] @ a_centre
    warped = affine_transform(
        b, matrix[:, :2], offset, output_shape=a.shape, order=1, mode="constant", cval=np.nan
    )
    inside = np.isfinite(warped)
    mask = inside.astype(np.float32)
    # Dividing by the share of the window that lies inside the mask keeps the border comparable.
    share = gaussian_filter(mask, window, truncate=3) + 1e-6

    def contrast(image: np.ndarray) -> np.ndarray:
        mean = gaussian_filter(image * mask, window, truncate=3) / share
        difference = (image - mean) * mask
        variance = gaussian_filter(difference**2, window, truncate=3) / share
        normalised = difference / np.sqrt(variance + _CONTRAST_NOISE**2)
        return gaussian_filter(normalised, smoothing, truncate=3)

    return contrast(a), contrast(np.where(inside, warped, 0)), inside


def _correlation(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> float:
    """Return the correlation of two images within a mask, or 0 if the mask is too small."""
    if inside.sum() < _MIN_PIXELS:
        return 0.0
    x, y = a[inside] - a[inside].mean(), b[inside] - b[inside].mean()
    length = np.sqrt((x @ x) * (y @ y))
    if length == 0:
        return 0.0
    return float(x @ y / length)


def _gauss_newton_step(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the small affine map, in pixels, that makes `b` more similar to `a`."""
    height, width = a.shape
    y, x = np.meshgrid(
        np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij"
    )
    slope_y, slope_x = (slope[inside] for slope in np.gradient(b))
    y, x = y[inside].astype(np.float32), x[inside].astype(np.float32)
    # Least squares of `a` on the derivatives of `b` by the six numbers of the map. Gain and offset
    # of the grey levels are fitted at the same time.
    map_columns = [slope_y * y, slope_y * x, slope_y, slope_x * y, slope_x * x, slope_x]
    columns = np.stack([*map_columns, b[inside], np.ones_like(y)])
    scale = np.linalg.norm(columns, axis=1) + 1e-9
    columns /= scale[:, None]
    normal = (columns @ columns.T).astype(float) + 1e-6 * np.eye(len(columns))
    solved = np.linalg.solve(normal, columns @ a[inside]) / scale
    step = np.eye(2, 3)
    gain = solved[6]
    if gain > _MIN_GAIN:
        step += np.clip((solved[:6] / gain).reshape(2, 3), -_MAX_STEP, _MAX_STEP)
    return step


def _compose(matrix: np.ndarray, step: np.ndarray, side: int) -> np.ndarray:
    """Return the map that first takes a step, of pixels, and then follows the matrix."""
    linear = matrix[:, :2]
    return np.column_stack([linear @ step[:, :2], matrix[:, 2] + linear @ step[:, 2] / side])
