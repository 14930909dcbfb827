"""class_activation_map: which parts of an image support a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch.nn import functional

from .._images.images import Images
from .._images.inputs import check_images
from .._models.base import BaseResNet
from .._models.model_inside import innermost_model
from .._models.one_vs_one import ResNetOvO
from .._models.single import ResNetClassifier
from .._trunk.context import RunContext, run_context
from .._utils.constraints import check_prediction_parameters
from ._explained_score import Question, Score, explained_score, make_question
from ._grad_cam import GRADIENT_METHODS
from ._layers import LayerBatch, layer_batches
from ._pixel_attributions import PIXEL_METHODS, pixel_attributions

METHODS = (*GRADIENT_METHODS, *PIXEL_METHODS)


@dataclass(frozen=True, eq=False)
class ActivationMaps:
    """Maps that show which parts of images support a class, with the probability they explain.

    Attributes
    ----------
    maps : ndarray of shape (n_images, height, width), dtype float32
        Positive where the image supports the target, negative where it speaks against it.
    probabilities : ndarray of shape (n_images,), dtype float32
        Probability of the target. With `versus`, the probability of the target if the image
        belongs to one of the two classes.
    target : ndarray of shape (n_images,)
        Class that is explained.
    versus : label or None
        Class with which the target is compared.
    method : str
        Method that made the maps.
    parts : ndarray of shape (n_images, n_networks, layer_height, layer_width), or None
        Contribution of each network of a combined model, in the size of the layer. Their sum is
        the map before it is resized. Only with Grad-CAM, and for models of several networks.
    part_names : tuple of str
        Names of the networks, such as ``"COVID-19 vs Normal"``.

    Examples
    --------
    >>> from cxr_sklearn import ResNetOvO
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> from cxr_sklearn.inspection import class_activation_map
    >>> X, y = make_chest_phantoms(30, image_size=64, random_state=0)
    >>> model = ResNetOvO(backbone="resnet18", weights=None, image_size=64, random_state=0)
    >>> found = class_activation_map(model.fit(X, y), X[:2])
    >>> found.part_names
    ('COVID-19 vs Normal', 'COVID-19 vs Pneumonia', 'Normal vs Pneumonia')
    """

    maps: np.ndarray
    probabilities: np.ndarray
    target: np.ndarray
    versus: Any
    method: str
    parts: np.ndarray | None = None
    part_names: tuple[str, ...] = ()


def class_activation_map(
    model: Any,
    X: Any,
    *,
    target: Any = None,
    versus: Any = None,
    method: str = "grad-cam",
    size: int | Sequence[int] | None = None,
) -> ActivationMaps:
    """Show which parts of images support a class.

    Use it to see whether a model looks at the lungs, and why it prefers one class to another. The
    maps explain the probability that the model returns: for a combined model that of all its
    networks together.

    Parameters
    ----------
    model : classifier
        Fitted: a model of this package, or a pipeline, a search, a calibrated or a referring
        classifier that contains one.
    X : array-like
        Images in the form given to ``fit`` of `model`.
    target : label, or array-like of shape (n_images,), default=None
        Class to explain. By default the class that the model predicts for each image; with
        `versus`, the most probable one of the other classes.
    versus : label, default=None
        Class with which the target is compared: ``versus="Pneumonia"`` answers the question "why
        COVID-19 rather than Pneumonia". In :class:`~cxr_sklearn.ResNetOvO` the map is that of the
        network of this pair alone. In the other models it explains the log-odds of the two
        classes. By default the target is compared with all classes.
    method : {"grad-cam", "grad-cam++", "integrated-gradients", "occlusion"}, default="grad-cam"
        Method. The first two explain the last layer with maps, and are fast. The other two explain
        the pixels with the package captum (extra ``explain``), and need many forward passes.
    size : int or (int, int), default=None
        Height and width of the maps in pixels. They are resized bilinearly. By default the maps
        have the size of the images that the network gets, `image_size`.

    Returns
    -------
    found : ActivationMaps
        With the attributes ``maps``, an array of shape (n_images, height, width) and type float32,
        ``probabilities`` and ``target``. See Notes for the unit of the maps.

    Raises
    ------
    ValueError
        If a class is unknown, `versus` is the target, or the model has no maps. The message states
        what is expected.
    ImportError
        If the method needs captum, which is not installed.

    Notes
    -----
    The score that is explained is the logarithm of the probability of the target, or the log-odds
    of two classes. Grad-CAM without its final ReLU is linear in the gradient. The map of the score
    is therefore the sum of the maps of the networks, each multiplied by the derivative of the score
    with respect to the output of its network.

    Values are in units of the score per cell of the layer: the sum over the cells of the layer is
    the first-order change of the score if the activations of the layer are set to 0. For a network
    whose head is one linear layer (the default), this is exact for the output of the network.

    The layer is the last stage with a height and a width: ``layer4`` of a ResNet. At the cut
    ``"head"`` the frozen trunk runs once per image, and gradients are computed above its last layer
    only.

    Integrated gradients begin at a black image. Occlusion replaces squares by the mean grey level
    of the image, and returns the decrease of the score.

    References
    ----------
    Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
    localization", ICCV 2017.

    Chattopadhay et al., "Grad-CAM++: generalized gradient-based visual explanations for deep
    convolutional networks", WACV 2018.

    Prabhushankar, Kwon, Temel and AlRegib, "Contrastive explanations in neural networks", ICIP
    2020.

    Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017.

    Examples
    --------
    >>> from cxr_sklearn import ResNetOvO
    >>> from cxr_sklearn.datasets import make_chest_phantoms
    >>> from cxr_sklearn.inspection import class_activation_map
    >>> X, y = make_chest_phantoms(30, image_size=64, random_state=0)
    >>> model = ResNetOvO(backbone="resnet18", weights=None, image_size=64, random_state=0)
    >>> found = class_activation_map(model.fit(X, y), X[:2], target="COVID-19")
    >>> found.maps.shape, found.maps.dtype.name
    ((2, 64, 64), 'float32')
    >>> bool(abs(found.probabilities - model.predict_proba(X[:2])[:, 0]).max() < 1e-4)
    True
    """
    check_method(method)
    inner, rows = explained_model(model, X)
    images = check_images(inner, rows, reset=False)
    question = make_question(inner, len(images), target, versus)
    shape = _map_shape(size, inner.image_size)
    context = run_context(inner, fitted=True)
    make_maps = _gradient_maps if method in GRADIENT_METHODS else _pixel_maps
    # The caller may have switched gradients off.
    with torch.enable_grad():
        found = make_maps(inner, images, question, method, shape, context)
    scores, maps, parts = found
    target_codes = np.concatenate([score.target for score in scores])
    return ActivationMaps(
        maps=maps,
        probabilities=np.concatenate([score.probabilities for score in scores]).astype(np.float32),
        target=inner.classes_[target_codes],
        versus=versus,
        method=method,
        parts=parts,
        part_names=() if parts is None else _part_names(inner),
    )


def explained_model(model: Any, X: Any) -> tuple[BaseResNet, Any]:
    """Return the model of this package inside wrappers, and its input."""
    inner, rows = innermost_model(model, X)
    if not isinstance(inner, BaseResNet):
        raise ValueError(
            f"model={type(inner).__name__} is invalid: it is not a convolutional network of this "
            "package; expected a fitted ResNetClassifier, ResNetOvR, ResNetOvO or ResNetStacking, "
            "or a pipeline or search that contains one. Pass such a model."
        )
    check_is_fitted(inner)
    check_prediction_parameters(inner)
    return inner, rows


def check_method(method: str) -> None:
    """Raise if there is no such method."""
    if method not in METHODS:
        raise ValueError(
            f"method={method!r} is invalid: there is no such method; expected one of "
            f"{', '.join(map(repr, METHODS))}. Pass one of these."
        )


def _map_shape(size: Any, image_size: int) -> tuple[int, int]:
    """Return height and width of the maps."""
    if size is None:
        return image_size, image_size
    sides = [size, size] if isinstance(size, Integral) else list(size)
    is_valid = len(sides) == 2 and all(isinstance(side, Integral) for side in sides)
    if not is_valid or min(sides) < 1:
        raise ValueError(
            f"size={size!r} is invalid: maps have a height and a width; expected an integer of 1 "
            "or more, two of them, or None. Pass size=None for the size that the network sees."
        )
    return int(sides[0]), int(sides[1])


def _part_names(model: BaseResNet) -> tuple[str, ...]:
    names = list(map(str, model.classes_))
    if isinstance(model, ResNetOvO):
        return tuple(f"{first} vs {second}" for first, second in combinations(names, 2))
    if len(names) == 2:
        return (f"{names[1]} vs {names[0]}",)
    return tuple(f"{name} vs rest" for name in names)


Found = tuple[list[Score], np.ndarray, np.ndarray | None]


def _gradient_maps(
    model: BaseResNet,
    images: Images,
    question: Question,
    method: str,
    shape: tuple[int, int],
    context: RunContext,
) -> Found:
    scores, maps, parts = [], np.empty((len(images), *shape), np.float32), []
    start = 0
    for batch in layer_batches(model, images, context):
        outputs = batch.outputs
        rows = slice(start, start + len(outputs))
        score = explained_score(model, outputs, question.take(rows))
        of_networks = _maps_of_networks(model, batch, score.weights, method)
        maps[rows] = resized(of_networks.sum(1), shape)
        scores.append(score)
        parts.append(of_networks.cpu().numpy())
        start = rows.stop
    has_parts = method == "grad-cam" and not isinstance(model, ResNetClassifier)
    return scores, maps, np.concatenate(parts) if has_parts else None


def _maps_of_networks(
    model: BaseResNet, batch: LayerBatch, weights: np.ndarray, method: str
) -> torch.Tensor:
    """Return the map of each network, weighted by its part in the score: (n, n_networks, h, w)."""
    make_map = GRADIENT_METHODS[method]
    gradients = []
    column = 0
    for one in batch.passes:
        n_outputs = one.outputs.shape[1]
        gradients.append(one.gradient(weights[:, column : column + n_outputs]))
        column += n_outputs
    layers = [one.layer.detach() for one in batch.passes]
    # Grad-CAM++ is not linear. Networks with a common layer have one gradient.
    if method != "grad-cam" and batch.is_shared:
        layers, gradients = layers[:1], [torch.stack(gradients).sum(0)]
    maps = [make_map(layer, gradient) for layer, gradient in zip(layers, gradients, strict=True)]
    return torch.stack(maps, dim=1)


def _pixel_maps(
    model: BaseResNet,
    images: Images,
    question: Question,
    method: str,
    shape: tuple[int, int],
    context: RunContext,
) -> Found:
    scores, maps = [], []
    for score, attributions in pixel_attributions(model, images, question, method, context):
        scores.append(score)
        maps.append(resized(attributions, shape))
    return scores, np.concatenate(maps), None


def resized(maps: torch.Tensor, shape: tuple[int, int]) -> np.ndarray:
    """Return maps of shape (n, h, w) in another size, float32."""
    values = maps.float()[:, None]
    if values.shape[-2:] != shape:
        values = functional.interpolate(values, shape, mode="bilinear")
    return values[:, 0].cpu().numpy()
