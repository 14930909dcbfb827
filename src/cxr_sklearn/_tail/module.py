"""The PyTorch module of a tail."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from .._images.pixel_scale import scale_to_unit
from .._utils.device import autocast, is_out_of_memory
from .rows import Blueprint


class Standardise(nn.Module):
    """Shift and scale each channel; the identity until it is fitted.

    Parameters
    ----------
    n_channels : int
    """

    # Share of the mean variance that is added to each variance. Otherwise a channel that is
    # constant in training would turn the smallest change into a huge value.
    _FLOOR = 1e-4

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("scale", torch.ones(n_channels))

    def set_moments(self, mean: np.ndarray, variance: np.ndarray) -> None:
        """Take the mean and variance of each channel over the training rows."""
        floor = self._FLOOR * variance.mean()
        scale = np.sqrt(variance + (floor if floor > 0 else 1.0))
        self.mean = torch.as_tensor(mean, dtype=torch.float32)
        self.scale = torch.as_tensor(scale, dtype=torch.float32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return (x - self.mean.view(shape)) / self.scale.view(shape)


class TailModule(nn.Module):
    """The network above the cut, with a head of its own.

    Parameters
    ----------
    blueprint : Blueprint
        Its body must be a copy that only this tail uses.
    shape : tuple of int
        Shape of one row of activations, or of one image.
    priors : ndarray of shape (n_classes,)
        Share of each class in the weights of the training rows.
    hidden_layer_sizes : sequence of int
        Widths of the hidden layers between body and output.
    dropout : float
        Probability of dropping a value before each layer of the head.
    augment : callable or None
        Applied to images while training.
    device, dtype : torch.device, torch.dtype or None
        Of the mixed precision.
    mixup : float
        Parameter of the beta distribution of shares; 0 mixes nothing.
    skip : ndarray of shape (n_classes, width), default=None
        Fixed weights from the input values to the logits.

    Attributes
    ----------
    mixture : (Tensor of shape (batch_size,), float) or None
        The row with which the last training pass mixed each row, and the share of the row itself.
    """

    skip: torch.Tensor | None

    def __init__(
        self,
        blueprint: Blueprint,
        shape: tuple[int, ...],
        priors: np.ndarray,
        *,
        hidden_layer_sizes: tuple[int, ...],
        dropout: float,
        augment: Callable[[torch.Tensor], torch.Tensor] | None,
        mixup: float,
        device: torch.device,
        dtype: torch.dtype | None,
        skip: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.channels = blueprint.channels
        self.augment = augment
        self.mixup = mixup
        self.mixture: tuple[torch.Tensor, float] | None = None
        self.autocast_type = device.type
        self.autocast_dtype = dtype
        self.standardise = Standardise(shape[0])
        self.body = blueprint.body
        # With a skip connection, the learned part must stay bounded. Otherwise it could outweigh
        # input values that are clear.
        activation = nn.ReLU if skip is None else nn.Tanh
        self.head = _head(blueprint.width, hidden_layer_sizes, dropout, priors, activation)
        self.register_buffer("skip", None if skip is None else torch.from_numpy(skip).float())

    def unit(self, x: torch.Tensor) -> torch.Tensor:
        """Return rows in their shape, and uint8 images scaled to [0, 1]."""
        return scale_to_unit(x.reshape(len(x), *self.shape))

    def _mixed(self, x: torch.Tensor) -> torch.Tensor:
        """Mix the batch with itself in another order, and remember the mixture for the loss."""
        share = float(torch.distributions.Beta(self.mixup, self.mixup).sample())
        order = torch.randperm(len(x), device=x.device)
        self.mixture = order, share
        return share * x + (1 - share) * x[order]

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the input of the head, and explain errors of the body, which users may write."""
        mode = "training" if self.training else "eval"
        try:
            values = self.body(x)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            reason = str(error).split("\n")[0]
            raise ValueError(
                f"backbone: its stages above the cut fail in {mode} mode on rows of shape "
                f"{tuple(x.shape[1:])} ({type(error).__name__}: {reason}); expected stages that "
                "take them. Switch off auxiliary outputs, choose a later stage as trainable, or "
                "use larger images."
            ) from error
        if not isinstance(values, torch.Tensor):
            raise ValueError(
                f"backbone: in {mode} mode its forward() returns {type(values).__name__}; expected "
                "one tensor. Switch off auxiliary outputs, or wrap the network."
            )
        return values.flatten(1)

    def forward(self, x: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits, in training of augmented and mixed rows.

        Parameters
        ----------
        x : Tensor of shape (n, n_values) or (n, *shape)
        weight : ignored
            It comes with each batch and is used by the loss.
        """
        x = self.unit(x)
        if self.training and self.augment is not None:
            x = self.augment(x)
        if self.training and self.mixup:
            x = self._mixed(x)
        with autocast(torch.device(self.autocast_type), self.autocast_dtype):
            return self.logits(x)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of rows of shape (n, *shape), in the precision of the context."""
        return self.classify(self._features(self.body_input(x)))

    def body_input(self, x: torch.Tensor) -> torch.Tensor:
        """Return rows of shape (n, *shape) as the body takes them."""
        x = self.standardise(x)
        # Rows without a trunk are grey images, and the body may take three channels.
        if self.channels:
            x = x.expand(-1, self.channels, -1, -1)
        # Convolutions are faster in this memory layout.
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return x

    def classify(self, values: torch.Tensor) -> torch.Tensor:
        """Return the logits of outputs of the body, of shape (n, width)."""
        logits = self.head(values)
        if self.skip is not None:
            logits = logits + values @ self.skip.T
        return logits.float()


def _head(
    width: int,
    hidden_layer_sizes: tuple[int, ...],
    dropout: float,
    priors: np.ndarray,
    activation: type[nn.Module],
) -> nn.Sequential:
    """Return the hidden layers and the output layer."""
    layers: list[nn.Module] = []
    for size in hidden_layer_sizes:
        layers += [nn.Dropout(dropout), nn.Linear(width, size), activation()]
        width = size
    output = nn.Linear(width, len(priors))
    # Before the first step, every image has the probabilities of the (weighted) classes.
    nn.init.zeros_(output.weight)
    output.bias.data = torch.as_tensor(np.log(priors), dtype=torch.float32)
    return nn.Sequential(*layers, nn.Dropout(dropout), output)
