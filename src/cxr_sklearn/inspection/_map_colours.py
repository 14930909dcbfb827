"""A colour map for signed maps over a grey image: two hues, even steps of lightness."""

from __future__ import annotations

from typing import Any

import numpy as np

# Lightness and chroma of weak and of strong values in OKLab. With more chroma, some of the colours
# would be outside of sRGB. Hues in degrees: blue for negative values, orange for positive ones,
# which people with the common colour deficiencies distinguish.
_LIGHTNESS, _CHROMA = (0.44, 0.76), (0.10, 0.125)
_NEGATIVE_HUE, _POSITIVE_HUE = 250.0, 60.0

_N_COLOURS = 256

# Weak values would be invisible if the opacity grew linearly.
_OPACITY_POWER = 0.8

# From OKLab to linear sRGB, in two steps with a cube between them.
_TO_CONES = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def map_colours(alpha: float = 1.0) -> Any:
    """Return a diverging matplotlib colour map, transparent in the middle.

    Parameters
    ----------
    alpha : float, default=1.0
        Opacity of the strongest values. It grows from 0 in the middle.

    Returns
    -------
    matplotlib.colors.ListedColormap
        Lightness grows by equal steps from the middle to both ends.

    References
    ----------
    Ottosson, "A perceptual color space for image processing" (2020): OKLab.
    """
    from matplotlib.colors import ListedColormap

    strength = np.linspace(-1, 1, _N_COLOURS)
    lightness, chroma = (
        np.interp(np.abs(strength), (0, 1), ends) for ends in (_LIGHTNESS, _CHROMA)
    )
    hue = np.deg2rad(np.where(strength < 0, _NEGATIVE_HUE, _POSITIVE_HUE))
    colours = _rgb(lightness, chroma * np.cos(hue), chroma * np.sin(hue))
    opacity = alpha * np.abs(strength) ** _OPACITY_POWER
    return ListedColormap(np.column_stack([colours, opacity]), name="cxr_sklearn")


def _rgb(lightness: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return sRGB colours of OKLab coordinates."""
    linear = ((np.column_stack([lightness, a, b]) @ _TO_CONES.T) ** 3) @ _TO_RGB.T
    linear = linear.clip(0, 1)
    # The transfer curve of sRGB.
    curved = 1.055 * linear ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curved)
