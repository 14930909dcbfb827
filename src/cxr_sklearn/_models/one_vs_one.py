"""ResNetOvO: one network per pair of classes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import expit, log_expit, logit, softmax
from sklearn.multiclass import OneVsOneClassifier

from .._tail.rows import TrainingRows
from .._trunk.context import RunContext
from .base import Fold
from .base_combined import BaseCombined
from .coupling import couple_probabilities, coupling_gradient, pairwise_probabilities
from .documentation import documented_combined
from .output_gradients import log_expit_gradient


@documented_combined
@dataclass(kw_only=True, eq=False, repr=False)
class ResNetOvO(BaseCombined):
    """One network per pair of classes on a shared frozen trunk (one-versus-one).

    Use it if you want networks that each distinguish two classes, together with probabilities for
    all classes. The trunk, the frozen part of the network, is shared. scikit-learn's
    :class:`~sklearn.multiclass.OneVsOneClassifier` fits one tail, the trained part, per pair of
    classes. Its votes are not used: the probabilities of the pairs are coupled by the second method
    of Wu, Lin and Weng, and the prediction is the most probable class.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}
    estimators_ : list of estimators
        One per pair. Each predicts from ``trunk_.transform(X)``, and its positive class is the
        second class of the pair.
    pairs_ : list of (label, label)
        The classes of each estimator.
    combiner_ : sklearn.multiclass.OneVsOneClassifier
        The meta-estimator that fitted the tails. Its input is row numbers instead of images: use
        ``estimators_`` to predict. Its classes are indices into ``classes_``.
    {training}

    See Also
    --------
    ResNetOvR : One network per class, against the rest.
    ResNetClassifier : One network for all classes.

    References
    ----------
    Kim, Kang and Kim, "COVID-19 and Pneumonia Classification with X-ray Images Using Combined
    ResNet50 Model", 2020, section VI and figure 9.

    Wu, Lin and Weng, "Probability estimates for multi-class classification by pairwise
    coupling", Journal of Machine Learning Research 5 (2004), section 4.2.

    Examples
    --------
    >>> from cxr_sklearn import ResNetOvO
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> X, y = make_chest_phantoms(30, image_size=32, random_state=0)
    >>> model = ResNetOvO(backbone="resnet18", weights=None, image_size=32, random_state=0)
    >>> for pair in model.fit(X, y).pairs_:
    ...     print(*pair)
    COVID-19 Normal
    COVID-19 Pneumonia
    Normal Pneumonia
    """

    def _fit_tails(self, rows: TrainingRows, folds: list[Fold], seed: int) -> None:
        combiner = OneVsOneClassifier(self._tail(rows, seed), n_jobs=self.n_jobs)
        self._fit_combiner(combiner, rows)
        self._adopt(list(self.combiner_.estimators_), rows)
        self.pairs_ = list(combinations(self.classes_, 2))

    def _probabilities(
        self, activations: np.ndarray, context: RunContext | None = None
    ) -> np.ndarray:
        if len(self.classes_) == 2:
            logits = self._outputs(activations, context)
            return expit(np.column_stack([-logits, logits]))
        return couple_probabilities(self._pairwise(activations, context))

    def _pairwise(self, activations: np.ndarray, context: RunContext | None = None) -> np.ndarray:
        """Return the probability of each class in each pair, with 0 on the diagonal."""
        return pairwise_probabilities(self._outputs(activations, context), len(self.classes_))

    def predict_pairs(self, X: Any) -> np.ndarray:
        """Return the probability of each class in each pair of classes.

        Use it to see where the networks of the pairs contradict each other, and for the score
        "pair_agreement" of :class:`~cxr_sklearn.referral.ReferralClassifier`.

        Parameters
        ----------
        X : array-like
            Images in the form given to ``fit``.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes, n_classes), dtype float64
            ``probabilities[:, i, j]`` is the probability of class i if the image belongs to class
            i or j. Indices are those of ``classes_``. The diagonal is 0.
        """
        return self._run(X, self._pairwise)

    def _combine(self, outputs: np.ndarray) -> np.ndarray:
        if len(self.classes_) == 2:  # exact also where a probability is rounded to 0 or 1
            return log_expit(np.column_stack([-outputs, outputs]))
        pairwise = pairwise_probabilities(outputs, len(self.classes_))
        return np.log(couple_probabilities(pairwise).clip(np.finfo(np.float32).tiny))

    def _combine_gradient(self, outputs: np.ndarray) -> np.ndarray:
        if len(self.classes_) == 2:
            return log_expit_gradient(outputs)
        return coupling_gradient(pairwise_probabilities(outputs, len(self.classes_)))

    def _class_prior(self, rows: TrainingRows) -> np.ndarray:
        """Combine the priors of the pairs, which agree unless a sampler gives them other ratios."""
        n_classes = len(self.classes_)
        differences, log_odds = [], []
        for (first, second), tail in zip(
            combinations(range(n_classes), 2), self.estimators_, strict=True
        ):
            row = np.zeros(n_classes)
            row[second], row[first] = 1, -1
            differences.append(row)
            log_odds.append(logit(tail.class_prior_[1]))
        # Least squares: exact if there is a class prior that has the odds of all pairs.
        log_prior = np.linalg.lstsq(np.array(differences), np.array(log_odds), rcond=None)[0]
        return softmax(log_prior)

    def _n_tails(self, n_classes: int) -> int:
        return n_classes * (n_classes - 1) // 2

    def _uses_per_epoch(self, n_classes: int) -> float:
        return n_classes - 1
