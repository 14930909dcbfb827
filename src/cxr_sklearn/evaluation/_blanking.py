"""Blank the lungs of the images that a model takes, and a model that takes such images."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from .._images.loader import XRayLoader
from ..preprocessing._lung_regions import blank_lungs
from ..preprocessing._pixel_input import PixelInput


def blanked(pixels: PixelInput) -> tuple[np.ndarray, int]:
    """Return the images without their lungs, in the form of X.

    Returns
    -------
    images : ndarray
        One grey level fills the box around the lungs, or the centre of images without lungs.
    n_without_lungs : int
        Number of images in which no lungs were found.
    """
    found = blank_lungs(pixels.images)
    images = found.images
    if pixels.has_rows:
        images = images.reshape(len(images), -1)
    return images, int((~found.is_found).sum())


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
