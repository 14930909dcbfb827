"""Build a network and load its weights."""

from __future__ import annotations

import copy
import functools
import hashlib
import os
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torchvision
from torch import nn
from torch.nn.parameter import is_lazy

from .._utils.device import seeded
from ..backbones._named import RESNET_STAGES
from .network import Network
from .weights import check_weights, imagenet_state, load_state, load_tensors, weights_version

Backbone = str | Callable[[], nn.Module]


def build_network(backbone: Backbone, weights: str | os.PathLike | None, seed: int) -> Network:
    """Build a network in eval mode with its weights.

    Parameters
    ----------
    backbone : str or callable
        The name of a torchvision ResNet, or a callable that returns a network.
    weights : "imagenet", path or None
        Where the weights come from. ``None`` keeps what the constructor made, seeded by `seed`.
    seed : int
        Seed of newly made weights. PyTorch's global generator is left as it was.

    Returns
    -------
    Network
        Named backbones are built once per process for the same weights.
    """
    if isinstance(backbone, str):
        # the seed matters to weights that are made, not to weights that are read
        return _named_network(backbone, weights_version(weights), seed if weights is None else 0)
    if weights == "imagenet":
        raise ValueError(
            "weights='imagenet' are torchvision's, for backbones given by name; with a callable "
            "backbone pass weights=None to keep the weights that it sets, or a path to a file"
        )
    with seeded(seed):
        net = _own_copy(backbone())
    stages = _stage_names(net)
    if weights is not None:
        load_state(net, weights, head=stages[-1])
    return _frozen(net, stages)


def _own_copy(net: Any) -> nn.Module:
    """Return a copy of what a callable returned, which may be a network that the user trains on."""
    if not isinstance(net, nn.Module):
        raise TypeError(
            f"backbone() returned {type(net).__name__}; expected a torch.nn.Module with the "
            f"children {', '.join(RESNET_STAGES)}, or with an attribute `stages` naming its own"
        )
    _check_kind(net)
    try:
        return copy.deepcopy(net)
    except Exception as error:  # whatever the network holds decides what it raises
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise ValueError(
            f"backbone: the {type(net).__name__} that it returned cannot be copied ({reason}); "
            "expected one that can, because each binary problem trains a copy: return a network "
            "that holds parameters and buffers only, outside of a computation graph, and use "
            "torch.nn.utils.parametrizations.weight_norm where it normalises weights"
        ) from error


def _check_kind(net: nn.Module) -> None:
    """Raise if a network is not made of modules that can be cut and trained."""
    for name, module in net.named_modules():
        where = name or type(net).__name__
        if isinstance(module, torch.jit.ScriptModule):
            raise TypeError(
                f"backbone: {where} is a compiled TorchScript module, which can be neither cut nor "
                "trained again; expected a torch.nn.Module: return the network that it was made of"
            )
        if any(map(is_lazy, module.parameters(recurse=False))):
            raise ValueError(
                f"backbone: {where} is a lazy module without weights; expected a network with "
                "weights: run it once on an image before it is returned"
            )


@functools.lru_cache(maxsize=4)
def _named_network(backbone: str, weights: tuple[str, ...] | None, seed: int) -> Network:
    state = imagenet_state(backbone) if weights == ("imagenet",) else None
    with seeded(seed):
        net = getattr(torchvision.models, backbone)()
    if state is not None:
        load_tensors(net, state, "weights='imagenet'", head="fc")
    elif weights is not None:
        load_state(net, weights[0], head="fc")
    return _frozen(net, RESNET_STAGES)


def _frozen(net: nn.Module, stages: tuple[str, ...]) -> Network:
    check_weights(net)
    net.eval()
    net.requires_grad_(False)
    network = Network(net, stages, _fingerprint(net))
    _ = network.in_channels, network.head_width  # a bad backbone fails here, not after an epoch
    return network


def _stage_names(net: nn.Module) -> tuple[str, ...]:
    """Return the stages of a user's network, or say what is wrong with it."""
    stages = getattr(net, "stages", RESNET_STAGES)
    names = [] if isinstance(stages, str) or not isinstance(stages, Iterable) else list(stages)
    if (
        not names
        or not all(isinstance(name, str) for name in names)
        or len(set(names)) < len(names)
    ):
        raise TypeError(
            f"backbone: its `stages` is {stages!r}; expected a tuple of different child names"
        )
    children = [name for name, _ in net.named_children()]
    missing = [name for name in stages if name not in children]
    if missing or len(stages) < 1:
        raise ValueError(
            f"backbone: {type(net).__name__} lacks the stages {', '.join(missing) or '(none)'} "
            f"(it has {', '.join(children) or 'no children'}); expected torchvision's names "
            f"{', '.join(RESNET_STAGES)}, or an attribute `stages` with its own in forward order"
        )
    if sorted(stages, key=children.index) != list(stages):
        raise ValueError(
            f"backbone: stages {tuple(stages)} are not in the order in which the children are "
            f"defined ({', '.join(children)}); define them in forward order"
        )
    return tuple(stages)


def _fingerprint(net: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{type(net).__module__}.{type(net).__qualname__}\n{net}".encode())
    for module in net.modules():  # nets of equal weights may compute differently
        digest.update(_behaviour(module).encode())
    # state_dict lacks the buffers that are not persistent
    for name, tensor in {**dict(net.named_buffers()), **net.state_dict()}.items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _behaviour(module: nn.Module) -> str:
    """Describe what the code of a module and its settings do, as far as these can be read.

    :func:`cxr_sklearn._probe.probe` sees what this does not: helpers, decorators, closures.
    """
    code = getattr(type(module).forward, "__code__", None)
    settings = sorted((name, value) for name, value in vars(module).items() if _is_plain(value))
    if code is None:
        return repr(settings)
    constants = [c for c in code.co_consts if isinstance(c, (bool, int, float, str))]
    return f"{settings}{code.co_code.hex()}{code.co_names}{constants}"


def _is_plain(value: Any) -> bool:
    """Whether a value has a text that is the same in every process."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, (bool, int, float, str))
