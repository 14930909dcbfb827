"""Batches of activations for the training of a tail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from .._utils.device import to_device
from .rows import TrainingRows


class RowDataset(Dataset[Any]):
    """Some of the training rows, with labels and weights, a batch at a time.

    Parameters
    ----------
    rows : TrainingRows
    ids : ndarray of int
    y : ndarray of int
        Class of each id.
    weight : ndarray of float
        Weight of each id.
    device : torch.device
        Device of the batches.
    n_views : int
        Number of augmented views of each image, in addition to the image itself.
    """

    def __init__(
        self,
        rows: TrainingRows,
        ids: np.ndarray,
        y: np.ndarray,
        weight: np.ndarray,
        device: torch.device,
        n_views: int = 0,
    ) -> None:
        self.rows = rows
        self.ids = ids
        self.n_views = n_views
        self.device = device
        self.targets = torch.as_tensor(y, dtype=torch.long, device=device)
        self.weights = torch.as_tensor(weight, dtype=torch.float32, device=device)
        self._resident = rows.resident(device)

    def __len__(self) -> int:
        return len(self.ids)

    def batches(
        self, order: np.ndarray, views: np.ndarray, bounds: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        """Yield activations with their weights over the length of the batch, and labels.

        Parameters
        ----------
        order : ndarray of int
            Positions of the rows, all batches in one.
        views : ndarray of int
            View of each.
        bounds : sequence of (int, int)
            Where batches begin and end in `order`.
        """
        ids = self.ids[order] + views * self.rows.n_rows
        sizes = [stop - start for start, stop in bounds]
        # One transfer to the device and one call of split for all batches together, because the
        # calls take longer than the training step of a small head.
        positions, chosen = (torch.from_numpy(i).to(self.device) for i in (order, ids))
        shares = np.repeat(1 / np.array(sizes), sizes).astype(np.float32)
        weights = self.weights.index_select(0, positions) * torch.from_numpy(shares).to(self.device)
        targets = self.targets.index_select(0, positions)
        parts = zip(
            bounds, chosen.split(sizes), weights.split(sizes), targets.split(sizes), strict=True
        )
        for (start, stop), which, weight, target in parts:
            self.rows.count_uses(stop - start)
            if self._resident is not None:
                # This takes a sixth of the time of indexing.
                x = self._resident.index_select(0, which)
            else:
                x = to_device(self.rows.take(ids[start:stop]), self.device)
            yield {"x": x, "weight": weight}, target


class RowBatches:
    """Iterate over a :class:`RowDataset` in whole batches.

    A last batch of one row joins the one before it: batch normalisation has no variance of one
    row, and no row is dropped.

    Parameters
    ----------
    dataset : RowDataset
    batch_size : int
    shuffle : bool
        Whether to draw a new order, and new views, each time.
    seed : int
        Of those draws.
    """

    def __init__(
        self, dataset: RowDataset, batch_size: int, shuffle: bool = False, seed: int = 0
    ) -> None:
        self.dataset = dataset
        self.shuffle = shuffle
        self.bounds = batch_bounds(len(dataset), batch_size)
        self._draw = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.bounds)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        n = len(self.dataset)
        order, views = np.arange(n), np.zeros(n, dtype=int)
        if self.shuffle:
            order = self._draw.permutation(n)
            views = self._draw.integers(0, self.dataset.n_views + 1, n)
        return self.dataset.batches(order, views, self.bounds)


def batch_bounds(n_rows: int, batch_size: int) -> list[tuple[int, int]]:
    """Return the bounds of batches of which none has one row, unless there is but one."""
    starts = list(range(0, n_rows, batch_size))
    if not starts:
        return []
    if len(starts) > 1 and n_rows - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], n_rows], strict=True))
