"""BaseResNet: what the four classifiers have in common."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, assert_all_finite, check_is_fitted
from skorch.history import History

from .._cache import IN_PROCESS_BYTES, ActivationCache, activation_cache
from .._images.images import Images
from .._images.inputs import check_images
from .._tail.rows import Blueprint, TrainingRows
from .._tail.tail import Tail
from .._tail.trained_net import without_batches
from .._trunk.build import Backbone
from .._trunk.features import TRUNK_CONSTRAINTS, ResNetFeatures
from .._trunk.weights import existing_weights
from .._utils.constraints import PREDICTION_PARAMETERS, check_prediction_parameters
from .._utils.device import resolve_device, warn_shared_gpu
from .._utils.values import check_none_blank, check_none_missing, check_one_column
from ..exceptions import NeverPredictedWarning, TrunkPassWarning
from .checks import check_callbacks, check_layer_sizes, check_targets_are_labels, class_weights
from .splits import patient_groups, validation_mask

# parameters of a tail that set_params changes after fit
_TAIL_PARAMETERS = ("device", "precision", "verbose")
_N_VIEWS = 4  # augmented views per image below a cut, where augment=True


@dataclass(kw_only=True, eq=False, repr=False)
class BaseResNet(ClassifierMixin, BaseEstimator):
    """What the four classifiers share; a subclass says which tails it fits and combines them."""

    backbone: Backbone = "resnet50"
    weights: str | os.PathLike | None = "imagenet"
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
    class_weight: str | dict | None = "balanced"
    sampler: Any = None
    group_by: Callable[[str], Any] | None = None
    augment: bool | int = False
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 10
    tol: float = 1e-4
    callbacks: Sequence[Any] | None = None
    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"
    memory: Any = None
    n_jobs: int | None = None
    random_state: Any = None
    verbose: int = 0

    _parameter_constraints: ClassVar[dict] = {
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

    # scikit-learn's metadata routing: patients reach fit without being asked for
    __metadata_request__fit: ClassVar[dict] = {"groups": True}

    def fit(self, X: Any, y: Any, *, groups: Any = None, sample_weight: Any = None) -> BaseResNet:
        """Load the trunk, run it once per image, and train the tails.

        Parameters
        ----------
        X : array-like of shape (n_samples, h * w), (n_samples, h, w), (n_samples, h, w, 3) or \
                (n_samples, 1)
            Rows of pixels, images, or a column of paths. Unsigned integers are scaled by the
            maximum of their type; floats lie in [0, 1] or are standardised.
        y : array-like of shape (n_samples,)
            Labels: strings, integers or booleans.
        groups : array-like of shape (n_samples,), default=None
            Patients. No internal split divides one; images of equal content are never divided.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights in the loss, not negative. Rows of weight 0 are left out.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            If X, y or a parameter does not fit; the message says which and what would.
        OSError
            If images or weights cannot be read.

        Warns
        -----
        NeverPredictedWarning
            If the fitted model predicts no row of its validation part as one of the classes.
            Without early stopping its training rows are judged, and for ``ResNetStacking`` the
            out-of-fold outputs.

        Notes
        -----
        A fit that fails, or is interrupted, leaves the model as it was.
        """
        before = dict(vars(self))
        try:
            self._fit(X, y, groups, sample_weight)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def _fit(self, X: Any, y: Any, groups: Any, sample_weight: Any) -> None:
        self._validate_params()
        images = check_images(self, X, reset=True)
        y = self._check_targets(y, images)
        if groups is not None:
            column = check_one_column("groups", groups)
            remedy = "give each image of an unknown patient a value of its own"
            check_none_missing("groups", groups, remedy)
            check_none_blank("groups", groups, remedy)
            groups = column
            if len(groups) != len(images):
                raise ValueError(
                    f"groups has {len(groups)} values for {len(images)} images; expected one per "
                    "image: if a sampler before this step changes the rows, use the model's own "
                    "sampler, or group_by"
                )
        weight = np.ones(len(images))
        if sample_weight is not None:
            # its second argument only tells the number of rows
            weight = _check_sample_weight(sample_weight, weight[:, None], ensure_non_negative=True)
        kept = np.flatnonzero(weight > 0)
        if len(kept) < len(images):
            images, y, weight = images.take(kept), y[kept], weight[kept]
            groups = None if groups is None else groups[kept]
        codes = self._encode(y)
        if isinstance(self.class_weight, dict):
            weight = weight * class_weights(self.class_weight, self.classes_)[codes]
        warn_shared_gpu(self.n_jobs, resolve_device(self.device))
        draw = check_random_state(self.random_state)
        self._fit_trunk(draw)
        seeds = draw.randint(2**31 - 1, size=3)
        group_codes = np.arange(len(images))
        if self.early_stopping or self._divides_rows:
            group_codes = patient_groups(images, groups, self.group_by)
        held = np.zeros(len(images), dtype=bool)
        self.validation_indices_ = None
        if self.early_stopping:
            held = validation_mask(
                codes, group_codes, self.validation_fraction, self._names, int(seeds[0])
            )
            self.validation_indices_ = kept[held]
        with self.trunk_._counting() as tally:
            rows = self._training_rows(images, codes, weight, held)
            try:
                self._fit_tails(rows, group_codes, seeds[1:])
                predicted = self._predicted_codes(rows)
            finally:
                rows.release()
        self.cache_info_ = tally.info(rows.n_uses)
        self._warn_never_predicted(predicted)
        self._record_training()

    # -- what a subclass says -------------------------------------------------------------------

    _divides_rows: ClassVar[bool] = False

    def _fit_tails(self, rows: TrainingRows, groups: np.ndarray, seeds: np.ndarray) -> None:
        """Fit the tails, on ids of `rows`."""
        raise NotImplementedError

    @property
    def _tails(self) -> list[Tail]:
        """The fitted tails that predictions pass."""
        raise NotImplementedError

    def _log_probabilities(self, activations: np.ndarray) -> np.ndarray:
        """Return log-probabilities (n, n_classes) from activations, or from ids during the fit."""
        raise NotImplementedError

    def _record_training(self) -> None:
        """Set the attributes that tell how training went."""
        raise NotImplementedError

    # -- the steps of fit -----------------------------------------------------------------------

    def _validate_params(self) -> None:
        super()._validate_params()
        if self.weights not in (None, "imagenet"):
            existing_weights(self.weights)  # each fit of a search then fails before it reads images
        check_layer_sizes("hidden_layer_sizes", self.hidden_layer_sizes)
        check_callbacks(self.callbacks)

    def _check_targets(self, y: Any, images: Images) -> np.ndarray:
        name = type(self).__name__
        if y is None:
            raise ValueError(
                f"{name} requires y to be passed, but the target y is None; expected a label per "
                "image"
            )
        check_targets_are_labels(y)
        given, y = y, column_or_1d(y, warn=True)
        if len(y) == 1 < len(images):
            raise ValueError(
                f"X has {len(images)} rows and y has one label; expected a label per image: if X "
                "is one image, pass [X], and add images of other classes"
            )
        check_consistent_length(images, y)
        if y.dtype.kind == "f":
            assert_all_finite(y, input_name="y")
        check_none_missing("y", given, "drop the images without a label")
        check_classification_targets(y)
        return y

    def _encode(self, y: np.ndarray) -> np.ndarray:
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

    def _fit_trunk(self, draw: np.random.RandomState) -> None:
        parameters = {name: getattr(self, name) for name in ResNetFeatures._get_param_names()}
        if isinstance(self.random_state, np.random.RandomState):
            parameters["random_state"] = int(draw.randint(2**31 - 1))
        trunk = ResNetFeatures(**parameters)
        trunk.n_features_in_ = self.n_features_in_
        for name in ("_image_shape", "_standardised", "_takes_paths"):
            setattr(trunk, name, getattr(self, name))
        if hasattr(self, "feature_names_in_"):
            trunk.feature_names_in_ = self.feature_names_in_
        self.trunk_ = trunk._load()

    def _training_rows(
        self, images: Images, codes: np.ndarray, weight: np.ndarray, held: np.ndarray
    ) -> TrainingRows:
        trunk, n = self.trunk_, len(images)
        is_frozen = self.trainable != "all"
        n_views = 0
        if self.augment and is_frozen:
            n_views = _N_VIEWS if isinstance(self.augment, (bool, np.bool_)) else int(self.augment)
        asked = np.zeros(n * (1 + n_views), dtype=bool)
        if is_frozen and trunk._fit_tally is not None:
            trunk._fit_tally.asked, trunk._fit_tally.n_views = asked, n_views
        cache = activation_cache(self.memory, create=True)
        network = trunk._network
        assert network is not None  # it was built a moment ago
        blueprint = Blueprint(
            network.body(self.trainable), network.head_width, 0 if is_frozen else trunk._channels
        )

        def take(ids: np.ndarray) -> np.ndarray:
            asked[ids] = True
            views, index = np.divmod(ids, n)
            parts = {
                v: trunk._rows(images.take(index[views == v]), cache, int(v)) for v in set(views)
            }
            first = next(iter(parts.values()))
            result = np.empty((len(ids), *first.shape[1:]), first.dtype)
            for v, part in parts.items():
                result[views == v] = part
            return result

        if trunk._row_shape is None:  # at a cut between the stages: the first images tell
            trunk._rows(images.take(np.arange(min(n, self.batch_size))), cache)
        whole = None
        itemsize = 4 if is_frozen else images.dtype.itemsize
        if n * (1 + n_views) * int(np.prod(trunk._shape)) * itemsize <= IN_PROCESS_BYTES:
            whole = self._all_activations(images, take, n_views, held)
            asked[:n] = True
        elif is_frozen and isinstance(cache, ActivationCache):
            warnings.warn(
                f"the activations of {n} images at trainable={self.trainable!r} exceed "
                f"{IN_PROCESS_BYTES / 2**30:.3g} GiB, so the trunk runs again for every batch: "
                "memory=<folder> keeps them on disk",
                TrunkPassWarning,
                stacklevel=4,
            )
        return TrainingRows(
            take if whole is None else whole.__getitem__,
            trunk._shape,
            sample_weight=weight,
            is_validation=held,
            blueprint=blueprint,
            codes=codes,
            names=self._names,
            n_views=n_views,
            whole=whole,
        )

    def _all_activations(
        self, images: Images, take: Callable, n_views: int, held: np.ndarray
    ) -> np.ndarray:
        """Return the activations of all rows and views as one array."""
        n = len(images)
        whole: np.ndarray | None = None
        for index, block in self.trunk_._blocks(images):
            if whole is None:
                if len(index) == n and not n_views:
                    return block
                whole = np.empty((n * (1 + n_views), *block.shape[1:]), block.dtype)
            whole[index] = block
        assert whole is not None
        trained = np.flatnonzero(~held)
        for view in range(1, n_views + 1):
            for start in range(0, len(trained), self.batch_size):
                ids = trained[start : start + self.batch_size] + view * n
                whole[ids] = take(ids)
        return whole

    def _tail(self, rows: TrainingRows, seed: int) -> Tail:
        return Tail(
            rows,
            hidden_layer_sizes=tuple(self.hidden_layer_sizes),
            dropout=self.dropout,
            lr=self.lr,
            lr_schedule=self.lr_schedule,
            weight_decay=self.weight_decay,
            label_smoothing=self.label_smoothing,
            mixup=self.mixup,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            class_weight=None if isinstance(self.class_weight, dict) else self.class_weight,
            sampler=self.sampler,
            augment=bool(self.augment),
            early_stopping=self.early_stopping,
            n_iter_no_change=self.n_iter_no_change,
            tol=self.tol,
            callbacks=self.callbacks,
            device=self.device,
            precision=self.precision,
            random_state=int(seed),
            verbose=self.verbose,
        )

    def _predicted_codes(self, rows: TrainingRows) -> np.ndarray:
        """Return the codes of classes predicted for the rows that the model is judged on."""
        held = rows.is_validation
        ids = np.flatnonzero(held) if held.any() else np.arange(rows.n_rows)
        return np.unique(self._log_probabilities(ids[:, None]).argmax(axis=1))

    def _judged_on(self) -> str:
        return "validation part" if self.early_stopping else "training rows"

    def _warn_never_predicted(self, predicted: np.ndarray) -> None:
        never = [name for i, name in enumerate(self._names) if i not in predicted]
        if never:
            warnings.warn(
                f"{type(self).__name__} never predicts {', '.join(map(repr, never))} on its "
                f"{self._judged_on()}; expected every class: train longer, raise lr, unfreeze more "
                "(trainable), or weight classes (class_weight='balanced')",
                NeverPredictedWarning,
                stacklevel=4,
            )

    # -- prediction -----------------------------------------------------------------------------

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

        With ``class_weight="balanced"`` these are probabilities for classes equally frequent,
        whatever their share in training (for ``ResNetOvR``: as if each class were as frequent as
        the rest together).

        Parameters
        ----------
        X : array-like
            Images in the form given to ``fit``.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes), dtype float32
            Columns in the order of ``classes_``; rows sum to 1. None is 0: less than float32's
            least normal number, 1.2e-38, is that number.
        """
        return np.exp(self._scores(X)).clip(np.finfo(np.float32).tiny).astype(np.float32)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the confidence in each class, whose greatest is the prediction.

        Parameters
        ----------
        X : array-like
            Images in the form given to ``fit``.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes) or (n_samples,), dtype float32
            Log-probabilities less their mean over the classes; for two classes the logit of
            ``classes_[1]``.
        """
        scores = self._scores(X)
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

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        history = state.get("history_")
        if isinstance(history, History):
            state["history_"] = without_batches(history)
        elif history is not None:
            state["history_"] = [without_batches(one) for one in history]
        return state

    def _scores(self, X: Any) -> np.ndarray:
        """Return log-probabilities in float64."""
        check_is_fitted(self)
        check_prediction_parameters(self)
        images = check_images(self, X, reset=False)
        for part in self._tails:
            part.__dict__.update({name: getattr(self, name) for name in _TAIL_PARAMETERS})
        self.trunk_.__dict__.update({name: getattr(self, name) for name in PREDICTION_PARAMETERS})
        blocks = [self._log_probabilities(block) for _, block in self.trunk_._blocks(images)]
        return np.concatenate(blocks)


def training_record(tail: Tail) -> dict[str, Any]:
    """Return how the training of one tail went, under the names of scikit-learn's MLP."""
    history = tail.net_.history
    scores = None
    if len(history) and "valid_loss" in history[-1]:
        scores = [-loss for loss in history[:, "valid_loss"]]
    return {
        "n_iter_": len(history),
        "loss_curve_": list(history[:, "train_loss"]),
        "validation_scores_": scores,
        "best_validation_score_": None if scores is None else max(scores),
        "history_": history,
    }
