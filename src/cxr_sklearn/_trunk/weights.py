"""Weight files: found, read as data, checked, and loaded into a network."""

from __future__ import annotations

import math
import os
import time
import warnings
from pathlib import Path

import safetensors.torch
import torch
import torchvision
from torch import nn

from .._utils.files import file_version, user_path
from .._utils.messages import one_line

# characters of a name that a message shows
_LONGEST = 200

# The fits of a search follow each other at once: a download that failed is not tried again within
# this many seconds, or a machine without a network would wait for as many timeouts as fits.
_RETRY_SECONDS = 10
_FAILED_DOWNLOADS: dict[str, tuple[float, str]] = {}  # by URL: when, and why


def imagenet_state(backbone: str) -> dict[str, torch.Tensor]:
    """Return torchvision's best ImageNet weights for a named backbone.

    Raises
    ------
    OSError
        If they are neither in PyTorch's cache folder nor can be downloaded to it.
    ValueError
        If the file in that folder is damaged.
    """
    weights = torchvision.models.get_model_weights(backbone).DEFAULT
    failed_at, reason = _FAILED_DOWNLOADS.get(weights.url, (-math.inf, ""))
    if time.monotonic() - failed_at > _RETRY_SECONDS:
        try:
            return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except OSError as error:  # URLError is one; so is a full or read-only cache folder
            reason = str(error)
            _FAILED_DOWNLOADS[weights.url] = time.monotonic(), reason
        except Exception as error:  # a damaged file can make the unpickler raise anything
            raise ValueError(
                f"weights='imagenet': PyTorch's copy of {weights.url} is not readable "
                f"({_reason(error)}); expected a state dict. Delete the file from the folder "
                f"{torch.hub.get_dir()!r}, and it is downloaded again"
            ) from error
    # without the traceback of urllib, which in a search is all that a user sees on the screen
    raise OSError(
        f"weights='imagenet': {weights.url} could not be downloaded ({reason}); expected a "
        "connection or a downloaded file: pass weights=<path of the .pth file>, or weights=None "
        "to train from scratch"
    )


def weights_version(weights: str | os.PathLike | None) -> tuple[str, ...] | None:
    """Name weights so that a file which changed is read again."""
    if weights is None or weights == "imagenet":
        return None if weights is None else ("imagenet",)
    path = existing_weights(weights)
    return (str(path), *map(str, file_version(path) or ()))


def existing_weights(weights: str | os.PathLike) -> Path:
    """Return the absolute path of a weight file.

    Raises
    ------
    ValueError
        If the path is empty or contains a null character.
    FileNotFoundError
        If there is no such file.
    """
    path = user_path("weights", weights, "file")
    if not os.path.isfile(path):  # False as well for a name that is too long
        found = "is a folder" if os.path.isdir(path) else "does not exist"
        raise FileNotFoundError(
            f"weights={str(weights)!r}: {os.fspath(path.absolute())} {found}; expected the path of "
            "a state dict (.pth, .pt or .safetensors): correct it, or pass weights='imagenet', "
            "which downloads torchvision's, or weights=None"
        )
    return path.absolute()


def read_state(weights: str | os.PathLike) -> dict[str, torch.Tensor]:
    """Read a state dict without running code from the file.

    Parameters
    ----------
    weights : str or path
        A ``.safetensors`` file, or one that ``torch.load(weights_only=True)`` reads. A state dict
        inside a checkpoint's ``"state_dict"`` is found, and the ``module.`` before the keys that
        ``DataParallel`` leaves is removed.

    Returns
    -------
    dict of str to torch.Tensor
        On the CPU.

    Raises
    ------
    ValueError
        If the file holds no state dict.
    """
    path = existing_weights(weights)
    try:
        if path.suffix.lower() == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            # PyTorch warns of old storages and of sparse tensors, which are checked below
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a file of anything else can make the unpickler raise anything
        raise ValueError(
            f"weights={str(weights)!r} is not a readable state dict ({_reason(error)}); expected "
            "what torch.save(net.state_dict(), path) or safetensors' save_file writes"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError(
            f"weights={str(weights)!r} holds {type(state).__name__}, not a state dict; expected "
            "what torch.save(net.state_dict(), path) writes"
        )
    return _with_names(weights, state)


def _with_names(weights: str | os.PathLike, state: dict) -> dict[str, torch.Tensor]:
    """Return a state dict whose keys are the names of a network's tensors."""
    for key in state:
        if not isinstance(key, str):
            raise ValueError(
                f"weights={str(weights)!r} has the key {key!r}, which is not a string; expected "
                "the names of a network's tensors, as torch.save(net.state_dict(), path) writes"
            )
    named = {key.removeprefix("module."): value for key, value in state.items()}
    if len(named) < len(state):
        twice = [key for key in state if key.startswith("module.") and key[7:] in state]
        raise ValueError(
            f"weights={str(weights)!r} has {_some([key[7:] for key in twice])} twice, with and "
            "without 'module.'; expected each tensor once. Delete the keys of one kind"
        )
    return named


def load_state(net: nn.Module, weights: str | os.PathLike, head: str) -> None:
    """Load a weight file into `net` after checking keys, shapes and values.

    The classification layer `head` may be missing, have another shape or be unusable: every model
    replaces it.

    Raises
    ------
    ValueError
        Naming the missing and unexpected keys, the shapes that differ, or the tensors whose values
        cannot be used.
    """
    load_tensors(net, read_state(weights), f"weights={str(weights)!r}", head)


def _reason(error: Exception) -> str:
    """Return the first sentence of an error.

    PyTorch goes on to advise weights_only=False, which would run code from the file.
    """
    return (str(error).strip() or type(error).__name__).split("\n")[0].split(". ")[0]


def load_tensors(net: nn.Module, state: dict[str, torch.Tensor], source: str, head: str) -> None:
    """Load a state dict into `net`, with the checks of :func:`load_state`.

    `source` names where it comes from, for the messages.
    """
    own = net.state_dict()

    def is_needed(key: str) -> bool:
        # the models replace the head, and nothing here reads the counter, which checkpoints older
        # than PyTorch 0.4.1 lack
        return not key.startswith(f"{head}.") and not key.endswith("num_batches_tracked")

    needed = [key for key in own if is_needed(key)]
    missing = [key for key in needed if key not in state]
    unexpected = [key for key in state if key not in own and is_needed(key)]
    found = {key: state[key] for key in needed if key in state}
    wrong = [f"{k} {p}" for k, v in found.items() if (p := _shape_problem(v, own[k]))]
    problems = [
        *([f"missing {_some(missing)}"] if missing else []),
        *([f"unexpected {_some(unexpected)}"] if unexpected else []),
        *([_some(wrong, "; ")] if wrong else []),
    ]
    if problems:
        raise ValueError(
            f"{source} do not fit backbone {type(net).__name__}: {'; '.join(problems)}; pass the "
            "file that belongs to this backbone"
        )
    unusable = [f"{k} {p}" for k, v in found.items() if (p := _value_problem(k, v, own[k]))]
    if unusable:
        raise ValueError(
            f"{source} cannot be used: {_some(unusable)}; expected dense tensors of finite "
            "floating-point numbers. Pass another checkpoint, or convert these tensors first"
        )
    optional = {
        key: value
        for key, value in state.items()
        if key in own
        and key not in found
        and not _shape_problem(value, own[key])
        and not _value_problem(key, value, own[key])
    }
    net.load_state_dict({**own, **found, **optional})


def check_weights(net: nn.Module) -> None:
    """Raise unless the weights of a network are finite and float32, wherever they come from.

    Activations of other weights would be NaN, and a model trained on them useless, or do not go
    with images, which are float32.
    """
    name = type(net).__name__
    for key, parameter in net.named_parameters():
        if parameter.dtype != torch.float32 or parameter.is_meta:
            found = "no values (meta device)" if parameter.is_meta else f"type {_dtype(parameter)}"
            raise ValueError(
                f"backbone: {key} of {name} has {found}; expected weights of float32. Return "
                "net.float() of a network with weights: precision='bf16' or 'fp16' computes with "
                "fewer bits"
            )
    bad = [key for key, tensor in net.named_parameters() if not torch.isfinite(tensor).all()]
    # a mask may hold infinities
    bad += [key for key, tensor in net.named_buffers() if torch.isnan(tensor).any()]
    if bad:
        raise ValueError(
            f"backbone: {name} has NaN or infinite values in {_some(bad)}; expected finite "
            "weights. Correct how the network initialises or loads them"
        )


def _storage_problem(value: torch.Tensor) -> str:
    """Return why a tensor's values cannot be copied, or ``""``."""
    if value.is_meta:
        return "has no values (it is on the meta device)"
    if value.is_nested or value.layout != torch.strided:
        return "is sparse or nested"
    return "is quantised" if value.is_quantized else ""


def _shape_problem(value: torch.Tensor, own: torch.Tensor) -> str:
    """Return how the shape of a tensor differs from that of a network's own, or ``""``."""
    if _storage_problem(value) or value.shape == own.shape:  # nested tensors have no shape
        return ""
    return f"has shape {tuple(value.shape)}, expected {tuple(own.shape)}"


def _value_problem(key: str, value: torch.Tensor, own: torch.Tensor) -> str:
    """Return why the values of a tensor cannot replace those of a network's own, or ``""``."""
    if problem := _storage_problem(value):
        return problem
    if _kind(value) != _kind(own):
        # integers without their scale, and the real part of complex numbers, are other weights
        return f"is {_dtype(value)} instead of {_dtype(own)}"
    values = value.to(own.dtype)
    is_mask = not torch.isfinite(own).all()
    if torch.isnan(values).any() or (not is_mask and not torch.isfinite(values).all()):
        return "holds NaN or infinite values"
    if key.endswith("running_var") and bool((values < 0).any()):
        return "holds negative variances"
    return ""


def _kind(tensor: torch.Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _some(names: list[str], separator: str = ", ", most: int = 3) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(one_line(name)[:_LONGEST] for name in names[:most]) + rest
