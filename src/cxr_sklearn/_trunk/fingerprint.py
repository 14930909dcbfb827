"""Fingerprint of a network, by which the cache distinguishes the activations of networks."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn


def fingerprint(net: nn.Module) -> str:
    """Return a digest of the architecture, the weights and the code of a network.

    :func:`cxr_sklearn._trunk.probe.probe` also detects what this digest does not include: helper
    functions, decorators and closures.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{type(net).__module__}.{type(net).__qualname__}\n{net}".encode())
    # Networks with equal weights may compute different things.
    for module in net.modules():
        digest.update(_code_and_settings(module).encode())
    # The state dict does not include buffers that are not persistent.
    tensors = {**dict(net.named_buffers()), **net.state_dict()}
    for name, tensor in tensors.items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(values.view(torch.uint8).numpy())
    return digest.hexdigest()


def _code_and_settings(module: nn.Module) -> str:
    """Return the byte code of a module's ``forward`` and its settings, as a string."""
    settings = []
    for name, value in vars(module).items():
        if _is_plain(value):
            settings.append((name, value))
    settings.sort()
    code = getattr(type(module).forward, "__code__", None)
    if code is None:
        return repr(settings)
    constants = [value for value in code.co_consts if isinstance(value, (bool, int, float, str))]
    return f"{settings}{code.co_code.hex()}{code.co_names}{constants}"


def _is_plain(value: Any) -> bool:
    """Return whether the string representation of a value is the same in every process."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, (bool, int, float, str))
