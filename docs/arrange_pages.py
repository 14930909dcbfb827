"""Arrange the API pages of estimators with many parameters, and the figures of examples."""

from __future__ import annotations

import re
from typing import Any

# The first parameter of each group, in the order of the constructor.
GROUPS = {
    "backbone": "Network",
    "hidden_layer_sizes": "Training",
    "class_weight": "Imbalance",
    "device": "Running",
    "final_hidden_layer_sizes": "Stacking",
}

# A class with more parameters has a short signature and groups.
_MANY = 12


def group_parameters(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Insert a heading in front of each group of parameters of a class."""
    if what != "class" or not _has_many_parameters(obj):
        return
    arranged = []
    is_parameter = False
    for line in lines:
        if line.startswith(":"):
            is_parameter = line.startswith(":Parameters:")
        match = re.match(r"( +)\*\*(\w+)\*\*", line)
        if is_parameter and match and match[2] in GROUPS:
            arranged += [f"{match[1]}.. rubric:: {GROUPS[match[2]]}", ""]
        arranged.append(line)
    lines[:] = arranged


def shorten_signature(
    app: Any,
    what: str,
    name: str,
    obj: Any,
    options: Any,
    signature: str,
    annotation: str,
) -> tuple[str, str] | None:
    """Leave the parameters out of the signature, which would fill the screen."""
    if what == "class" and _has_many_parameters(obj):
        return "(*, ...)", annotation
    return None


def enlarge_text(gallery_conf: Any, script: str) -> None:
    """Set a font size with which the figure of an example is legible as a thumbnail."""
    import matplotlib as mpl

    mpl.rcParams["font.size"] = 12


def _has_many_parameters(obj: Any) -> bool:
    constructor = getattr(obj, "__init__", None)
    code = getattr(constructor, "__code__", None)
    return code is not None and code.co_argcount + code.co_kwonlyargcount > _MANY
