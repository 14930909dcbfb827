"""Copies of a model that have learned nothing: of random weights, or of random labels."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import nn

from .._images.images import Images
from .._images.inputs import check_images
from .._models.base import BaseResNet
from .._models.single import ResNetClassifier
from .._models.stacking import ResNetStacking
from .._tail.tail import Tail
from .._tail.trained_net import net_with_module
from .._trunk.context import run_context
from .._trunk.counter import PassCounter
from .._utils.device import seeded
from ..exceptions import NeverPredictedWarning

# Images on which the standardisation of a random network is fitted.
_MAX_IMAGES = 64


def with_random_weights(model: BaseResNet, X: Any, seed: int) -> BaseResNet:
    """Return a copy of a model in which every weight of every network is random.

    Parameters
    ----------
    model : classifier
        Fitted model of this package.
    X : array-like
        Its input. The first layer of the tails is standardised on these images.
    seed : int
    """
    twin = _copied(model)
    # Neither the user's folder nor an exported network is used for random weights.
    twin.engine, twin.memory = "torch", None
    twin._runner.fingerprint += f"|random weights {seed}"
    with seeded(seed):
        _randomise(twin._runner.module)
        images = check_images(twin, X, reset=False)
        activations = _some_activations(twin, images)
        for tail in twin._tails:
            _randomise_tail(tail, activations)
        if isinstance(twin, ResNetStacking):
            outputs = twin._outputs(activations).astype(np.float32)
            _randomise_tail(twin.final_estimator_, outputs)
    return twin


def _copied(model: BaseResNet) -> BaseResNet:
    """Return a copy of a model with networks of its own."""
    twin: BaseResNet = _shallow(model)
    twin._runner = _shallow(model._runner)
    twin._runner.module = copy.deepcopy(model._runner.module)
    # The public trunk of a model uses the same runner.
    twin.trunk_ = _shallow(model.trunk_)
    twin.trunk_._runner = twin._runner
    tails = [_copied_tail(tail) for tail in model._tails]
    if isinstance(twin, ResNetClassifier):
        (twin._estimator,) = tails
    else:
        twin.estimators_ = tails
    if isinstance(twin, ResNetStacking):
        twin.final_estimator_ = _copied_tail(twin.final_estimator_)
    return twin


def _copied_tail(tail: Tail) -> Tail:
    twin: Tail = _shallow(tail)
    twin.net_ = net_with_module(tail.net_, copy.deepcopy(tail.net_.module_))
    return twin


def _shallow(thing: Any) -> Any:
    """Return a copy with the same attributes, without the pickling of its class."""
    twin = object.__new__(type(thing))
    twin.__dict__.update(thing.__dict__)
    return twin


def _randomise(module: nn.Module) -> None:
    """Give every layer new weights."""
    for layer in module.modules():
        initialise: Any = getattr(layer, "reset_parameters", None)
        if initialise is not None:
            initialise()
            continue
        # Layers of the user's own may have weights without a way to initialise them.
        for parameter in layer.parameters(recurse=False):
            flat = parameter.data.flatten()
            parameter.data = flat[torch.randperm(len(flat))].view_as(parameter)


def _randomise_tail(tail: Tail, activations: np.ndarray) -> None:
    """Give a tail random weights, and fit its standardisation."""
    module = tail.net_.module_.eval()
    for part in (module.body, module.head):
        _randomise(part)
    rows = module.unit(torch.from_numpy(activations))
    of_channels = rows.double().transpose(0, 1).flatten(1)
    mean, variance = of_channels.mean(1), of_channels.var(1, correction=0)
    module.standardise.set_moments(mean.numpy(), variance.numpy())
    module.standardise.to(next(module.parameters()).device)


def _some_activations(model: BaseResNet, images: Images) -> np.ndarray:
    """Return the activations of the first images."""
    first = images.take(np.arange(min(len(images), _MAX_IMAGES)))
    context = run_context(model, fitted=True)
    blocks = model._runner.blocks(first, context, PassCounter())
    return np.concatenate([block for _, _, block in blocks])


def with_random_labels(
    model: BaseResNet, X: Any, y: np.ndarray, groups: Any, seed: int
) -> BaseResNet:
    """Return a model with the same parameters, trained on shuffled labels.

    Parameters
    ----------
    model : classifier
        Model of this package.
    X : array-like
        Its input.
    y : ndarray of shape (n_images,)
        Labels.
    groups : array-like of shape (n_images,), or None
        Patients.
    seed : int
    """
    shuffled = np.random.default_rng(seed).permutation(y)
    with warnings.catch_warnings():
        # It is expected of a model that cannot learn anything.
        warnings.simplefilter("ignore", NeverPredictedWarning)
        return clone(model).fit(X, shuffled, groups=groups)
