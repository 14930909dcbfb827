"""Prepare pixels for a network: scale, resize, repeat over channels, normalise."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from .._images.pixel_scale import scale_to_unit
from ..backbones._registry import IMAGENET_NORMALISATION


def unit_images(pixels: torch.Tensor, image_size: int) -> torch.Tensor:
    """Scale and resize pixels on their device.

    Parameters
    ----------
    pixels : Tensor of shape (n, height, width), uint8 or float32
    image_size : int
        Side of the result.

    Returns
    -------
    Tensor of shape (n, 1, image_size, image_size), float32
        uint8 is scaled to [0, 1]; floats keep their scale. Images of another size are resized,
        bilinear and antialiased; those that are not square are stretched.
    """
    images = scale_to_unit(pixels).unsqueeze(1)
    if images.shape[-2:] != (image_size, image_size):
        size = (image_size, image_size)
        images = functional.interpolate(images, size, mode="bilinear", antialias=True)
    return images


def network_images(unit: torch.Tensor, channels: int, standardised: bool) -> torch.Tensor:
    """Repeat greyscale images over the network's channels, with ImageNet's mean and deviation.

    Standardised images keep their values.
    """
    if standardised:
        return unit.expand(-1, channels, -1, -1).contiguous()
    means, stds = IMAGENET_NORMALISATION.mean, IMAGENET_NORMALISATION.std
    if channels == 1:
        means, stds = (sum(means) / 3,), (sum(stds) / 3,)
    if unit.requires_grad:
        # Gradients are computed of new tensors only.
        shift = unit.new_tensor(means).view(1, -1, 1, 1)
        return (unit - shift) / unit.new_tensor(stds).view(1, -1, 1, 1)
    images = unit.new_empty(len(unit), channels, *unit.shape[2:])
    for channel, mean, std in zip(range(channels), means, stds, strict=True):
        one = images[:, channel]
        if unit.device.type == "cpu":  # by numpy, as above
            np.subtract(unit[:, 0].numpy(), np.float32(mean), out=one.numpy())
            np.divide(one.numpy(), np.float32(std), out=one.numpy())
        else:
            torch.sub(unit[:, 0], mean, out=one).div_(std)
    return images
