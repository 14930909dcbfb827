"""Choose the cache that a value of the parameter ``memory`` stands for."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from .._utils.files import user_path
from ..exceptions import CacheWarning
from .cache_folder import CacheFolder
from .disk import DiskCache
from .memory import IN_PROCESS, ActivationCache
from .size_limit import is_disk_full


def activation_cache(memory: Any, *, create: bool) -> ActivationCache | DiskCache:
    """Return the cache for a value of the parameter ``memory``.

    Parameters
    ----------
    memory : None, path, CacheFolder or joblib.Memory
        None stands for the cache in the memory of this process.
    create : bool
        Whether to create a missing folder. This is False for a fitted model, which may come from
        another machine. Without its folder it uses the cache in the memory of the process.

    Returns
    -------
    ActivationCache or DiskCache
        The cache in memory, after a warning, if the disk is full, or if a fitted model cannot use
        its folder.

    Raises
    ------
    OSError
        If `create` is True and the path cannot be a folder for activations, because it is the path
        of a file, for example.
    ValueError
        If the path is empty or contains a null character.
    TypeError
        If `memory` does not specify a folder.
    """
    folder = _folder(memory)
    if folder is None:
        return IN_PROCESS
    if not create and not folder.is_dir():
        return IN_PROCESS
    max_bytes = None
    if isinstance(memory, CacheFolder):
        max_bytes = memory.n_bytes
    try:
        return DiskCache(folder, max_bytes)
    except OSError as error:
        # A fit fails if its folder is unsuitable. It goes on if the disk is full: activations only
        # save time, and there may be free space again later.
        cause = error.__cause__ or error
        if create and not is_disk_full(cause, folder):
            raise
        warnings.warn(
            f"{error} Until then, activations are kept in the memory of the process.",
            CacheWarning,
            stacklevel=2,
        )
        return IN_PROCESS


def _folder(memory: Any) -> Path | None:
    """Return the folder of the parameter ``memory``, or None if it does not have a folder."""
    if memory is None or isinstance(memory, (str, os.PathLike)):
        location = memory
    elif hasattr(memory, "location"):
        location = memory.location
    else:
        raise TypeError(
            f"memory={memory!r} is invalid: it has no attribute location; expected a path, a "
            "CacheFolder, a joblib.Memory or None."
        )
    # A joblib.Memory whose location is None caches nothing.
    if location is None:
        return None
    return user_path("memory", location, "folder")
