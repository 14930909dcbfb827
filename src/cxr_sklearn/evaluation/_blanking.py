"""Blank the lungs: images that keep only their margin, and a model that takes such images."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from .._images.loader import XRayLoader
from ..preprocessing._pixel_input import PixelInput

# Share of each side of the image that is kept.
FRAME = 0.15


def blanked(pixels: PixelInput) -> np.ndarray:
    """Return the images with one grey level in the centre, in the form of X.

    The grey level is the mean of what is left of each image, so that the rectangle
    contains no other information.
    """
    images = pixels.images.copy()
    height, width = images.shape[1:3]
    is_inside = np.zeros((height, width), dtype=bool)
    top, left = round(FRAME * height), round(FRAME * width)
    is_inside[top : height - top, left : width - left] = True
    mean = images[:, ~is_inside].mean(axis=1, keepdims=True)
    if images.dtype.kind in "ui":
        mean = mean.round()
    images[:, is_inside] = mean.astype(images.dtype)
    return images.reshape(len(images), -1) if pixels.has_rows else images


def model_for_pixels(model: Any, pixels: PixelInput) -> Any:
    """Return an unfitted copy of a model that takes pixels instead of paths."""
    if pixels.loader is None:
        return clone(model)
    return clone(_without_loader(model))


def _without_loader(model: Any) -> Any:
    """Return a copy of a model without its step that reads files."""
    if isinstance(model, Pipeline) and isinstance(model.steps[0][1], XRayLoader):
        return Pipeline(model.steps[1:])
    if isinstance(getattr(model, "estimator", None), Pipeline):
        # A search or another meta-estimator around a pipeline.
        return clone(model).set_params(estimator=_without_loader(model.estimator))
    return model
