"""Tail: the trained part of a network for one classification problem."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_class_weight
from skorch.callbacks import EarlyStopping
from skorch.helper import predefined_split

from .._images.augment import augmented
from .._utils.device import (
    autocast_dtype,
    place,
    resolve_device,
    seeded,
    threads_for,
    to_device,
)
from .batch_norm import _settle_batch_norm
from .batches import RowBatches, RowDataset, batch_bounds
from .callbacks import BestEpoch, EpochLine, own_callbacks, scheduler
from .module import TailModule
from .moments import _fit_moments
from .net import TailNet
from .rows import Blueprint, TrainingRows
from .sampling import resample
from .trained_net import _net_on_cpu, _without_training_state, without_batches


class Tail(ClassifierMixin, BaseEstimator):
    """One classification problem over shared activations.

    This is what scikit-learn's meta-estimators clone and fit. It is fitted on row ids of `rows`,
    and predicts from them while the fit lasts; afterwards it takes what ``trunk_.transform(X)``
    returns.

    Parameters
    ----------
    rows : TrainingRows
    hidden_layer_sizes : sequence of int
    dropout : float
    lr : float
    lr_schedule : {"constant", "one_cycle", "cosine"}
    weight_decay : float
    label_smoothing : float
    mixup : float
    max_epochs : int
    batch_size : int
    class_weight : "balanced" or None
        Computed on the labels that training sees, after the sampler.
    sampler : imbalanced-learn sampler or None
    augment : bool
        Random variants of trained images; views of frozen ones come with `rows`.
    early_stopping : bool
    n_iter_no_change : int
    tol : float
    callbacks : sequence of skorch callbacks or None
    device, precision : str
    random_state : int
    verbose : int

    Attributes
    ----------
    classes_ : ndarray
    net_ : skorch.NeuralNetClassifier
    n_features_in_ : int
        Values per row of activations.
    """

    # whether the sampler chooses or makes the rows that training sees
    _resamples: ClassVar[bool] = True

    def __init__(
        self,
        rows: TrainingRows,
        *,
        hidden_layer_sizes: Sequence[int] = (),
        dropout: float = 0.0,
        lr: float = 1e-3,
        lr_schedule: str = "constant",
        weight_decay: float = 1e-2,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        max_epochs: int = 20,
        batch_size: int = 32,
        class_weight: str | None = "balanced",
        sampler: Any = None,
        augment: bool = False,
        early_stopping: bool = False,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        callbacks: Sequence[Any] | None = None,
        device: str = "auto",
        precision: str = "auto",
        random_state: int = 0,
        verbose: int = 0,
    ) -> None:
        self.rows = rows
        self.hidden_layer_sizes = hidden_layer_sizes
        self.dropout = dropout
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.class_weight = class_weight
        self.sampler = sampler
        self.augment = augment
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: np.ndarray, y: np.ndarray) -> Tail:
        """Train on the rows that a column of ids names."""
        return self._fit(self.rows, np.asarray(X)[:, 0], y)

    def _fit(self, rows: TrainingRows, ids: np.ndarray, y: np.ndarray) -> Tail:
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.n_features_in_ = rows.width
        problem = rows.problem(ids, y)
        held = rows.is_validation[ids]
        train, train_y = ids[~held], codes[~held]
        if len(np.unique(train_y)) < len(self.classes_):
            raise ValueError(
                f"no training row of one class is left in the problem {problem!r}; expected 1 or "
                "more: give it more images, or lower validation_fraction or cv"
            )
        draw = check_random_state(self.random_state)
        seeds = draw.randint(2**31 - 1, size=3)
        source, original = rows, train
        mass = np.bincount(train_y, rows.sample_weight[train])
        if self.sampler is not None and self._resamples:
            train, train_y, values = resample(
                self.sampler, rows, train, train_y, int(seeds[0]), problem
            )
            source = rows if values is None else rows.with_values(values, made=True)
        weights = self._weights(source.sample_weight[train], train_y)
        # how much heavier the sampler and the class weights made each class
        factors = np.bincount(train_y, weights) / mass
        device = resolve_device(self.device)
        dataset = RowDataset(source, train, train_y, weights, device, n_views=source.n_views)
        valid = self._validation(rows, ids[held], codes[held], factors, device)
        with seeded(int(seeds[1])):
            priors = np.bincount(train_y, weights) / weights.sum()
            module = self._module(rows, priors, device)
            sizes = sum(p.numel() for p in module.parameters()), self.batch_size * rows.width
            with threads_for(max(sizes)):
                _fit_moments(module, rows, original)
                place(module, device)
                net = self._net(module, dataset, valid, problem, int(seeds[2]))
                net.fit(dataset, None)
                if net.interrupted_:
                    raise KeyboardInterrupt
                self._check_loss(net, problem)
                _settle_batch_norm(net.module_, dataset, self.batch_size, int(seeds[2]))
        self.net_ = _without_training_state(net)
        return self

    def _weights(self, given: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the weight of each row, mean 1."""
        class_weight = compute_class_weight(
            self.class_weight, classes=np.arange(len(self.classes_)), y=y, sample_weight=given
        )
        weights = given * class_weight[y]
        return weights / weights.mean()

    def _validation(
        self,
        rows: TrainingRows,
        ids: np.ndarray,
        y: np.ndarray,
        factors: np.ndarray,
        device: torch.device,
    ) -> RowDataset | None:
        """Return the validation rows, with the classes in the shares that training gives them.

        The rows themselves are not resampled. A loss over their raw shares would choose the epoch
        that is best for other shares than those that training aims at.
        """
        if not self.early_stopping or not len(ids):
            return None
        weights = rows.sample_weight[ids] * factors[y]
        return RowDataset(rows, ids, y, weights / weights.mean(), device)

    def _module(self, rows: TrainingRows, priors: np.ndarray, device: torch.device) -> TailModule:
        plan = rows.blueprint
        body = copy.deepcopy(plan.body).requires_grad_(True)
        return TailModule(
            Blueprint(body, plan.width, plan.channels),
            rows.shape,
            priors,
            hidden_layer_sizes=tuple(self.hidden_layer_sizes),
            dropout=self.dropout,
            augment=augmented if self.augment and plan.channels else None,
            mixup=self.mixup,
            device=device,
            dtype=autocast_dtype(self.precision, device),
            skip=self._skip(plan.width),
        )

    def _skip(self, width: int) -> np.ndarray | None:
        return None

    def _net(
        self,
        module: TailModule,
        dataset: RowDataset,
        valid: RowDataset | None,
        problem: str,
        seed: int,
    ) -> TailNet:
        stopping = EarlyStopping(
            monitor="train_loss" if valid is None else "valid_loss",
            patience=self.n_iter_no_change,
            threshold=self.tol,
            threshold_mode="abs",
            sink=_silent,
        )
        callbacks: list[Any] = [] if valid is None else [("best_epoch", BestEpoch())]
        n_batches = len(batch_bounds(len(dataset), self.batch_size))
        schedule = scheduler(self.lr_schedule, self.lr, n_batches * self.max_epochs)
        if schedule is not None:
            callbacks.append(("schedule", schedule))
        if self.verbose:
            callbacks.append(("epoch_line", EpochLine(problem)))
        net = TailNet(
            module,
            criterion=torch.nn.CrossEntropyLoss,
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=self.weight_decay,
            optimizer__fused=True,
            lr=self.lr,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            iterator_train=RowBatches,
            iterator_train__shuffle=True,
            iterator_train__seed=seed,
            iterator_valid=RowBatches,
            train_split=None if valid is None else predefined_split(valid),
            # the user's own stay as they were given, without this fit's optimizer and data
            # it ends an epoch at once, so that callbacks after it would miss the last one
            callbacks=[*callbacks, *own_callbacks(self.callbacks, problem), ("stopping", stopping)],
            callbacks__print_log=None,
            callbacks__valid_acc=None,
            classes=list(range(len(self.classes_))),
            device=str(dataset.device),
            verbose=0,
        )
        net.label_smoothing = self.label_smoothing
        if module.autocast_dtype == torch.float16:
            net.scaler = torch.amp.GradScaler(module.autocast_type)
        return net

    def _check_loss(self, net: TailNet, problem: str) -> None:
        loss = net.history[-1, "train_loss"] if len(net.history) else 0.0
        if not np.isfinite(loss):
            raise ValueError(
                f"training {problem!r} diverged (loss {loss} in epoch {len(net.history)}) at "
                f"lr={self.lr}; expected a finite loss: lower lr"
            )

    # -- prediction -----------------------------------------------------------------------------

    def logits(self, X: np.ndarray) -> np.ndarray:
        """Return the outputs of the head.

        Parameters
        ----------
        X : ndarray of shape (n, n_values) or (n, *shape)
            Activations; during the fit also a column of row ids.

        Returns
        -------
        ndarray of shape (n, n_classes), dtype float32
        """
        X = np.asarray(X)
        if X.dtype == np.float64:
            X = X.astype(np.float32)
        by_id = self.rows.is_live and X.dtype.kind in "iu" and X.shape[1:] == (1,)
        self.rows.count_uses(len(X) if by_id else 0)
        module = self.net_.module_
        device = resolve_device(self.device, fitted=True)
        if place(module, device).training:  # eval looks at every layer, which is felt in one image
            module.eval()
        module.autocast_type = device.type
        module.autocast_dtype = autocast_dtype(self.precision, device)
        # one array for all: small ones, kept between large ones that are freed, hold the heap open
        outputs = np.empty((len(X), len(self.classes_)), np.float32)
        with torch.inference_mode():
            for start in range(0, len(X), self.batch_size):
                part = X[start : start + self.batch_size]
                batch = to_device(self.rows.take(part[:, 0]) if by_id else part, device)
                outputs[start : start + self.batch_size] = module(batch).cpu().numpy()
        return outputs

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return the logit of ``classes_[1]``, or the logits of more classes."""
        logits = self.logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the probability of each class."""
        return softmax(self.logits(X), axis=1)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable class of each row."""
        return self.classes_[self.logits(X).argmax(axis=1)]

    def __sizeof__(self) -> int:
        # told of its rows, joblib's backend for Dask sends a tail once, not with every problem
        return object.__sizeof__(self) + self.rows.n_bytes

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "net_" in state:
            net = _net_on_cpu(state["net_"])
            if not self.rows.is_live:  # the fit is over: this is not the way back from a worker
                net.history_ = without_batches(net.history_)
            state["net_"] = net
            state["rows"] = state["rows"].for_fitted()
        return state


def _silent(*_: Any) -> None:
    """Print nothing, where skorch would."""
