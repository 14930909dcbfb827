"""The classifiers' shared hyperparameters and life, and the single ResNet50."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, TypeVar

import numpy as np
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, assert_all_finite, check_is_fitted
from skorch.history import History

from ._backbones import Backbone
from ._cache import IN_PROCESS_BYTES, ActivationCache, activation_cache
from ._checks import (
    PREDICTION_PARAMETERS,
    check_callbacks,
    check_layer_sizes,
    check_prediction_parameters,
    check_targets_are_labels,
    class_weights,
)
from ._device import resolve_device, warn_shared_gpu
from ._inputs import Images, check_images
from ._rows import Blueprint, TrainingRows
from ._splits import patient_groups, validation_mask
from ._tail import Tail, without_batches
from ._trunk import TRUNK_CONSTRAINTS, ResNetFeatures
from ._values import check_none_blank, check_none_missing, check_one_column
from ._weights import existing_weights
from .exceptions import NeverPredictedWarning, TrunkPassWarning

# parameters of a tail that set_params changes after fit
_TAIL_PARAMETERS = ("device", "precision", "verbose")

_N_VIEWS = 4  # augmented views per image below a cut, where augment=True

_SHARED_PARAMETERS = """\
backbone : str or callable, default="resnet50"
        A torchvision ResNet by name (``"resnet18"`` to ``"resnet152"``), or a callable that
        returns a :class:`torch.nn.Module` with torchvision's stage names, or with an attribute
        ``stages`` that names its own.
    weights : "imagenet", str, path or None, default="imagenet"
        torchvision's best ImageNet weights, loaded at ``fit``; or a state dict in a ``.pth``
        (read with ``weights_only=True``) or ``.safetensors`` file; or None for what the
        constructor of the network makes.
    trainable : str, default="head"
        The first trained stage: ``"head"``, ``"layer4"``, ``"layer3"``, ``"layer2"``,
        ``"layer1"`` or ``"all"``. What stands before it is the frozen trunk.
    image_size : int, default=224
        Side of the square that the network sees, in pixels. Files are read and rows resized to
        it.
    image_shape : (int, int), default=None
        Height and width of rows that are not square.
    hidden_layer_sizes : tuple of int, default=()
        The dense chain between the network and its output. Empty: a linear head.
    dropout : float, default=0.0
        Probability of dropping a value before each dense layer, in [0, 1).
    lr : float, default=1e-3
        Learning rate of AdamW.
    lr_schedule : {"constant", "one_cycle", "cosine"}, default="constant"
        How the learning rate goes, batch by batch, through `max_epochs`: it stays at `lr`; rises
        to it for 3/10 of the training and falls to almost 0 (Smith and Topin's 1cycle policy,
        :class:`torch.optim.lr_scheduler.OneCycleLR`), as networks trained from scratch want; or
        falls from it to 0 along half a cosine. Where training stops early, the rate has not fallen.
    weight_decay : float, default=1e-2
        Decoupled weight decay of AdamW.
    label_smoothing : float, default=0.0
        Share of each training label that is spread evenly over the classes of the (binary)
        problem, in [0, 1). Validation losses are of the labels as they are.
    mixup : float, default=0.0
        Each batch is mixed with itself in another order, images (or activations) and losses
        alike, in shares drawn from a beta distribution with both parameters at this value
        (Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018). 0 mixes nothing;
        0.1 to 0.4 are usual.
    max_epochs : int, default=30
        Epochs at the most.
    batch_size : int, default=32
        Images per step, and per forward pass. A last batch of one joins the one before it.
    class_weight : "balanced", dict or None, default="balanced"
        Weights of the classes in the loss. ``"balanced"`` is computed within each binary problem,
        after the sampler; a dict gives a weight per label and holds in all of them.
    sampler : imbalanced-learn sampler, default=None
        Resamples the training part of each binary problem, as activations. One that makes new
        rows (SMOTE) needs ``trainable="head"``. The validation part of early stopping, and the
        final MLP of ``ResNetStacking``, weight the classes as the sampler makes them.
    group_by : callable, default=None
        From a path to its patient, a string or an integer, for internal splits where ``groups``
        cannot be passed.
    augment : bool or int, default=False
        Train on variants of each image (rotation, shift, zoom, contrast; no mirror image): random
        ones for ``trainable="all"``, a fixed number of views below a cut, whose activations are
        kept. True is 4 views.
    early_stopping : bool, default=False
        Hold out a validation part, stop when its loss no longer falls, and return to the epoch
        of its least loss. Otherwise training stops when the training loss no longer falls.
    validation_fraction : float, default=0.1
        About this share of the rows is held out, stratified and by patient.
    n_iter_no_change : int, default=10
        Epochs without improvement before training stops.
    tol : float, default=1e-4
        A loss that is lower by more than this counts as an improvement for `n_iter_no_change`.
    callbacks : list of skorch callbacks, default=None
        Added to every tail's skorch net.
    device : str, default="auto"
        CUDA, else Apple's MPS, else the CPU; or a PyTorch device.
    precision : {"auto", "fp32", "bf16", "fp16"}, default="auto"
        Type of the matrix products. ``"auto"`` is float32 but on CUDA, where it is bfloat16 (or
        float16 on cards without).
    engine : {"auto", "torch", "onnxruntime"}, default="auto"
        What runs the trunk. ``"auto"`` is onnxruntime where the extra ``cpu`` is installed, in
        float32 on the CPU and for a backbone given by name, and PyTorch otherwise. Activations of
        the two differ by a rounding error and are cached apart.
    memory : str, path, CacheFolder or joblib.Memory, default=None
        Folder where activations are kept between processes. By default they are kept in memory,
        up to 1 GiB for the process, and nothing is written to disk.
    n_jobs : int, default=None
        Processes that fit binary problems, and threads that decode files.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, order, dropout, augmentation and internal splits. None draws the seed from
        numpy's global generator; a trunk without weights is then still the same each time.
    verbose : int, default=0
        1 prints trunk passes and a line per epoch."""

_SHARED_ATTRIBUTES = """\
classes_ : ndarray of shape (n_classes,)
        The labels.
    trunk_ : ResNetFeatures
        The frozen part, fitted.
    cache_info_ : (hits, misses, passes_saved)
        A named tuple: images whose activations ``fit`` found in the cache, images that passed the
        trunk, and how much more often the tails used an image, in every epoch of every one of
        them and to predict. What workers do is not counted.
    n_features_in_ : int
        Pixels per image, or 1 for a column of paths.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Where X has string column names.
    validation_indices_ : ndarray of int, or None
        Rows of X that early stopping held out."""

_T = TypeVar("_T", bound=type)


def documented(cls: _T) -> _T:
    """Fill the shared parameters and attributes into a docstring."""
    if cls.__doc__:  # python -OO strips it
        text = cls.__doc__.replace("{parameters}", _SHARED_PARAMETERS)
        cls.__doc__ = text.replace("{attributes}", _SHARED_ATTRIBUTES)
    return cls


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


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class ResNetClassifier(BaseResNet):
    """One multi-class ResNet50 (paper, section V).

    A frozen trunk, which every image passes once, and one trained tail with a softmax over all
    classes.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}
    net_ : skorch.NeuralNetClassifier
        The trained tail; takes ``trunk_.transform(X)``.
    n_iter_ : int
        Epochs trained.
    loss_curve_ : list of float
        Training loss by epoch.
    validation_scores_ : list of float, or None
        Validation loss by epoch, negated; None without early stopping.
    best_validation_score_ : float or None
        The highest of these.
    history_ : skorch.history.History
        Everything skorch recorded. A pickle of the model has the epochs, not their batches.

    See Also
    --------
    ResNetOvO : One network per pair of classes.
    ResNetOvR : One network per class, against the rest.
    ResNetStacking : The latter with a trained dense chain.

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

    def _fit_tails(self, rows: TrainingRows, groups: np.ndarray, seeds: np.ndarray) -> None:
        self._estimator = self._tail(rows, seeds[0])
        self._estimator.fit(np.arange(rows.n_rows)[:, None], rows.codes)

    @property
    def net_(self) -> Any:
        """The trained tail, a skorch net."""
        if not hasattr(self, "_estimator"):
            raise AttributeError("net_ is there after fit")
        return self._estimator.net_

    @property
    def _tails(self) -> list[Tail]:
        return [self._estimator]

    def _log_probabilities(self, activations: np.ndarray) -> np.ndarray:
        return log_softmax(self._estimator.logits(activations).astype(np.float64), axis=1)

    def _record_training(self) -> None:
        for name, value in training_record(self._estimator).items():
            setattr(self, name, value)
