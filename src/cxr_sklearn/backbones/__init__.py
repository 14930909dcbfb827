"""Networks that are known by name: their stages, normalisation and weights."""

from ._registry import list_backbones

__all__ = ["list_backbones"]
