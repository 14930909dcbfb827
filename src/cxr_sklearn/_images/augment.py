"""Plausible variants of a radiograph: other positioning, other exposure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

# Half-ranges. No mirror image: it moves the heart to the right (dextrocardia).
_ROTATION = 7.0  # degrees
_SHIFT = 0.05  # of the image's side
_ZOOM = 0.10  # of the scale
_GAIN = 0.15  # of the contrast
_BRIGHTNESS = 0.10  # of the full range
_N_PARAMETERS = 6


def augmented_view(images: torch.Tensor, seeds: Sequence[int], view: int) -> torch.Tensor:
    """Return one fixed variant of each image, a function of the image and the view alone.

    Parameters
    ----------
    images : Tensor of shape (n, 1, height, width)
    seeds : sequence of int
        A number per image, from its content.
    view : int
        Which variant, from 1.

    Returns
    -------
    Tensor of the same shape
    """
    draws = [np.random.Generator(np.random.Philox(key=[seed, view])) for seed in seeds]
    uniform = np.stack([draw.random(_N_PARAMETERS, dtype=np.float32) for draw in draws])
    return _vary(images, torch.from_numpy(uniform).to(images.device))


def augmented(images: torch.Tensor) -> torch.Tensor:
    """Return a random variant of each image, drawn from PyTorch's global generator."""
    return _vary(images, torch.rand(len(images), _N_PARAMETERS, device=images.device))


def _vary(images: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Apply the variant that six numbers in [0, 1] per image describe."""
    rotation, x, y, zoom, gain, brightness = (2 * uniform - 1).unbind(1)
    angle = rotation * (_ROTATION * torch.pi / 180)
    scale = 1 + _ZOOM * zoom
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    # grid coordinates span 2, so a shift of s sides is 2 s
    theta = torch.stack(
        [
            torch.stack([cosine, -sine, 2 * _SHIFT * x], dim=1),
            torch.stack([sine, cosine, 2 * _SHIFT * y], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    mean = moved.mean(dim=(1, 2, 3), keepdim=True)
    gains = (1 + _GAIN * gain).view(-1, 1, 1, 1)
    return (moved - mean) * gains + mean + (_BRIGHTNESS * brightness).view(-1, 1, 1, 1)
