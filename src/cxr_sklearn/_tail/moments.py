"""Fit the standardisation of the activations of a tail."""

from __future__ import annotations

import numpy as np
import torch

from .._utils.device import to_device
from .module import TailModule
from .rows import TrainingRows

# Values that are read at a time (64 MB), and values that are summed in float64 at a time (512 kB).
# Sums are fifteen times as fast if the values stay in the cache of the processor.
_TAKEN_VALUES, _SUMMED_VALUES = 2**24, 2**16


def fit_moments(module: TailModule, rows: TrainingRows, ids: np.ndarray) -> None:
    """Fit the first layer: mean and variance of each channel over the training rows."""
    total = torch.zeros(rows.shape[0], dtype=torch.float64)
    square = total.clone()
    count = 0
    few = max(1, _SUMMED_VALUES // rows.width)
    # Rows in memory are read in small parts. A file would be opened too often for that.
    step = few if rows.whole is not None else max(1, _TAKEN_VALUES // rows.width)
    for start in range(0, len(ids), step):
        taken = to_device(rows.take(ids[start : start + step]), torch.device("cpu"))
        for part in module.unit(taken).split(few):
            # In float64, because the variance is a small difference of large sums. One row per
            # channel.
            x = part.double().transpose(0, 1).flatten(1)
            total += x.sum(1)
            square += x.square_().sum(1)
            count += x.shape[1]
    mean = total / count
    variance = (square / count - mean**2).clamp(min=0)
    module.standardise.set_moments(mean.numpy(), variance.numpy())
