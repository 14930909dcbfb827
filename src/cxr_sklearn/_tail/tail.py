"""Tail: the trained part of a network for one classification problem."""

from __future__ import annotations

import copy
from dataclasses import dataclass
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
from .._trunk.context import RunContext
from .._utils.device import (
    autocast,
    autocast_dtype,
    place,
    resolve_device,
    seeded,
    threads_for,
    to_device,
)
from .._utils.fit_tasks import FitTask
from .._utils.progress import Progress, progress_bar
from .batch_norm import settle_batch_norm
from .batches import RowBatches, RowDataset, batch_bounds
from .callbacks import BestEpoch, EpochLine, EpochProgress, EpochTask, own_callbacks, scheduler
from .module import TailModule
from .moments import fit_moments
from .net import TailNet
from .rows import Blueprint, TrainingRows
from .sampling import resample
from .settings import TailSettings
from .trained_net import net_on_cpu, without_batches, without_training_state


@dataclass(frozen=True)
class _Problem:
    """The rows of one classification problem.

    Attributes
    ----------
    name : str
        Its classes, for messages.
    number : int
        Its position among the problems of the same kind.
    rows : TrainingRows
    train, held : ndarray of int
        Row numbers of the training part, and of the validation part.
    train_codes, held_codes : ndarray of int
        Class of each of these rows.
    """

    name: str
    number: int
    rows: TrainingRows
    train: np.ndarray
    train_codes: np.ndarray
    held: np.ndarray
    held_codes: np.ndarray


class Tail(ClassifierMixin, BaseEstimator):
    """The trained part of a network for one classification problem.

    scikit-learn's meta-estimators clone and fit this estimator. It is fitted on row numbers of
    `rows`, and predicts from row numbers until the fit of the model ends. Afterwards it predicts
    from the activations that ``trunk_.transform(X)`` returns.

    Parameters
    ----------
    rows : TrainingRows
    settings : TailSettings
    random_state : int

    Attributes
    ----------
    classes_ : ndarray
    net_ : skorch.NeuralNetClassifier
    n_features_in_ : int
        Number of values per row of activations.
    class_prior_ : ndarray of shape (n_classes,)
        Shares of the classes in the training, after resampling and weighting.
    """

    # Whether the sampler is applied to the training rows.
    _resamples: ClassVar[bool] = True

    def __init__(self, rows: TrainingRows, settings: TailSettings, random_state: int = 0) -> None:
        self.rows = rows
        self.settings = settings
        self.random_state = random_state

    # -- training ---------------------------------------------------------------------------------

    def fit(self, X: np.ndarray, y: np.ndarray) -> Tail:
        """Train on the rows whose numbers are given as a column."""
        return self._fit(self.rows, np.asarray(X)[:, 0], y)

    def _fit(self, rows: TrainingRows, ids: np.ndarray, y: np.ndarray) -> Tail:
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.n_features_in_ = rows.width
        held = rows.is_validation[ids]
        name = rows.problem(ids, y)
        problem = _Problem(
            name=name.text,
            number=name.number,
            rows=rows,
            train=ids[~held],
            train_codes=codes[~held],
            held=ids[held],
            held_codes=codes[held],
        )
        if len(np.unique(problem.train_codes)) < len(self.classes_):
            raise ValueError(
                f"no training row of one class is left in the problem {problem.name!r}; expected 1 "
                "or more. Add images of this class, or reduce validation_fraction or cv."
            )
        sampler_seed, weight_seed, order_seed = (
            check_random_state(self.random_state).randint(2**31 - 1, size=3).tolist()
        )
        dataset, validation, priors = self._datasets(problem, sampler_seed)
        self.class_prior_ = priors
        with seeded(weight_seed):
            module = self._module(rows, priors, dataset.device)
            net = self._train(module, problem, dataset, validation, order_seed)
        self.net_ = without_training_state(net)
        return self

    def _datasets(
        self, problem: _Problem, seed: int
    ) -> tuple[RowDataset, RowDataset | None, np.ndarray]:
        """Return the rows to train on, the validation rows, and the share of each class.

        The rows to train on are resampled. The shares are computed from the weights of the rows.
        """
        rows, train, codes = problem.rows, problem.train, problem.train_codes
        mass = np.bincount(codes, rows.sample_weight[train])
        source = rows
        if self.settings.sampler is not None and self._resamples:
            train, codes, values = resample(
                self.settings.sampler, rows, train, codes, seed, problem.name
            )
            if values is not None:
                source = rows.made_for_training(values)
        weights = self._weights(source.sample_weight[train], codes)
        device = resolve_device(self.settings.device)
        dataset = RowDataset(source, train, codes, weights, device, n_views=source.n_views)
        # Factor by which the sampler and the class weights increase the weight of each class.
        factors = np.bincount(codes, weights) / mass
        priors = np.bincount(codes, weights) / weights.sum()
        return dataset, self._validation(problem, factors, device), priors

    def _weights(self, given: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return the weight of each row; the mean is 1."""
        classes = np.arange(len(self.classes_))
        class_weight = compute_class_weight(
            self.settings.class_weight, classes=classes, y=codes, sample_weight=given
        )
        weights = given * class_weight[codes]
        return weights / weights.mean()

    def _validation(
        self, problem: _Problem, factors: np.ndarray, device: torch.device
    ) -> RowDataset | None:
        """Return the validation rows, weighted so that the class shares are those of the training.

        The rows are not resampled. Without these weights, early stopping would choose the epoch
        that is best for other class shares than those of the training.
        """
        if not self.settings.early_stopping or not len(problem.held):
            return None
        rows, codes = problem.rows, problem.held_codes
        weights = rows.sample_weight[problem.held] * factors[codes]
        return RowDataset(rows, problem.held, codes, weights / weights.mean(), device)

    def _train(
        self,
        module: TailModule,
        problem: _Problem,
        dataset: RowDataset,
        validation: RowDataset | None,
        seed: int,
    ) -> TailNet:
        rows, batch_size = problem.rows, self.settings.batch_size
        n_parameters = sum(parameter.numel() for parameter in module.parameters())
        with threads_for(max(n_parameters, batch_size * rows.width)):
            # From the images, because rows of a sampler have another mean and variance.
            fit_moments(module, rows, problem.train)
            place(module, dataset.device)
            settings, is_shown = self.settings, self.settings.verbose == 1
            with progress_bar(
                settings.max_epochs, problem.name, enabled=is_shown, unit="epochs"
            ) as progress:
                task = self._begin_task(problem)
                callbacks = self._callbacks(dataset, validation, problem.name, progress, task)
                net = self._net(module, dataset, validation, callbacks, seed)
                net.fit(dataset, None)
            if net.interrupted_:
                raise KeyboardInterrupt
            self._check_loss(net, problem.name)
            settle_batch_norm(net.module_, dataset, batch_size, seed)
            task.end()
        return net

    def _begin_task(self, problem: _Problem) -> FitTask:
        """Report the beginning of the training to the callbacks of the model."""
        ids = np.sort(np.concatenate([problem.train, problem.held]))
        max_epochs = self.settings.max_epochs
        return problem.rows.tasks.begin(problem.name, problem.number, ids, max_epochs)

    def _module(self, rows: TrainingRows, priors: np.ndarray, device: torch.device) -> TailModule:
        settings, plan = self.settings, rows.blueprint
        body = copy.deepcopy(plan.body).requires_grad_(True)
        is_augmented = settings.augment and plan.channels > 0
        return TailModule(
            Blueprint(body, plan.width, plan.channels),
            rows.shape,
            priors,
            hidden_layer_sizes=settings.hidden_layer_sizes,
            dropout=settings.dropout,
            # Below a cut, the augmented views are rows of their own.
            augment=augmented if is_augmented else None,
            mixup=settings.mixup,
            device=device,
            dtype=autocast_dtype(settings.precision, device),
            skip=self._skip(plan.width),
        )

    def _skip(self, width: int) -> np.ndarray | None:
        """Return fixed weights from the inputs to the logits, or None."""
        return None

    def _net(
        self,
        module: TailModule,
        dataset: RowDataset,
        validation: RowDataset | None,
        callbacks: list[Any],
        seed: int,
    ) -> TailNet:
        settings = self.settings
        net = TailNet(
            module,
            criterion=torch.nn.CrossEntropyLoss,
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=settings.weight_decay,
            optimizer__fused=True,
            lr=settings.lr,
            max_epochs=settings.max_epochs,
            batch_size=settings.batch_size,
            iterator_train=RowBatches,
            iterator_train__shuffle=True,
            iterator_train__seed=seed,
            iterator_valid=RowBatches,
            train_split=None if validation is None else predefined_split(validation),
            callbacks=callbacks,
            callbacks__print_log=None,
            callbacks__valid_acc=None,
            classes=list(range(len(self.classes_))),
            device=str(dataset.device),
            verbose=0,
        )
        net.label_smoothing = settings.label_smoothing
        if module.autocast_dtype == torch.float16:
            net.scaler = torch.amp.GradScaler(module.autocast_type)
        return net

    def _callbacks(
        self,
        dataset: RowDataset,
        validation: RowDataset | None,
        problem: str,
        progress: Progress,
        task: FitTask,
    ) -> list[Any]:
        """Return the callbacks of the training, in the order in which they are called."""
        settings = self.settings
        callbacks: list[Any] = []
        if validation is not None:
            callbacks.append(("best_epoch", BestEpoch()))
        n_batches = len(batch_bounds(len(dataset), settings.batch_size))
        schedule = scheduler(settings.lr_schedule, settings.lr, n_batches * settings.max_epochs)
        if schedule is not None:
            callbacks.append(("schedule", schedule))
        if settings.verbose > 1:
            callbacks.append(("epoch_line", EpochLine(problem)))
        callbacks.append(("epoch_progress", EpochProgress(progress)))
        # Copies: the user's own callbacks keep no optimizer and no data of this training.
        callbacks += own_callbacks(settings.callbacks, problem)
        # These two end a training at once. A callback after them would not be called for the last
        # epoch.
        if task.is_reported:
            callbacks.append(("task", EpochTask(task)))
        stopping = EarlyStopping(
            monitor="train_loss" if validation is None else "valid_loss",
            patience=settings.n_iter_no_change,
            threshold=settings.tol,
            threshold_mode="abs",
            sink=_print_nothing,
        )
        callbacks.append(("stopping", stopping))
        return callbacks

    def _check_loss(self, net: TailNet, problem: str) -> None:
        loss = net.history[-1, "train_loss"] if len(net.history) else 0.0
        if not np.isfinite(loss):
            raise ValueError(
                f"training {problem!r} diverged (loss {loss} in epoch {len(net.history)}) at "
                f"lr={self.settings.lr}; expected a finite loss. Reduce lr."
            )

    # -- prediction -------------------------------------------------------------------------------

    def logits(self, X: np.ndarray, context: RunContext | None = None) -> np.ndarray:
        """Return the outputs of the head.

        Parameters
        ----------
        X : ndarray of shape (n, n_values) or (n, *shape)
            Activations. Until the fit of the model ends, also a column of row numbers.
        context : RunContext, default=None
            Device, precision and batch size. By default those of the settings.

        Returns
        -------
        ndarray of shape (n, n_classes), dtype float32
        """
        X = np.asarray(X)
        if X.dtype == np.float64:
            X = X.astype(np.float32)
        is_by_id = self.rows.is_live and X.dtype.kind in "iu" and X.shape[1:] == (1,)
        if is_by_id:
            self.rows.count_uses(len(X))
        if context is None:
            context = self._own_context()
        device, size = context.device, context.batch_size
        module = self.net_.module_
        if place(module, device).training:  # eval() visits every layer, which is slow for one image
            module.eval()
        # All batches are written to one array. Small arrays that are kept between large ones that
        # are freed would prevent the release of memory.
        outputs = np.empty((len(X), len(self.classes_)), np.float32)
        with torch.inference_mode(), autocast(device, context.dtype):
            for start in range(0, len(X), size):
                part = X[start : start + size]
                if is_by_id:
                    part = self.rows.take(part[:, 0])
                logits = module.logits(module.unit(to_device(part, device)))
                outputs[start : start + size] = logits.cpu().numpy()
        return outputs

    def _own_context(self) -> RunContext:
        device = resolve_device(self.settings.device, fitted=True)
        dtype = autocast_dtype(self.settings.precision, device)
        return RunContext(device, dtype, self.settings.batch_size)

    def decision_function(self, X: np.ndarray, context: RunContext | None = None) -> np.ndarray:
        """Return the logit of ``classes_[1]``, or the logits of three or more classes."""
        logits = self.logits(X, context)
        if len(self.classes_) > 2:
            return logits
        return logits[:, 1] - logits[:, 0]

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the probability of each class."""
        return softmax(self.logits(X), axis=1)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable class of each row."""
        return self.classes_[self.logits(X).argmax(axis=1)]

    # -- pickling ---------------------------------------------------------------------------------

    def __sizeof__(self) -> int:
        # joblib's backend for Dask sends an object of this size once, not with every problem.
        return object.__sizeof__(self) + self.rows.n_bytes

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "net_" in state:
            net = net_on_cpu(state["net_"])
            if not self.rows.is_live:  # the fit has ended: no worker process returns this tail
                net.history_ = without_batches(net.history_)
            state["net_"] = net
            state["rows"] = state["rows"].for_fitted()
        return state


def _print_nothing(*_: Any) -> None:
    """Replace skorch's function that prints when training stops early."""
