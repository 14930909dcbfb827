"""Hyperparameters: the parameters of the four classifiers, and their constraints."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from .._trunk.build import Backbone
from .._trunk.features import TRUNK_CONSTRAINTS
from .._trunk.weight_file import existing_weights
from .checks import check_callbacks, check_layer_sizes


@dataclass(kw_only=True, eq=False, repr=False)
class Hyperparameters(BaseEstimator):
    """Parameters of the four classifiers. This is the one place where their defaults are written.

    The text that documents them is in ``documentation.py``.
    """

    backbone: Backbone = "resnet50"
    weights: str | os.PathLike[str] | None = "imagenet"
    trainable: str = "head"
    image_size: int = 224
    image_shape: tuple[int, int] | None = None
    hidden_layer_sizes: Sequence[int] = ()
    dropout: float = 0.0
    lr: float = 1e-3
    lr_schedule: str = "constant"
    weight_decay: float = 1e-2
    label_smoothing: float = 0.0
    mixup: float = 0.0
    max_epochs: int = 30
    batch_size: int = 32
    augment: bool | int = False
    early_stopping: bool = False
    validation_fraction: float = 0.1
    group_by: Callable[[str], Any] | None = None
    n_iter_no_change: int = 10
    tol: float = 1e-4
    callbacks: Sequence[Any] | None = None
    class_weight: str | dict[str, Any] | None = "balanced"
    sampler: Any = None
    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"
    memory: Any = None
    n_jobs: int | None = None
    random_state: Any = None
    verbose: int = 0

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **TRUNK_CONSTRAINTS,
        "hidden_layer_sizes": ["array-like"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "lr_schedule": [StrOptions({"constant", "one_cycle", "cosine"})],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "mixup": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "sampler": [HasMethods("fit_resample"), None],
        "group_by": [callable, None],
        "augment": ["boolean", Interval(Integral, 0, 1000, closed="both")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "callbacks": [list, tuple, None],
    }

    def _validate_params(self) -> None:
        super()._validate_params()
        if self.weights not in (None, "imagenet"):
            # Each fit of a search then fails before it reads images.
            existing_weights(self.weights)
        check_layer_sizes("hidden_layer_sizes", self.hidden_layer_sizes)
        check_callbacks(self.callbacks)
