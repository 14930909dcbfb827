"""Features by which new images are compared with the calibration images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.random_projection import GaussianRandomProjection

from .._models.model_inside import innermost_model
from ..preprocessing._pixel_input import pixel_input
from ..quality._pixel_statistics import grey_statistics, sharpness

# Trunk features are projected to this number of dimensions, by a matrix that depends on no image.
# A projection that was fitted on the calibration images would describe them better than others.
_N_PROJECTIONS = 64

# The border is a ring of this share of the side.
_BORDER = 0.06

STATISTICS = ("brightness", "contrast", "black_white", "sharpness", "border", "asymmetry")


def image_features(fitted: Any, X: Any) -> tuple[np.ndarray, list[str]]:
    """Describe images by statistics of their pixels and by the features of the trunk.

    Parameters
    ----------
    fitted : classifier
        Fitted.
    X : array-like
        Its input.

    Returns
    -------
    features : ndarray of shape (n_images, n_features), dtype float32
    names : list of str
        Names of the columns. Those of projections of trunk features are "feature 1" and so on.
    """
    parts: list[np.ndarray] = []
    names: list[str] = []
    try:
        images = pixel_input(fitted, X).images
    except ValueError:
        # X does not consist of images, or contains more than these.
        pass
    else:
        parts.append(_pixel_statistics(images))
        names += STATISTICS
    features = _trunk_features(fitted, X)
    if features is None and not parts:
        # No images: the columns of X themselves, if they are numbers.
        features = _numbers(X)
    if features is not None:
        projected = _projected(features)
        parts.append(projected)
        names += [f"feature {number + 1}" for number in range(projected.shape[1])]
    return np.column_stack(parts).astype(np.float32), names


def _pixel_statistics(images: np.ndarray) -> np.ndarray:
    grey = images.mean(axis=3) if images.ndim == 4 else images
    if grey.dtype != np.uint8:
        # The scale of the images is unknown, but it is the same for all of them.
        values = grey.astype(np.float64)
        grey = (values * 255 if values.max(initial=0) <= 1 else values).clip(0, 255)
        grey = grey.round().astype(np.uint8)
    return np.array([_statistics_of(image) for image in grey], dtype=np.float64)


def _statistics_of(pixels: np.ndarray) -> list[float]:
    image = Image.fromarray(pixels)
    found = grey_statistics(image)
    height, width = pixels.shape
    top, left = max(1, round(_BORDER * height)), max(1, round(_BORDER * width))
    is_border = np.ones(pixels.shape, dtype=bool)
    is_border[top : height - top, left : width - left] = False
    mirrored = pixels[:, ::-1].astype(np.float64)
    return [
        float(pixels.mean()),
        found["contrast"],
        found["black_white"],
        sharpness(image),
        float(pixels[is_border].mean()),
        float(np.abs(pixels - mirrored).mean()),
    ]


def _trunk_features(fitted: Any, X: Any) -> np.ndarray | None:
    """Return the features of the frozen part of the network, or None if there is none."""
    model, rows = innermost_model(fitted, X)
    trunk = getattr(model, "trunk_", None)
    if trunk is None or trunk.trainable == "all":
        return None
    features = np.asarray(trunk.transform(rows))
    # Below the head, the activations are maps: their means over the image.
    maps = features.reshape(len(features), trunk.row_shape_[0], -1)
    return maps.mean(axis=2)


def _numbers(X: Any) -> np.ndarray:
    """Return the columns of X that are numbers."""
    if isinstance(X, pd.DataFrame):
        X = X.select_dtypes(["number", "bool"])
    toarray = getattr(X, "toarray", None)
    values = np.asarray(X if toarray is None else toarray())
    try:
        values = values.reshape(len(values), -1).astype(np.float64)
    except (TypeError, ValueError):
        return np.zeros((len(values), 0))
    return np.nan_to_num(values)


def _projected(features: np.ndarray) -> np.ndarray:
    """Project features to a few dimensions by a fixed random matrix."""
    if features.shape[1] <= _N_PROJECTIONS:
        return features
    return GaussianRandomProjection(_N_PROJECTIONS, random_state=0).fit_transform(features)
