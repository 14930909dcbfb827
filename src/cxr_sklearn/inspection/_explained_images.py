"""The images that a network gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .._images.images import Images
from .._images.inputs import check_images
from .._models.base import BaseResNet
from .._trunk.pixels import unit_images


def network_sized_images(inner: BaseResNet, rows: Any) -> np.ndarray:
    """Return images in the size in which a network gets them.

    Parameters
    ----------
    inner : classifier
        Fitted model of this package.
    rows : array-like
        Its input.

    Returns
    -------
    images : ndarray of shape (n, side, side), dtype float32
        In [0, 1]. Standardised images are scaled to this range, each by its own extremes.
    """
    images = check_images(inner, rows, reset=False)
    values = resized_images(inner, images)
    if not images.standardised:
        return values.clip(0, 1)
    low, high = values.min((1, 2), keepdims=True), values.max((1, 2), keepdims=True)
    scaled: np.ndarray = (values - low) / np.maximum(high - low, 1e-6)
    return scaled


def resized_images(inner: BaseResNet, images: Images) -> np.ndarray:
    """Return images in the size in which a network gets them, on their own scale.

    Parameters
    ----------
    inner : classifier
        Fitted model of this package.
    images : Images

    Returns
    -------
    ndarray of shape (n, side, side), dtype float32
    """
    sized = []
    for start in range(0, len(images), inner.batch_size):
        index = np.arange(start, min(start + inner.batch_size, len(images)))
        pixels = torch.from_numpy(images.pixels(index))
        sized.append(unit_images(pixels, inner.image_size)[:, 0].numpy())
    return np.concatenate(sized)
