"""Combined ResNet50 models for chest X-rays, as scikit-learn estimators.

For research only: this package is not a medical device.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._cache import CacheFolder, clear_cache
    from ._images.loader import XRayLoader
    from ._models.one_vs_one import ResNetOvO
    from ._models.one_vs_rest import ResNetOvR
    from ._models.single import ResNetClassifier
    from ._models.stacking import ResNetStacking
    from ._trunk.features import ResNetFeatures

__version__ = "0.1.0.dev0"

__all__ = [
    "CacheFolder",  # a bounded folder for activations
    "ResNetClassifier",  # one multi-class ResNet50
    "ResNetFeatures",  # the trunk on its own: a transformer
    "ResNetOvO",  # one ResNet50 per pair of classes
    "ResNetOvR",  # one ResNet50 per class, against the rest
    "ResNetStacking",  # one-versus-rest ResNet50s and an MLP head
    "XRayLoader",  # image files -> pixel rows: a transformer
    "clear_cache",  # delete the activations in memory
]

# Imported at their first use, so that an audit or a help text need not wait for PyTorch.
_HOMES = {
    "CacheFolder": "_cache",
    "ResNetClassifier": "_models.single",
    "ResNetFeatures": "_trunk.features",
    "ResNetOvO": "_models.one_vs_one",
    "ResNetOvR": "_models.one_vs_rest",
    "ResNetStacking": "_models.stacking",
    "XRayLoader": "_images.loader",
    "clear_cache": "_cache",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
