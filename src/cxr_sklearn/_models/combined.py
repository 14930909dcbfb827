"""ResNetOvR, ResNetOvO and ResNetStacking: combinations of binary networks."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import combinations
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from joblib import parallel_config
from scipy.special import expit, log_expit, log_softmax, logsumexp
from sklearn import config_context
from sklearn.ensemble import StackingClassifier
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.utils._param_validation import Interval

from .._tail.chain import Chain
from .._tail.rows import TrainingRows
from .._tail.tail import Tail
from .._utils.device import in_worker
from .base import BaseResNet, training_record
from .checks import check_layer_sizes
from .coupling import couple_probabilities
from .documentation import _documented_combined
from .splits import stacking_folds


@dataclass(kw_only=True, eq=False, repr=False)
class BaseCombined(BaseResNet):
    """A classifier of several binary problems."""

    def _fit_combiner(self, combiner: Any, rows: TrainingRows) -> None:
        """Fit scikit-learn's meta-estimator on row ids."""
        # Dask heeds no n_jobs: one of its workers, too, would send the problems on to others,
        # activations and all
        stay = self.n_jobs == 1 or (self.n_jobs is None and in_worker())
        alone = parallel_config(backend="sequential") if stay else nullcontext()
        # nothing is routed inside: weights and validation part stand in the rows
        with config_context(enable_metadata_routing=False), alone:
            self.combiner_ = combiner.fit(np.arange(rows.n_rows)[:, None], rows.codes)

    @property
    def _tails(self) -> list[Tail]:
        return self.estimators_

    def _adopt(self, estimators: list[Tail], rows: TrainingRows) -> None:
        """Keep the fitted tails; those fitted in other processes came back without rows."""
        for tail in estimators:
            tail.rows = rows
        self.estimators_ = estimators

    def _logits(self, activations: np.ndarray) -> np.ndarray:
        """Return the logit of each binary problem, float64."""
        scores = [tail.decision_function(activations) for tail in self.estimators_]
        return np.column_stack(scores).astype(np.float64)

    def _record_training(self) -> None:
        records = [training_record(tail) for tail in self.estimators_]
        for name in records[0]:
            values = [record[name] for record in records]
            setattr(self, name, None if all(v is None for v in values) else values)


@_documented_combined
@dataclass(kw_only=True, eq=False, repr=False)
class ResNetOvR(BaseCombined):
    """One ResNet50 per class, against the rest (paper, section VI).

    scikit-learn's :class:`~sklearn.multiclass.OneVsRestClassifier` over trained tails that share
    one trunk. The probability of a class is the sigmoid of its logit, normalised over the classes.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}
    estimators_ : list of estimators
        One per class, in the order of ``classes_`` (one in all for two classes); each takes
        ``trunk_.transform(X)``.
    combiner_ : sklearn.multiclass.OneVsRestClassifier
        Fitted on row ids; its classes are indices into ``classes_``.
    {training}

    See Also
    --------
    ResNetOvO : One network per pair of classes.
    ResNetStacking : These networks with a trained dense chain.

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

    def _fit_tails(self, rows: TrainingRows, groups: np.ndarray, seeds: np.ndarray) -> None:
        combiner = OneVsRestClassifier(self._tail(rows, seeds[0]), n_jobs=self.n_jobs)
        self._fit_combiner(combiner, rows)
        self._adopt(list(self.combiner_.estimators_), rows)

    def _log_probabilities(self, activations: np.ndarray) -> np.ndarray:
        logits = self._logits(activations)
        if len(self.classes_) == 2:
            logits = np.column_stack([-logits, logits])
        scores = log_expit(logits)
        # in logarithms no row of small scores sums to 0
        return scores - logsumexp(scores, axis=1, keepdims=True)


@_documented_combined
@dataclass(kw_only=True, eq=False, repr=False)
class ResNetOvO(BaseCombined):
    """One ResNet50 per pair of classes (paper, section VI and figure 9).

    scikit-learn's :class:`~sklearn.multiclass.OneVsOneClassifier` over trained tails that share
    one trunk. Unlike it this has probabilities: those of the pairs are coupled by the second
    method of Wu, Lin and Weng, and the prediction is the most probable class.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}
    estimators_ : list of estimators
        One per pair; each takes ``trunk_.transform(X)``, and its positive class is the second of
        the pair.
    pairs_ : list of (label, label)
        The classes of each estimator.
    combiner_ : sklearn.multiclass.OneVsOneClassifier
        Fitted on row ids; its classes are indices into ``classes_``.
    {training}

    See Also
    --------
    ResNetOvR : One network per class, against the rest.
    ResNetClassifier : One network for all classes.

    References
    ----------
    Kim, Kang and Kim, "COVID-19 and Pneumonia Classification with X-ray Images Using Combined
    ResNet50 Model", 2020, section VI.

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

    def _fit_tails(self, rows: TrainingRows, groups: np.ndarray, seeds: np.ndarray) -> None:
        combiner = OneVsOneClassifier(self._tail(rows, seeds[0]), n_jobs=self.n_jobs)
        self._fit_combiner(combiner, rows)
        self._adopt(list(self.combiner_.estimators_), rows)
        self.pairs_ = list(combinations(self.classes_, 2))

    def _log_probabilities(self, activations: np.ndarray) -> np.ndarray:
        logits = self._logits(activations)
        k = len(self.classes_)
        if k == 2:
            return log_expit(np.column_stack([-logits, logits]))
        first, second = np.transpose(list(combinations(range(k), 2)))
        pairwise = np.zeros((len(logits), k, k))
        pairwise[:, second, first] = expit(logits)
        pairwise[:, first, second] = expit(-logits)
        return np.log(couple_probabilities(pairwise).clip(np.finfo(np.float32).tiny))


@_documented_combined
@dataclass(kw_only=True, eq=False, repr=False)
class ResNetStacking(BaseCombined):
    """One-versus-rest ResNet50s and a trained dense chain (paper, section VI, figures 7 and 8).

    scikit-learn's :class:`~sklearn.ensemble.StackingClassifier` over
    :class:`~sklearn.multiclass.OneVsRestClassifier`. The chain learns from outputs for images that
    the networks have not seen, out of fold by patient; on outputs for their own training images it
    would learn to trust networks that have memorised.

    Parameters
    ----------
    {parameters}
    final_hidden_layer_sizes : tuple of int, default=(16,)
        The dense chain from the networks' outputs to the classes, with tanh between its layers.
        Empty: a linear layer. It starts as the rule that it improves on, the class whose
        standardised logit is greatest, and is trained with 3 times `lr` for 5 times `max_epochs`:
        it is small, and its inputs are few.
    cv : int, splitter or iterable, default=5
        Folds for the out-of-fold outputs. A number is stratified, by patient, and shrinks to the
        patients of the scarcest class.

    Attributes
    ----------
    {attributes}
    estimators_ : list of estimators
        One per class, in the order of ``classes_`` (one in all for two classes), trained on all
        rows; each takes ``trunk_.transform(X)``.
    final_estimator_ : estimator
        The dense chain; takes the logits of ``estimators_`` as columns.
    combiner_ : sklearn.ensemble.StackingClassifier
        Fitted on row ids; its classes are indices into ``classes_``.
    {training}

    See Also
    --------
    ResNetOvR : The same networks without the chain.

    References
    ----------
    Kim, Kang and Kim, "COVID-19 and Pneumonia Classification with X-ray Images Using Combined
    ResNet50 Model", 2020, section VI.

    Wolpert, "Stacked generalization", Neural Networks 5 (1992).

    Examples
    --------
    >>> from cxr_sklearn import ResNetStacking
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> X, y = make_chest_phantoms(30, image_size=32, random_state=0)
    >>> model = ResNetStacking(
    ...     backbone="resnet18", weights=None, image_size=32, cv=3, random_state=0
    ... ).fit(X, y)
    >>> model.predict_proba(X[:2]).shape
    (2, 3)
    """

    final_hidden_layer_sizes: tuple[int, ...] = (16,)
    cv: Any = 5

    _parameter_constraints: ClassVar[dict] = {
        **BaseResNet._parameter_constraints,
        "final_hidden_layer_sizes": ["array-like"],
        "cv": [Interval(Integral, 2, None, closed="left"), "cv_object"],
    }

    _divides_rows: ClassVar[bool] = True

    def _validate_params(self) -> None:
        super()._validate_params()
        check_layer_sizes("final_hidden_layer_sizes", self.final_hidden_layer_sizes)

    def _fit_tails(self, rows: TrainingRows, groups: np.ndarray, seeds: np.ndarray) -> None:
        splits = stacking_folds(
            rows.codes, groups, rows.is_validation, self.cv, self._names, int(seeds[1])
        )
        tail = self._tail(rows, seeds[0])
        chain = Chain(**tail.get_params(deep=False)).set_params(
            hidden_layer_sizes=tuple(self.final_hidden_layer_sizes),
            dropout=0.0,
            lr=3 * self.lr,
            lr_schedule="constant",
            label_smoothing=0.0,
            mixup=0.0,
            max_epochs=5 * self.max_epochs,
            augment=False,
            callbacks=None,
            verbose=0,
        )
        combiner = StackingClassifier(
            [("ovr", OneVsRestClassifier(tail))],
            chain,
            stack_method="decision_function",
            cv=splits,
            n_jobs=self.n_jobs,
        )
        self._fit_combiner(combiner, rows)
        # one fitted in another process came back with rows of its own
        self.combiner_.estimators_[0].estimator = tail
        self._adopt(list(self.combiner_.estimators_[0].estimators_), rows)
        self.combiner_.cv = None  # the splits are row numbers of a training set now gone
        self.final_estimator_ = self.combiner_.final_estimator_

    @property
    def _tails(self) -> list[Tail]:
        return [*self.estimators_, self.final_estimator_]

    def _log_probabilities(self, activations: np.ndarray) -> np.ndarray:
        scores = self._logits(activations).astype(np.float32)
        return log_softmax(self.final_estimator_.logits(scores).astype(np.float64), axis=1)

    def _predicted_codes(self, rows: TrainingRows) -> np.ndarray:
        if rows.is_validation.any():  # neither the networks nor the chain were trained on these
            return super()._predicted_codes(rows)
        # Without held-out rows the chain is judged on the out-of-fold outputs. The outputs of the
        # final networks for their own training rows are of no use: the networks have memorised
        # these rows, and the chain has never been given outputs of that size.
        return self.final_estimator_.predicted_classes_

    def _judged_on(self) -> str:
        return super()._judged_on() if self.early_stopping else "out-of-fold outputs"
