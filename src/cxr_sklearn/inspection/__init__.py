"""Inspection: which parts of an image a model looks at, and whether its maps can be trusted."""

from ._class_activation_display import ClassActivationDisplay
from ._class_activation_map import ActivationMaps, class_activation_map
from ._faithfulness import faithfulness
from ._faithfulness_report import Faithfulness

__all__ = [
    "ActivationMaps",
    "ClassActivationDisplay",
    "Faithfulness",
    "class_activation_map",
    "faithfulness",
]
