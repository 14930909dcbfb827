"""Cache of activations by the content of the image, so that each image passes the trunk once."""

from .cache_folder import CacheFolder
from .choice import activation_cache
from .disk import DiskCache
from .memory import IN_PROCESS_BYTES, ActivationCache, CacheInfo, Turn, clear_cache

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
