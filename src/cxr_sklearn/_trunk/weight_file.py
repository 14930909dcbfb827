"""Weight files: found, and read as state dicts without running code."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from .._utils.files import file_version, user_path
from .._utils.messages import some

# Number of tensors that a message names, because their names are long.
MAX_NAMES = 3


def weights_version(weights: str | os.PathLike[str] | None) -> tuple[str, ...] | None:
    """Return a key for weights, which changes when the content of a file changes.

    Returns
    -------
    tuple of str or None
        None for None, ``("imagenet",)`` for ``"imagenet"``, else the path and the properties of the
        file.
    """
    if weights is None:
        return None
    if weights == "imagenet":
        return ("imagenet",)
    path = existing_weights(weights)
    version = file_version(path) or ()
    return (str(path), *map(str, version))


def existing_weights(weights: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a weight file.

    Raises
    ------
    ValueError
        If the path is empty or contains a null character.
    FileNotFoundError
        If there is no such file.
    """
    path = user_path("weights", weights, "file").absolute()
    # This is also False for a name that is too long for the file system.
    if os.path.isfile(path):
        return path
    found = "does not exist"
    if os.path.isdir(path):
        found = "is a folder"
    raise FileNotFoundError(
        f"weights={str(weights)!r} is invalid: {os.fspath(path)} {found}; expected the path of a "
        "state dict (.pth, .pt or .safetensors). Correct the path, or pass weights='imagenet' or "
        "weights=None."
    )


def read_state(weights: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Read a state dict without running code from the file.

    Parameters
    ----------
    weights : str or path
        A ``.safetensors`` file, or a file that ``torch.load(weights_only=True)`` can read. It may
        be a checkpoint that contains the state dict under the key ``"state_dict"``. The prefix
        ``module.``, which ``DataParallel`` adds to the keys, is removed.

    Returns
    -------
    dict of str to torch.Tensor
        On the CPU.

    Raises
    ------
    ValueError
        If the file does not contain a state dict.
    """
    path = existing_weights(weights)
    try:
        content = _read_content(path)
    except (OSError, MemoryError):
        raise
    # The unpickler can raise any error if the file has another format.
    except Exception as error:
        raise ValueError(
            f"weights={str(weights)!r} is invalid: it is not a readable state dict "
            f"({first_sentence(error)}); expected a file that torch.save(net.state_dict(), path) "
            "or safetensors' save_file writes."
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not _is_dict_of_tensors(content):
        raise ValueError(
            f"weights={str(weights)!r} is invalid: it contains {type(content).__name__}, which is "
            "not a state dict; expected a file that torch.save(net.state_dict(), path) writes."
        )
    return _with_tensor_names(weights, content)


def _read_content(path: Path) -> Any:
    if path.suffix.lower() == ".safetensors":
        return safetensors.torch.load_file(path)
    with warnings.catch_warnings():
        # PyTorch warns of old storages and of sparse tensors, which are checked later.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _is_dict_of_tensors(content: Any) -> bool:
    if not isinstance(content, dict):
        return False
    return all(isinstance(value, torch.Tensor) for value in content.values())


def _with_tensor_names(
    weights: str | os.PathLike[str], state: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """Return a state dict whose keys are the names of the tensors of a network."""
    named: dict[str, torch.Tensor] = {}
    twice = []
    for key, value in state.items():
        if not isinstance(key, str):
            raise ValueError(
                f"weights={str(weights)!r} is invalid: it has the key {key!r}, which is not a "
                "string; expected the names of the tensors of a network, as "
                "torch.save(net.state_dict(), path) writes them."
            )
        name = key.removeprefix("module.")
        if name in named:
            twice.append(name)
        named[name] = value
    if twice:
        raise ValueError(
            f"weights={str(weights)!r} is invalid: it contains {some(twice, most=MAX_NAMES)} "
            "twice, with and without 'module.'; expected each tensor once. Delete the keys of one "
            "kind."
        )
    return named


def first_sentence(error: Exception) -> str:
    """Return the first sentence of the message of an error.

    PyTorch's messages then advise to pass weights_only=False, which would run code from the file.
    """
    text = str(error).strip() or type(error).__name__
    return text.split("\n")[0].split(". ")[0]
