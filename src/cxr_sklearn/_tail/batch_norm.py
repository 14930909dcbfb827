"""Recompute the running statistics of batch normalisation after training."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from .batches import RowDataset, batch_bounds
from .module import TailModule


def settle_batch_norm(module: TailModule, dataset: RowDataset, batch_size: int, seed: int) -> None:
    """Replace running statistics by those of the training rows under the final weights.

    Running means lag behind the weights by about ten batches, which is a whole training on a few
    hundred images. The statistics are those of all rows together (Wu and Johnson, "Rethinking
    'Batch' in BatchNorm", 2021, section 3): the mean of the variances within batches lacks the
    variance between them, which is most of it where the rows are listed class by class. The order
    is shuffled, because each layer sees its input as the batch normalised it.
    """
    # A network may define its own train(), which keeps some layers frozen. These are left out.
    module.train()
    layers = [
        m
        for m in module.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm)
        and m.training
        and m.running_var is not None
    ]
    if not layers:
        return
    augment, mixup = module.augment, module.mixup
    module.augment, module.mixup = None, 0.0
    # Dropout is off, as in predictions. Only the layers below are in training mode, so that each
    # normalises its input as it did in training.
    module.eval()
    moments = {layer: _Moments() for layer in layers}
    hooks = [layer.register_forward_pre_hook(moments[layer].add) for layer in layers]
    n = len(dataset)
    order = np.random.default_rng(seed).permutation(n)
    try:
        with torch.no_grad():
            for layer in layers:
                layer.train()
            for batch, _ in dataset.batches(order, np.zeros(n, int), batch_bounds(n, batch_size)):
                module(batch["x"])
    finally:
        for hook in hooks:
            hook.remove()
        module.augment, module.mixup = augment, mixup
    for layer in layers:
        moments[layer].write_to(layer)


class _Moments:
    """Mean and variance per channel of everything that passes a layer."""

    def __init__(self) -> None:
        self.count = 0
        self.total = self.square = torch.zeros((), dtype=torch.float64)

    def add(self, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        """Add a batch; to be registered as a forward pre-hook."""
        x = inputs[0].detach().float()
        variance, mean = torch.var_mean(x, [0, *range(2, x.ndim)], correction=0)
        variance, mean = variance.cpu().double(), mean.cpu().double()
        n = x.numel() // x.shape[1]
        self.count += n
        self.total = self.total + n * mean
        self.square = self.square + n * (variance + mean**2)

    def write_to(self, layer: nn.modules.batchnorm._BatchNorm) -> None:
        """Set the running statistics of a layer, if anything passed it."""
        if not self.count or layer.running_mean is None or layer.running_var is None:
            return
        mean = self.total / self.count
        variance = (self.square / self.count - mean**2).clamp(min=0)
        variance *= self.count / max(1, self.count - 1)  # unbiased, as PyTorch stores it
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)
