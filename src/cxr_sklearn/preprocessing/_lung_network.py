"""The small network that finds the lungs in a radiograph."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import fusion

# Side of the images that the network takes, in pixels.
NETWORK_SIDE = 128

# Channels at 1/2, 1/4, 1/8 and 1/16 of the side.
_WIDTHS = (24, 48, 80, 128)


class LungNetwork(nn.Module):
    """A U-Net with added instead of concatenated connections, and a second output for the view.

    The encoder begins at half of the resolution, and the last layer predicts four pixels at each
    place. This needs a quarter of the arithmetic of a U-Net at full resolution.

    Parameters
    ----------
    is_trained : bool, default=False
        Whether the convolutions are followed by batch normalisation, as in training. The network
        of the package has the normalisation folded into the convolutions.

    References
    ----------
    Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image
    segmentation", MICCAI 2015.

    Chaurasia and Culurciello, "LinkNet: exploiting encoder representations for efficient semantic
    segmentation", VCIP 2017.
    """

    def __init__(self, *, is_trained: bool = False) -> None:
        super().__init__()
        first = _WIDTHS[0]
        self.stem = _layers([(1, first, 5, 2), (first, first, 3, 1)], is_trained)
        self.encoders = nn.ModuleList()
        self.narrow = nn.ModuleList()
        self.decoders = nn.ModuleList()
        for narrow, wide in itertools.pairwise(_WIDTHS):
            down = [(narrow, wide, 3, 1), (wide, wide, 3, 1)]
            self.encoders.append(_layers(down, is_trained))
            self.narrow.append(_layers([(wide, narrow, 1, 1)], is_trained))
            up = [(narrow, narrow, 3, 1), (narrow, narrow, 3, 1)]
            self.decoders.append(_layers(up, is_trained))
        self.mask = nn.Conv2d(first, 4, 3, padding=1)
        self.view = nn.Linear(2 * _WIDTHS[-1], 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of the mask, and those of the view.

        Parameters
        ----------
        images : Tensor of shape (n, 1, side, side), float32
            The side is a multiple of 16. Each image has mean 0 and standard deviation 1.

        Returns
        -------
        mask : Tensor of shape (n, side, side)
            Positive inside the lungs.
        view : Tensor of shape (n,)
            Positive for upright frontal chest radiographs.
        """
        levels = [self.stem(images)]
        for encoder in self.encoders:
            levels.append(encoder(functional.max_pool2d(levels[-1], 2)))
        deepest = levels[-1]
        values = deepest
        for index in reversed(range(len(self.encoders))):
            wide = functional.interpolate(self.narrow[index](values), scale_factor=2.0)
            values = self.decoders[index](levels[index] + wide)
        mask = functional.pixel_shuffle(self.mask(values), 2)[:, 0]
        pooled = torch.cat([deepest.mean((2, 3)), deepest.amax((2, 3))], dim=1)
        return mask, self.view(pooled)[:, 0]


def _layers(sizes: list[tuple[int, int, int, int]], is_trained: bool) -> nn.Sequential:
    """Return convolutions of (inputs, outputs, side, stride), each followed by ReLU."""
    layers: list[nn.Module] = []
    for n_in, n_out, side, stride in sizes:
        layers.append(nn.Conv2d(n_in, n_out, side, stride, side // 2, bias=not is_trained))
        if is_trained:
            layers.append(nn.BatchNorm2d(n_out))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def without_batch_norm(trained: LungNetwork) -> LungNetwork:
    """Return an equal network in which the batch normalisation is part of the convolutions."""
    trained.eval()
    folded = LungNetwork()
    for name, module in trained.named_modules():
        if isinstance(module, nn.Sequential):
            folded.set_submodule(name, _folded(module))
    folded.mask, folded.view = trained.mask, trained.view
    return folded.eval()


def _folded(layers: nn.Sequential) -> nn.Sequential:
    folded: list[nn.Module] = []
    for layer in layers:
        previous = folded[-1] if folded else None
        if isinstance(layer, nn.BatchNorm2d) and isinstance(previous, nn.Conv2d):
            folded[-1] = fusion.fuse_conv_bn_eval(previous, layer)
        else:
            folded.append(layer)
    return nn.Sequential(*folded)


def standardised_images(images: torch.Tensor) -> torch.Tensor:
    """Return images with mean 0 and standard deviation 1.

    Parameters
    ----------
    images : Tensor of shape (n, 1, side, side), float32

    Returns
    -------
    Tensor of the same shape
        0 where an image has a single grey level.
    """
    centred = images - images.mean((2, 3), keepdim=True)
    spread = centred.square().mean((2, 3), keepdim=True).sqrt()
    return centred / spread.clamp(min=1e-4)
