"""BaseResNet: the steps of fit and predict that the four classifiers have in common."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from skorch.history import History

from .._images.inputs import check_images
from .._tail.activations import ImageActivations
from .._tail.rows import Blueprint, TrainingRows
from .._tail.settings import TailSettings
from .._tail.tail import Tail
from .._tail.trained_net import without_batches
from .._tail.training_tasks import TrainingTasks
from .._trunk.context import RunContext, run_context
from .._trunk.counter import PassCounter
from .._trunk.features import fit_trunk
from .._trunk.runner import Runner
from .._utils.constraints import check_prediction_parameters
from .._utils.device import warn_shared_gpu
from .._utils.doc_link import DocLinkMixin
from .._utils.fit_tasks import CallbackSupportMixin, FitRoot, FitTask, with_callbacks
from .._utils.restore import restored_on_failure
from ..exceptions import NeverPredictedWarning
from .checks import class_weights
from .cost import n_augmented_views
from .hyperparameters import Hyperparameters
from .splits import patient_groups, validation_mask
from .targets import LabelledImages, label_images

# Row numbers of the training part and of the test part.
Fold = tuple[np.ndarray, np.ndarray]


@dataclass(kw_only=True, eq=False, repr=False)
class BaseResNet(DocLinkMixin, CallbackSupportMixin, ClassifierMixin, Hyperparameters):
    """Base class of the four classifiers.

    A subclass fits tails (``_fit_tails``), turns their outputs into probabilities (``_combine``),
    and records how their training went (``_record_training``).
    """

    # scikit-learn's metadata routing: patients reach fit without a request.
    __metadata_request__fit: ClassVar[dict[str, Any]] = {"groups": True}

    # whether `_fit_tails` splits the rows, and so needs to know the patients
    _divides_rows: ClassVar[bool] = False

    def fit(self, X: Any, y: Any, *, groups: Any = None, sample_weight: Any = None) -> BaseResNet:
        """Load the trunk, run it once per image, and train the tails.

        Parameters
        ----------
        X : array-like of shape (n_samples, h * w), (n_samples, h, w), (n_samples, h, w, 3) or \
                (n_samples, 1)
            Rows of pixels, images, or a column of paths. Unsigned integers are scaled by the
            maximum of their type; floats must be in [0, 1], or standardised.
        y : array-like of shape (n_samples,)
            Labels: strings, integers or booleans.
        groups : array-like of shape (n_samples,), default=None
            Patients. No internal split divides the images of a patient, or images of equal content.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights in the loss, not negative. Rows with the weight 0 are left out.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            If X, y or a parameter is invalid. The message states what is expected.
        OSError
            If images or weights cannot be read.

        Warns
        -----
        NeverPredictedWarning
            If the fitted model never predicts one of the classes on its validation part. Without
            early stopping, the training rows are used instead, and for ``ResNetStacking`` the
            out-of-fold outputs.

        Notes
        -----
        If the fit fails or is interrupted, the model is not changed.
        """
        with restored_on_failure(self):
            self._fit(X, y, groups, sample_weight)
        return self

    # -- what a subclass defines ------------------------------------------------------------------

    def _fit_tails(self, rows: TrainingRows, folds: list[Fold], seed: int) -> None:
        """Fit the tails, on row numbers of `rows`."""
        raise NotImplementedError

    @property
    def _tails(self) -> list[Tail]:
        """The fitted tails whose outputs are combined."""
        raise NotImplementedError

    def _combine(self, outputs: np.ndarray) -> np.ndarray:
        """Return log-probabilities (n, n_classes), float64, from the outputs of the tails."""
        raise NotImplementedError

    def _combine_gradient(self, outputs: np.ndarray) -> np.ndarray:
        """Return the derivatives of the log-probabilities with respect to the outputs.

        Parameters
        ----------
        outputs : ndarray of shape (n, n_outputs), dtype float64

        Returns
        -------
        ndarray of shape (n, n_classes, n_outputs), dtype float64
        """
        raise NotImplementedError

    def _folds(
        self, codes: np.ndarray, groups: np.ndarray, held: np.ndarray, seed: int
    ) -> list[Fold]:
        """Return the folds on which networks are trained in addition to that on all rows."""
        return []

    def _record_training(self) -> None:
        """Set the attributes that describe how the training went."""
        raise NotImplementedError

    def _class_prior(self, rows: TrainingRows) -> np.ndarray:
        """Return the shares of the classes for which the probabilities hold."""
        raise NotImplementedError

    def _n_tails(self, n_classes: int) -> int:
        """Return the number of networks that the fitted model contains."""
        raise NotImplementedError

    def _uses_per_epoch(self, n_classes: int) -> float:
        """Return the number of uses of an image while each network trains for one epoch."""
        raise NotImplementedError

    # -- from activations to probabilities --------------------------------------------------------

    def _outputs(self, activations: np.ndarray, context: RunContext | None = None) -> np.ndarray:
        """Return the outputs of the tails as columns, float64.

        A tail for two classes has one output, the logit of its second class; a tail for more
        classes has the logits of all.
        """
        columns = [tail.decision_function(activations, context) for tail in self._tails]
        return np.column_stack(columns).astype(np.float64)

    def _log_probabilities(
        self, activations: np.ndarray, context: RunContext | None = None
    ) -> np.ndarray:
        """Return log-probabilities (n, n_classes), float64, from activations.

        During the fit, `activations` may also be a column of row numbers.
        """
        return self._combine(self._outputs(activations, context))

    def _probabilities(
        self, activations: np.ndarray, context: RunContext | None = None
    ) -> np.ndarray:
        """Return probabilities (n, n_classes), float64."""
        return np.exp(self._log_probabilities(activations, context))

    # -- the steps of fit -------------------------------------------------------------------------

    @with_callbacks
    def _fit(self, X: Any, y: Any, groups: Any, sample_weight: Any) -> None:
        self._validate_params()
        images = check_images(self, X, reset=True)
        data = label_images(images, y, groups, sample_weight, type(self).__name__)
        codes = self._encode(data.y)
        root = FitRoot(self, 2, X, y, sample_weight)
        task = root.task
        context = run_context(self, fitted=False)
        warn_shared_gpu(self.n_jobs, context.device)
        draw = check_random_state(self.random_state)
        self.trunk_, self._runner = fit_trunk(self, context, self._trunk_seed(draw))
        seeds = draw.randint(2**31 - 1, size=3).tolist()
        groups, held = self._split(data, codes, seeds[0])
        folds = self._folds(codes, groups, held, seeds[2])
        activations = ImageActivations(
            data.images, self._runner, context, n_augmented_views(self), ~held, task
        )
        rows = TrainingRows(
            activations,
            sample_weight=self._weights(data.weight, codes),
            is_validation=held,
            blueprint=self._blueprint(),
            codes=codes,
            names=self._names,
        )
        try:
            self._train(rows, folds, seeds[1], task)
            predicted = self._predicted_codes(rows)
            self.class_prior_ = self._class_prior(rows)
        finally:
            rows.release()
        self.cache_info_ = activations.cache_info(rows.n_uses)
        self._warn_never_predicted(predicted)
        self._record_training()
        root.end()

    def _train(self, rows: TrainingRows, folds: list[Fold], seed: int, task: FitTask) -> None:
        """Fit the tails, and report this part of the fit to the callbacks."""
        n_problems = self._n_tails(len(self.classes_))
        n_trainings = n_problems
        if folds:
            # One training more for each fold, and that of the final MLP.
            n_trainings += n_problems * len(folds) + 1
        with task.subtask("train", n_subtasks=n_trainings, is_ordered=False) as training:
            rows.tasks = TrainingTasks(training, n_problems, [train for train, _ in folds])
            self._fit_tails(rows, folds, seed)

    def _encode(self, y: np.ndarray) -> np.ndarray:
        """Set ``classes_``, and return the index of the class of each image."""
        encoder = LabelEncoder().fit(y)
        self.classes_ = encoder.classes_
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} got images of one class ({self._names[0]!r}); expected "
                "2 classes or more"
            )
        return encoder.transform(y)

    @property
    def _names(self) -> list[str]:
        return [str(label) for label in self.classes_]

    def _weights(self, sample_weight: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return the weights of the images, multiplied by those that a dict gives the classes."""
        if not isinstance(self.class_weight, dict):
            return sample_weight
        return sample_weight * class_weights(self.class_weight, self.classes_)[codes]

    def _trunk_seed(self, draw: np.random.RandomState) -> Any:
        """Return the random_state of the trunk, the same for the same random_state of the model."""
        if isinstance(self.random_state, np.random.RandomState):
            return int(draw.randint(2**31 - 1))
        return self.random_state

    def _split(
        self, data: LabelledImages, codes: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the patient of each image as an integer, and the mask of the validation part."""
        n = len(data.images)
        groups, held = np.arange(n), np.zeros(n, dtype=bool)
        if self.early_stopping or self._divides_rows:
            groups = patient_groups(data.images, data.groups, self.group_by)
        self.validation_indices_ = None
        if self.early_stopping:
            held = validation_mask(codes, groups, self.validation_fraction, self._names, seed)
            self.validation_indices_ = data.rows[held]
        return groups, held

    def _blueprint(self) -> Blueprint:
        """Return the untrained part of the network."""
        runner: Runner = self._runner
        network = runner.network
        assert network is not None  # it was built a moment ago
        channels = runner.channels if runner.is_empty else 0
        return Blueprint(network.body(self.trainable), network.head_width, channels)

    def _tail(self, rows: TrainingRows, seed: int) -> Tail:
        """Return an unfitted tail."""
        return Tail(rows, TailSettings.of(self), seed)

    def _predicted_codes(self, rows: TrainingRows) -> np.ndarray:
        """Return the codes of the classes that are predicted for validation or training rows."""
        ids = np.flatnonzero(rows.is_validation)
        if not len(ids):
            ids = np.arange(rows.n_rows)
        return np.unique(self._log_probabilities(ids[:, None]).argmax(axis=1))

    def _judged_on(self) -> str:
        return "validation part" if self.early_stopping else "training rows"

    def _warn_never_predicted(self, predicted: np.ndarray) -> None:
        never = [name for i, name in enumerate(self._names) if i not in predicted]
        if never:
            warnings.warn(
                f"{type(self).__name__} never predicts {', '.join(map(repr, never))} on its "
                f"{self._judged_on()}; expected every class. Train longer, increase lr, train more "
                "stages (trainable), or pass class_weight='balanced'.",
                NeverPredictedWarning,
                stacklevel=4,
            )

    # -- prediction -------------------------------------------------------------------------------

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithm of the probability of each class.

        Parameters
        ----------
        X : array-like
            Images in the form given to ``fit``.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes), dtype float32
            Columns in the order of ``classes_``. Finite.
        """
        return np.log(self.predict_proba(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class.

        With ``class_weight="balanced"`` the probabilities are those for a population in which all
        classes are equally frequent, whatever their shares in the training set were. For
        ``ResNetOvR`` they hold if each class is as frequent as all others together. For the other
        models, the attribute ``class_prior_`` contains these shares; for ``ResNetOvR``,
        ``binary_prior_`` contains the share of each class in the problem of its network.
        :class:`~cxr_sklearn.calibration.PrevalenceAdjuster` adjusts the probabilities to another
        prevalence.

        Parameters
        ----------
        X : array-like
            Images in the form given to ``fit``.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes), dtype float32
            Columns in the order of ``classes_``. Rows sum to 1. The smallest value is 1.2e-38, the
            smallest normal number of float32, so that no probability is 0.
        """
        probabilities = self._run(X, self._probabilities)
        return probabilities.clip(np.finfo(np.float32).tiny).astype(np.float32)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return a score for each class. The class with the greatest score is the prediction.

        Parameters
        ----------
        X : array-like
            Images in the form given to ``fit``.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes) or (n_samples,), dtype float32
            Log-probabilities minus their mean over the classes. For two classes, the score is the
            logit of ``classes_[1]``.
        """
        scores = self._run(X, self._log_probabilities)
        if len(self.classes_) == 2:
            return (scores[:, 1] - scores[:, 0]).astype(np.float32)
        return (scores - scores.mean(axis=1, keepdims=True)).astype(np.float32)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each image.

        Parameters
        ----------
        X : array-like
            Images in the form given to ``fit``.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        most_probable = self.predict_proba(X).argmax(axis=1)
        return self.classes_[most_probable]

    def _run(self, X: Any, compute: Callable[..., np.ndarray]) -> np.ndarray:
        """Run images through the trunk, and return the results of `compute` for all batches."""
        check_is_fitted(self)
        check_prediction_parameters(self)
        images = check_images(self, X, reset=False)
        context = run_context(self, fitted=True)
        counter = PassCounter()
        results = []
        for _, _, block in self._runner.blocks(images, context, counter):
            results.append(compute(block, context))
        if context.verbose > 1 and counter.n_images:
            print(counter.report(f"{counter.n_images} images"))
        return np.concatenate(results)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        history = state.get("history_")
        if isinstance(history, History):
            state["history_"] = without_batches(history)
        elif history is not None:
            state["history_"] = [without_batches(one) for one in history]
        return state
