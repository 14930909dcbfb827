"""Activations by the content of the image, so that each image passes the trunk once."""

from ._cache_folder import CacheFolder
from ._choice import activation_cache
from ._disk import DiskCache
from ._memory import IN_PROCESS_BYTES, ActivationCache, CacheInfo, Turn, clear_cache

__all__ = [
    "IN_PROCESS_BYTES",
    "ActivationCache",
    "CacheFolder",
    "CacheInfo",
    "DiskCache",
    "Turn",
    "activation_cache",
    "clear_cache",
]
