"""State dicts: compared to a network, and loaded into it."""

from __future__ import annotations

import os
from typing import NamedTuple

import torch
from torch import nn

from .._utils.messages import some
from .weight_file import MAX_NAMES, read_state


def load_state(net: nn.Module, weights: str | os.PathLike[str], head: str) -> None:
    """Load a weight file into a network after checking its keys, shapes and values.

    Parameters
    ----------
    net : torch.nn.Module
    weights : str or path
        The file.
    head : str
        Name of the classification layer. It may be missing in the file, have another shape or be
        unusable, because every model replaces it.

    Raises
    ------
    ValueError
        If keys are missing or unexpected, or shapes differ, or values cannot be used. The message
        contains the names of these tensors.
    """
    load_tensors(net, read_state(weights), f"weights={str(weights)!r}", head)


class _Comparison(NamedTuple):
    """The required tensors of a network, compared to those of a state dict.

    Attributes
    ----------
    missing, unexpected : list of str
        Names of the tensors that only the network has, or only the state dict.
    wrong_shapes, unusable : list of str
        Names of tensors, each with its problem.
    usable : dict of str to torch.Tensor
        Tensors without a problem.
    """

    missing: list[str]
    unexpected: list[str]
    wrong_shapes: list[str]
    unusable: list[str]
    usable: dict[str, torch.Tensor]


def load_tensors(net: nn.Module, state: dict[str, torch.Tensor], source: str, head: str) -> None:
    """Load a state dict into a network, with the checks of :func:`load_state`.

    Parameters
    ----------
    net : torch.nn.Module
    state : dict of str to torch.Tensor
    source : str
        Source of the state dict, for messages.
    head : str
        Name of the classification layer.
    """
    own = net.state_dict()
    compared = _compare(state, own, head)
    problems = []
    if compared.missing:
        problems.append(f"missing {some(compared.missing, most=MAX_NAMES)}")
    if compared.unexpected:
        problems.append(f"unexpected {some(compared.unexpected, most=MAX_NAMES)}")
    if compared.wrong_shapes:
        problems.append(some(compared.wrong_shapes, "; ", MAX_NAMES))
    if problems:
        raise ValueError(
            f"{source} is invalid: the weights do not fit the backbone {type(net).__name__}: "
            f"{'; '.join(problems)}; expected weights of the same architecture. Pass the file that "
            "belongs to this backbone."
        )
    if compared.unusable:
        raise ValueError(
            f"{source} is invalid: {some(compared.unusable, most=MAX_NAMES)}; expected dense "
            "tensors of finite floating-point numbers. Pass another checkpoint, or convert these "
            "tensors."
        )
    net.load_state_dict({**own, **compared.usable})


def _compare(
    state: dict[str, torch.Tensor], own: dict[str, torch.Tensor], head: str
) -> _Comparison:
    """Compare a state dict to the state dict of a network."""
    compared = _Comparison([], [], [], [], {})
    for key, tensor in own.items():
        is_required = _is_required(key, head)
        if key not in state:
            if is_required:
                compared.missing.append(key)
            continue
        shape_problem = _shape_problem(state[key], tensor)
        value_problem = ""
        if not shape_problem:
            value_problem = _value_problem(key, state[key], tensor)
        if not shape_problem and not value_problem:
            compared.usable[key] = state[key]
        elif is_required and shape_problem:
            compared.wrong_shapes.append(f"{key} {shape_problem}")
        elif is_required:
            compared.unusable.append(f"{key} {value_problem}")
    for key in state:
        if key not in own and _is_required(key, head):
            compared.unexpected.append(key)
    return compared


def _is_required(key: str, head: str) -> bool:
    """Return whether a tensor must be in a weight file.

    Every model replaces the classification layer. The counters of batch normalisation are not used,
    and checkpoints older than PyTorch 0.4.1 do not contain them.
    """
    return not key.startswith(f"{head}.") and not key.endswith("num_batches_tracked")


def _shape_problem(value: torch.Tensor, own: torch.Tensor) -> str:
    """Return how the shape of a tensor differs from that of the network's tensor, or ``""``."""
    # Nested tensors have no shape. They are reported as unusable.
    if _storage_problem(value) or value.shape == own.shape:
        return ""
    return f"has shape {tuple(value.shape)}, expected {tuple(own.shape)}"


def _value_problem(key: str, value: torch.Tensor, own: torch.Tensor) -> str:
    """Return why a tensor cannot replace the tensor of the network, or ``""``."""
    problem = _storage_problem(value)
    if problem:
        return problem
    # Integers need their scale, and complex numbers their imaginary part, so a conversion would
    # change the weights. Floats of another precision can be converted.
    if _number_kind(value) != _number_kind(own):
        return f"is {_dtype_name(value)} instead of {_dtype_name(own)}"
    values = value.to(own.dtype)
    # The network's tensor has infinite values if it is a mask.
    is_mask = not torch.isfinite(own).all()
    if torch.isnan(values).any() or (not is_mask and not torch.isfinite(values).all()):
        return "contains NaN or infinite values"
    if key.endswith("running_var") and bool((values < 0).any()):
        return "contains negative variances"
    return ""


def _storage_problem(value: torch.Tensor) -> str:
    """Return why the values of a tensor cannot be copied, or ``""``."""
    if value.is_meta:
        return "has no values (it is on the meta device)"
    if value.is_nested or value.layout != torch.strided:
        return "is sparse or nested"
    if value.is_quantized:
        return "is quantised"
    return ""


def check_weights(net: nn.Module) -> None:
    """Raise unless the weights of a network are finite and float32, whatever their source.

    Images are float32, so they do not go with weights of another type. Weights that are NaN or
    infinite would make all activations NaN.
    """
    name = type(net).__name__
    for key, parameter in net.named_parameters():
        if parameter.dtype == torch.float32 and not parameter.is_meta:
            continue
        found = f"type {_dtype_name(parameter)}"
        if parameter.is_meta:
            found = "no values (it is on the meta device)"
        raise ValueError(
            f"backbone is invalid: {key} of {name} has {found}; expected weights of type float32. "
            "Return net.float() of a network with weights, and pass precision='bf16' or 'fp16' to "
            "compute with fewer bits."
        )
    bad = [key for key, tensor in net.named_parameters() if not torch.isfinite(tensor).all()]
    # Buffers may be infinite, because they may be masks.
    bad += [key for key, tensor in net.named_buffers() if torch.isnan(tensor).any()]
    if bad:
        raise ValueError(
            f"backbone is invalid: {name} has NaN or infinite values in "
            f"{some(bad, most=MAX_NAMES)}; expected finite weights. Correct how the network "
            "initialises or loads them."
        )


def _number_kind(tensor: torch.Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
