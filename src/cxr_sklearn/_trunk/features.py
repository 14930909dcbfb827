"""ResNetFeatures: the frozen part of a network, as a transformer."""

from __future__ import annotations

import math
import os
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._cache import CacheFolder
from .._images.inputs import check_images, copy_input_form
from .._images.pixel_scale import scale_to_unit
from .._utils.constraints import N_JOBS, check_prediction_parameters
from .._utils.device import PRECISIONS
from .._utils.doc_link import DocLinkMixin
from .._utils.fit_tasks import CallbackSupportMixin, reported
from ..backbones import list_backbones
from .build import Backbone
from .context import RunContext, run_context
from .counter import PassCounter
from .engine import ENGINES
from .runner import Runner, build_runner

TRUNK_CONSTRAINTS: dict[str, list[Any]] = {
    "backbone": [StrOptions(set(list_backbones())), callable],
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


class ResNetFeatures(
    DocLinkMixin,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Transformer from images to activations: the frozen trunk of a ResNet.

    Use it to train another classifier on the features of a network, or to look at the features.
    ``fit`` loads the network, and trains nothing. The part below the cut that `trainable` names
    runs in eval mode and without gradients, once per image. The activations are stored with a
    digest of the image as the key, so that slices, folds, clones and candidates of a search share
    them.

    Parameters
    ----------
    backbone : str or callable, default="resnet50"
        The network: the name of a torchvision ResNet (``"resnet18"`` to ``"resnet152"``), or a
        callable that returns a :class:`torch.nn.Module`. The module has the stage names of
        torchvision's ResNets, or lists its own in an attribute ``stages``.
    weights : "imagenet", str, path or None, default="imagenet"
        Initial weights: torchvision's best ImageNet weights, which ``fit`` downloads once; the
        path of a state dict in a ``.pth`` file (read with ``weights_only=True``) or a
        ``.safetensors`` file; or None for the weights that the constructor makes.
    trainable : str, default="head"
        The first stage above the cut, which is not computed here: ``"head"``, ``"layer4"``,
        ``"layer3"``, ``"layer2"``, ``"layer1"`` or ``"all"``. With ``"all"`` there is no trunk,
        and the images are returned, scaled and resized.
    image_size : int, default=224
        Side of the square image that the network gets, in pixels. Images are resized to it.
    image_shape : (int, int), default=None
        Height and width of rows of pixels that are not square. By default, a row with a length
        that is not a square number is an image of one line.
    batch_size : int, default=32
        Number of images per forward pass.
    device : str, default="auto"
        A PyTorch device. ``"auto"`` is CUDA if available, then Apple's MPS, then the CPU.
    precision : {"auto", "fp32", "bf16", "fp16"}, default="auto"
        Type of the matrix products. ``"auto"`` is float32 on the CPU and on MPS. On CUDA it is
        bfloat16, or float16 if the card does not support that.
    engine : {"auto", "torch", "onnxruntime"}, default="auto"
        Program that runs the trunk. ``"auto"`` is onnxruntime if the extra ``cpu`` is installed,
        the device is the CPU, the precision is float32 and the backbone is given by name, and
        PyTorch otherwise. Their activations differ by rounding errors, and are stored separately.
    memory : str, path, CacheFolder or joblib.Memory, default=None
        Folder in which activations are stored for other processes and later runs. By default they
        are stored in memory, up to 1 GiB per process, and nothing is written to disk.
    n_jobs : int, default=None
        Number of threads that decode image files.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights if `weights` is None. None is a fixed seed, so that all trunks
        without a seed are equal.
    verbose : int, default=0
        1 shows a progress bar. 2 prints how many images passed the trunk instead.

    Attributes
    ----------
    module_ : torch.nn.Module
        The frozen network below the cut. Do not change it: models of this process with the same
        named backbone share it.
    row_shape_ : tuple of int
        Shape of the activations of one image, which ``transform`` flattens.
    n_features_in_ : int
        Number of pixels per image, or 1 for a column of paths.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if they are strings.

    See Also
    --------
    XRayLoader : Load image files as rows of pixels.
    ResNetClassifier : A classifier: a trunk with a trained tail.

    Notes
    -----
    At 224 pixels, the activations of ResNet50 have 2,048 values per image at ``"head"``, 200,704 at
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

    _parameter_constraints: ClassVar[dict[str, Any]] = TRUNK_CONSTRAINTS

    def __init__(
        self,
        *,
        backbone: Backbone = "resnet50",
        weights: str | os.PathLike[str] | None = "imagenet",
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

    @reported
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
            If X, a parameter or the weights are invalid. The message states what is expected.
        OSError
            If the weights cannot be read or downloaded.
        ImportError
            If `engine` is not installed.
        """
        self._validate_params()
        check_images(self, X, reset=True)
        # An engine or a folder that is missing on this machine raises an error here, before the
        # network is built.
        context = run_context(self, fitted=False)
        self._fit_runner(context.device)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Run images through the trunk.

        Parameters
        ----------
        X : array-like
            Images in the form given to ``fit``.

        Returns
        -------
        activations : ndarray of shape (n_samples, n_values), dtype float32
            One row per image. For ``"head"``, these are the 2,048 pooled features of ResNet50.
        """
        check_is_fitted(self)
        check_prediction_parameters(self)
        runner = self._runner
        for name in ("trainable", "image_size"):
            fitted = getattr(runner, name)
            if getattr(self, name) != fitted:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} was set after fit, which had {fitted!r}; "
                    "expected the value of fit. Call fit again."
                )
        images = check_images(self, X, reset=False)
        context = run_context(self, fitted=True)
        counter = PassCounter()
        blocks = []
        for _, _, block in runner.blocks(images, context, counter):
            blocks.append(scale_to_unit(block))
        if self.verbose > 1 and counter.n_images:
            print(counter.report(f"{counter.n_images} images"))
        return np.concatenate(blocks).reshape(len(images), -1)

    def _fit_runner(self, device: torch.device) -> Runner:
        """Build and cut the network; the parameters and X have been checked."""
        seed = 0
        if self.random_state is not None:
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._runner = build_runner(
            self.backbone, self.weights, self.trainable, self.image_size, seed, device
        )
        return self._runner

    @property
    def module_(self) -> torch.nn.Module:
        """The frozen network below the cut."""
        if not hasattr(self, "_runner"):
            raise AttributeError("module_ is available after fit")
        return self._runner.module

    @property
    def row_shape_(self) -> tuple[int, ...]:
        """Shape of the activations of one image."""
        if not hasattr(self, "_runner"):
            raise AttributeError("row_shape_ is available after fit")
        return self._runner.row_shape

    @property
    def _n_features_out(self) -> int:
        return math.prod(self._runner.row_shape)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]  # whatever it is given
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_runner")


def fit_trunk(
    estimator: Any, context: RunContext, random_state: Any
) -> tuple[ResNetFeatures, Runner]:
    """Build the trunk of a classifier.

    Parameters
    ----------
    estimator : classifier
        It has the parameters of :class:`ResNetFeatures`, and has checked them and X.
    context : RunContext
    random_state : int or None
        Seed of a network without weights.

    Returns
    -------
    trunk : ResNetFeatures
        Fitted on the same X.
    runner : Runner
        The runner that `trunk` uses.
    """
    parameters = {}
    for name in ResNetFeatures._get_param_names():
        parameters[name] = getattr(estimator, name)
    trunk = ResNetFeatures(**{**parameters, "random_state": random_state})
    copy_input_form(estimator, trunk)
    return trunk, trunk._fit_runner(context.device)
