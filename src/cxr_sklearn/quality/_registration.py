"""Registration: lay one image over another, and measure how well they agree in detail."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform, binary_erosion, gaussian_filter

# pixels along the longer side, and the correlation below which a finer level cannot help
_LEVELS = ((64, 0.5), (128, 0.6), (192, 0.0))
_STEPS = 3  # at each level

# standard deviations in pixels: of the window of local contrast, and of what is smoothed away
_COARSE = (3.0, 1.0)  # for the map
_FINE = (2.0, 0.7)  # for the decision
_NOISE = 2.0  # grey levels of local contrast that count as nothing
_LEAST_PIXELS = 32 * 32 // 9
_BORDER = 2  # pixels

# limits of one step: of the factors, and of the shift in pixels
_MOST = np.array([[0.05, 0.05, 2.0], [0.05, 0.05, 2.0]])


def overlay(
    first: np.ndarray, second: np.ndarray, start: np.ndarray, sign: int, resolution: int = 192
) -> tuple[float, float, np.ndarray]:
    """Refine an affine map between two images, and measure how well they agree under it.

    Parameters
    ----------
    first, second : ndarray of shape (h, w), dtype uint8
    start : ndarray of shape (2, 3)
        Affine map from (y, x) of the first to (y, x) of the second, from their centres and in
        units of their longer sides.
    sign : {1, -1}
        -1 if the second is inverted.
    resolution : int, default=192
        Pixels along the longer side up to which both have detail.

    Returns
    -------
    correlation : float
        Of fine detail where the images overlap, from -1 to 1.
    overlap : float
        Share of the smaller image that lies on the other, from 0 to 1.
    matrix : ndarray of shape (2, 3)
        The map as refined.
    """
    matrix = start.astype(float)
    levels = [level for level in _LEVELS if level[0] <= max(resolution, _LEVELS[0][0])]
    for side, least in levels:
        a, b = _resized(first, side), sign * _resized(second, side)
        for _ in range(_STEPS):
            matrix = _compose(matrix, _step(*_contrasts(a, b, matrix, side, *_COARSE)), side)
        scales = _FINE if side == levels[-1][0] else _COARSE
        one, other, inside = _contrasts(a, b, matrix, side, *scales)
        within = binary_erosion(inside, iterations=_BORDER, border_value=1)
        correlation = _correlation(one, other, within)
        if correlation < least:
            break
    scale = abs(np.linalg.det(matrix[:, :2]))
    area = min(a.size * scale, b.size)
    overlap = min(float(inside.sum()) * scale / area, 1.0) if area > 0 else 0.0
    return correlation, overlap, matrix


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(image.shape)
    size = max(1, round(scale * image.shape[1])), max(1, round(scale * image.shape[0]))
    resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32)


def _contrasts(
    a: np.ndarray, b: np.ndarray, matrix: np.ndarray, side: int, window: float, smoothing: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the local contrast of two images, the second laid on the first, and where it is."""
    centre, to = (np.array(a.shape) - 1) / 2, (np.array(b.shape) - 1) / 2
    offset = to + side * matrix[:, 2] - matrix[:, :2] @ centre
    warped = affine_transform(
        b, matrix[:, :2], offset, output_shape=a.shape, order=1, mode="constant", cval=np.nan
    )
    inside = np.isfinite(warped)
    mask = inside.astype(np.float32)
    share = gaussian_filter(mask, window, truncate=3) + 1e-6

    def contrast(image: np.ndarray) -> np.ndarray:
        difference = (image - gaussian_filter(image * mask, window, truncate=3) / share) * mask
        variance = gaussian_filter(difference**2, window, truncate=3) / share
        return gaussian_filter(difference / np.sqrt(variance + _NOISE**2), smoothing, truncate=3)

    return contrast(a), contrast(np.where(inside, warped, 0)), inside


def _correlation(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> float:
    """Return the correlation of two images within a mask, 0 where there is too little of it."""
    if inside.sum() < _LEAST_PIXELS:
        return 0.0
    x, y = a[inside] - a[inside].mean(), b[inside] - b[inside].mean()
    length = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / length) if length > 0 else 0.0


def _step(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the small affine map that makes `b` more like `a`: one Gauss-Newton step."""
    h, w = a.shape
    y, x = np.meshgrid(np.arange(h) - (h - 1) / 2, np.arange(w) - (w - 1) / 2, indexing="ij")
    slope_y, slope_x = (slope[inside] for slope in np.gradient(b))
    y, x = y[inside].astype(np.float32), x[inside].astype(np.float32)
    # gain and offset of the grey levels are fitted along with the map
    map_columns = [slope_y * y, slope_y * x, slope_y, slope_x * y, slope_x * x, slope_x]
    columns = np.stack([*map_columns, b[inside], np.ones_like(y)])
    scale = np.linalg.norm(columns, axis=1) + 1e-9
    columns /= scale[:, None]
    normal = (columns @ columns.T).astype(float) + 1e-6 * np.eye(len(columns))
    solved = np.linalg.solve(normal, columns @ a[inside]) / scale
    step = np.eye(2, 3)
    if solved[6] > 0.1:
        step += np.clip((solved[:6] / solved[6]).reshape(2, 3), -_MOST, _MOST)
    return step


def _compose(matrix: np.ndarray, step: np.ndarray, side: int) -> np.ndarray:
    """Return the map that first takes a step, of pixels, then follows the matrix."""
    linear = matrix[:, :2]
    return np.column_stack([linear @ step[:, :2], matrix[:, 2] + linear @ step[:, 2] / side])
