"""ResNetFeatures: the frozen part of a network, as a transformer."""

from __future__ import annotations

import contextlib
import copy
import os
import time
from collections.abc import Iterator
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._cache import ActivationCache, CacheFolder, DiskCache, activation_cache
from .._images.augment import augmented_view
from .._images.images import Images
from .._images.inputs import check_images
from .._utils.constraints import N_JOBS, check_prediction_parameters
from .._utils.device import (
    PRECISIONS,
    autocast,
    autocast_dtype,
    in_worker,
    on_cpu,
    place,
    resolve_device,
    to_device,
)
from ..backbones._named import ARCHITECTURES
from .build import Backbone, build_network
from .engine import ENGINES, resolve_engine, run_onnx
from .network import Network
from .pixels import network_images, unit_images
from .probe import probe
from .runner import _PATIENCE, _explained, _Found, _one_ahead, _Tally, _warn_worker

TRUNK_CONSTRAINTS: dict[str, list] = {
    "backbone": [StrOptions(set(ARCHITECTURES)), callable],
    "weights": [str, os.PathLike, None],
    "trainable": [str],
    "image_size": [Interval(Integral, 1, None, closed="left")],
    "image_shape": ["array-like", None],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "device": [str],
    "precision": [StrOptions(set(PRECISIONS))],
    "engine": [StrOptions(set(ENGINES))],
    "memory": [str, os.PathLike, CacheFolder, HasMethods("cache"), None],
    "n_jobs": N_JOBS,
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


class ResNetFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """The frozen trunk of a ResNet, as a transformer: images to activations.

    ``fit`` loads the network and trains nothing. Below the cut that `trainable` names the network
    runs in eval mode and without gradients, once per image: activations are kept by the content
    of the image, so slices, folds, clones and grid candidates share them.

    Parameters
    ----------
    backbone : str or callable, default="resnet50"
        A torchvision ResNet by name (``"resnet18"`` to ``"resnet152"``), or a callable that
        returns a :class:`torch.nn.Module` with torchvision's stage names. A network with other
        stages names them itself, in forward order and with the classification layer last, in an
        attribute ``stages``.
    weights : "imagenet", str, path or None, default="imagenet"
        torchvision's best ImageNet weights, loaded at ``fit``; or a state dict in a ``.pth``
        (read with ``weights_only=True``) or ``.safetensors`` file; or None for what the
        constructor of the network makes.
    trainable : str, default="head"
        The first stage above the cut, the last one not computed here: ``"head"``, ``"layer4"``,
        ``"layer3"``, ``"layer2"``, ``"layer1"`` or ``"all"``. With ``"all"`` there is no trunk,
        and the images come back scaled and resized.
    image_size : int, default=224
        Side of the square that the network sees, in pixels. Rows of another size are resized.
    image_shape : (int, int), default=None
        Height and width of rows that are not square. By default a row whose length is no square
        is an image of one line.
    batch_size : int, default=32
        Images per forward pass.
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
        Threads that decode image files.
    random_state : int, RandomState instance or None, default=None
        Seeds the weights of a network without weights. None is a fixed seed, so that such trunks
        agree.
    verbose : int, default=0
        1 prints how many images passed the trunk.

    Attributes
    ----------
    module_ : torch.nn.Module
        The frozen network below the cut. The models of a process that have a named backbone in
        common share it, so it must not be changed.
    n_features_in_ : int
        Pixels per image, or 1 for a column of paths.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Where X has string column names.

    See Also
    --------
    XRayLoader : Image files to the rows that this takes.
    ResNetClassifier : The trunk with a trained tail.

    Notes
    -----
    At 224 pixels ResNet50 hands over per image 2,048 values at ``"head"``, 200,704 at
    ``"layer4"``, 401,408 at ``"layer3"``, 802,816 at ``"layer2"`` and 200,704 at ``"layer1"``.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016.

    Examples
    --------
    >>> from cxr_sklearn import ResNetFeatures
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> X, y = make_chest_phantoms(4, image_size=32, random_state=0)
    >>> features = ResNetFeatures(backbone="resnet18", weights=None, image_size=32)
    >>> features.fit_transform(X).shape
    (4, 512)
    """

    _parameter_constraints: ClassVar[dict] = TRUNK_CONSTRAINTS

    def __init__(
        self,
        *,
        backbone: Backbone = "resnet50",
        weights: str | os.PathLike | None = "imagenet",
        trainable: str = "head",
        image_size: int = 224,
        image_shape: tuple[int, int] | None = None,
        batch_size: int = 32,
        device: str = "auto",
        precision: str = "auto",
        engine: str = "auto",
        memory: Any = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.trainable = trainable
        self.image_size = image_size
        self.image_shape = image_shape
        self.batch_size = batch_size
        self.device = device
        self.precision = precision
        self.engine = engine
        self.memory = memory
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> ResNetFeatures:
        """Load the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, h * w), (n_samples, h, w), (n_samples, h, w, 3) or \
                (n_samples, 1)
            Rows of pixels, images, or a column of paths. Unsigned integers are scaled by the
            maximum of their type; floats lie in [0, 1] or are standardised.
        y : ignored

        Returns
        -------
        self : ResNetFeatures

        Raises
        ------
        ValueError
            If X, a parameter or the weights do not fit; the message says which and what would.
        OSError
            If the weights cannot be had.
        ImportError
            If `engine` is not installed.
        """
        self._validate_params()
        check_images(self, X, reset=True)
        return self._load()

    def transform(self, X: Any) -> np.ndarray:
        """Run images through the trunk.

        Parameters
        ----------
        X : array-like
            Images in the form given to ``fit``.

        Returns
        -------
        activations : ndarray of shape (n_samples, n_values), dtype float32
            Flattened; for ``"head"`` the 2,048 pooled features of ResNet50.
        """
        check_is_fitted(self)
        check_prediction_parameters(self)
        for name, value in (("trainable", self._cut), ("image_size", self._side)):
            if getattr(self, name) != value:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} was set after fit, which had {value!r}; "
                    "expected the value of fit: call fit again"
                )
        images = check_images(self, X, reset=False)
        blocks = [self._as_float(block) for _, block in self._blocks(images)]
        return np.concatenate(blocks).reshape(len(images), -1)

    # -- what the classifiers use -------------------------------------------------------------

    def _load(self) -> ResNetFeatures:
        """Build, cut and place the network; X has been checked."""
        seed = 0
        if self.random_state is not None:
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        network = build_network(self.backbone, self.weights, seed)
        trunk, _ = network.cut(self.trainable)
        device = resolve_device(self.device)
        dtype = autocast_dtype(self.precision, device)
        resolve_engine(
            self.engine, self.backbone, device, dtype
        )  # one that is not there fails here
        if device.type != "cpu":  # the network is shared by the process, on the CPU
            trunk = copy.deepcopy(trunk)
        self.module_ = place(trunk, device).eval()
        self._network: Network | None = network
        self._channels = network.in_channels
        self._cut, self._side = self.trainable, self.image_size
        self._fingerprint, shape = network.fingerprint, None
        if callable(self.backbone):
            digest, shape = probe(network, self.trainable, self.image_size)
            self._fingerprint += digest
        activation_cache(self.memory, create=True)  # a folder that cannot be had fails here
        self._fit_tally: _Tally | None = None
        self._row_shape: tuple[int, ...] | None = shape
        if self.trainable == "head":
            self._row_shape = (network.head_width,)
        elif self.trainable == "all":
            self._row_shape = (1, self.image_size, self.image_size)
        return self

    @contextlib.contextmanager
    def _counting(self) -> Iterator[_Tally]:
        """Count the images and passes of a fit."""
        self._fit_tally = tally = _Tally(self)
        try:
            yield tally
        finally:
            self._fit_tally = None

    @property
    def _shape(self) -> tuple[int, ...]:
        """Shape of one row of activations; a blank image tells it where none has passed yet."""
        if self._row_shape is None:
            blank = np.zeros((1, self.image_size, self.image_size), np.float32)
            # by PyTorch: an export is to be compared with it on images
            activations = self._forward(torch.from_numpy(blank)[:, None], engine="torch")
            self._row_shape = tuple(activations.shape[1:])
        return self._row_shape

    @property
    def _n_features_out(self) -> int:
        return int(np.prod(self._shape))

    def _running(self) -> tuple[torch.device, torch.dtype | None, str]:
        """Return the device, the type of the matrix products and the engine of this machine."""
        device = resolve_device(self.device, fitted=True)
        dtype = autocast_dtype(self.precision, device)
        engine = resolve_engine(self.engine, self.backbone, device, dtype, fitted=True)
        return device, dtype, engine

    def _context(self) -> str:
        """Name everything but the image that the activations depend on."""
        device, dtype, engine = self._running()
        # the cut as fitted: rows stored under another one would be returned to other models
        parts = (self._fingerprint, self._cut, self.image_size, dtype, device.type, engine)
        return "|".join(map(str, parts))

    def _blocks(self, images: Images) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (index, activations) of all images, batch by batch."""
        cache = activation_cache(self.memory, create=False)
        tally = _Tally(self)
        n = len(images)
        batches = [
            np.arange(start, min(start + self.batch_size, n))
            for start in range(0, n, self.batch_size)
        ]

        def look_up(index: np.ndarray) -> tuple[Images, _Found | None]:
            some = images.take(index)
            if self.trainable != "all":
                return some, self._look_up(some, cache)
            some.decode(np.arange(len(some)))
            return some, None

        for index, (some, found) in zip(batches, _one_ahead(look_up, batches), strict=True):
            yield index, self._rows(some, cache, tally=tally, found=found)
        tally.report()

    def _look_up(self, images: Images, cache: ActivationCache | DiskCache, view: int = 0) -> _Found:
        """Find what the cache has of some images, and decode the others."""
        keys = [digest + view.to_bytes(2, "little") for digest in images.digests()]
        is_named = isinstance(cache, DiskCache) and isinstance(self.backbone, str)
        # a file may hold rows of any shape; own networks are not run for this
        shape = self._shape if is_named else self._row_shape
        rows = cache.get(self._context(), keys, shape)
        found = _Found(keys, rows)
        images.decode(np.array(list(found.missing.values()), dtype=int))
        return found

    def _rows(
        self,
        images: Images,
        cache: ActivationCache | DiskCache,
        view: int = 0,
        tally: _Tally | None = None,
        found: _Found | None = None,
    ) -> np.ndarray:
        """Return the activations of a few images, from the cache where it has them.

        What was found before may be less than there is by now.
        """
        index = np.arange(len(images))
        if self.trainable == "all":
            pixels = images.pixels(index)
            if view == 0 and pixels.shape[1:] == (self.image_size, self.image_size):
                return pixels[:, None]  # uint8 stays so until it is on the device
            return self._prepared(images, index, view).cpu().numpy()
        context = self._context()
        if found is None:
            found = self._look_up(images, cache, view)
        new: dict[bytes, np.ndarray] = {}
        n_passes, start = 0, time.monotonic()
        while wanted := [key for key in found.missing if key not in new][: self.batch_size]:
            patient = time.monotonic() - start < _PATIENCE
            with cache.turn(context, wanted, patient) as (ready, mine):
                new.update(ready)
                if mine:
                    part = np.array([found.missing[key] for key in mine])
                    rows = self._forward(self._prepared(images, part, view)).float().cpu().numpy()
                    new.update(zip(mine, rows, strict=True))
                    cache.put(context, mine, rows)
                    n_passes += len(mine)
            if not ready and not mine:
                time.sleep(0.05)  # another process is computing these
        if tally is not None:
            tally.images += len(images)
        for counter in (tally, self._fit_tally):
            if counter is not None:
                counter.passes += n_passes
        if n_passes and isinstance(cache, ActivationCache) and in_worker():
            _warn_worker()
        rows = np.stack(
            [new[k] if row is None else row for k, row in zip(found.keys, found.rows, strict=True)]
        )
        self._row_shape = rows.shape[1:]
        return rows

    def _prepared(self, images: Images, index: np.ndarray, view: int) -> torch.Tensor:
        device = resolve_device(self.device, fitted=True)
        unit = unit_images(to_device(images.pixels(index), device), self.image_size)
        if view:
            digests = images.take(index).digests()
            unit = augmented_view(unit, [int.from_bytes(d[:7], "little") for d in digests], view)
        if self.trainable == "all":
            return unit
        return network_images(unit, self._channels, images.standardised)

    def _forward(self, batch: torch.Tensor, engine: str | None = None) -> torch.Tensor:
        device, dtype, usual = self._running()
        engine = engine or usual
        place(self.module_, device)
        batch = batch.to(device)
        if batch.shape[1] != self._channels and self.trainable != "all":
            batch = batch.expand(-1, self._channels, -1, -1)
        try:
            with torch.inference_mode(), autocast(device, dtype):
                if engine == "torch":
                    return self.module_(batch.contiguous(memory_format=torch.channels_last))
            return run_onnx(self.module_, (self._fingerprint, self.trainable), batch)
        except RuntimeError as error:
            raise _explained(error, self.image_size) from error

    @staticmethod
    def _as_float(rows: np.ndarray) -> np.ndarray:
        return rows.astype(np.float32) / 255 if rows.dtype == np.uint8 else rows

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]  # whatever it is given
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "module_" in state:
            state.update(_network=None, module_=on_cpu(state["module_"]))
        return state
