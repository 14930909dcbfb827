"""Inspection: which parts of an image a model looks at, and whether its maps can be trusted."""

from ._class_activation_map import ActivationMaps, class_activation_map

__all__ = ["ActivationMaps", "class_activation_map"]
