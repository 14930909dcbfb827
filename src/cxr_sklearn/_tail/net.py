"""The skorch net of a tail: its loss, its training step and its callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import unpack_data
from torch.nn import functional
from torch.utils.data import DataLoader

from .callbacks import EpochTask


class TailNet(NeuralNetClassifier):
    """The skorch net behind a tail.

    It differs from its parent in its loss, cross entropy with weights of mean 1, with label
    smoothing and mixup if requested, and in its training loop: losses are read once per epoch
    instead of once per batch, which a loop over small heads and a GPU need; float16 gradients are
    scaled; and Ctrl-C is distinguished from the request of a callback to stop, since it would
    otherwise return a half-trained model.
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
        self,
        iterator: Any,
        training: bool,
        prefix: str,
        step_fn: Callable[..., Any],
        **fit_params: Any,
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
            # Callbacks request to stop with the same exception as a user who presses Ctrl-C.
            self.interrupted_ = not any(_requests_stop(callback) for _, callback in self.callbacks_)
            raise


def _weighted_loss(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, smoothing: float
) -> torch.Tensor:
    """Return the cross entropy of a batch, whose weights are shares of it."""
    losses = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    return torch.dot(losses, weights)


def _requests_stop(callback: Callback) -> bool:
    """Whether a callback has ended the training."""
    if isinstance(callback, EarlyStopping):
        return bool(callback.misses_ >= callback.patience)
    return isinstance(callback, EpochTask) and callback.requests_stop_


def _overrides_batch_hooks(callback: Callback) -> bool:
    """Whether a callback has something to do in each batch."""
    events = ("on_batch_begin", "on_batch_end", "on_grad_computed")
    return any(getattr(type(callback), e) is not getattr(Callback, e) for e in events)
