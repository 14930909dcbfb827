"""ResNetStacking: one-versus-rest networks, and an MLP trained on their outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from scipy.special import log_softmax
from sklearn.ensemble import StackingClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.utils._param_validation import Interval

from .._tail.final_mlp import FinalMLP
from .._tail.rows import TrainingRows
from .._tail.settings import TailSettings
from .._trunk.context import RunContext
from .base import Fold
from .base_combined import BaseCombined
from .checks import check_layer_sizes
from .documentation import documented_combined
from .hyperparameters import Hyperparameters
from .output_gradients import log_softmax_gradient
from .splits import stacking_folds


@documented_combined
@dataclass(kw_only=True, eq=False, repr=False)
class ResNetStacking(BaseCombined):
    """One network per class against the rest, and a trained MLP head.

    Use it if you want the networks of :class:`ResNetOvR`, and a head that learns how to combine
    their outputs. The model consists of scikit-learn's
    :class:`~sklearn.ensemble.StackingClassifier` and
    :class:`~sklearn.multiclass.OneVsRestClassifier`. The MLP head, which the paper calls a dense
    chain, is trained on out-of-fold outputs: those for images of patients that the networks have
    not seen. If it were trained on outputs for the networks' own training images, it would rely too
    much on networks that have memorised these images.

    Parameters
    ----------
    {parameters}
    final_hidden_layer_sizes : tuple of int, default=(16,)
        Widths of the hidden layers between the networks' outputs and the classes, with tanh
        between the layers. With ``()``, the head is a linear layer. Before the training, the head
        predicts the class with the greatest standardised logit. The training improves this rule.
        Because the head is small and has few inputs, it is trained with 3 times `lr` for 5 times
        `max_epochs`.
    cv : int, splitter or iterable, default=5
        Folds for the out-of-fold outputs. A number means stratified folds that do not divide
        patients. If the scarcest class has fewer patients, the number of folds is reduced to
        theirs.

    Attributes
    ----------
    {attributes}
    estimators_ : list of estimators
        One per class, in the order of ``classes_``, or a single one for two classes. They are
        trained on all rows, and predict from ``trunk_.transform(X)``.
    final_estimator_ : estimator
        The MLP head, which predicts from the logits of ``estimators_`` as columns.
    combiner_ : sklearn.ensemble.StackingClassifier
        The meta-estimator that fitted the networks. Its input is row numbers instead of images: use
        ``estimators_`` to predict. Its classes are indices into ``classes_``.
    {training}

    See Also
    --------
    ResNetOvR : The same networks without the MLP head.

    References
    ----------
    Kim, Kang and Kim, "COVID-19 and Pneumonia Classification with X-ray Images Using Combined
    ResNet50 Model", 2020, section VI, figures 7 and 8.

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

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Hyperparameters._parameter_constraints,
        "final_hidden_layer_sizes": ["array-like"],
        "cv": [Interval(Integral, 2, None, closed="left"), "cv_object"],
    }

    _divides_rows: ClassVar[bool] = True

    def _validate_params(self) -> None:
        super()._validate_params()
        check_layer_sizes("final_hidden_layer_sizes", self.final_hidden_layer_sizes)

    def _folds(
        self, codes: np.ndarray, groups: np.ndarray, held: np.ndarray, seed: int
    ) -> list[Fold]:
        return stacking_folds(codes, groups, held, self.cv, self._names, seed)

    def _fit_tails(self, rows: TrainingRows, folds: list[Fold], seed: int) -> None:
        tail = self._tail(rows, seed)
        combiner = StackingClassifier(
            [("ovr", OneVsRestClassifier(tail))],
            FinalMLP(rows, self._final_settings(tail.settings), seed),
            stack_method="decision_function",
            cv=folds,
            n_jobs=self.n_jobs,
        )
        self._fit_combiner(combiner, rows)
        # A tail that was fitted in another process has a copy of the rows.
        self.combiner_.estimators_[0].estimator = tail
        self._adopt(list(self.combiner_.estimators_[0].estimators_), rows)
        # The splits are row numbers of a training set that no longer exists.
        self.combiner_.cv = None
        self.final_estimator_ = self.combiner_.final_estimator_

    def _final_settings(self, settings: TailSettings) -> TailSettings:
        """Return the settings of the final MLP, which is small and has few inputs."""
        return replace(
            settings,
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

    def _log_probabilities(
        self, activations: np.ndarray, context: RunContext | None = None
    ) -> np.ndarray:
        return self._combine(self._outputs(activations, context), context)

    def _combine(self, outputs: np.ndarray, context: RunContext | None = None) -> np.ndarray:
        logits = self.final_estimator_.logits(outputs.astype(np.float32), context)
        return log_softmax(logits.astype(np.float64), axis=1)

    def _combine_gradient(self, outputs: np.ndarray) -> np.ndarray:
        # For each class (row), the derivatives of its log-probability with respect to the logits
        # of the MLP head, times the derivatives of these logits with respect to the outputs.
        of_logits = self.final_estimator_.input_gradient(outputs.astype(np.float32))
        return log_softmax_gradient(self._combine(outputs)) @ of_logits

    def _predicted_codes(self, rows: TrainingRows) -> np.ndarray:
        if rows.is_validation.any():
            # Neither the networks nor the final MLP were trained on these rows.
            return super()._predicted_codes(rows)
        # Without held-out rows the final MLP is judged on the out-of-fold outputs. The outputs of
        # the final networks for their own training rows cannot be used: the networks have
        # memorised these rows, and the MLP has never seen outputs of that size.
        return self.final_estimator_.predicted_classes_

    def _judged_on(self) -> str:
        return super()._judged_on() if self.early_stopping else "out-of-fold outputs"

    def _class_prior(self, rows: TrainingRows) -> np.ndarray:
        return self.final_estimator_.class_prior_

    def _n_tails(self, n_classes: int) -> int:
        return 1 if n_classes == 2 else n_classes

    def _uses_per_epoch(self, n_classes: int) -> float:
        # Each network trains once on all rows, and once per fold on those of the other folds.
        n_folds = self.cv if isinstance(self.cv, int) else 5
        return self._n_tails(n_classes) * n_folds
