"""Preprocessing: transformers of images."""

import importlib
from typing import TYPE_CHECKING, Any

from ._mean_radiograph import MeanRadiograph

if TYPE_CHECKING:
    from ._lung_crop import LungCrop
    from ._lung_fields import LungFields

__all__ = ["LungCrop", "LungFields", "MeanRadiograph"]

# Imported at their first use, so that loaders and the command line need not wait for PyTorch.
_HOMES = {"LungCrop": "_lung_crop", "LungFields": "_lung_fields"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
