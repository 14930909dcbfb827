"""Scale pixels to [0, 1]."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

Pixels = TypeVar("Pixels", np.ndarray, torch.Tensor)


def scale_to_unit(pixels: Pixels) -> Pixels:
    """Return uint8 pixels as float32 in [0, 1], and other values unchanged."""
    if isinstance(pixels, np.ndarray):
        if pixels.dtype != np.uint8:
            return pixels
        return np.divide(pixels, 255, dtype=np.float32)
    if pixels.dtype != torch.uint8:
        return pixels
    # On the CPU, tensors are divided in the same way as arrays.
    if pixels.device.type == "cpu":
        return torch.from_numpy(np.divide(pixels.numpy(), 255, dtype=np.float32))
    return pixels.float() / 255
