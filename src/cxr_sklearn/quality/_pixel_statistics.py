"""Statistics of the pixels of one image: grey levels, colour, sharpness and border."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops
from scipy.ndimage import laplace

BORDER_SIDE = 128  # pixels: the side of the image in which borders are measured
BORDER_WIDTHS = (4, 8, 16)  # pixels of 128

# Statistics of each side of the border: mean, standard deviation, percentiles, means of pieces.
# Statistics of the whole border: shares of grey levels.
_PERCENTILES = (5, 25, 50, 75, 95)
_N_PIECES = 8
_N_LEVELS = 16
N_BORDER_STATISTICS = 4 * (2 + len(_PERCENTILES) + _N_PIECES) + _N_LEVELS

_SHARPNESS_SIDE = 256  # pixels along the longer side at which sharpness is measured

# Grey levels up to 5 count as black, and from 250 as white.
_BLACK, _WHITE = 5, 250

# A pixel is of saturated colour if its largest and smallest channels differ by this or more.
_SATURATED = 64


def grey_statistics(grey: Image.Image) -> dict[str, float]:
    """Return standard deviation, contrast, and the share of black and white pixels.

    Parameters
    ----------
    grey : PIL.Image.Image
        Image of mode "L".

    Returns
    -------
    dict of str to float
        ``sd``, ``contrast`` (99th minus 1st percentile) and ``black_white``.
    """
    # The histogram contains all that is needed, and is much smaller than a large radiograph.
    counts = np.array(grey.histogram()[:256], dtype=float)
    share = counts / counts.sum()
    cumulative_share = share.cumsum()
    level = np.arange(256)
    mean = share @ level
    low, high = np.searchsorted(cumulative_share, 0.01), np.searchsorted(cumulative_share, 0.99)
    return {
        "sd": float(np.sqrt(share @ (level - mean) ** 2)),
        "contrast": int(high - low),
        "black_white": float(share[: _BLACK + 1].sum() + share[_WHITE:].sum()),
    }


def colour_statistics(rgb: Image.Image | None) -> dict[str, float]:
    """Return the share of pixels of saturated colour, and the mean difference of the channels.

    Parameters
    ----------
    rgb : PIL.Image.Image or None
        Image of mode "RGB"; None for a file without colours.

    Returns
    -------
    dict of str to float
        ``saturated`` and ``colour``.
    """
    if rgb is None:
        return {"saturated": 0.0, "colour": 0.0}
    red, green, blue = rgb.split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    smallest = ImageChops.darker(ImageChops.darker(red, green), blue)
    counts = np.array(ImageChops.subtract(largest, smallest).histogram(), dtype=float)
    share = counts / counts.sum()
    return {
        "saturated": float(share[_SATURATED:].sum()),
        "colour": float(share @ np.arange(256)),
    }


def sharpness(grey: Image.Image) -> float:
    """Return the variance of the Laplacian, divided by the variance of the image."""
    # All images are measured at one size, because shrinking makes an image sharper.
    small = grey.copy()
    small.thumbnail((_SHARPNESS_SIDE, _SHARPNESS_SIDE), Image.Resampling.BILINEAR)
    pixels = np.asarray(small, dtype=np.float32)
    variance = float(pixels.var())
    if variance == 0:
        return 0.0
    return float(laplace(pixels).var()) / variance


def border_statistics(pixels: np.ndarray, width: int) -> np.ndarray:
    """Describe a ring at the border of an image, without the pixels inside.

    Parameters
    ----------
    pixels : ndarray of shape (128, 128), dtype uint8
        Image.
    width : int
        Width of the ring in pixels.

    Returns
    -------
    statistics : ndarray of shape (n_statistics,), dtype float32
        For each side: mean, standard deviation, five percentiles, and the means of eight pieces.
        For the whole ring: a histogram of 16 grey levels.
    """
    bands = (pixels[:width], pixels[-width:], pixels[:, :width].T, pixels[:, -width:].T)
    sides = np.stack(bands).astype(np.float32)  # of shape (4, width, 128)
    flat = sides.reshape(4, -1)
    pieces = sides.reshape(4, width, _N_PIECES, -1).mean(axis=(1, 3))
    percentiles = np.percentile(flat, _PERCENTILES, axis=1)
    level_width = 256 // _N_LEVELS
    levels = np.bincount(np.stack(bands).ravel() // level_width, minlength=_N_LEVELS) / flat.size
    parts = [flat.mean(axis=1), flat.std(axis=1), *percentiles, pieces.ravel(), levels]
    return np.concatenate(parts).astype(np.float32)
