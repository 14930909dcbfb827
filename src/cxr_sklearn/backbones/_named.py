"""Networks that are known by name: their stages and the normalisation of their images."""

from __future__ import annotations

ARCHITECTURES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
RESNET_STAGES = ("layer1", "layer2", "layer3", "layer4", "fc")

# ImageNet's mean and standard deviation, what torchvision's weights were trained with
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
