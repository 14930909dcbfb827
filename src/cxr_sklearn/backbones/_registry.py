"""Registry of the networks that the parameter ``backbone`` takes by name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

# PyTorch is imported when a network is constructed. Reading the registry does not need it.
if TYPE_CHECKING:
    from torch import nn

RESNET_STAGES = ("layer1", "layer2", "layer3", "layer4", "fc")


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation by which the images for a network are standardised.

    Attributes
    ----------
    mean, std : tuple of float
        One value per channel, for pixels in [0, 1].
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


# The weights that torchvision provides were trained on images that were standardised in this way.
IMAGENET_NORMALISATION = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True)
class NamedBackbone:
    """A network that is known by name.

    Attributes
    ----------
    name : str
        Value of the parameter ``backbone``.
    constructor : callable
        Returns the network with newly initialised weights.
    stages : tuple of str
        Names of the children at which the network can be cut, in the order of the forward pass.
        The last stage is the classification layer.
    normalisation : Normalisation
        Normalisation that the weights of the network expect.
    imagenet_weights : str or None
        Name of the weights that ``weights="imagenet"`` loads, in the notation of
        :func:`torchvision.models.get_weight`. None if there are no such weights.
    """

    name: str
    constructor: Callable[[], nn.Module]
    stages: tuple[str, ...]
    normalisation: Normalisation
    imagenet_weights: str | None


def _construct_torchvision_network(name: str) -> nn.Module:
    import torchvision

    return torchvision.models.get_model(name)


def _torchvision_resnet(name: str, imagenet_weights: str) -> NamedBackbone:
    """Return the registry entry of one of torchvision's ResNets."""
    return NamedBackbone(
        name=name,
        constructor=functools.partial(_construct_torchvision_network, name),
        stages=RESNET_STAGES,
        normalisation=IMAGENET_NORMALISATION,
        imagenet_weights=imagenet_weights,
    )


# For each ResNet these are the weights with the highest accuracy on ImageNet that torchvision has.
_BACKBONES = (
    _torchvision_resnet("resnet18", "ResNet18_Weights.IMAGENET1K_V1"),
    _torchvision_resnet("resnet34", "ResNet34_Weights.IMAGENET1K_V1"),
    _torchvision_resnet("resnet50", "ResNet50_Weights.IMAGENET1K_V2"),
    _torchvision_resnet("resnet101", "ResNet101_Weights.IMAGENET1K_V2"),
    _torchvision_resnet("resnet152", "ResNet152_Weights.IMAGENET1K_V2"),
)
_BY_NAME = {backbone.name: backbone for backbone in _BACKBONES}


def list_backbones() -> list[str]:
    """Return the names of the networks that the parameter ``backbone`` takes.

    Returns
    -------
    names : list of str
        Networks of one family from the smallest to the largest.

    See Also
    --------
    cxr_sklearn.ResNetFeatures : The part of a network below the cut, as a transformer.

    Examples
    --------
    >>> from cxr_sklearn.backbones import list_backbones
    >>> list_backbones()
    ['resnet18', 'resnet34', 'resnet50', 'resnet101', 'resnet152']
    """
    return list(_BY_NAME)


def named_backbone(name: str) -> NamedBackbone:
    """Return the registry entry of a network.

    Raises
    ------
    KeyError
        If there is no network of this name. Estimators check the parameter ``backbone`` before.
    """
    return _BY_NAME[name]
