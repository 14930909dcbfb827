"""Grad-CAM and Grad-CAM++ from the activations of a layer and their gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch


def grad_cam(layer: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return signed maps: the channels, weighted by their mean gradients.

    Parameters
    ----------
    layer, gradient : Tensor of shape (n, channels, height, width)

    Returns
    -------
    Tensor of shape (n, height, width)
        Linear in the gradient. The paper's ReLU is left to the reader of the map.

    References
    ----------
    Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
    localization", ICCV 2017, equations 1 and 2.
    """
    return torch.einsum("nc,nchw->nhw", gradient.mean((2, 3)), layer)


def grad_cam_plus_plus(layer: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return maps with weights that count the places that support a class.

    Parameters
    ----------
    layer, gradient : Tensor of shape (n, channels, height, width)

    Returns
    -------
    Tensor of shape (n, height, width)

    References
    ----------
    Chattopadhay, Sarkar, Howlader and Balasubramanian, "Grad-CAM++: generalized gradient-based
    visual explanations for deep convolutional networks", WACV 2018, equations 9, 10 and 19.
    """
    square = gradient**2
    total = layer.sum((2, 3), keepdim=True)
    denominator = 2 * square + total * gradient * square
    # Without a gradient the share has no meaning, and the weight is 0.
    share = torch.where(denominator != 0, square / denominator, torch.zeros_like(square))
    weights = (share * gradient.clamp(min=0)).sum((2, 3))
    return torch.einsum("nc,nchw->nhw", weights, layer)


GRADIENT_METHODS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "grad-cam": grad_cam,
    "grad-cam++": grad_cam_plus_plus,
}
