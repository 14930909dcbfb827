"""Reduce a trained skorch net to what predictions need."""

from __future__ import annotations

from typing import Any

from skorch.history import History
from torch import nn
from torch.utils.data import DataLoader

from .._utils.device import (
    on_cpu,
)
from .net import TailNet


def without_training_state(net: TailNet) -> TailNet:
    """Drop what only training needs: optimizer, schedulers, data."""
    del net.optimizer_
    net.callbacks_ = []
    net.callbacks = None
    net.scaler = None
    net.train_split = None
    net.iterator_train = net.iterator_valid = DataLoader
    net.module_.mixture = None
    for parameter in net.module_.parameters():
        parameter.grad = None
    net.module_.eval()
    return net


def without_batches(history: History) -> History:
    """Return a history of epochs alone: that of batches grows with the training set."""
    return History({**epoch, "batches": []} for epoch in history)


def net_on_cpu(net: TailNet) -> TailNet:
    """Return a fitted net that a machine without this one's device can load."""
    return net_with_module(net, on_cpu(net.module_), device="cpu")


def net_with_module(net: TailNet, module: nn.Module, **attributes: Any) -> TailNet:
    """Return a copy of a fitted net with another module.

    A copy by ``copy.copy`` or ``copy.deepcopy`` would go through skorch's own pickling, which needs
    a module whose class can be imported.
    """
    twin = object.__new__(type(net))
    twin.__dict__.update(net.__dict__, module=module, module_=module, **attributes)
    return twin
