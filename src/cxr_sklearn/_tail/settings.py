"""TailSettings: the hyperparameters of a tail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class TailSettings:
    """Hyperparameters of a tail.

    They have no defaults, because the classifiers have them: each default is written once. See
    the classifiers for what each one means.
    """

    hidden_layer_sizes: tuple[int, ...]
    dropout: float
    lr: float
    lr_schedule: str
    weight_decay: float
    label_smoothing: float
    mixup: float
    max_epochs: int
    batch_size: int
    class_weight: str | None
    sampler: Any
    augment: bool
    early_stopping: bool
    n_iter_no_change: int
    tol: float
    callbacks: Sequence[Any] | None
    device: str
    precision: str
    verbose: int

    @classmethod
    def of(cls, estimator: Any) -> TailSettings:
        """Return the settings that the parameters of a classifier describe.

        Weights that ``class_weight`` gives in a dict are part of the sample weights, since class
        labels differ in each binary problem.
        """
        values = {field.name: getattr(estimator, field.name) for field in fields(cls)}
        values["hidden_layer_sizes"] = tuple(estimator.hidden_layer_sizes)
        values["augment"] = bool(estimator.augment)
        if isinstance(estimator.class_weight, dict):
            values["class_weight"] = None
        return cls(**values)

    def __sklearn_clone__(self) -> TailSettings:
        # Nothing changes them: samplers are cloned, and callbacks copied, before they are used.
        return self
