"""Build a network and load its weights."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from .._utils.device import seeded
from ..backbones._registry import (
    IMAGENET_NORMALISATION,
    RESNET_STAGES,
    Normalisation,
    named_backbone,
)
from .fingerprint import fingerprint
from .imagenet_weights import imagenet_state
from .network import Network
from .state_dict import check_weights, load_state, load_tensors
from .weight_file import weights_version

Backbone = str | Callable[[], nn.Module]


def build_network(backbone: Backbone, weights: str | os.PathLike[str] | None, seed: int) -> Network:
    """Build a network in eval mode with its weights.

    Parameters
    ----------
    backbone : str or callable
        The name of a network, or a callable that returns a network.
    weights : "imagenet", path or None
        Source of the weights. None keeps the weights that the constructor initialises.
    seed : int
        Seed for the initialisation of weights. The state of PyTorch's global generator is restored.

    Returns
    -------
    Network
        A named backbone with the same weights is built once per process.
    """
    if isinstance(backbone, str):
        version = weights_version(weights)
        if version is None:
            return build_named_network(backbone, None, seed)
        # The seed does not matter if all weights are read, so these networks have a common seed.
        return build_named_network(backbone, version, 0)
    if weights == "imagenet":
        raise ValueError(
            "weights='imagenet' is invalid with a callable backbone: there are such weights for "
            "backbones given by name only; expected None or the path of a file. Pass weights=None "
            "to keep the weights that the callable sets."
        )
    with seeded(seed):
        net = _own_copy(backbone())
    stages = _stage_names(net)
    if weights is not None:
        load_state(net, weights, head=stages[-1])
    return _frozen_network(net, stages, IMAGENET_NORMALISATION)


@functools.lru_cache(maxsize=4)
def build_named_network(backbone: str, weights: tuple[str, ...] | None, seed: int) -> Network:
    """Build a network that is known by name.

    Parameters
    ----------
    backbone : str
    weights : tuple of str or None
        Result of :func:`cxr_sklearn._trunk.weight_file.weights_version`. It is different for a file
        whose content has changed, so such a file is read again.
    seed : int
    """
    entry = named_backbone(backbone)
    head = entry.stages[-1]
    # Look for the weights first: an error then needs no time for the construction of the network.
    state = None
    if weights == ("imagenet",):
        state = imagenet_state(entry)
    with seeded(seed):
        net = entry.constructor()
    if state is not None:
        load_tensors(net, state, "weights='imagenet'", head=head)
    elif weights is not None:
        load_state(net, weights[0], head=head)
    return _frozen_network(net, entry.stages, entry.normalisation)


def _frozen_network(
    net: nn.Module, stages: tuple[str, ...], normalisation: Normalisation
) -> Network:
    """Freeze a network after checking that it can be used."""
    check_weights(net)
    net.eval()
    net.requires_grad_(False)
    return Network(
        net,
        stages,
        normalisation,
        fingerprint(net),
        in_channels=_in_channels(net),
        head_width=_head_width(net, stages[-1]),
    )


def _in_channels(net: nn.Module) -> int:
    """Return the number of channels that the first convolution takes."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels not in (1, 3):
                raise ValueError(
                    f"backbone is invalid: its first convolution takes {module.in_channels} "
                    "channels; expected 1 (greyscale) or 3 (RGB)."
                )
            return module.in_channels
    raise ValueError(
        "backbone is invalid: it has no torch.nn.Conv2d; expected a network that takes images."
    )


def _head_width(net: nn.Module, last: str) -> int:
    """Return the number of values that the classification layer takes."""
    for module in net.get_submodule(last).modules():
        if isinstance(module, nn.Linear):
            return module.in_features
    raise ValueError(
        f"backbone is invalid: its last stage {last!r} contains no torch.nn.Linear; expected the "
        "classification layer, which is replaced by the heads of the binary problems."
    )


# -- networks that a callable returns -------------------------------------------------------------


def _own_copy(net: Any) -> nn.Module:
    """Return a copy of the network that a callable returned, which the user may go on training."""
    if not isinstance(net, nn.Module):
        raise TypeError(
            f"backbone is invalid: it returned {type(net).__name__}; expected a torch.nn.Module "
            f"with the children {', '.join(RESNET_STAGES)}, or with an attribute `stages` that "
            "contains the names of other children."
        )
    _check_modules(net)
    try:
        return copy.deepcopy(net)
    except Exception as error:  # A module can raise any error when it is copied.
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise ValueError(
            f"backbone is invalid: the {type(net).__name__} that it returned cannot be copied "
            f"({reason}); expected a network that can, because each binary problem trains a copy. "
            "Return a network that contains only parameters and buffers outside of a computation "
            "graph, and normalise weights with torch.nn.utils.parametrizations.weight_norm."
        ) from error


def _check_modules(net: nn.Module) -> None:
    """Raise if a network contains modules that cannot be cut or trained."""
    for name, module in net.named_modules():
        where = name or type(net).__name__
        if isinstance(module, torch.jit.ScriptModule):
            raise TypeError(
                f"backbone is invalid: {where} is a compiled TorchScript module, which can neither "
                "be cut nor trained; expected a torch.nn.Module. Return the network from which it "
                "was compiled."
            )
        if any(map(is_lazy, module.parameters(recurse=False))):
            raise ValueError(
                f"backbone is invalid: {where} is a lazy module without weights; expected a "
                "network with weights. Run it once on an image before you return it."
            )


def _stage_names(net: nn.Module) -> tuple[str, ...]:
    """Return the stages of a network that a callable returned, after checking them."""
    found = getattr(net, "stages", RESNET_STAGES)
    stages = _different_names(found)
    if not stages:
        raise TypeError(
            f"backbone is invalid: its attribute `stages` is {found!r}; expected a tuple of "
            "different names of children."
        )
    children = [name for name, _ in net.named_children()]
    missing = [name for name in stages if name not in children]
    if missing:
        raise ValueError(
            f"backbone is invalid: {type(net).__name__} has no children {', '.join(missing)} (it "
            f"has {', '.join(children) or 'no children'}); expected torchvision's names "
            f"{', '.join(RESNET_STAGES)}, or an attribute `stages` that contains the names of "
            "other children in the order of the forward pass."
        )
    if sorted(stages, key=children.index) != list(stages):
        raise ValueError(
            f"backbone is invalid: its stages {stages} are not in the order in which the children "
            f"are defined ({', '.join(children)}); expected one order. Define the children in the "
            "order of the forward pass."
        )
    return stages


def _different_names(stages: Any) -> tuple[str, ...]:
    """Return a value as a tuple if it is an iterable of different strings, else an empty tuple."""
    # A string is an iterable as well, of its characters.
    if isinstance(stages, str) or not isinstance(stages, Iterable):
        return ()
    names = tuple(stages)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        return ()
    return names
