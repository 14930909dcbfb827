"""Draw synthetic chest radiographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.utils import check_random_state

CLASSES = ("COVID-19", "Normal", "Pneumonia")

# Flaws of pixels. make_chest_phantom_files has flaws of files in addition.
PIXEL_FLAWS = ("border", "exposure")

# Shares of the images that a flaw marks, in the first class and in the others. A flaw is associated
# with the class, but does not determine it.
_MARKED_SHARE, _MARKED_SHARE_OF_OTHERS = 0.9, 0.1

# Width of the black frame, relative to the side of the image.
_FRAME = 0.05

# Opacities are drawn only inside a square in the middle of the image. This is half of its side,
# where half of the side of the image is 1. The border of the image contains nothing that
# distinguishes the classes, so a score above chance on the border shows a flaw.
_INTERIOR = 0.68


def make_chest_phantoms(
    n_samples: int = 300,
    *,
    weights: Sequence[float] | Mapping[str, float] | None = None,
    image_size: int = 64,
    confound: str | Sequence[str] | None = None,
    return_masks: bool = False,
    random_state: Any = None,
) -> tuple[np.ndarray, ...]:
    """Make synthetic chest radiographs of three classes.

    The images are drawn, not recorded. They show thorax, lungs, ribs, spine, heart and diaphragm
    in varying sizes and positions, with varying exposure and noise. The classes differ in the
    lungs: ``"Pneumonia"`` has one or two focal consolidations anywhere, ``"COVID-19"`` has
    bilateral, peripheral, mostly basal ground-glass opacities, and ``"Normal"`` has neither. The
    outer eighth of the image does not depend on the class, so a classifier that sees only the
    border of the images cannot be better than chance.

    Use these images to try and to test software. They contain no information about patients.

    Parameters
    ----------
    n_samples : int, default=300
        Number of images.
    weights : sequence of 3 floats, or dict of class to float, default=None
        Shares of COVID-19, Normal and Pneumonia, in this order. They need not sum to 1. By default
        all shares are equal. Every class with a positive share has at least one image.
    image_size : int, default=64
        Side of the square images in pixels, at least 8.
    confound : {"border", "exposure"}, sequence of these, or None, default=None
        Flaws to plant. Each marks 90 % of the COVID-19 images and 10 % of the others.
        ``"border"`` is a black frame like that of a collimator, as wide as a twentieth of the
        side. ``"exposure"`` makes an image too light. See :func:`make_chest_phantom_files` for
        flaws of files.
    return_masks : bool, default=False
        Whether to return the lungs of each image too, as they were drawn. The images are the same
        with and without masks.
    random_state : int, RandomState instance or None, default=None
        Seed or generator of the random numbers that determine the images.

    Returns
    -------
    X : ndarray of shape (n_samples, image_size * image_size), dtype uint8
        Rows of pixels, in random order of the classes.
    y : ndarray of shape (n_samples,), of str
        Classes.
    masks : ndarray of shape (n_samples, image_size * image_size), dtype uint8
        255 in the lungs, and 0 elsewhere. The part of a lung behind the heart is included. Only
        with `return_masks`.

    Examples
    --------
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> X, y = make_chest_phantoms(10, weights=[1, 4, 5], image_size=32, random_state=0)
    >>> X.shape, sorted(y).count("COVID-19")
    ((10, 1024), 1)
    >>> _, _, masks = make_chest_phantoms(
    ...     10, weights=[1, 4, 5], image_size=32, return_masks=True, random_state=0
    ... )
    >>> masks.shape, set(masks.ravel().tolist())
    ((10, 1024), {0, 255})
    """
    if not isinstance(n_samples, Integral) or n_samples < 1:
        raise ValueError(f"n_samples={n_samples!r}; expected an integer of 1 or more")
    if not isinstance(image_size, Integral) or image_size < 8:
        raise ValueError(f"image_size={image_size!r}; expected an integer of 8 pixels or more")
    flaws = check_flaws(confound, PIXEL_FLAWS)
    rng = check_random_state(random_state)
    counts = _class_counts(n_samples, weights)
    y = rng.permutation(np.repeat(CLASSES, counts))
    X = np.empty((n_samples, image_size * image_size), np.uint8)
    masks = np.empty_like(X)
    for row, mask, label in zip(X, masks, y, strict=True):
        pixels, lungs = _phantom(str(label), image_size, rng)
        row[:] = pixels.reshape(-1)
        mask[:] = np.where(lungs > 0.5, 255, 0).reshape(-1)
    for flaw in flaws:
        _plant(flaw, X, np.flatnonzero(is_marked(y, rng)))
    if return_masks:
        return X, y, masks
    return X, y


def check_flaws(confound: Any, known: Sequence[str]) -> list[str]:
    """Return the requested flaws, in the order of `known`."""
    if confound is None:
        requested = []
    elif isinstance(confound, str):
        requested = [confound]
    else:
        requested = list(confound)
    for flaw in requested:
        if flaw not in known:
            raise ValueError(f"confound={flaw!r}; expected some of {', '.join(known)}, or None")
    # Each flaw draws random numbers, so the result must not depend on the order of the request.
    return [flaw for flaw in known if flaw in requested]


def is_marked(y: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Return whether a flaw marks each image: most images of one class, and few of the others."""
    share = np.where(y == CLASSES[0], _MARKED_SHARE, _MARKED_SHARE_OF_OTHERS)
    return rng.uniform(size=len(y)) < share


def _plant(flaw: str, X: np.ndarray, rows: np.ndarray) -> None:
    """Plant a flaw in some rows of pixels, in place."""
    side = round(np.sqrt(X.shape[1]))
    images = X.reshape(-1, side, side)
    if flaw == "exposure":
        # A gamma below 1 makes all grey levels lighter, and keeps black and white.
        images[rows] = np.rint(255 * (images[rows] / 255) ** 0.6)
    else:
        width = max(1, round(_FRAME * side))
        inside = np.zeros((side, side), dtype=bool)
        inside[width:-width, width:-width] = True
        images[rows] = np.where(inside, images[rows], 0)


def _class_counts(n_samples: int, weights: Any) -> np.ndarray:
    """Return the number of images of each class. The numbers sum to `n_samples`."""
    share = _shares(weights)
    expected = share / share.sum() * n_samples
    # Rounding down makes the sum too small, and the minimum of one image may make it too large.
    counts = np.maximum(np.floor(expected), share > 0).astype(int)
    while counts.sum() < n_samples:
        counts[np.argmax(expected - counts)] += 1
    while counts.sum() > n_samples:
        excess = np.where(counts > 1, counts - expected, -np.inf)
        # If there are more classes than images, some class must lose its only image.
        if not np.isfinite(excess).any():
            excess = counts
        counts[np.argmax(excess)] -= 1
    return counts


def _shares(weights: Any) -> np.ndarray:
    """Check the parameter ``weights``, and return the share of each class."""
    given = weights
    if weights is None:
        weights = [1.0] * len(CLASSES)
    if isinstance(weights, Mapping):
        unknown = sorted(set(weights) - set(CLASSES))
        if unknown:
            raise ValueError(f"weights: no class {unknown[0]!r}; expected {', '.join(CLASSES)}")
        weights = [weights.get(name, 0.0) for name in CLASSES]
    share = np.asarray(weights, dtype=float)
    if (
        share.shape != (len(CLASSES),)
        or not np.all((share >= 0) & np.isfinite(share))
        or not share.sum() > 0
    ):
        raise ValueError(
            f"weights={given!r}; expected {len(CLASSES)} numbers, none negative, for "
            f"{', '.join(CLASSES)}"
        )
    return share


def _phantom(label: str, size: int, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Draw one radiograph, and return its pixels and how much of each pixel is lung.

    Coordinates range from -1 to 1, and y points downwards.
    """
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    interior = _inside((x / _INTERIOR) ** 8 + (y / _INTERIOR) ** 8, 0.5)
    x, y = _position(x, y, rng)
    width, height = rng.uniform(0.85, 1.1, 2)
    body = _inside((np.abs(x) / (0.88 * width)) ** 3 + (np.abs(y - 0.1) / 1.15) ** 4, 0.15)
    left, right = _lung(x, y, -1, width, height, rng), _lung(x, y, 1, width, height, rng)
    lungs = np.maximum(left, right)
    heart_x, heart_y = 0.13 + rng.uniform(-0.03, 0.05), 0.27 * height
    heart_r = rng.uniform(0.24, 0.32)
    heart = _inside(((x - heart_x) / heart_r) ** 2 + ((y - heart_y) / 0.3) ** 2, 0.3)
    spine = np.exp(-((x / 0.09) ** 2))
    rib_phase, rib_step = rng.uniform(0, 1), rng.uniform(0.15, 0.19)
    rib = np.cos(2 * np.pi * ((y + 0.45 * x**2) / rib_step + rib_phase)) ** 4
    vessels = _smooth_noise(size, 0.03, rng) * lungs
    # Each part adds to the density that the X-rays have passed. Air in the lungs reduces it.
    density = 0.04 + body * (0.5 + 0.1 * spine)
    density += lungs * (rng.uniform(-0.4, -0.26) + 0.07 * rib * rng.uniform(0.6, 1.4))
    density += 0.035 * vessels + _soft_tissue(x, y, width, rng) * body
    density += heart * (0.22 * lungs + 0.07 * body)
    density += interior * _opacities(label, x, y, left, right, width, height, size, rng)
    return _exposed(density, x, y, size, rng), lungs


def _position(
    x: np.ndarray, y: np.ndarray, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate, scale and shift the coordinates, as if the patient was positioned differently."""
    angle, scale = np.deg2rad(rng.uniform(-8, 8)), rng.uniform(0.9, 1.15)
    x, y = x - rng.uniform(-0.09, 0.09), y - rng.uniform(-0.09, 0.09)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    return cosine * x - sine * y, sine * x + cosine * y


def _inside(level: np.ndarray, softness: float) -> np.ndarray:
    """Return 1 where `level` is below 1, and 0 where it is above 1, with a soft edge."""
    # Without the limits, exp would overflow far outside of a shape.
    return 1 / (1 + np.exp(np.clip((level - 1) / (0.25 * softness), -50, 50)))


def _lung(
    x: np.ndarray,
    y: np.ndarray,
    side: int,
    width: float,
    height: float,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Draw one lung: an ellipse that ends at the dome of the diaphragm."""
    centre = side * 0.37 * width
    # A lung is narrower towards its apex.
    apex = 1 - 0.35 * np.clip(-y / height, 0, 1)
    outline = ((x - centre) / (0.27 * width * apex)) ** 2 + ((y + 0.06) / (0.6 * height)) ** 2
    dome = 0.42 * height + rng.uniform(-0.05, 0.05) + 0.5 * (x - centre) ** 2
    return _inside(outline, 0.5) * _inside(1 + (y - dome), 0.1)


def _soft_tissue(
    x: np.ndarray, y: np.ndarray, width: float, rng: np.random.RandomState
) -> np.ndarray:
    """Draw the smooth shadow of breasts or chest muscles over the lower lungs."""
    at_x, at_y = rng.uniform(0.38, 0.5) * width, rng.uniform(0.1, 0.4)
    radius, depth = rng.uniform(0.25, 0.4), rng.uniform(0, 0.16)
    shadow = np.zeros_like(x)
    for side in (-1, 1):
        level = ((x - side * at_x) ** 2 + (y - at_y) ** 2) / radius**2
        shadow += depth * rng.uniform(0.7, 1.0) * _inside(level, 1.5)
    return shadow


def _opacities(
    label: str,
    x: np.ndarray,
    y: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    width: float,
    height: float,
    size: int,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Draw the opacities of a class inside the lungs."""
    total = np.zeros_like(x)
    # Pneumonia has dense patches, each at a random place in one of the lungs.
    if label == "Pneumonia":
        for _ in range(rng.randint(1, 3)):
            side = rng.choice([-1, 1])
            centre = side * rng.uniform(0.27, 0.45) * width, rng.uniform(-0.35, 0.3) * height
            total += _patch(x, y, centre, rng.uniform(0.11, 0.2), size, rng) * rng.uniform(0.2, 0.3)
    # COVID-19 has weak patches near the outer edge of both lungs.
    if label == "COVID-19":
        for side in (-1, 1):
            for _ in range(rng.randint(2, 4)):
                at_y = rng.uniform(-0.1, 0.38) * height
                centre = side * rng.uniform(0.46, 0.56) * width, at_y
                hazy = _patch(x, y, centre, rng.uniform(0.09, 0.16), size, rng)
                total += hazy * rng.uniform(0.12, 0.2)
    # Patches may overlap, so their sum is limited.
    return np.minimum(total, 0.32) * np.maximum(left, right)


def _patch(
    x: np.ndarray,
    y: np.ndarray,
    centre: tuple[float, float],
    radius: float,
    size: int,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Draw a round patch with an irregular edge."""
    distance = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / radius**2
    ragged = distance * (1 + 0.35 * _smooth_noise(size, 0.06, rng))
    return np.exp(-np.maximum(ragged, 0))


def _smooth_noise(size: int, scale: float, rng: np.random.RandomState) -> np.ndarray:
    """Return noise of standard deviation 1 that is smooth over `scale` sides of the image."""
    noise = gaussian_filter(rng.standard_normal((size, size)), max(scale * size, 0.5))
    return noise / noise.std()


def _exposed(
    density: np.ndarray, x: np.ndarray, y: np.ndarray, size: int, rng: np.random.RandomState
) -> np.ndarray:
    """Convert densities to 8-bit grey levels, as one of many X-ray machines would."""
    # The image is lighter on one side, and its background varies smoothly.
    slope_x, slope_y = rng.uniform(-0.05, 0.05, 2)
    level = density * (1 + slope_x * x + slope_y * y)
    level = level + 0.03 * _smooth_noise(size, 0.2, rng)
    # Machines differ in the curve from density to grey level, in contrast and in brightness.
    level = np.clip(level, 0.005, 1) ** rng.uniform(0.75, 1.35)
    level = level * rng.uniform(0.8, 1.15) + rng.uniform(-0.04, 0.06)
    # The last step is the noise of the detector, which is independent in each pixel.
    level = level + rng.uniform(0.015, 0.035) * rng.standard_normal(level.shape)
    return np.rint(np.clip(level, 0, 1) * 255).astype(np.uint8)
