"""ResNetOvR: one network per class, against the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_expit, logsumexp
from sklearn.multiclass import OneVsRestClassifier

from .._tail.rows import TrainingRows
from .base import Fold
from .base_combined import BaseCombined
from .documentation import documented_combined
from .output_gradients import log_expit_gradient, log_softmax_gradient


@documented_combined
@dataclass(kw_only=True, eq=False, repr=False)
class ResNetOvR(BaseCombined):
    """One network per class, against the rest.

    Use it if you want one network for each question of the form "is it COVID-19 or not".
    scikit-learn's :class:`~sklearn.multiclass.OneVsRestClassifier` trains one tail per class on a
    shared trunk. The probability of a class is the sigmoid of its logit, normalised over the
    classes.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}
    estimators_ : list of estimators
        One per class, in the order of ``classes_``, or a single one for two classes. Each predicts
        from ``trunk_.transform(X)``.
    binary_prior_ : ndarray of shape (n_classes,), or None
        Share of each class in the problem of its own network, which ``class_weight`` and
        ``sampler`` change; ``class_prior_`` contains the shares in the training set. None for two
        classes.
    combiner_ : sklearn.multiclass.OneVsRestClassifier
        The meta-estimator that fitted the tails. Its input is row numbers instead of images: use
        ``estimators_`` to predict. Its classes are indices into ``classes_``.
    {training}

    See Also
    --------
    ResNetOvO : One network per pair of classes.
    ResNetStacking : These networks with a trained MLP head.

    References
    ----------
    Kim, Kang and Kim, "COVID-19 and Pneumonia Classification with X-ray Images Using Combined
    ResNet50 Model", 2020, section VI.

    Examples
    --------
    >>> from cxr_sklearn import ResNetOvR
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> X, y = make_chest_phantoms(30, image_size=32, random_state=0)
    >>> model = ResNetOvR(backbone="resnet18", weights=None, image_size=32, random_state=0)
    >>> len(model.fit(X, y).estimators_)
    3
    """

    def _fit_tails(self, rows: TrainingRows, folds: list[Fold], seed: int) -> None:
        combiner = OneVsRestClassifier(self._tail(rows, seed), n_jobs=self.n_jobs)
        self._fit_combiner(combiner, rows)
        self._adopt(list(self.combiner_.estimators_), rows)

    def _combine(self, outputs: np.ndarray) -> np.ndarray:
        if len(self.classes_) == 2:
            outputs = np.column_stack([-outputs, outputs])
        scores = log_expit(outputs)
        # In logarithms, a row of small scores does not sum to 0.
        return scores - logsumexp(scores, axis=1, keepdims=True)

    def _combine_gradient(self, outputs: np.ndarray) -> np.ndarray:
        if len(self.classes_) == 2:
            return log_expit_gradient(outputs)
        # The derivative of log(sigmoid(z)) is sigmoid(-z).
        return log_softmax_gradient(self._combine(outputs)) * expit(-outputs)[:, None, :]

    def _class_prior(self, rows: TrainingRows) -> np.ndarray:
        """Set the prior of each network, and return the shares of the classes in training."""
        if len(self.classes_) == 2:
            self.binary_prior_ = None
            return self.estimators_[0].class_prior_
        self.binary_prior_ = np.array([tail.class_prior_[1] for tail in self.estimators_])
        trained = ~rows.is_validation
        mass = np.bincount(rows.codes[trained], rows.sample_weight[trained])
        return mass / mass.sum()

    def _n_tails(self, n_classes: int) -> int:
        return 1 if n_classes == 2 else n_classes

    def _uses_per_epoch(self, n_classes: int) -> float:
        return self._n_tails(n_classes)
