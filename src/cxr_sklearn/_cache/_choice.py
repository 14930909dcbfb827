"""The cache that the parameter ``memory`` names."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from ..exceptions import CacheWarning
from ._cache_folder import CacheFolder
from ._disk import DiskCache
from ._memory import IN_PROCESS, ActivationCache


def activation_cache(memory: Any, *, create: bool) -> ActivationCache | DiskCache:
    """Return the cache that ``memory`` names.

    Parameters
    ----------
    memory : None, path, CacheFolder or joblib.Memory
        None is the cache of this process.
    create : bool
        Whether to create a missing folder. A fitted model does not: it may come from another
        machine, and then uses the cache of its process.
    """
    folder = memory if isinstance(memory, (str, os.PathLike, type(None))) else memory.location
    if folder is None or not (create or Path(folder).is_dir()):
        return IN_PROCESS
    try:
        return DiskCache(folder, memory.n_bytes if isinstance(memory, CacheFolder) else None)
    except OSError as error:
        if create:
            raise
        warnings.warn(f"{error}; the memory of the process is used", CacheWarning, stacklevel=2)
        return IN_PROCESS
