"""The cache that the parameter ``memory`` names."""

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
from .room import is_disk_full


def activation_cache(memory: Any, *, create: bool) -> ActivationCache | DiskCache:
    """Return the cache that ``memory`` names.

    Parameters
    ----------
    memory : None, path, CacheFolder or joblib.Memory
        None is the cache of this process.
    create : bool
        Whether to create a missing folder. A fitted model does not: it may come from another
        machine, and then uses the cache of its process.

    Returns
    -------
    ActivationCache or DiskCache
        The cache of the process, with a warning, where the disk has no room for a folder and where
        the folder of a fitted model cannot be used.

    Raises
    ------
    OSError
        If `create` and the path cannot be a folder for activations, such as a file.
    ValueError
        If the path is empty or contains a null character.
    TypeError
        If `memory` names no folder.
    """
    folder = _folder(memory)
    if folder is None or not (create or folder.is_dir()):
        return IN_PROCESS
    try:
        return DiskCache(folder, memory.n_bytes if isinstance(memory, CacheFolder) else None)
    except OSError as error:
        # activations only save time, and a full disk may have room again later
        if create and not is_disk_full(error.__cause__ or error, folder):
            raise
        warnings.warn(f"{error}; the memory of the process is used", CacheWarning, stacklevel=2)
        return IN_PROCESS


def _folder(memory: Any) -> Path | None:
    if isinstance(memory, (str, os.PathLike, type(None))):
        location = memory
    elif hasattr(memory, "location"):
        location = memory.location
    else:
        raise TypeError(
            f"memory={memory!r} is invalid: it has no attribute location; expected a path, a "
            "CacheFolder, a joblib.Memory or None"
        )
    return None if location is None else user_path("memory", location, "folder")
