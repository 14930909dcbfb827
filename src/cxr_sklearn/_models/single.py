"""ResNetClassifier: one network for all classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_expit, log_softmax

from .._tail.rows import TrainingRows
from .._tail.tail import Tail
from .base import BaseResNet, Fold
from .documentation import documented
from .output_gradients import log_expit_gradient, log_softmax_gradient
from .training_record import training_record


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class ResNetClassifier(BaseResNet):
    """One network for all classes.

    Use it as the baseline for the combined models. It is the fastest of the four models to train.
    Each image passes the frozen trunk once. One tail with a softmax over all classes is trained.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}
    net_ : skorch.NeuralNetClassifier
        The trained tail, which predicts from ``trunk_.transform(X)``.
    n_iter_ : int
        Epochs trained.
    loss_curve_ : list of float
        Training loss by epoch.
    validation_scores_ : list of float, or None
        Validation loss by epoch, negated; None without early stopping.
    best_validation_score_ : float or None
        The highest of these scores.
    history_ : skorch.history.History
        Records of skorch. A saved model contains those of the epochs, but not of the batches.

    See Also
    --------
    ResNetOvO : One network per pair of classes.
    ResNetOvR : One network per class, against the rest.
    ResNetStacking : One network per class, and a trained MLP head.

    References
    ----------
    Kim, Kang and Kim, "COVID-19 and Pneumonia Classification with X-ray Images Using Combined
    ResNet50 Model", 2020, section V.

    Examples
    --------
    >>> from cxr_sklearn import ResNetClassifier
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> X, y = make_chest_phantoms(30, image_size=32, random_state=0)
    >>> model = ResNetClassifier(
    ...     backbone="resnet18", weights=None, image_size=32, random_state=0
    ... ).fit(X, y)
    >>> model.predict_proba(X[:2]).shape
    (2, 3)
    """

    def _fit_tails(self, rows: TrainingRows, folds: list[Fold], seed: int) -> None:
        self._estimator = self._tail(rows, seed)
        self._estimator.fit(np.arange(rows.n_rows)[:, None], rows.codes)

    @property
    def net_(self) -> Any:
        """The trained tail, a skorch net."""
        if not hasattr(self, "_estimator"):
            raise AttributeError("net_ is available after fit")
        return self._estimator.net_

    @property
    def _tails(self) -> list[Tail]:
        return [self._estimator]

    def _combine(self, outputs: np.ndarray) -> np.ndarray:
        if len(self.classes_) == 2:
            return log_expit(np.column_stack([-outputs, outputs]))
        return log_softmax(outputs, axis=1)

    def _combine_gradient(self, outputs: np.ndarray) -> np.ndarray:
        if len(self.classes_) == 2:
            return log_expit_gradient(outputs)
        return log_softmax_gradient(self._combine(outputs))

    def _class_prior(self, rows: TrainingRows) -> np.ndarray:
        return self._estimator.class_prior_

    def _n_tails(self, n_classes: int) -> int:
        return 1

    def _uses_per_epoch(self, n_classes: int) -> float:
        return 1

    def _record_training(self) -> None:
        for name, value in training_record(self._estimator).items():
            setattr(self, name, value)
