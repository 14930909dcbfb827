"""How skorch trains a tail: whole batches, weighted rows, mixed precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import unpack_data
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from ._device import autocast, is_out_of_memory, to_device
from ._rows import Blueprint, TrainingRows


class Standardise(nn.Module):
    """Shift and scale each channel; the identity until it is fitted.

    Parameters
    ----------
    n_channels : int
    """

    # a channel that is constant in training would turn the least change into a huge value
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
        Its body must be a copy of this tail's own.
    shape : tuple of int
        Shape of one row of activations, or of one image.
    priors : ndarray of shape (n_classes,)
        Share of each class in the weights of the training rows.
    hidden_layer_sizes : sequence of int
        The dense chain between body and output.
    dropout : float
        Probability, before each dense layer.
    augment : callable or None
        Applied to images while training.
    device, dtype : torch.device, torch.dtype or None
        Of the mixed precision.
    mixup : float
        Parameter of the beta distribution of shares; 0 mixes nothing.
    skip : ndarray of shape (n_classes, width), default=None
        What a class's logit has of each value before anything is learned.

    Attributes
    ----------
    mixture : (Tensor of shape (batch_size,), float) or None
        Whom the last forward pass of training mixed each row with, and the row's own share.
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
        layers: list[nn.Module] = []
        width = blueprint.width
        for size in hidden_layer_sizes:
            # beside a skip what is learned stays bounded, so that it cannot outvote clear values
            activation = nn.ReLU() if skip is None else nn.Tanh()
            layers += [nn.Dropout(dropout), nn.Linear(width, size), activation]
            width = size
        output = nn.Linear(width, len(priors))
        # before the first step every image has the probabilities of the (weighted) classes
        nn.init.zeros_(output.weight)
        output.bias.data = torch.as_tensor(np.log(priors), dtype=torch.float32)
        self.head = nn.Sequential(*layers, nn.Dropout(dropout), output)
        self.register_buffer("skip", None if skip is None else torch.from_numpy(skip).float())

    def unit(self, x: torch.Tensor) -> torch.Tensor:
        """Give rows their shape, and uint8 images their scale."""
        x = x.reshape(len(x), *self.shape)
        return x.float() / 255 if x.dtype == torch.uint8 else x

    def _mixed(self, x: torch.Tensor) -> torch.Tensor:
        share = float(torch.distributions.Beta(self.mixup, self.mixup).sample())
        order = torch.randperm(len(x), device=x.device)
        self.mixture = order, share
        return share * x + (1 - share) * x[order]

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        """Return what reaches the head; the body is the user's code, and trains otherwise."""
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
                "take them: switch off auxiliary outputs, cut higher (trainable), or use larger "
                "images"
            ) from error
        if not isinstance(values, torch.Tensor):
            raise ValueError(
                f"backbone: in {mode} mode its forward() returns {type(values).__name__}; expected "
                "one tensor: switch off auxiliary outputs, or wrap the network"
            )
        return values.flatten(1)

    def forward(self, x: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits; weights come with each batch for the loss, and change nothing here."""
        x = self.unit(x)
        if self.training and self.augment is not None:
            x = self.augment(x)
        if self.training and self.mixup:
            x = self._mixed(x)
        x = self.standardise(x)
        if self.channels:
            x = x.expand(-1, self.channels, -1, -1)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        with autocast(torch.device(self.autocast_type), self.autocast_dtype):
            values = self._features(x)
            logits = self.head(values)
            if self.skip is not None:
                logits = logits + values @ self.skip.T
        return logits.float()


class RowDataset(Dataset):
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
        Where batches are wanted.
    n_views : int
        Augmented views to draw from, besides the image as it is.
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
        # one transfer, and one call to cut them, for all batches
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
                # a sixth of the time of indexing, for a batch of a head's activations
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


class TailNet(NeuralNetClassifier):
    """The skorch net behind a tail.

    It differs from its parent in its loss, cross entropy with weights of mean 1, smoothed and mixed
    where that is wanted, and in what a loop over small heads and a GPU need: losses are read once
    an epoch, not once a batch; float16 gradients are scaled; and Ctrl-C is not taken for a
    callback's wish to stop, which would return a half-trained model.
    """

    scaler: Any = None
    label_smoothing = 0.0
    interrupted_ = False

    def __getstate__(self) -> dict[str, Any]:
        # The weights once: the trained module is the one that was given. No images: the validation
        # rows, and what takes batches from such rows, stay with the fit.
        loader = dict.fromkeys(("iterator_train", "iterator_valid"), DataLoader)
        return {**super().__getstate__(), "module": None, "train_split": None, **loader}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.module = self.module_

    def initialize_callbacks(self) -> TailNet:
        super().initialize_callbacks()
        # Batches are reported only to callbacks that have something to do in each: a report takes
        # as long as a step of a small head.
        self.has_batch_hooks_ = any(
            _overrides_batch_hooks(callback) for _, callback in self.callbacks_
        )
        return self

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Callable, **fit_params: Any
    ) -> None:
        self._set_training(training)
        if iterator is None or self.has_batch_hooks_:
            super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)
            return
        losses, sizes = [], []
        for batch in iterator:
            losses.append(step_fn(batch, **fit_params)["loss"].detach())
            sizes.append(len(batch[1]))
        values = zip(torch.stack(losses).tolist(), sizes, strict=True)
        self.history[-1]["batches"].extend(
            {f"{prefix}_loss": loss, f"{prefix}_batch_size": size} for loss, size in values
        )
        self.history.record(f"{prefix}_batch_count", len(sizes))

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        # skorch's has a closure for optimizers that need one, and sets the mode of every module in
        # every batch; neither scales gradients
        module, optimizer = self.module_, self.optimizer_
        if not module.training:  # a callback has made predictions
            self._set_training(True)
        for group in optimizer.param_groups:  # as zero_grad, less what it tells a profiler
            for parameter in group["params"]:
                parameter.grad = None
        Xi, yi = unpack_data(batch)
        y_pred = module(**Xi, **fit_params)
        loss = self.get_loss(y_pred, yi, X=Xi, training=True)
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        if self.has_batch_hooks_:
            parameters = list(self.get_all_learnable_params())
            self.notify("on_grad_computed", named_parameters=parameters, batch=batch, training=True)
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            self.scaler.update()
        return {"loss": loss, "y_pred": y_pred}

    def get_loss(
        self, y_pred: Any, y_true: Any, X: Any = None, *args: Any, training: bool = False, **_: Any
    ) -> torch.Tensor:
        # labels are smoothed and mixed in training only, so that validation losses compare
        smoothing = self.label_smoothing if training else 0.0
        mixture = self.module_.mixture if training else None
        weights = X["weight"]
        loss = _weighted_loss(y_pred, y_true, weights, smoothing)
        if mixture is None:
            return loss
        order, share = mixture
        others = _weighted_loss(y_pred, y_true[order], weights[order], smoothing)
        return share * loss + (1 - share) * others

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> Any:
        try:
            return super().fit_loop(X, y, epochs, **kwargs)
        except KeyboardInterrupt:
            # skorch's EarlyStopping asks with the same exception; a user's Ctrl-C is the other kind
            self.interrupted_ = not any(
                isinstance(callback, EarlyStopping) and callback.misses_ >= callback.patience
                for _, callback in self.callbacks_
            )
            raise


def _weighted_loss(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, smoothing: float
) -> torch.Tensor:
    """Return the cross entropy of a batch, whose weights are shares of it."""
    losses = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    return torch.dot(losses, weights)


def _overrides_batch_hooks(callback: Callback) -> bool:
    """Whether a callback has something to do in each batch."""
    events = ("on_batch_begin", "on_batch_end", "on_grad_computed")
    return any(getattr(type(callback), e) is not getattr(Callback, e) for e in events)
