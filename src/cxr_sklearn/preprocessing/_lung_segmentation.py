"""Find the lungs in images with the network of the package."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources

import numpy as np
import torch
from safetensors.torch import load
from scipy.ndimage import binary_fill_holes, label
from torch.nn import functional

from .._images.pixel_scale import scale_to_unit
from .._utils.device import autocast, to_device
from ._lung_network import NETWORK_SIDE, LungNetwork, standardised_images

WEIGHTS_FILE = "lung_fields.safetensors"

_BATCH_SIZE = 64
_CPU = torch.device("cpu")

# Parts that are smaller than this share of the image are not lungs, and there are two lungs.
_SMALLEST_PART, _MAX_PARTS = 0.01, 2

# Below this score, an image is more probably something else than an upright frontal radiograph.
# The network has learned no masks of such images.
_LOWEST_QUALITY = 0.5


@dataclass(frozen=True, eq=False)
class LungSegmentation:
    """Lungs that were found in images.

    Attributes
    ----------
    probabilities : ndarray of shape (n, 128, 128), dtype float32
        Probability that a pixel belongs to a lung. 0 outside of the one or two largest parts, and
        in images of low quality.
    quality : ndarray of shape (n,), dtype float32
        Probability that the image is an upright frontal chest radiograph.
    """

    probabilities: np.ndarray
    quality: np.ndarray


def segment_lungs(images: np.ndarray, net: LungNetwork | None = None) -> LungSegmentation:
    """Find the lungs in images.

    Parameters
    ----------
    images : ndarray of shape (n, height, width), dtype uint8 or float32
        Greyscale images, bone white. The scale of floats does not matter.
    net : LungNetwork, default=None
        Network in eval mode. By default that of the package.

    Returns
    -------
    LungSegmentation
    """
    probabilities = np.empty((len(images), NETWORK_SIDE, NETWORK_SIDE), np.float32)
    quality = np.empty(len(images), np.float32)
    net = net or lung_network()
    for start in range(0, len(images), _BATCH_SIZE):
        part = slice(start, start + _BATCH_SIZE)
        with torch.inference_mode(), autocast(_CPU, None):
            masks, views = net(_prepared(images[part]))
            probabilities[part] = torch.sigmoid(masks).numpy()
            quality[part] = torch.sigmoid(views).numpy()
    for image, score in zip(probabilities, quality, strict=True):
        image *= _lungs(image > 0.5) if score >= _LOWEST_QUALITY else 0
    return LungSegmentation(probabilities, quality)


def lung_masks(segmentation: LungSegmentation, height: int, width: int) -> np.ndarray:
    """Return the lungs as masks of another size.

    Parameters
    ----------
    segmentation : LungSegmentation
    height, width : int

    Returns
    -------
    masks : ndarray of shape (n, height, width), dtype bool
    """
    values = torch.from_numpy(segmentation.probabilities)[:, None]
    size = (height, width)
    resized = functional.interpolate(values, size, mode="bilinear", antialias=True)[:, 0]
    return resized.numpy() > 0.5


@functools.cache
def lung_network() -> LungNetwork:
    """Return the network with the weights of the package, in eval mode."""
    return network_with_weights(resources.files(__package__).joinpath(WEIGHTS_FILE).read_bytes())


def network_with_weights(content: bytes) -> LungNetwork:
    """Return a network in eval mode.

    Parameters
    ----------
    content : bytes
        Content of a file of weights.
    """
    # Initial weights would draw random numbers from PyTorch's global generator, and are not needed.
    with torch.device("meta"):
        net = LungNetwork()
    state = {name: value.float() for name, value in load(content).items()}
    net.load_state_dict(state, assign=True)
    # Convolutions are faster in this memory layout.
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _prepared(images: np.ndarray) -> torch.Tensor:
    """Return images as the network takes them."""
    unit = scale_to_unit(to_device(images, _CPU))[:, None].float()
    size = (NETWORK_SIDE, NETWORK_SIDE)
    if unit.shape[-2:] != size:
        unit = functional.interpolate(unit, size, mode="bilinear", antialias=True)
    return standardised_images(unit).contiguous(memory_format=torch.channels_last)


def _lungs(mask: np.ndarray) -> np.ndarray:
    """Return the one or two largest parts of a mask, without holes."""
    parts, n_parts = label(mask)
    areas = np.bincount(parts.ravel(), minlength=n_parts + 1)[1:]
    largest = np.argsort(areas)[::-1][:_MAX_PARTS]
    kept = [part + 1 for part in largest if areas[part] >= _SMALLEST_PART * mask.size]
    return binary_fill_holes(np.isin(parts, kept))
